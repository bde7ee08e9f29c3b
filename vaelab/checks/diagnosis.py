"""Finds the mistake that explains a wrong value of `vae_loss`.

A wrong term is compared with the values that each known mistake, and each pair of them, would give. The right
values come from quadrature, so that no formula of the answer is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal

from vaelab.language import N_, Message
from vaelab.metrics.latents import gaussian_kl


class CheckFailed(Exception):  # noqa: N818  # a result of the check, not an error of this program
    """A mistake in the submission: its name, and a hint."""

    def __init__(self, name: str | Message, hint: str | Message, /, **values: Any) -> None:
        """Both texts are messages; values: those of their placeholders."""
        super().__init__(name)
        self.messages = [
            text if isinstance(text, Message) else Message(text, **values) for text in (name, hint)
        ]

    @property
    def name(self) -> str:
        """The name of the mistake, in the user's language."""
        return str(self.messages[0])

    @property
    def hint(self) -> str:
        """The hint, in the user's language."""
        return str(self.messages[1])

    def __str__(self) -> str:
        return self.name


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

LOGVAR = N_(
    "logvar is log sigma^2: sigma and sigma^2 are functions of it. Which ones? Try it on paper for sigma = 2."
)
SUMMED = N_(
    "A loss per image must not grow with the batch size; otherwise each batch size needs a learning rate of "
    "its own. Which axis is the batch, and how is it averaged?"
)
HALF = N_(
    "Compare your code with the formula in the handout, factor by factor: where does its 1/2 come from?"
)
SIGN = N_(
    "The loss is minimised. Should this term become small or large? And which sign does the formula give it?"
)


def kl_formulas(case: LossCase) -> Iterator[tuple[str, str, Tensor]]:
    """(mistake, hint, KL of each latent [B, d]) for each formula; the first is the right one."""
    mu, logvar = case.mu, case.logvar
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu), validate_args=False)

    def kl(std: Tensor) -> Tensor:
        return gaussian_kl(Normal(mu, std, validate_args=False), prior)

    shrink = N_("What keeps sigma from shrinking to zero?")
    right = kl(case.sigma)
    yield "", "", right
    yield N_("logvar used as std"), LOGVAR, kl(logvar.abs())
    yield N_("logvar used as log sigma, not log sigma^2"), LOGVAR, kl(logvar.exp())
    yield N_("logvar used as variance"), LOGVAR, kl(logvar.sqrt())
    yield N_("logvar used as variance"), LOGVAR, kl(logvar.abs().sqrt())
    yield N_("sigma^2 computed as exp(logvar)^2"), LOGVAR, right + (logvar.exp().square() - logvar.exp()) / 2
    yield N_("exp missing in sigma^2"), LOGVAR, right + (logvar - logvar.exp()) / 2
    yield (
        N_("the -1 missing"),
        N_(
            "The KL divergence of N(0, 1) from itself must be zero. Put mu = 0 and sigma = 1 into your "
            "formula."
        ),
        right + 0.5,
    )
    yield (
        N_("mu not squared"),
        N_("Which term of your formula has the wrong sign for a negative mu?"),
        right + (mu - mu.square()) / 2,
    )
    yield (
        N_("mu missing"),
        N_("A code far from zero must cost more than one at zero."),
        right - mu.square() / 2,
    )
    yield N_("the logarithm missing"), shrink, right + logvar / 2
    yield N_("the logarithm with the wrong sign"), shrink, right + logvar
    reverse = gaussian_kl(prior, Normal(mu, case.sigma))
    yield (
        N_("the arguments of the KL divergence swapped"),
        N_("KL(q || p) is not KL(p || q): which of the two is in the ELBO?"),
        reverse,
    )


def kl_factors(case: LossCase) -> dict[str, tuple[float, str]]:
    """The factor by which each mistake multiplies the KL term, and its hint."""
    batch, latent_dim = case.mu.shape
    weight = N_("The KL term does not depend on var: only the reconstruction term does.")
    mean = N_(
        "The KL of independent latents is the sum over the latents. A mean makes it latent_dim times too "
        "small compared with the reconstruction term."
    )
    return {
        N_("KL missing one half"): (2, HALF),
        N_("KL halved twice"): (0.5, HALF),
        N_("KL summed over the batch"): (batch, SUMMED),
        N_("KL a mean over the latents"): (1 / latent_dim, mean),
        N_("KL with the wrong sign"): (-1, SIGN),
        N_("KL divided by var"): (1 / case.var, weight),
        N_("KL divided by 2 var"): (0.5 / case.var, weight),
        N_("KL times var"): (case.var, weight),
    }


