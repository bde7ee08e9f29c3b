"""Distances between sets of images, which show whether generated images copy training images."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_pairwise_distance(x: Tensor) -> float:
    """The mean Euclidean distance between two different images of a set. x: [N, ...]."""
    x = x.flatten(1)
    return (torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))).item()


def nearest_distance(x: Tensor, reference: Tensor, chunk: int = 1000) -> Tensor:
    """The Euclidean distance of each image of x, [N, ...], to the nearest of `reference`, [M, ...]. [N]."""
    x, reference = x.flatten(1), reference.flatten(1)
    return torch.cat([torch.cdist(part, reference).amin(dim=1) for part in x.split(chunk)])


def probability_closer(a: Tensor, b: Tensor) -> float:
    """The probability that a random element of `a` is smaller than one of `b`; ties count one half.

    It is 1/2 if both have the same distribution. This is the Mann-Whitney statistic U / (n m). Meehan,
    Chaudhuri & Dasgupta, A Non-Parametric Test to Detect Data-Copying in Generative Models (2020), use it to
    compare the distances of generated and of held-out images to the nearest training image.
    """
    b = b.sort().values
    below, at_most = torch.searchsorted(b, a, right=False), torch.searchsorted(b, a, right=True)
    return 1 - ((below + at_most).double() / 2).mean().item() / len(b)
