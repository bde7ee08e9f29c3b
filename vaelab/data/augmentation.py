"""Augmentation of training images, and the pixels that a loss is computed on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINARIZE_SEED = 0  # for validation and test images, which are binarized only once


def augment(x: Tensor, share: float) -> Tensor:
    """Randomly rotate, shear, stretch and deform a little about a fraction `share` of the images.

    This reduces the overfitting of large models. The elastic deformation, a smooth field of random shifts, is
    that of Simard, Steinkraus & Platt, Best Practices for Convolutional Neural Networks (2003).
    x: [B, H, W] or [B, C, H, W]. Returns: the same shape.
    """
    if share == 0:
        return x
    images = x[:, None] if x.ndim == 3 else x  # [B, C, H, W]
    batch, device = len(images), x.device
    angle, shear = 0.08 * torch.randn(batch, 2, device=device).T  # radians; [B]
    stretch = 1 + 0.05 * torch.randn(batch, 2, device=device).T  # [2, B]
    affine = torch.zeros(batch, 2, 3, device=device)
    affine[:, 0, 0], affine[:, 0, 1] = stretch[0] * angle.cos(), shear - angle.sin()
    affine[:, 1, 0], affine[:, 1, 1] = angle.sin(), stretch[1] * angle.cos()
    grid = F.affine_grid(affine, images.shape, align_corners=False)  # [B, H, W, 2], the image being [-1, 1]^2
    shifts = 0.06 * torch.randn(batch, 2, 4, 4, device=device)
    shifts = F.interpolate(shifts, images.shape[2:], mode="bicubic", align_corners=True)  # [B, 2, H, W]
    deformed = F.grid_sample(images, grid + shifts.movedim(1, -1), align_corners=False).reshape(x.shape)
    chosen = torch.rand(batch, device=device) < share
    return torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), deformed, x)


def binarize(x: Tensor, pixels: str, generator: torch.Generator | None = None) -> Tensor:
    """The images, in [0, 1], that the loss is computed on. Returns: the same shape.

    pixels: `grey`, the images as they are; `binarized`, each pixel is 1 with a probability equal to its grey
    value, else 0; `threshold`, 1 where the grey value is above 1/2. generator: of the random numbers.
    """
    if pixels == "binarized":
        return (torch.rand(x.shape, generator=generator, device=x.device) < x).float()
    return (x > 0.5).float() if pixels == "threshold" else x
