"""The ELBO, the importance-sampled log-likelihood, and the KL of each latent."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from tqdm import tqdm

from vaelab.metrics.reconstruction import cross_entropy


def kl_by_latent(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_i|x) || N(0, 1)) of each latent of each image, in nats. mu, logvar: [N, d]. Returns: [N, d]."""
    q = Normal(mu, logvar.div(2).exp())
    return kl_divergence(q, Normal(torch.zeros_like(mu), 1.0))


def log_cross_entropy(recon: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of each image, with a Bernoulli distribution for each pixel. Returns: [B], nats.

    For grey pixels this is minus the cross-entropy, and no likelihood. recon, x: [B, ...] in [0, 1].
    """
    return -x[0].numel() * cross_entropy(recon, x)


def log_gaussian(recon: Tensor, x: Tensor, var: float) -> Tensor:
    """log p(x|z) for p(x|z) = N(recon, var I), as in `vae_loss`. recon, x: [B, ...]. Returns: [B], nats."""
    error = (recon - x).square().flatten(1).mean(dim=1)  # [B]
    return -0.5 * x[0].numel() * (error / var + math.log(2 * math.pi * var))


def log_weights(
    model: nn.Module,
    x: Tensor,
    labels: Tensor | None,
    log_p: Callable[[Tensor, Tensor], Tensor],
    samples: int,
    prior_mean: Tensor | None = None,
) -> Tensor:
    """log w = log p(x|z) + log p(z) - log q(z|x) of `samples` codes z ~ q(z|x) of each image.

    x: [B, ...]; labels: [B] or None; prior_mean: [B, d], the mean of p(z) = N(prior_mean, I), default 0.
    log_p: (recon, x) to log p(x|z). Returns: float64 [samples, B], nats.
    """
    mu, logvar = model.encode(x, labels)  # [B, d], [B, d]
    q = Normal(mu, logvar.div(2).exp())
    z = q.sample((samples,))  # [samples, B, d]
    repeated = None if labels is None else labels.repeat(samples)  # [samples * B]
    recon = model.decode(z.flatten(0, 1), repeated)  # [samples * B, ...]
    log_p_x = log_p(recon, x.repeat(samples, *[1] * (x.ndim - 1))).reshape(samples, len(x))
    prior = Normal(torch.zeros_like(mu) if prior_mean is None else prior_mean, 1.0)
    log_ratio = (prior.log_prob(z) - q.log_prob(z)).double().sum(dim=2)  # log p(z) - log q(z|x)
    return log_p_x.double() + log_ratio


@torch.no_grad()
def likelihood(
    model: nn.Module,
    x: Tensor,
    labels: Tensor | None,
    log_p: Callable[[Tensor, Tensor], Tensor],
    k: int,
    chunk: int = 2000,
    prior_mean: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ELBO and the importance-sampled estimate of log p(x), of each image: float64 [N] each, in nats.

    ELBO: the mean of log w over k codes. log p(x): the log of the mean of w, a lower bound that increases
    with k; for k = 1 the two are equal. `chunk` codes are decoded at once, which limits the memory; the other
    arguments are those of `log_weights`, for all N images. Papers: Kingma & Welling (2014), eq. 2; Burda,
    Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), eq. 8.
    """
    elbo, log_px = torch.empty(2, len(x), dtype=torch.float64)
    samples = min(k, chunk)
    for part in tqdm(torch.arange(len(x)).split(max(1, chunk // samples)), desc="log p(x)", disable=None):
        some_labels, some_means = (
            None if values is None else values[part] for values in (labels, prior_mean)
        )
        log_w = torch.cat(
            [
                log_weights(model, x[part], some_labels, log_p, min(samples, k - done), some_means)
                for done in range(0, k, samples)
            ]
        )  # [k, B]
        elbo[part] = log_w.mean(dim=0).cpu()
        log_px[part] = (log_w.logsumexp(dim=0) - math.log(k)).cpu()
    return elbo, log_px
