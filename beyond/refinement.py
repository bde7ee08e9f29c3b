"""Refined codes: a few steps of gradient descent on the code of each image, after the encoder.

The encoder computes a code in one pass; an optimization for each image finds a slightly better one.
Paper: Kim et al., Semi-Amortized Variational Autoencoders (2018).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ErrorOf = Callable[[Tensor], Tensor]  # codes [B, d] to the error of each, [B]


def refine(z: Tensor, error_of: ErrorOf, steps: int) -> Tensor:
    """Improve codes by gradient descent on their reconstruction error. z: [B, d]. Returns: [B, d].

    Step lengths after Barzilai & Borwein, Two-Point Step Size Gradient Methods (1988). The best code of all
    steps is kept, so that no image gets worse.
    """
    best, min_error = z, torch.full((len(z), 1), torch.inf, device=z.device)  # [B, d], [B, 1]
    previous = None
    for _ in range(steps + 1):
        error, grad = error_and_grad(z, error_of)  # [B, 1], [B, d]
        best, min_error = torch.where(error < min_error, z, best), torch.minimum(error, min_error)
        if previous is None:  # a tenth of the step to error 0, if it were linear
            step = 0.1 * error / grad.square().sum(dim=1, keepdim=True).clamp(min=1e-12)  # [B, 1]
        else:
            delta_z, delta_grad = z - previous[0], grad - previous[1]  # [B, d], [B, d]
            curvature = (delta_z * delta_grad).sum(dim=1, keepdim=True).abs().clamp(min=1e-12)  # [B, 1]
            step = delta_z.square().sum(dim=1, keepdim=True) / curvature  # [B, 1]
        previous = z, grad
        z = z - step * grad  # [B, d]
    return best


def error_and_grad(z: Tensor, error_of: ErrorOf) -> tuple[Tensor, Tensor]:
    """The error of each code, [B, 1], and its gradient with respect to the code, [B, d]."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        error = error_of(z)[:, None]  # [B, 1]
        (grad,) = torch.autograd.grad(error.sum(), z)
    return error.detach(), grad
