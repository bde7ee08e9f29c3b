"""Reconstruction losses beyond the handout's squared error."""

from __future__ import annotations

from torch import Tensor

from vaelab.metrics.reconstruction import cross_entropy, ssim

SSIM_WEIGHT = 0.1  # relative to the MSE, as in the score: 5 ssim + 50 (0.1 - mse)


def recon_error(kind: str, recon: Tensor, x: Tensor) -> Tensor:
    """The reconstruction error of each image, a mean over the pixels. Returns: [B].

    kind: `mse`, the squared error; `ssim_mse`, SSIM too, weighted as in the score; `bce`, the cross-entropy.
    recon, x: [B, 28, 28] in [0, 1].
    """
    if kind == "bce":
        return cross_entropy(recon, x)
    error = (recon - x).square().flatten(1).mean(dim=1)  # [B]
    return error if kind == "mse" else error + SSIM_WEIGHT * (1 - ssim(recon, x))
