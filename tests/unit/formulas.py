"""The formulas and statements of a document, and the distributions that their checks use.

A check of a formula is decorated with `@formula(tag, latex)`: the text between the two `$$` of the document,
and the number in its `\\tag`. A document whose formulas differ from the checked ones fails. A check of a
sentence is decorated with `@statement(document, english, chinese)`: both documents must contain these words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

DISPLAY = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
TAG = re.compile(r" \\tag\{(\S+)\}$")
REGISTRY: dict[str, tuple[str, Callable[[], None]]] = {}
STATEMENTS: dict[str, tuple[dict[str, str], Callable[[], None]]] = {}


def formula(tag: str, latex: str) -> Callable:
    """Say that the decorated function checks this formula."""

    def register(check: Callable[[], None]) -> Callable[[], None]:
        assert tag not in REGISTRY, f"two checks of {tag}"
        REGISTRY[tag] = (latex, check)
        return check

    return register


def statement(document: str, english: str, chinese: str) -> Callable:
    """Decorator for the check of a sentence of docs/<document>.md and docs/<document>.zh.md."""

    def register(check: Callable[[], None]) -> Callable[[], None]:
        assert check.__name__ not in STATEMENTS, f"two checks named {check.__name__}"
        STATEMENTS[check.__name__] = {f"{document}.md": english, f"{document}.zh.md": chinese}, check
        return check

    return register


def running_text(path: Path) -> str:
    """A document without line breaks and quotation marks at the start of lines."""
    return " ".join(re.sub(r"^> ?", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).split())


def document_of(tag: str) -> str:
    """The document that has a formula: the tags of the solutions begin with S, those of part 6 with 6."""
    return {"S": "solutions", "6": "discrete"}.get(tag[0], "handout")


def checked(document: str) -> dict[str, str]:
    """The formulas of docs/<document>.md that have a check, by tag."""
    return {tag: latex for tag, (latex, _) in REGISTRY.items() if document_of(tag) == document}


def formulas_of(path: Path) -> dict[str, str]:
    """The display formulas of a document by tag. Each has a tag of its own and fits on a line."""
    found: dict[str, str] = {}
    for body in DISPLAY.findall(path.read_text(encoding="utf-8")):
        tag = TAG.search(body)
        assert tag, f"{path.name}: no tag at the end of {body}"
        assert tag[1] not in found, f"{path.name}: the tag {tag[1]} is there twice"
        assert "\n" not in body, f"{path.name}: ({tag[1]}) is on several lines"
        found[tag[1]] = body[: tag.start()]
    return found


# --- Distributions ------------------------------------------------------------------------------


def generator(seed: int = 0) -> torch.Generator:
    """Every check draws from a seed of its own."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Draws from N(0, 1), float64."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def near_mean(values: Tensor, expected: float | Tensor, deviations: float = 5) -> None:
    """The mean of independent values [N, ...] is within so many standard errors of what is expected.

    At 5, chance alone fails one such check in more than a million; the seeds are fixed besides.
    """
    error = values.std(dim=0) / math.sqrt(len(values))
    assert ((values.mean(dim=0) - expected).abs() <= deviations * error).all(), (values.mean(dim=0), expected)


def gaussian_terms(mu: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mu, diag(sigma^2)) || N(0, I)) by the handout's (1.4), over the last dimension."""
    return 0.5 * (sigma**2 + mu**2 - 1 - (sigma**2).log()).sum(dim=-1)


def random_gaussian(n: int, seed: int) -> MultivariateNormal:
    """A Gaussian with a full covariance matrix."""
    a = normal(n, n, seed=seed)
    eye = torch.eye(n, dtype=torch.float64)
    return MultivariateNormal(normal(n, seed=seed + 1000), a @ a.T / n + 0.3 * eye)


class LinearModel:
    """z ~ N(0, I), x | z ~ N(W z + b, var I): the VAE whose posterior and likelihood are known."""

    def __init__(self, pixels: int = 5, latent_dim: int = 2, var: float = 0.4, seed: int = 0) -> None:
        self.var, self.d = var, latent_dim
        self.weight, self.bias = normal(pixels, latent_dim, seed=seed), normal(pixels, seed=seed + 1)
        self.eye = torch.eye(latent_dim, dtype=torch.float64)
        self.prior = MultivariateNormal(torch.zeros(latent_dim, dtype=torch.float64), self.eye)
        eye_x = torch.eye(pixels, dtype=torch.float64)
        self.marginal = MultivariateNormal(self.bias, self.weight @ self.weight.T + var * eye_x)

    def decode(self, z: Tensor) -> Tensor:
        """[..., d] to the means of x, [..., pixels]."""
        return z @ self.weight.T + self.bias

    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), by the distribution's own log_prob. Returns: [...]."""
        eye = self.var * torch.eye(len(x), dtype=torch.float64)
        return MultivariateNormal(self.decode(z), eye).log_prob(x)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z|x)."""
        cov = torch.linalg.inv(self.eye + self.weight.T @ self.weight / self.var)
        return MultivariateNormal(cov @ self.weight.T @ (x - self.bias) / self.var, cov)


class Mixture:
    """Two Gaussians in one dimension with a hidden label z, and EM on them.

    theta: (weights, means, variances), [2] each.
    """

    def __init__(self, seed: int = 0) -> None:
        left, right = normal(60, seed=seed) - 2, 0.5 * normal(40, seed=seed + 1) + 1
        self.x = torch.cat([left, right])  # [N]

    @staticmethod
    def random_theta(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and variances at random."""
        return (
            torch.softmax(normal(2, seed=seed), 0),
            normal(2, seed=seed + 1),
            normal(2, seed=seed + 2).exp(),
        )

    def log_joint(self, theta: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """log p_theta(x, z) for each x and both z. Returns: [N, 2]."""
        weight, mean, variance = theta
        squares = (self.x[:, None] - mean).square()
        return weight.log() - 0.5 * (squares / variance + (2 * math.pi * variance).log())

    def log_likelihood(self, theta: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """log p_theta(x). Returns: [N]."""
        weight, mean, variance = theta
        densities = torch.distributions.Normal(mean, variance.sqrt()).log_prob(self.x[:, None]).exp()
        return (densities @ weight).log()

    def elbo(self, q: Tensor, theta: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The ELBO of q, [N, 2], by its definition. Returns: [N]."""
        return (q * (self.log_joint(theta) - q.log())).sum(dim=1)

    def posterior(self, theta: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """p_theta(z|x). Returns: [N, 2]."""
        return self.log_joint(theta).softmax(dim=1)

    def m_step(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The theta at which the expectation of log p_theta(x, z) over q, [N, 2], is largest."""
        count = q.sum(dim=0)
        mean = (q * self.x[:, None]).sum(dim=0) / count
        return count / len(q), mean, (q * (self.x[:, None] - mean).square()).sum(dim=0) / count
