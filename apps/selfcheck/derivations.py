"""`check.py --derivation`: numbers to compare a derived formula with, by integration or sums.

    python check.py --derivation 0.2                       # the values that the closed form should give
    python check.py --derivation 0.2 --formula "log(s2/s1) + ..."    # compares your formula at these values

No closed form is stored here: each value is computed from the definition in the handout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.distributions import Normal

from apps.selfcheck.formulas import evaluate
from vaelab.language import N_, _
from vaelab.metrics.latents import gaussian_kl

Values = dict[str, float]
TOLERANCE = 1e-4  # relative and absolute: the values are printed with four decimals


class Derivation(NamedTuple):
    """An exercise with a formula: what it is, where it is in the handout, and how its value is computed."""

    wanted: str
    variables: str  # what their names mean
    cases: Sequence[Values]
    value: Callable[..., float]  # of the variables


def gaussian(mu: float, sigma: float) -> Normal:
    """The distribution with the density (0.5)."""
    return Normal(torch.tensor([mu], dtype=torch.float64), torch.tensor([sigma], dtype=torch.float64))


def kl(m1: float, s1: float, m2: float, s2: float) -> float:
    """KL(p || q) of (0.1), by integration."""
    return gaussian_kl(gaussian(m1, s1), gaussian(m2, s2)).item()


def elbo(j0: float, j1: float, q0: float, q1: float) -> float:
    """log p(x) minus the KL of q to the posterior, which is what (0.8) says the ELBO is; z is 0 or 1."""
    evidence = j0 + j1
    posterior = np.array([j0, j1]) / evidence
    q = np.array([q0, q1])
    return float(np.log(evidence) - np.sum(q * (np.log(q) - np.log(posterior))))


def entropy_gap(p0: float, p1: float) -> float:
    """KL(p || q) plus E_p[log q] for some q: the same number for each q, which is what 1.1 asks for."""
    p, q = np.array([p0, p1]), np.array([0.35, 0.65])
    return float(np.sum(p * (np.log(p) - np.log(q))) + np.sum(p * np.log(q)))


def prior_kl(m: float, logvar: float) -> float:
    """The KL of one latent to N(0, 1), by integration: a term of (1.4)."""
    sigmas = np.linspace(0.05, 5, 100_001)
    sigma = float(np.interp(logvar, np.log(sigmas**2), sigmas))  # the one whose log sigma^2 is logvar
    return kl(m, sigma, 0.0, 1.0)


def pixel_loss(x: float, r: float, var: float) -> float:
    """-log N(x; r, var) of one pixel, from the density (0.5): (1.5) for D = 1."""
    return -gaussian(r, float(np.sqrt(var))).log_prob(torch.tensor(x)).item()


def best_variance(w: float, var: float) -> float:
    """The sigma^2 of a latent with the smallest loss of a linear decoder, by search: (5.2)."""
    low, high = 1e-3, 4.0
    for _round in range(8):  # each round looks closer around the best sigma so far
        sigmas = torch.linspace(low, high, 401, dtype=torch.float64)
        zeros = torch.zeros_like(sigmas)
        losses = (w * sigmas).square() / (2 * var)
        losses += gaussian_kl(Normal(zeros, sigmas), Normal(zeros, torch.ones_like(sigmas)))
        best, step = sigmas[losses.argmin()].item(), (high - low) / 400
        low, high = max(best - 3 * step, 1e-4), best + 3 * step
    return best**2


DERIVATIONS = {
    "0.2": Derivation(
        N_("KL(p || q) of p = N(m1, s1^2) and q = N(m2, s2^2)"),
        N_("m1, m2: the means; s1, s2: the standard deviations"),
        [
            {"m1": 0.0, "s1": 1.0, "m2": 0.0, "s2": 2.0},
            {"m1": 1.0, "s1": 0.5, "m2": -1.0, "s2": 1.5},
            {"m1": -0.3, "s1": 2.0, "m2": 0.4, "s2": 0.7},
        ],
        kl,
    ),
    "0.3": Derivation(
        N_("ELBO(q, theta) for a latent z that is 0 or 1"),
        N_("j0, j1: the joint p(x, z) at z = 0 and 1; q0, q1: q(z), with q0 + q1 = 1"),
        [
            {"j0": 0.2, "j1": 0.1, "q0": 0.5, "q1": 0.5},
            {"j0": 0.05, "j1": 0.3, "q0": 0.2, "q1": 0.8},
            {"j0": 0.4, "j1": 0.02, "q0": 0.9, "q1": 0.1},
        ],
        elbo,
    ),
    "1.1": Derivation(
        N_("the part of KL(p_data || p_theta) that does not depend on theta, for x that is 0 or 1"),
        N_("p0, p1: p_data(x), with p0 + p1 = 1"),
        [{"p0": 0.5, "p1": 0.5}, {"p0": 0.9, "p1": 0.1}, {"p0": 0.25, "p1": 0.75}],
        entropy_gap,
    ),
    "1.4": Derivation(
        N_("the term of one latent in (1.4), as vae_loss computes it"),
        N_("m: mu; logvar: log sigma^2"),
        [{"m": 0.0, "logvar": 0.0}, {"m": 1.5, "logvar": -2.0}, {"m": -0.5, "logvar": 1.0}],
        prior_kl,
    ),
    "1.5": Derivation(
        N_("-log p(x|z) of one pixel, with its constant, (1.5) for D = 1"),
        N_("x: the pixel; r: its reconstruction; var: the variance"),
        [
            {"x": 0.5, "r": 0.5, "var": 1.0},
            {"x": 1.0, "r": 0.8, "var": 0.01},
            {"x": 0.0, "r": 0.3, "var": 0.1},
        ],
        pixel_loss,
    ),
    "5.2": Derivation(
        N_("the sigma^2 of a latent at the minimum of the loss of a linear decoder, (5.2)"),
        N_("w: the norm of the latent's column of W; var: the variance of a pixel"),
        [{"w": 1.0, "var": 1.0}, {"w": 2.0, "var": 0.1}, {"w": 0.0, "var": 0.5}],
        best_variance,
    ),
}


def same(a: float, b: float) -> bool:
    """Whether two values are equal but for rounding."""
    return abs(a - b) <= TOLERANCE * (1 + abs(b))


def explain_difference(yours: Sequence[float], right: Sequence[float]) -> str | None:
    """What a wrong formula's values have in common; None if they have not all the same mistake."""
    pairs = list(zip(yours, right, strict=True))
    if all(same(value, -wanted) for value, wanted in pairs):
        return _("The sign is the opposite: each of your values is the negative of the right one.")
    constant = yours[0] - right[0]
    if all(same(value, wanted + constant) for value, wanted in pairs):
        return _(
            "Your formula differs from the right one by a constant: your values minus the right ones are "
            "{constant:.4f} in each case.",
            constant=constant,
        )
    return None


def derivation(number: str, formula: str | None) -> bool:
    """Print the values that an exercise's formula should give. Returns: False if `formula` gives others."""
    about = DERIVATIONS[number]
    print(f"{number}  {_(about.wanted)}\n     {_(about.variables)}")
    rights = [about.value(**case) for case in about.cases]
    values = []
    for case, right in zip(about.cases, rights, strict=True):
        given = ", ".join(f"{name} = {value:g}" for name, value in case.items())
        if formula is None:
            print("     " + _("{given}: should give {right:.4f}", given=given, right=right))
            continue
        yours = evaluate(formula, case)
        values.append(yours)
        status = "ok  " if same(yours, right) else "FAIL"
        text = _(
            "{given}: should give {right:.4f}, and gives {yours:.4f}", given=given, right=right, yours=yours
        )
        print(f"{status} {text}")
    if formula is None:
        print(_('To compare your own: --formula "...", in these variables, with log, exp, sqrt and pi'))
        return True
    if all(map(same, values, rights)):
        print(_("Your formula agrees with the definition. The proof is still yours to write."))
        return True
    if why := explain_difference(values, rights):
        print(why)
    return False