def recon_formulas(case: LossCase) -> Iterator[tuple[str, str, Tensor]]:
    """(mistake, hint, reconstruction term of each pixel [B, 28, 28]) for each formula; the first is right."""
    error, scale = case.recon - case.x, 2 * case.var
    yield "", "", error.square() / scale
    hint = N_("This term is -log of a Gaussian density: which function of the error is in its exponent?")
    yield N_("absolute error instead of squared error"), hint, error.abs() / scale
    norm = error.flatten(1).norm(dim=1)[:, None, None] / 784
    yield N_("the square root of the squared error"), hint, (norm / scale).expand_as(error)
    hint = N_(
        "Cross-entropy is -log p(x|z) of a Bernoulli distribution, for pixels that are 0 or 1. Which "
        "distribution does the handout use for p(x|z)?"
    )
    bce = F.binary_cross_entropy(case.recon, case.x, reduction="none")
    yield N_("cross-entropy instead of squared error"), hint, bce / scale
    yield N_("cross-entropy instead of squared error"), hint, bce


def recon_factors(case: LossCase) -> dict[str, tuple[float, str]]:
    """The factor by which each mistake multiplies the reconstruction term, and its hint."""
    pixels = N_(
        "||x - recon||^2 is a sum over the pixels. With a mean, the KL term weighs 784 times as much in "
        "comparison, and all images are decoded to the same grey blur. What does mse_loss do by default?"
    )
    scale = N_(
        "In the exponent of a Gaussian, what divides the squared error: var, its square root or its square?"
    )
    return {
        N_("reconstruction missing one half"): (2, HALF),
        N_("reconstruction halved twice"): (0.5, HALF),
        N_("reconstruction a mean over pixels"): (1 / 784, pixels),
        N_("reconstruction summed over one axis of the image only"): (
            1 / 28,
            N_("Images are [B, 28, 28]: which two axes are pixels, and which one is the batch?"),
        ),
        N_("reconstruction summed over the batch"): (len(case.x), SUMMED),
        N_("reconstruction with the wrong sign"): (-1, SIGN),
        N_("reconstruction not divided by var"): (case.var, scale),
        N_("reconstruction times var"): (case.var**2, scale),
        N_("reconstruction divided by the square root of var"): (case.var**0.5, scale),
        N_("reconstruction divided by var^2"): (1 / case.var, scale),
    }


WRONG = {
    N_("KL"): N_("the KL term is wrong"),
    N_("reconstruction"): N_("the reconstruction term is wrong"),
}
DERIVATION = {"KL": "1.4", "reconstruction": "1.5"}  # of `check.py --derivation`, for each term

# --- Finding the mistake ------------------------------------------------------------------------


def wrong_values(case: LossCase, term: str) -> Iterator[tuple[tuple[Message, ...], list[str], float]]:
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
                names = (
                    (Message("{term}: {mistake}", term=Message(term), mistake=Message(name)),) if name else ()
                )
                names += tuple(map(Message, chosen))
                hints = ([hint] if name else []) + [factors[factor][1] for factor in chosen]
                found.append((names, hints, product))
    yield from sorted((item for item in found if len(item[0]) <= 2), key=lambda item: len(item[0]))


def close(a: float, b: float) -> bool:
    """Whether two values are equal but for rounding; nan equals nan."""
    return abs(a - b) <= 1e-4 * abs(b) + 1e-7 or (a != a and b != b)


def join_names(names: Sequence[Message]) -> Message:
    """One or two mistakes as one message."""
    return names[0] if len(names) == 1 else Message("{first} and {second}", first=names[0], second=names[1])


def join_hints(hints: Sequence[str]) -> Message:
    """One or two hints as one message, equal ones only once."""
    first, *rest = map(Message, dict.fromkeys(hints))
    if not rest:
        return first
    return Message("{first} {second}", first=first, second=rest[0])


def check_term(term: str, values: list[float], cases: list[LossCase] | None = None) -> None:
    """Raise CheckFailed if a term of the loss is wrong. values: it for each of `cases` (`loss_cases()`)."""
    candidates = [list(wrong_values(case, term)) for case in cases or loss_cases()]
    for same in zip(*candidates, strict=True):
        if all(close(value, candidate[2]) for value, candidate in zip(values, same, strict=True)):
            names, hints, _ = same[0]
            if names:
                raise CheckFailed(join_names(names), join_hints(hints))
            return
    right = candidates[0][0][2]
    raise CheckFailed(
        WRONG[term],
        "For one batch it should be {right:.4f}, and is {value:.4f}. To find the difference, compare your "
        "formula for one latent or one pixel with its values: {command}",
        right=right,
        value=values[0],
        command=f'python check.py --derivation {DERIVATION[term]} --formula "..."',
    )
