"""Priors p(z|y), from which generation draws its codes.

Three of them, which `benchmarks/quality.py` compares:

- `standard`: N(0, I), the plain VAE's;
- `class_mean`: N(m_y, I), with a learned mean for each class;
- `learned`: a flow that maps N(0, I) to the encoder's codes for the images of a class.

With the first two, the KL term makes the codes follow the prior, and reconstruction gets worse. The third is
fitted to the distribution of the codes, so the KL term is only needed to bound their size. y is one of
`num_classes` classes; a model without labels has one class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.quasirandom import SobolEngine


def sobol_normal(y: Tensor, latent_dim: int) -> Tensor:
    """Quasi-random noise from N(0, I), a scrambled Sobol sequence for each class. y: [B]. Returns: [B, d].

    Each row is distributed as N(0, I), but the rows of a class cover the space more evenly than independent
    draws, so their mean and variance are closer to those of the distribution. Paper: Owen, Randomly Permuted
    (t, m, s)-Nets and (t, s)-Sequences (1995).
    """
    points = SobolEngine(latent_dim, scramble=True).draw(len(y)).clamp(1e-7, 1 - 1e-7)  # [B, d] in (0, 1)
    eps = torch.empty_like(points)
    eps[y.argsort(stable=True).cpu()] = torch.special.ndtri(points)  # consecutive points to one class
    return eps.to(y.device)


class StandardPrior(nn.Module):
    """N(0, I) for every class."""

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def mean(self, y: Tensor) -> Tensor:
        """The mean of the prior of each class, used by the KL term. y: [B]. Returns: [B, d]."""
        return torch.zeros(len(y), self.latent_dim, device=y.device)

    def loss(self, mu: Tensor, logvar: Tensor, y: Tensor) -> Tensor:
        """The loss that trains the prior, added to the VAE's. mu, logvar: [B, d]; y: [B]. Returns: []."""
        return mu.new_zeros(())

    def sample(self, eps: Tensor, y: Tensor) -> Tensor:
        """Codes of the classes y, [B], from noise eps ~ N(0, I), [B, d]. Returns: [B, d]."""
        return self.mean(y) + eps


class ClassMeanPrior(StandardPrior):
    """N(m_y, I). The means are learned by the KL term: at its minimum m_y is the mean code of class y."""

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__(latent_dim, num_classes)
        self.means = nn.Embedding(num_classes, latent_dim)

    def mean(self, y: Tensor) -> Tensor:
        """The learned mean of each class. y: [B]. Returns: [B, d]."""
        return self.means(y)


class FlowPrior(StandardPrior):
    """A flow from N(0, I) to the codes of a class, learned by flow matching.

    A code is reached from noise on the path dz_t/dt = v(z_t, t, y), t from 0 to 1. v is a small network,
    trained on straight lines between noise and code, z_t = (1 - t) eps + t z, whose velocity is z - eps.

    Papers: Lipman et al., Flow Matching for Generative Modeling (2023), eq. 9 and, with sigma_min = 0,
    eq. 20 to 23. A prior fitted to the codes of an autoencoder: Dai & Wipf, Diagnosing and Enhancing VAE
    Models (2019); Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models (2022).
    """

    STEPS = 4  # of the midpoint rule from noise to code; more did not improve the images
    REPEATS = 4  # points of the path that each code of a batch is trained on

    def __init__(self, latent_dim: int, num_classes: int, hidden_dim: int = 512) -> None:
        super().__init__(latent_dim, num_classes)
        self.classes = nn.Embedding(num_classes, hidden_dim)
        self.time = nn.Linear(16, hidden_dim)
        self.code = nn.Linear(latent_dim, hidden_dim)
        self.net = nn.Sequential(
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, latent_dim),
        )

    def velocity(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """v(z_t, t, y). z_t: [B, d]; t: [B, 1] in [0, 1]; y: [B]. Returns: [B, d]."""
        angles = t * math.pi * 2.0 ** torch.arange(-1, 7, device=t.device)  # [B, 8]
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # [B, 16]
        h = self.code(z_t) + self.time(waves) + self.classes(y)  # [B, hidden_dim]
        return self.net(h).float()  # [B, d]

    def loss(self, mu: Tensor, logvar: Tensor, y: Tensor) -> Tensor:
        """The flow-matching loss ||v(z_t, t, y) - (z - eps)||^2 of codes z ~ q(z|x).

        Sum over the latents, mean over the batch. The codes are detached: no gradient reaches the encoder.
        mu, logvar: [B, d]; y: [B]. Returns: [].
        """
        mu, logvar = (value.detach().repeat(self.REPEATS, 1) for value in (mu, logvar))
        y = y.repeat(self.REPEATS)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)  # [REPEATS * B, d]
        eps = torch.randn_like(z)  # [REPEATS * B, d]
        t = torch.rand(len(z), 1, device=z.device)  # [REPEATS * B, 1]
        v = self.velocity((1 - t) * eps + t * z, t, y)  # [REPEATS * B, d]
        return (v - (z - eps)).square().sum(dim=1).mean()

    def sample(self, eps: Tensor, y: Tensor) -> Tensor:
        """Noise from N(0, I), [B, d], to codes of the classes y, [B]: the midpoint rule. Returns: [B, d]."""
        z, step = eps, 1 / self.STEPS  # [B, d]
        for i in range(self.STEPS):
            t = torch.full((len(y), 1), i * step, device=y.device)  # [B, 1]
            half = z + 0.5 * step * self.velocity(z, t, y)  # [B, d]
            z = z + step * self.velocity(half, t + 0.5 * step, y)  # [B, d]
        return z


PRIORS = {"standard": StandardPrior, "class_mean": ClassMeanPrior, "learned": FlowPrior}
