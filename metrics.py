"""The numbers a grade is made of: MSE, SSIM, the simplified per-class FID and the score formula.

All of them are taken on uint8 images, so that a grade depends on what is saved and on nothing else.
`tests/test_grade.py` holds an independent NumPy and scikit-image version of each, image by image.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common import LabError

GEN_PER_LABEL = 1000  # generated images of each label, for the FID
PIXELS = 784  # of an MNIST image: what the compression bonus compares latent_dim with


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1], any shape, to the uint8 in which they are saved and scored."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


# --- Reconstruction -----------------------------------------------------------------------------


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean over the pixels of (x - y)^2, an image each. x, y: float [B, ...] in [0, 1]. Returns: [B]."""
    return (x - y).square().flatten(1).mean(dim=1)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity, an image each; differentiable.

    x, y: float [B, H, W] or [B, C, H, W] in [0, 1], H and W at least 7. Returns: [B], 1 for equal images.

    Wang, Bovik, Sheikh & Simoncelli (2004), eq. 13, with scikit-image's defaults: a uniform 7x7 window,
    sample covariances (N - 1), and the mean over the windows that lie wholly inside the image.
    """
    size, c1, c2 = 7, 0.01**2, 0.03**2

    def window_mean(images: Tensor) -> Tensor:
        if images.ndim == 3:
            images = images[:, None]
        # Two one-dimensional means cost 14 additions a pixel instead of 49.
        return F.avg_pool2d(F.avg_pool2d(images, (size, 1), stride=1), (1, size), stride=1)

    mean_x, mean_y = window_mean(x), window_mean(y)  # [B, C, H - 6, W - 6]
    unbiased = size**2 / (size**2 - 1)
    var_x = unbiased * (window_mean(x * x) - mean_x**2)
    var_y = unbiased * (window_mean(y * y) - mean_y**2)
    cov = unbiased * (window_mean(x * y) - mean_x * mean_y)
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return similarity.flatten(1).mean(dim=1)


def reconstruction(recon: np.ndarray, images: np.ndarray, chunk: int = 1000) -> dict[str, float]:
    """`mse` and `ssim` of uint8 images [N, ...] against the originals, in float64, averaged over all."""
    sums = np.zeros(2)
    for i in range(0, len(images), chunk):
        a, b = (torch.from_numpy(array[i : i + chunk]).double() / 255 for array in (recon, images))
        sums += [mse(a, b).sum().item(), ssim(a, b).sum().item()]
    mean_mse, mean_ssim = (sums / len(images)).tolist()
    return {"mse": mean_mse, "ssim": mean_ssim}


# --- Generation ---------------------------------------------------------------------------------


def fid(generated: np.ndarray, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """The simplified Frechet distance of each class, on pixels.

    generated: uint8 [10, M, H, W], row y being of label y; images: uint8 [N, H, W]; labels: [N].
    Returns: a distance for each label; the score takes their mean.
    Raises: LabError if a label has no real image.

    ||mean_g - mean_r||^2 + sum over pixels of (var_g + var_r - 2 sqrt(var_g var_r)) on pixels/255 with
    population variances: the Frechet distance of Heusel et al. (2017), eq. 6, between two Gaussians of
    diagonal covariance, with pixels for features.
    """

    def moments(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels = group.reshape(len(group), -1) / 255.0
        return pixels.mean(axis=0), pixels.var(axis=0)

    distances = []
    for label, group in enumerate(generated):
        real = images[labels == label]
        if len(real) == 0:
            raise LabError(f"no real image has the label {label}: the FID needs every label in the split")
        (mean_g, var_g), (mean_r, var_r) = moments(group), moments(real)
        spread = var_g + var_r - 2 * np.sqrt(var_g * var_r)
        distances.append(float(np.square(mean_g - mean_r).sum() + spread.sum()))
    return distances


# --- The score ----------------------------------------------------------------------------------


def bonus(latent_dim: int) -> float:
    """The factor that rewards compression: 0.2 + R with R = 1 - latent_dim / 784."""
    return 0.2 + 1 - latent_dim / PIXELS


def score_terms(task: str, values: dict[str, float]) -> list[tuple[str, float, float]]:
    """The terms that the score sums before the bonus: (formula, points, most points) each.

    values: `ssim`, `mse` and, for Genwithlabel, `fid`.
    """
    weight = 1 if task == "VAE0label" else 2
    terms = [
        (f"{5 * weight} ssim", 5 * weight * values["ssim"], 5.0 * weight),
        (f"{50 * weight} max(0.1 - mse, 0)", 50 * weight * max(0.1 - values["mse"], 0.0), 5.0 * weight),
    ]
    if task == "Genwithlabel":
        terms.append(("max(10 - fid, 0)", max(10 - values["fid"], 0.0), 10.0))
    return terms


def max_score(task: str) -> float:
    """The cap of a task's score: 10 for VAE0label, 30 for Genwithlabel."""
    return 10.0 if task == "VAE0label" else 30.0


def score(task: str, values: dict[str, float], latent_dim: int) -> dict[str, float]:
    """`bonus`, `score` and `score_uncapped`, which tells good solutions apart. values: see `score_terms`."""
    uncapped = sum(points for _, points, _ in score_terms(task, values)) * bonus(latent_dim)
    return {
        "bonus": bonus(latent_dim),
        "score": min(uncapped, max_score(task)),
        "score_uncapped": uncapped,
    }
