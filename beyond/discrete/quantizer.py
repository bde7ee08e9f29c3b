"""The interface of the two quantizers, the straight-through gradient, and measures of code usage.

A quantizer replaces each vector of the encoder's grid by one of K code vectors. The number of that code
vector, its index, is what is stored: an integer from 0 to K - 1. D is the length of a code vector; `...` is
any number of leading dimensions, [B, 7, 7] for a batch of MNIST images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Quantized(NamedTuple):
    """The output of a quantizer for vectors z, [B, ..., D]."""

    codes: Tensor  # [B, ..., D], the chosen code vectors; their gradient is passed on to z
    indices: Tensor  # int64 [B, ...], in [0, K)
    loss: Tensor  # [], added to the training loss


class Quantizer(nn.Module):
    """The interface of `VectorQuantizer` and `FiniteScalarQuantizer`."""

    num_codes: int  # K
    code_dim: int  # D

    def forward(self, z: Tensor) -> Quantized:
        """Quantize z, [B, ..., D]; in train mode a learned codebook is updated as well."""
        raise NotImplementedError

    def nearest(self, z: Tensor) -> Tensor:
        """The indices that z, [..., D], is quantized to. Returns: int64 [...]. Changes no state."""
        raise NotImplementedError

    def codes(self, indices: Tensor) -> Tensor:
        """The code vectors of indices, int64 [...]. Returns: float32 [..., D]."""
        raise NotImplementedError


def straight_through(z: Tensor, codes: Tensor) -> Tensor:
    """`codes` in the forward pass; in the backward pass its gradient is that of z. Both [..., D].

    The derivative of a nearest-neighbour search or of rounding is zero almost everywhere. The
    straight-through estimator uses the identity's instead: Bengio, Léonard & Courville, Estimating or
    Propagating Gradients Through Stochastic Neurons for Conditional Computation (2013).
    """
    return codes.detach() + (z - z.detach())  # [..., D]; the bracket is 0, so the value is exactly `codes`


def code_frequencies(indices: Tensor, num_codes: int) -> Tensor:
    """The relative frequency of each code among indices of any shape. Returns: float64 [K], sum 1."""
    counts = torch.bincount(indices.flatten(), minlength=num_codes)  # [K]
    return counts.double() / counts.sum()


def perplexity(frequencies: Tensor) -> float:
    """exp of the entropy of frequencies, [K]: from 1 (one code is used) to K (all are used equally often)."""
    return torch.special.entr(frequencies).sum().exp().item()
