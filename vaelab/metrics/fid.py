"""Frechet distances between generated and real images."""

from __future__ import annotations

import numpy as np

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


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance between Gaussians fitted to two sets of features, [N, F] and [M, F].

    ||mean_a - mean_b||^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)): Heusel et al. (2017), eq. 6. It
    decreases with N and M: compare only distances of equal N and M.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)  # [F, F]

    def square_root(cov: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(cov)
        return vectors * np.sqrt(values.clip(min=0)) @ vectors.T

    # (cov_a cov_b)^(1/2) has the same trace as the root of this symmetric matrix, whose eigenvalues are real.
    root_a = square_root(cov_a)
    cross = np.sqrt(np.linalg.eigvalsh(root_a @ cov_b @ root_a).clip(min=0)).sum()
    means = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return max(float(means + np.trace(cov_a) + np.trace(cov_b) - 2 * cross), 0.0)
