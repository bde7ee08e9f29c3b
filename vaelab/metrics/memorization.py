"""Distances between sets of images, which show whether generated images copy training images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def aligned(x: Tensor) -> Tensor:
    """Images with their centre of mass in the middle, blurred: a copy that was moved is a copy again.

    x: float32 [N, H, W]. Returns: [N, H / 2, W / 2].
    """
    n, height, width = x.shape
    mass = x.sum(dim=(1, 2)).clamp(min=1e-6)
    shifts = []
    for axis, size in ((1, width), (0, height)):  # affine_grid has the horizontal shift first
        place = torch.linspace(1 / size - 1, 1 - 1 / size, size)  # of the pixels' centres
        shifts.append((x.sum(dim=2 - axis) * place).sum(dim=1) / mass)
    theta = torch.eye(2, 3).repeat(n, 1, 1)
    theta[:, :, 2] = torch.stack(shifts, dim=1)
    grid = F.affine_grid(theta, (n, 1, height, width), align_corners=False)
    centred = F.grid_sample(x[:, None], grid, align_corners=False)
    blurred = F.avg_pool2d(centred, 3, stride=1, padding=1)
    return F.avg_pool2d(blurred, 2)[:, 0]
