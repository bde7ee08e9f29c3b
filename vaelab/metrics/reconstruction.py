"""Metrics of reconstructions as tensors: MSE, SSIM, cross-entropy; and the conversion to uint8 and back.

Losses and the validation during a training use them. The score is computed from the saved uint8 images, by
`saved_images.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaelab.metrics.saved_images import WINDOW, similarity


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1], any shape, to the uint8 in which they are saved and scored."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_float(images: np.ndarray) -> Tensor:
    """uint8 images, any shape, as float32 in [0, 1]: the inverse of `to_uint8`."""
    return torch.from_numpy(images).float() / 255


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
    """The structural similarity of each image, `saved_images.similarity`; differentiable.

    x, y: float [B, H, W] or [B, C, H, W] in [0, 1], H and W at least 7. Returns: [B], 1 for equal images.
    """

    def band(n: int) -> Tensor:
        """The matrix [n, n - 6] of window means: column i has 1/7 in rows i to i + 6."""
        ones = torch.ones(n, n - WINDOW + 1, dtype=x.dtype, device=x.device)
        return (ones.tril() - ones.tril(-WINDOW)) / WINDOW

    rows, columns = band(x.shape[-2]), band(x.shape[-1])

    def window_means(images: list[Tensor]) -> list[Tensor]:  # [..., H, W] each to [..., W - 6, H - 6]
        # Two one-dimensional means need 14 multiplications per pixel instead of 49, and are computed as
        # matrix products, of all images together. Never in bf16: its 8 significant bits are too few for the
        # differences in `similarity`.
        with torch.autocast(x.device.type, enabled=False):
            return list(((torch.stack(images) @ columns).transpose(-1, -2) @ rows).unbind())

    return similarity(x, y, window_means)
