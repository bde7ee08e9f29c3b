"""Frechet distances between generated and real images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaelab.cli import LabError

GEN_PER_LABEL = 1000  # generated images of each label, for the FID


def fid(generated: np.ndarray, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """The simplified Frechet distance of each class, on pixels.

    generated: uint8 [10, M, H, W], where generated[y] has the label y; images: uint8 [N, H, W]; labels: [N].
    Returns: a distance for each label; the score uses their mean.
    Raises: LabError if a label has no real image.

    ||mean_g - mean_r||^2 + sum over pixels of (var_g + var_r - 2 sqrt(var_g var_r)) on pixels/255 with
    population variances: the Frechet distance of Heusel et al. (2017), eq. 6, between two Gaussians with
    diagonal covariance, with pixels as features.
    """

    def moments(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels = group.reshape(len(group), -1) / 255.0
        return pixels.mean(axis=0), pixels.var(axis=0)

    distances = []
    for label, group in enumerate(generated):
        real = images[labels == label]
        if len(real) == 0:
            raise LabError(
                "no real image has the label {label}: the FID needs every label in the split", label=label
            )
        (mean_g, var_g), (mean_r, var_r) = moments(group), moments(real)
        spread = var_g + var_r - 2 * np.sqrt(var_g * var_r)
        distances.append(float(np.square(mean_g - mean_r).sum() + spread.sum()))
    return distances


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Frechet distance between Gaussians fitted to two sets of features, [N, F] and [M, F].

    ||mean_a - mean_b||^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)): Heusel et al. (2017), eq. 6. It
    decreases with N and M: compare only distances of equal N and M.
    """
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)  # [F, F]

    def square_root(cov: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(cov)
        return vectors * values.clamp(min=0).sqrt() @ vectors.T

    # (cov_a cov_b)^(1/2) has the same trace as the root of this symmetric matrix, whose eigenvalues are real.
    root_a = square_root(cov_a)
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    distance = (a.mean(dim=0) - b.mean(dim=0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(distance.item(), 0.0)
