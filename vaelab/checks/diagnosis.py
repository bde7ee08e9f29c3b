"""What a wrong value of `vae_loss` says: the mistake that leads to just this value.

A wrong term is compared with what each mistake, and each two of them, would have made of it. The reference is
`torch.distributions`. `rungs.py` asks, `check.py` prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence


class CheckFailed(Exception):  # noqa: N818  # what a student made, not what this program met
    """A mistake of the submission: its name, and a hint that teaches."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(name)
        self.name, self.hint = name, hint


class Draw(NamedTuple):
    """Arguments of `vae_loss`: recon, x [B, 28, 28]; mu, logvar [B, d]."""

    recon: Tensor
    x: Tensor
    mu: Tensor
    logvar: Tensor
    var: float


def draws() -> list[Draw]:
    """Two draws, of sizes and variances that no two mistakes can be mixed up on."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for batch, latent_dim, var in ((5, 3, 0.35), (7, 4, 0.8)):
        recon, x = 0.1 + 0.8 * torch.rand(2, batch, 28, 28, generator=generator)
        mu, logvar = torch.randn(2, batch, latent_dim, generator=generator)
        made.append(Draw(recon, x, mu, logvar, var))
    return made


# --- The mistakes -------------------------------------------------------------------------------

LOGVAR = (
    "logvar is log sigma^2: whatever else you need, sigma or sigma^2, is a function of it. Which one? Try it "
    "on paper for sigma = 2"
)
SUMMED = (
    "A loss per image must not grow with the batch size, or the learning rate that suits 128 images suits no "
    "other number. Which axis is the batch, and how is it averaged?"
)
HALF = "Compare with the formula in the handout, factor by factor: where does its 1/2 come from?"
SIGN = (
    "The loss is minimised. Should this term become small or large? And which sign does the formula give it?"
)


def kl_formulas(draw: Draw) -> Iterator[tuple[str, str, Tensor]]:
    """(mistake, hint, KL of each latent [B, d]); the first is right."""
    mu, logvar = draw.mu, draw.logvar
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))

    def kl(std: Tensor) -> Tensor:
        return kl_divergence(Normal(mu, std, validate_args=False), prior)

    right = kl(logvar.div(2).exp())
    yield "", "", right
    yield "logvar taken as std", LOGVAR, kl(logvar.abs())
    yield "logvar taken as log sigma, not log sigma^2", LOGVAR, kl(logvar.exp())
    yield "logvar taken as variance", LOGVAR, kl(logvar.sqrt())
    yield "logvar taken as variance", LOGVAR, kl(logvar.abs().sqrt())
    yield "sigma^2 missing its exp", LOGVAR, right + (logvar - logvar.exp()) / 2
    yield (
        "the -1 missing",
        "The KL of N(0, 1) from itself must be zero. Put mu = 0 and sigma = 1 into your formula",
        right + 0.5,
    )
    yield "mu not squared", "What has the wrong sign for a negative mu?", right + (mu - mu.square()) / 2
    yield "mu missing", "A code far from zero must cost more than one at zero", right - mu.square() / 2
    yield "the logarithm missing", "What keeps sigma from shrinking to zero?", right + logvar / 2
    yield "the logarithm with the wrong sign", "What keeps sigma from shrinking to zero?", right + logvar
    reverse = kl_divergence(prior, Normal(mu, logvar.div(2).exp()))
    yield "the KL the wrong way round", "KL(q || p) is not KL(p || q): which of them is in the ELBO?", reverse


def kl_factors(draw: Draw) -> dict[str, tuple[float, str]]:
    """What each mistake multiplies the KL term by, and its hint."""
    batch, latent_dim = draw.mu.shape
    weight = "The KL term has no var in it: only the reconstruction does"
    mean = (
        "The KL of independent latents is a sum over them. A mean makes it latent_dim times too weak beside "
        "the reconstruction"
    )
    return {
        "KL missing one half": (2, HALF),
        "KL halved twice": (0.5, HALF),
        "KL summed over the batch": (batch, SUMMED),
        "KL a mean over the latents": (1 / latent_dim, mean),
        "KL with the wrong sign": (-1, SIGN),
        "KL divided by var": (1 / draw.var, weight),
        "KL divided by 2 var": (0.5 / draw.var, weight),
        "KL times var": (draw.var, weight),
    }


def recon_formulas(draw: Draw) -> Iterator[tuple[str, str, Tensor]]:
    """(mistake, hint, reconstruction term of each pixel [B, 28, 28]); the first is right."""
    error, scale = draw.recon - draw.x, 2 * draw.var
    yield "", "", error.square() / scale
    hint = "-log of a Gaussian density: what of the error stands in its exponent?"
    yield "absolute error instead of squared error", hint, error.abs() / scale
    norm = error.flatten(1).norm(dim=1)[:, None, None] / 784
    yield "the square root of the squared error", hint, (norm / scale).expand_as(error)
    hint = (
        "That is -log p(x|z) of a Bernoulli, for pixels that are 0 or 1. Which distribution does the handout "
        "take for p(x|z)?"
    )
    bce = F.binary_cross_entropy(draw.recon, draw.x, reduction="none")
    yield "cross-entropy instead of squared error", hint, bce / scale
    yield "cross-entropy instead of squared error", hint, bce


def recon_factors(draw: Draw) -> dict[str, tuple[float, str]]:
    """What each mistake multiplies the reconstruction term by, and its hint."""
    pixels = (
        "||x - recon||^2 is a sum over the pixels. Where a mean stands in its place, the KL weighs 784 times "
        "as much beside it, and all images come out as one grey blur. What does mse_loss do by default?"
    )
    scale = (
        "The exponent of a Gaussian: what divides the squared error, and is it var, its root or its square?"
    )
    return {
        "reconstruction missing one half": (2, HALF),
        "reconstruction halved twice": (0.5, HALF),
        "reconstruction a mean over pixels": (1 / 784, pixels),
        "reconstruction summed over the batch": (len(draw.x), SUMMED),
        "reconstruction with the wrong sign": (-1, SIGN),
        "reconstruction not divided by var": (draw.var, scale),
        "reconstruction times var": (draw.var**2, scale),
        "reconstruction divided by the root of var": (draw.var**0.5, scale),
        "reconstruction divided by var^2": (1 / draw.var, scale),
    }


# --- Recognising them ---------------------------------------------------------------------------


def wrong_values(draw: Draw, term: str) -> Iterator[tuple[tuple[str, ...], list[str], float]]:
    """(mistakes, their hints, the value they lead to): none first, then one, then two at once."""
    formulas = list((kl_formulas if term == "KL" else recon_formulas)(draw))
    factors = (kl_factors if term == "KL" else recon_factors)(draw)
    found = []
    for name, hint, each in formulas:
        value = each.flatten(1).sum(dim=1).mean().item()
        for n in (0, 1, 2):
            for chosen in combinations(factors, n):
                product = value
                for factor in chosen:
                    product *= factors[factor][0]
                names = ((f"{term}: {name}",) if name else ()) + chosen
                hints = ([hint] if name else []) + [factors[factor][1] for factor in chosen]
                found.append((names, hints, product))
    yield from sorted((item for item in found if len(item[0]) <= 2), key=lambda item: len(item[0]))


def close(a: float, b: float) -> bool:
    """Whether two values are equal but for rounding; nan equals nan."""
    return abs(a - b) <= 1e-4 * abs(b) + 1e-7 or (a != a and b != b)


def check_term(term: str, values: list[float]) -> None:
    """Raises: CheckFailed that names what is wrong with a term of the loss. values: of each of `draws()`."""
    candidates = [list(wrong_values(draw, term)) for draw in draws()]
    for same in zip(*candidates, strict=True):
        if all(close(value, candidate[2]) for value, candidate in zip(values, same, strict=True)):
            names, hints, _ = same[0]
            if names:
                raise CheckFailed(" and ".join(names), ". ".join(dict.fromkeys(hints)) + ".")
            return
    right = candidates[0][0][2]
    raise CheckFailed(
        f"the {term} term is wrong",
        f"For one batch it should be {right:.4f}, and is {values[0]:.4f}. Take a batch of one image and one "
        "latent, and work both terms out by hand.",
    )
