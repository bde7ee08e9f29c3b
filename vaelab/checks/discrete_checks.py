"""The checks of part 6 of the handout, discrete codes: the functions of `discrete.py`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vaelab.checks.checks import Check
from vaelab.checks.diagnosis import CheckFailed
from vaelab.language import N_, Message

SHAPE, K, D = (5, 3, 2), 11, 4  # of the grid of vectors [5, 3, 2, D], and the codebook [K, D]


def make_case() -> tuple[Tensor, Tensor]:
    """Vectors [*SHAPE, D] and code vectors [K, D], of such different lengths that mistakes are seen."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(*SHAPE, D, generator=generator)  # [5, 3, 2, D]
    lengths = torch.linspace(0.3, 2.5, K)[:, None]  # [K, 1]
    return z, lengths * torch.randn(K, D, generator=generator)  # [K, D]


def check_result(name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """`value` must be a tensor of this shape and type."""
    expected = N_("Expected {dtype} {shape}; got {got}.")
    about = {"name": name, "dtype": dtype, "shape": list(shape)}
    if not isinstance(value, Tensor):
        raise CheckFailed(N_("{name} is not a tensor"), expected, got=type(value).__name__, **about)
    if value.shape != shape:
        raise CheckFailed(N_("{name}: wrong shape"), expected, got=list(value.shape), **about)
    if value.dtype != dtype:
        raise CheckFailed(N_("{name}: wrong dtype"), expected, got=value.dtype, **about)


def name_mistake(mistakes: list[tuple[Callable[[], bool], str, str]]) -> None:
    """Raise CheckFailed for the first mistake whose condition holds. mistakes: (condition, name, hint)."""
    for condition, name, hint in mistakes:
        if condition():
            raise CheckFailed(name, hint)


# --- 6.1 nearest_code ---------------------------------------------------------------------------


def nearest_shape(discrete: ModuleType) -> None:
    """`nearest_code` must return an index for each vector."""
    z, codebook = make_case()
    indices = discrete.nearest_code(z, codebook)
    if isinstance(indices, Tensor) and indices.numel() == K:
        raise CheckFailed(
            "nearest_code: argmin over the wrong dimension",
            "The result has an index for each code vector. Which dimension of the distances [N, K] stands "
            "for the codes, among which the nearest is looked for?",
        )
    check_result("nearest_code", indices, SHAPE, torch.int64)


def nearest_value(discrete: ModuleType) -> None:
    """`nearest_code` must choose the code vector with the smallest distance."""
    z, codebook = make_case()
    got = discrete.nearest_code(z, codebook)
    products = z @ codebook.T  # [..., K]
    squares = codebook.square().sum(dim=1)  # [K]
    distances = z.square().sum(dim=-1, keepdim=True) - 2 * products + squares  # [..., K]

    def like(wrong: Tensor) -> Callable[[], bool]:
        return lambda: torch.equal(got, wrong)

    if torch.equal(got, distances.argmin(dim=-1)):
        return
    name_mistake(
        [
            (
                like(squares.expand_as(distances).argmin(dim=-1)),
                N_("nearest_code: the distance lacks the cross term 2 z e"),
                N_(
                    "Every vector chooses the same code, the shortest one. Expand ||z - e||^2 once more, "
                    "term by term."
                ),
            ),
            (
                like((2 * products + squares).argmin(dim=-1)),
                N_("nearest_code: the cross term has the wrong sign"),
                N_("The chosen code is the nearest one to -z. Expand ||z - e||^2 once more, term by term."),
            ),
            (
                like((squares - products).argmin(dim=-1)),
                N_("nearest_code: the cross term lacks its factor 2"),
                N_("Expand ||z - e||^2 once more, term by term."),
            ),
            (
                like(products.argmax(dim=-1)),
                N_("nearest_code: the code with the largest product z e is not the nearest one"),
                N_("Long code vectors have large products. Which term of ||z - e||^2 is missing?"),
            ),
            (
                like(distances.argmax(dim=-1)),
                N_("nearest_code: the farthest code is chosen"),
                N_("argmin or argmax?"),
            ),
        ]
    )
    raise CheckFailed(
        "nearest_code: the chosen codes are not the nearest ones",
        "Compare your distances with (z - e).square().sum() for one vector and one code.",
    )


# --- 6.2 straight_through -----------------------------------------------------------------------


def through_value(discrete: ModuleType) -> None:
    """`straight_through` must have the value of the codes."""
    z, _ = make_case()
    codes = z.round() + 0.25
    got = discrete.straight_through(z, codes)
    check_result("straight_through", got, tuple(z.shape), torch.float32)
    name_mistake(
        [
            (
                lambda: torch.allclose(got, z),
                N_("straight_through: its value is z, not the code vectors"),
                N_("The decoder must get the code vectors, since only their indices are stored."),
            ),
            (
                lambda: not torch.allclose(got, codes, atol=1e-5),
                N_("straight_through: its value is not that of the code vectors"),
                N_("Leave sg away in (6.5): what remains?"),
            ),
        ]
    )


def through_gradient(discrete: ModuleType) -> None:
    """The gradient of the result must reach z unchanged, and not the codes."""
    z, _ = make_case()
    codes = (z.round() + 0.25).requires_grad_()
    z = z.clone().requires_grad_()
    weights = torch.linspace(-1, 1, z.numel()).reshape(z.shape)
    result = discrete.straight_through(z, codes)
    if result.requires_grad:
        (result * weights).sum().backward()
    of_z = torch.zeros_like(z) if z.grad is None else z.grad
    of_codes = torch.zeros_like(z) if codes.grad is None else codes.grad
    name_mistake(
        [
            (
                lambda: not of_z.any() and torch.allclose(of_codes, weights),
                N_("straight_through: the gradient is not passed on to z"),
                N_(
                    "The gradient goes to the code vectors, and the encoder never learns. Which of the two "
                    "terms of (6.5) has the stop-gradient?"
                ),
            ),
            (
                lambda: not of_z.any(),
                N_("straight_through: no gradient reaches z"),
                N_("The encoder never learns. Which term of (6.5) has no sg?"),
            ),
            (
                lambda: of_codes.any(),
                N_("straight_through: stop-gradient missing, the gradient reaches the code vectors as well"),
                N_("The codebook is trained by its own loss only. What does (6.5) say about e?"),
            ),
            (
                lambda: not torch.allclose(of_z, weights),
                N_("straight_through: the gradient of z is not that of the result"),
                N_("The derivative of (6.5) by z is the identity."),
            ),
        ]
    )


# --- 6.3 codebook_losses ------------------------------------------------------------------------


def losses_value(discrete: ModuleType) -> None:
    """Both losses must be the sum over grid and numbers of the squared difference, a mean over the batch."""
    z, _ = make_case()
    codes = z + torch.linspace(-0.5, 0.7, z.numel()).reshape(z.shape)
    output = discrete.codebook_losses(z, codes)
    if not isinstance(output, tuple) or len(output) != 2:
        raise CheckFailed(
            "codebook_losses must return a tuple of 2 losses",
            "Expected (codebook_loss, commitment_loss), two scalars.",
        )
    square = (z - codes).square()
    expected = square.flatten(1).sum(dim=1).mean()
    for loss, name in zip(output, ("codebook_loss", "commitment_loss"), strict=True):
        if isinstance(loss, Tensor) and loss.shape == SHAPE[:1]:
            raise CheckFailed(
                "{name} has one number for each image", "Take the mean over the batch.", name=name
            )
        check_result(name, loss, (), torch.float32)
        for wrong, mistake in (
            (square.mean(), N_("a mean over all numbers")),
            (square.sum(), N_("a sum over the batch")),
            (square.sum(dim=-1).mean(), N_("a mean over the grid")),
            (square.flatten(1).sum(dim=1).sqrt().mean(), N_("a norm, not its square")),
            (expected / 4, N_("times beta")),
            (expected / 2, N_("times 1/2")),
        ):
            if torch.isclose(loss, wrong, rtol=1e-4):
                raise CheckFailed(
                    "{name}: {mistake}",
                    "Sum over the grid and over D, mean over the batch. Beta comes in later.",
                    name=name,
                    mistake=Message(mistake),
                )
        if not torch.isclose(loss, expected, rtol=1e-4):
            raise CheckFailed(
                "{name} has the wrong value",
                "Expected {expected:.4f}; got {got:.4f}. Sum over the grid and over D, mean over the batch.",
                name=name,
                expected=expected.item(),
                got=loss.item(),
            )


def losses_gradient(discrete: ModuleType) -> None:
    """The codebook loss must move the codes only, the commitment loss z only."""
    reached = []
    for i in range(2):
        z, _ = make_case()
        codes = (z + 0.5).requires_grad_()
        z = z.clone().requires_grad_()
        loss = discrete.codebook_losses(z, codes)[i]
        if loss.requires_grad:
            loss.backward()
        reached.append((z.grad is not None and bool(z.grad.any()), codes.grad is not None))
    book, commitment = reached
    name_mistake(
        [
            (
                lambda: book == (True, False) and commitment == (False, True),
                N_("codebook_losses: the two losses are exchanged, commitment is on the wrong side"),
                N_(
                    "The codebook loss comes first, and moves the code vectors. The commitment loss moves "
                    "the encoder."
                ),
            ),
            (
                lambda: all(book) or all(commitment),
                N_("codebook_losses: stop-gradient missing"),
                N_(
                    "One of the losses moves the encoder and the codebook. Each of the two has one sg, on "
                    "different sides."
                ),
            ),
            (
                lambda: book == commitment,
                N_("codebook_losses: both losses have the stop-gradient on the same side"),
                N_("One of them moves the code vectors, the other one the encoder."),
            ),
            (
                lambda: (book, commitment) != ((False, True), (True, False)),
                N_("codebook_losses: a loss without gradient"),
                N_("Only one of the two sides of each difference is detached."),
            ),
        ]
    )


# --- 6.4 round_to_levels ------------------------------------------------------------------------


def levels_value(discrete: ModuleType) -> None:
    """Whole numbers of the right range."""
    z = torch.linspace(-6, 6, 601).reshape(1, 601)
    for levels in (3, 5, 7):
        half = (levels - 1) / 2
        got = discrete.round_to_levels(z, levels)
        check_result("round_to_levels", got, (1, 601), torch.float32)
        bounded = half * z.tanh()
        name_mistake(
            [
                (
                    lambda bounded=bounded, got=got: torch.allclose(got, bounded),
                    N_("round_to_levels: not rounded"),
                    N_("The value of (6.9) is round(f(z))."),
                ),
                (
                    lambda half=half, got=got: torch.allclose(got, z.round().clamp(-half, half)),
                    N_("round_to_levels: clamped, not bounded by tanh"),
                    N_("Beyond the clamp the gradient is zero, and such a number never comes back."),
                ),
                (
                    lambda got=got, levels=levels: len(got.round().unique()) != levels,
                    N_("round_to_levels: wrong number of levels"),
                    N_(
                        "Count the different values of round(f(z)) for z from -6 to 6: which factor does "
                        "tanh have in (6.8)?"
                    ),
                ),
                (
                    lambda bounded=bounded, got=got: not torch.allclose(got, bounded.round(), atol=1e-4),
                    N_("round_to_levels: wrong values"),
                    N_("First (6.8), then round."),
                ),
            ]
        )


def levels_gradient(discrete: ModuleType) -> None:
    """The gradient must be that of f."""
    z = torch.linspace(-2, 2, 41).requires_grad_()
    result = discrete.round_to_levels(z[None], 5)
    if result.requires_grad:
        result.sum().backward()
    got = torch.zeros_like(z) if z.grad is None else z.grad
    expected = 2 * (1 - z.detach().tanh().square())
    name_mistake(
        [
            (
                lambda: not got.any(),
                N_("round_to_levels: the gradient is not passed through the rounding"),
                N_("The derivative of round is zero almost everywhere. Blank 6.2 has the remedy."),
            ),
            (
                lambda: torch.allclose(got, torch.ones_like(got)),
                N_("round_to_levels: the gradient passes tanh as well"),
                N_("Straight-through is for the rounding only: its first argument is f(z), not z."),
            ),
            (
                lambda: not torch.allclose(got, expected, atol=1e-5),
                N_("round_to_levels: wrong gradient"),
                N_("It is the derivative of (6.8)."),
            ),
        ]
    )


DISCRETE_CHECKS = [
    Check("6.1", "nearest_code: an index for each vector", nearest_shape),
    Check("6.1", "nearest_code: the nearest of all code vectors", nearest_value),
    Check("6.2", "straight_through: the value of the code vectors", through_value),
    Check("6.2", "straight_through: the gradient reaches z unchanged", through_gradient),
    Check("6.3", "codebook_losses: value and reduction", losses_value),
    Check("6.3", "codebook_losses: what each of them moves", losses_gradient),
    Check("6.4", "round_to_levels: whole numbers in the right range", levels_value),
    Check("6.4", "round_to_levels: the gradient of f", levels_gradient),
]
