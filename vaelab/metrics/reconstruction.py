"""Metrics of reconstructions: MSE and SSIM, and the conversion to the uint8 images that they are computed on.

Grades depend only on the saved uint8 images. The tests compare each metric with NumPy or scikit-image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1], any shape, to the uint8 in which they are saved and scored."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_float(images: np.ndarray) -> Tensor:
    """uint8 images, any shape, as float32 in [0, 1]: the inverse of `to_uint8`."""
    return torch.from_numpy(images).float() / 255


# --- Reconstruction -----------------------------------------------------------------------------


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the pixels of (a / 255 - b / 255)^2, an image each. a, b: uint8 [B, ...]. Returns: [B].

    For images as they are saved and scored: it has no gradient. Raises: TypeError for other types.
    """
    if a.dtype != torch.uint8 or b.dtype != torch.uint8:
        raise TypeError(f"mse expects uint8 images, got {a.dtype} and {b.dtype}")
    difference = a.int() - b.int()
    return difference.square().flatten(1).sum(dim=1) / (255**2 * a[0].numel())


def cross_entropy(recon: Tensor, x: Tensor) -> Tensor:
    """-(x log recon + (1 - x) log(1 - recon)) of each image, a mean over its pixels. Returns: [B].

    recon, x: float [B, ...] in [0, 1]. For pixels that are 0 or 1 this is -log p(x|z) of a Bernoulli
    distribution, divided by the number of pixels. For grey pixels it is not a log-likelihood: the normalising
    constant is missing.
    """
    recon = recon.clamp(1e-7, 1 - 1e-7)  # log 0: one wrong pixel would make the loss infinite
    return -(x * recon.log() + (1 - x) * (1 - recon).log()).flatten(1).mean(dim=1)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """The structural similarity of each image; differentiable.

    x, y: float [B, H, W] or [B, C, H, W] in [0, 1], H and W at least 7. Returns: [B], 1 for equal images.

    Wang, Bovik, Sheikh & Simoncelli (2004), eq. 13, with scikit-image's defaults: a uniform 7x7 window,
    sample covariances (N - 1), and the mean over all windows inside the image.
    """
    size, c1, c2 = 7, 0.01**2, 0.03**2

    def band(n: int) -> Tensor:
        """The matrix [n, n - 6] of window means: column i has 1/7 in rows i to i + 6."""
        ones = torch.ones(n, n - size + 1, dtype=x.dtype, device=x.device)
        return (ones.tril() - ones.tril(-size)) / size

    rows, columns = band(x.shape[-2]), band(x.shape[-1])

    def window_mean(images: Tensor) -> Tensor:  # [..., H, W] to [..., W - 6, H - 6]
        # Two one-dimensional means need 14 multiplications per pixel instead of 49, and are computed as
        # matrix products. Never in bf16: its 8 significant bits are too few for the differences below.
        with torch.autocast(x.device.type, enabled=False):
            return (images @ columns).transpose(-1, -2) @ rows

    # Four means are enough, since only the sum of the two variances is used. They are computed together.
    mean_x, mean_y, squares, product = window_mean(torch.stack([x, y, x * x + y * y, x * y])).unbind()
    unbiased = size**2 / (size**2 - 1)
    product_of_means, squares_of_means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    cov = unbiased * (product - product_of_means)
    var = unbiased * (squares - squares_of_means)  # of x plus of y
    similarity = (2 * product_of_means + c1) * (2 * cov + c2) / ((squares_of_means + c1) * (var + c2))
    return similarity.flatten(1).mean(dim=1)


def reconstruction(recon: np.ndarray, images: np.ndarray, chunk: int = 1000) -> dict[str, float]:
    """`mse` and `ssim` of uint8 images [N, ...] against the originals, in float64, averaged over all."""
    sums = np.zeros(2)
    for i in range(0, len(images), chunk):
        a, b = (torch.from_numpy(array[i : i + chunk]) for array in (recon, images))
        sums += [mse(a, b).double().sum().item(), ssim(a.double() / 255, b.double() / 255).sum().item()]
    mean_mse, mean_ssim = (sums / len(images)).tolist()
    return {"mse": mean_mse, "ssim": mean_ssim}
