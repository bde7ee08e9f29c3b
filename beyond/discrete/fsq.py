"""Finite scalar quantization: no codebook, each number of a vector is rounded to one of a few levels.

The encoder outputs D numbers (2 to 6) for each position of the grid. Number i is bounded to an interval
and rounded to one of L_i integers (section 3.1); the code vector is one of K = L_1 * ... * L_D points of a
regular grid. Nothing is learned but encoder and decoder: there is no codebook that could collapse and no
loss beside the reconstruction's.

Paper: Mentzer, Minnen, Agustsson & Tschannen, Finite Scalar Quantization: VQ-VAE Made Simple (2023); names
as in its appendix A.1. Its equations have no numbers, so sections are named here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from beyond.discrete.quantizer import Quantized, Quantizer, straight_through

# Levels for a number of codes; K is their product, near the key. 256, 1024 and 4096 are the paper's choices;
# it advises at least 5 levels where the number of codes allows it.
LEVELS = {
    16: (5, 3),
    64: (8, 8),
    256: (8, 6, 5),
    512: (8, 8, 8),
    1024: (8, 5, 5, 5),
    4096: (7, 5, 5, 5, 5),
}


class FiniteScalarQuantizer(Quantizer):
    """D numbers, of which the i-th is rounded to one of levels[i] values; each at least 3.

    Raises: ValueError for fewer than 3 levels.
    """

    def __init__(self, levels: tuple[int, ...] = LEVELS[512]) -> None:
        super().__init__()
        if not levels or min(levels) < 3:
            raise ValueError(f"every number needs at least 3 levels, got {levels}")
        self.num_codes, self.code_dim = math.prod(levels), len(levels)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        # Constants, and so not part of the state_dict.
        self.register_buffer("levels", torch.tensor(levels), persistent=False)  # [D]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)  # [D]: 1, L_1, L_1 L_2, ...
        self.register_buffer("half_width", torch.tensor(levels) // 2, persistent=False)  # [D]

    def forward(self, z: Tensor) -> Quantized:
        """Quantize z, [B, ..., D]. The loss is 0."""
        bounded = self.bound(z)  # [B, ..., D]
        # round_ste of appendix A.1: rounded forwards, the identity backwards.
        codes = straight_through(bounded, bounded.round()) / self.half_width  # [B, ..., D], in [-1, 1]
        return Quantized(codes, self.to_indices(codes.detach()), codes.new_zeros(()))

    def bound(self, z: Tensor) -> Tensor:
        """f(z) of section 3.1: each number into an interval with levels[i] integers. [..., D] to [..., D].

        An even number of levels has no middle, so its interval is shifted by 1/2: 8 levels are -4 to 3.
        atanh makes f(0) = 0 in either case.
        """
        half_l = (self.levels - 1) * (1 + 1e-3) / 2  # [D]; a little wider, so that atanh stays finite
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)  # [D]
        shift = (offset / half_l).atanh()  # [D]
        return (z.float() + shift).tanh() * half_l - offset  # [..., D]

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """The indices that z, [..., D], is rounded to. Returns: int64 [...]."""
        return self.to_indices(self.bound(z).round() / self.half_width)

    def to_indices(self, codes: Tensor) -> Tensor:
        """The indices of code vectors, [..., D]: their levels are the digits, the first the lowest. [...]."""
        digits = (codes * self.half_width).round().long() + self.half_width  # [..., D], 0 to L_i - 1
        return (digits * self.basis).sum(dim=-1)  # [...]

    def codes(self, indices: Tensor) -> Tensor:
        """The code vectors of indices, int64 [...]. Returns: float32 [..., D] in [-1, 1]."""
        digits = indices[..., None] // self.basis % self.levels  # [..., D]
        return (digits - self.half_width) / self.half_width  # [..., D]
