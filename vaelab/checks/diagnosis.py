"""Finds the mistake that explains a wrong value of `vae_loss`.

A wrong term is compared with the values that each known mistake, and each pair of them, would give. The right
values come from quadrature, so that no formula of the answer is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal

from vaelab.metrics.latents import gaussian_kl


class CheckFailed(Exception):  # noqa: N818  # a result of the check, not an error of this program
    """A mistake in the submission: its name, and a hint."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(name)
        self.name, self.hint = name, hint


class LossCase(NamedTuple):
    """Arguments of `vae_loss`: recon, x [B, 28, 28]; mu, logvar [B, d]. And sigma, [B, d], of that logvar."""

    recon: Tensor
    x: Tensor
    mu: Tensor
    logvar: Tensor
    var: float
    sigma: Tensor


def loss_cases(seed: int = 0) -> list[LossCase]:
    """Two random cases, with sizes and variances for which no two mistakes give the same values."""
    generator = torch.Generator().manual_seed(seed)
    cases = []
    for batch, latent_dim, var in ((5, 3, 0.35), (7, 4, 0.8)):
        recon, x = 0.1 + 0.8 * torch.rand(2, batch, 28, 28, generator=generator)
        mu, logvar = torch.randn(2, batch, latent_dim, generator=generator)
        sigma = logvar.exp().sqrt()
        cases.append(LossCase(recon, x, mu, logvar, var, sigma))
    return cases


# --- The mistakes -------------------------------------------------------------------------------

LOGVAR = (
    "logvar is log sigma^2: sigma and sigma^2 are functions of it. Which ones? Try it on paper for sigma = 2"
)
SUMMED = (
    "A loss per image must not grow with the batch size; otherwise each batch size needs a learning rate of "
    "its own. Which axis is the batch, and how is it averaged?"
)
HALF = "Compare your code with the formula in the handout, factor by factor: where does its 1/2 come from?"
SIGN = (
    "The loss is minimised. Should this term become small or large? And which sign does the formula give it?"
)


def kl_formulas(case: LossCase) -> Iterator[tuple[str, str, Tensor]]:
    """(mistake, hint, KL of each latent [B, d]) for each formula; the first is the right one."""
    mu, logvar = case.mu, case.logvar
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu), validate_args=False)

    def kl(std: Tensor) -> Tensor:
        return gaussian_kl(Normal(mu, std, validate_args=False), prior)

    right = kl(case.sigma)
    yield "", "", right
    yield "logvar used as std", LOGVAR, kl(logvar.abs())
    yield "logvar used as log sigma, not log sigma^2", LOGVAR, kl(logvar.exp())
    yield "logvar used as variance", LOGVAR, kl(logvar.sqrt())
    yield "logvar used as variance", LOGVAR, kl(logvar.abs().sqrt())
    yield "exp missing in sigma^2", LOGVAR, right + (logvar - logvar.exp()) / 2
    yield (
        "the -1 missing",
        "The KL divergence of N(0, 1) from itself must be zero. Put mu = 0 and sigma = 1 into your formula",
        right + 0.5,
    )
    yield (
        "mu not squared",
        "Which term of your formula has the wrong sign for a negative mu?",
        right + (mu - mu.square()) / 2,
    )
    yield "mu missing", "A code far from zero must cost more than one at zero", right - mu.square() / 2
    yield "the logarithm missing", "What keeps sigma from shrinking to zero?", right + logvar / 2
    yield "the logarithm with the wrong sign", "What keeps sigma from shrinking to zero?", right + logvar
    reverse = gaussian_kl(prior, Normal(mu, case.sigma))
    yield (
        "the arguments of the KL divergence swapped",
        "KL(q || p) is not KL(p || q): which of the two is in the ELBO?",
        reverse,
    )


def kl_factors(case: LossCase) -> dict[str, tuple[float, str]]:
    """The factor by which each mistake multiplies the KL term, and its hint."""
    batch, latent_dim = case.mu.shape
    weight = "The KL term does not depend on var: only the reconstruction term does"
    mean = (
        "The KL of independent latents is the sum over the latents. A mean makes it latent_dim times too "
        "small compared with the reconstruction term"
    )
    return {
        "KL missing one half": (2, HALF),
        "KL halved twice": (0.5, HALF),
        "KL summed over the batch": (batch, SUMMED),
        "KL a mean over the latents": (1 / latent_dim, mean),
        "KL with the wrong sign": (-1, SIGN),
        "KL divided by var": (1 / case.var, weight),
        "KL divided by 2 var": (0.5 / case.var, weight),
        "KL times var": (case.var, weight),
    }


def recon_formulas(case: LossCase) -> Iterator[tuple[str, str, Tensor]]:
    """(mistake, hint, reconstruction term of each pixel [B, 28, 28]) for each formula; the first is right."""
    error, scale = case.recon - case.x, 2 * case.var
    yield "", "", error.square() / scale
    hint = "This term is -log of a Gaussian density: which function of the error is in its exponent?"
    yield "absolute error instead of squared error", hint, error.abs() / scale
    norm = error.flatten(1).norm(dim=1)[:, None, None] / 784
    yield "the square root of the squared error", hint, (norm / scale).expand_as(error)
    hint = (
        "Cross-entropy is -log p(x|z) of a Bernoulli distribution, for pixels that are 0 or 1. Which "
        "distribution does the handout use for p(x|z)?"
    )
    bce = F.binary_cross_entropy(case.recon, case.x, reduction="none")
    yield "cross-entropy instead of squared error", hint, bce / scale
    yield "cross-entropy instead of squared error", hint, bce


def recon_factors(case: LossCase) -> dict[str, tuple[float, str]]:
    """The factor by which each mistake multiplies the reconstruction term, and its hint."""
    pixels = (
        "||x - recon||^2 is a sum over the pixels. With a mean, the KL term weighs 784 times as much in "
        "comparison, and all images are decoded to the same grey blur. What does mse_loss do by default?"
    )
    scale = (
        "In the exponent of a Gaussian, what divides the squared error: var, its square root or its square?"
    )
    return {
        "reconstruction missing one half": (2, HALF),
        "reconstruction halved twice": (0.5, HALF),
        "reconstruction a mean over pixels": (1 / 784, pixels),
        "reconstruction summed over the batch": (len(case.x), SUMMED),
        "reconstruction with the wrong sign": (-1, SIGN),
        "reconstruction not divided by var": (case.var, scale),
        "reconstruction times var": (case.var**2, scale),
        "reconstruction divided by the square root of var": (case.var**0.5, scale),
        "reconstruction divided by var^2": (1 / case.var, scale),
    }


# --- Finding the mistake ------------------------------------------------------------------------


def wrong_values(case: LossCase, term: str) -> Iterator[tuple[tuple[str, ...], list[str], float]]:
    """(mistakes, their hints, the value they give) for no mistake, then for each one, then for each pair."""
    formulas = list((kl_formulas if term == "KL" else recon_formulas)(case))
    factors = (kl_factors if term == "KL" else recon_factors)(case)
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


def check_term(term: str, values: list[float], cases: list[LossCase] | None = None) -> None:
    """Raise CheckFailed if a term of the loss is wrong. values: it for each of `cases` (`loss_cases()`)."""
    candidates = [list(wrong_values(case, term)) for case in cases or loss_cases()]
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
        "latent, and compute the term by hand.",
    )
