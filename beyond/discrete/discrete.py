"""The two quantizers of discrete codes: the file that students complete in part 6.

Part 6 is `docs/discrete.md`; the number of a blank is that of its section. B is the number of images in a
batch, D the length of a code vector, K the number of codes. z is the encoder's grid of vectors, float32
[B, 7, 7, D]; `...` is any number of leading dimensions.

Papers: van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning (2017); Mentzer, Minnen,
Agustsson & Tschannen, Finite Scalar Quantization: VQ-VAE Made Simple (2023).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """The index of the code vector nearest to each vector, by (6.1). [..., D] and [K, D] to int64 [...]."""
    # BEGIN SOLUTION 6.1
    flat = z.flatten(0, -2)  # [N, D]
    products = flat @ codebook.T  # [N, K]
    squares = flat.square().sum(dim=1, keepdim=True) + codebook.square().sum(dim=1)  # [N, K]
    distances = squares - 2 * products  # [N, K], ||z - e||^2
    return distances.argmin(dim=1).reshape(z.shape[:-1])  # [...]
    # END SOLUTION 6.1


def straight_through(z: Tensor, codes: Tensor) -> Tensor:
    """`codes` in the forward pass; in the backward pass their gradient goes to z, by (6.5). [..., D] each."""
    # BEGIN SOLUTION 6.2
    return z + (codes - z).detach()  # [..., D]
    # END SOLUTION 6.2


def codebook_losses(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The codebook loss and the commitment loss without beta, by (6.6); both [].

    Sum over the grid and over D, mean over the batch. z, codes: [B, ..., D].
    """
    # BEGIN SOLUTION 6.3
    codebook_loss = (z.detach() - codes).square().flatten(1).sum(dim=1).mean()  # moves the code vectors
    commitment_loss = (z - codes.detach()).square().flatten(1).sum(dim=1).mean()  # moves the encoder
    return codebook_loss, commitment_loss
    # END SOLUTION 6.3


def round_to_levels(z: Tensor, levels: int) -> Tensor:
    """Finite scalar quantization by (6.8) and (6.9), with the straight-through gradient; `levels` is odd.

    Returns: whole numbers from -(levels - 1) / 2 to (levels - 1) / 2, float32, of z's shape.
    """
    # BEGIN SOLUTION 6.4
    bounded = (levels - 1) / 2 * z.tanh()  # [..., D]
    return straight_through(bounded, bounded.round())  # [..., D]
    # END SOLUTION 6.4


class Codebook(nn.Module):
    """A vector quantizer made of the blanks; its code vectors are learned by the codebook loss."""

    def __init__(self, num_codes: int = 512, code_dim: int = 16, beta: float = 0.25) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(num_codes, code_dim))  # [K, D]
        self.beta = beta

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z, [B, ..., D], to (codes for the decoder [B, ..., D], indices [B, ...], loss [])."""
        indices = nearest_code(z, self.vectors)  # [B, ...]
        codes = self.vectors[indices]  # [B, ..., D]
        codebook_loss, commitment_loss = codebook_losses(z, codes)  # [], []
        return straight_through(z, codes), indices, codebook_loss + self.beta * commitment_loss
