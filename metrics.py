"""The numbers a grade is made of: MSE, SSIM, the simplified per-class FID and the score formula.

All of them are taken on uint8 images, so that a grade depends on what is saved and on nothing else.
`tests/test_grade.py` holds an independent NumPy and scikit-image version of each, image by image.

Beside them: what tells a good model from one that is only good at the score, and the ELBO and the
importance-sampled log-likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from tqdm import tqdm

from common import LabError

GEN_PER_LABEL = 1000  # generated images of each label, for the FID
PIXELS = 784  # of an MNIST image: what the compression bonus compares latent_dim with


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1], any shape, to the uint8 in which they are saved and scored."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_float(images: np.ndarray) -> Tensor:
    """uint8 images, any shape, as float32 in [0, 1]: the way back."""
    return torch.from_numpy(images).float() / 255


# --- Reconstruction -----------------------------------------------------------------------------


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean over the pixels of (x - y)^2, an image each. x, y: float [B, ...] in [0, 1]. Returns: [B]."""
    return (x - y).square().flatten(1).mean(dim=1)


def cross_entropy(recon: Tensor, x: Tensor) -> Tensor:
    """Mean over the pixels of -(x log recon + (1 - x) log(1 - recon)), an image each. Returns: [B].

    recon, x: float [B, ...] in [0, 1]. For pixels that are 0 or 1 this is -log p(x|z) of a Bernoulli, divided
    by their number. For grey ones it is a cross-entropy and no likelihood: it has no normalising constant.
    """
    recon = recon.clamp(1e-7, 1 - 1e-7)  # log 0 is where one wrong pixel would cost everything
    return -(x * recon.log() + (1 - x) * (1 - recon).log()).flatten(1).mean(dim=1)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity, an image each; differentiable.

    x, y: float [B, H, W] or [B, C, H, W] in [0, 1], H and W at least 7. Returns: [B], 1 for equal images.

    Wang, Bovik, Sheikh & Simoncelli (2004), eq. 13, with scikit-image's defaults: a uniform 7x7 window,
    sample covariances (N - 1), and the mean over the windows that lie wholly inside the image.
    """
    size, c1, c2 = 7, 0.01**2, 0.03**2

    def band(n: int) -> Tensor:
        """[n, n - 6]: column i averages 7 neighbours from the i-th on."""
        ones = torch.ones(n, n - size + 1, dtype=x.dtype, device=x.device)
        return (ones.tril() - ones.tril(-size)) / size

    rows, columns = band(x.shape[-2]), band(x.shape[-1])

    def window_mean(images: Tensor) -> Tensor:  # [..., H, W] to [..., W - 6, H - 6]
        # Two one-dimensional means cost 14 products a pixel instead of 49, and run as matrix products:
        # never in bf16, of whose 8 bits the differences below would leave none.
        with torch.autocast(x.device.type, enabled=False):
            return (images @ columns).transpose(-1, -2) @ rows

    # Four means are enough, since the variances matter by their sum alone; together they take one product.
    mean_x, mean_y, squares, product = window_mean(torch.stack([x, y, x * x + y * y, x * y])).unbind()
    unbiased = size**2 / (size**2 - 1)
    product_of_means, squares_of_means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    cov = unbiased * (product - product_of_means)
    var = unbiased * (squares - squares_of_means)  # of x plus of y
    similarity = (2 * product_of_means + c1) * (2 * cov + c2) / ((squares_of_means + c1) * (var + c2))
    return similarity.flatten(1).mean(dim=1)


def reconstruction(recon: np.ndarray, images: np.ndarray, chunk: int = 1000) -> dict[str, float]:
    """`mse` and `ssim` of uint8 images [N, ...] against the originals, in float64, averaged over all."""
    sums = np.zeros(2)
    for i in range(0, len(images), chunk):
        a, b = (torch.from_numpy(array[i : i + chunk]).double() / 255 for array in (recon, images))
        sums += [mse(a, b).sum().item(), ssim(a, b).sum().item()]
    mean_mse, mean_ssim = (sums / len(images)).tolist()
    return {"mse": mean_mse, "ssim": mean_ssim}


# --- Generation ---------------------------------------------------------------------------------


def fid(generated: np.ndarray, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """The simplified Frechet distance of each class, on pixels.

    generated: uint8 [10, M, H, W], row y being of label y; images: uint8 [N, H, W]; labels: [N].
    Returns: a distance for each label; the score takes their mean.
    Raises: LabError if a label has no real image.

    ||mean_g - mean_r||^2 + sum over pixels of (var_g + var_r - 2 sqrt(var_g var_r)) on pixels/255 with
    population variances: the Frechet distance of Heusel et al. (2017), eq. 6, between two Gaussians of
    diagonal covariance, with pixels for features.
    """

    def moments(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels = group.reshape(len(group), -1) / 255.0
        return pixels.mean(axis=0), pixels.var(axis=0)

    distances = []
    for label, group in enumerate(generated):
        real = images[labels == label]
        if len(real) == 0:
            raise LabError(f"no real image has the label {label}: the FID needs every label in the split")
        (mean_g, var_g), (mean_r, var_r) = moments(group), moments(real)
        spread = var_g + var_r - 2 * np.sqrt(var_g * var_r)
        distances.append(float(np.square(mean_g - mean_r).sum() + spread.sum()))
    return distances


# --- Is it good, or only good at the score? -----------------------------------------------------


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Frechet distance between Gaussians fitted to two sets of features, [N, F] and [M, F].

    ||mean_a - mean_b||^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)): Heusel et al. (2017), eq. 6. It
    shrinks as N and M grow: compare only distances of equal N and M.
    """
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)  # [F, F]

    def square_root(cov: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(cov)
        return vectors * values.clamp(min=0).sqrt() @ vectors.T

    # (cov_a cov_b)^(1/2) has the trace of this symmetric one, whose eigenvalues are real.
    root_a = square_root(cov_a)
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    distance = (a.mean(dim=0) - b.mean(dim=0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(distance.item(), 0.0)


def mean_pairwise_distance(x: Tensor) -> float:
    """The mean Euclidean distance of two different images of a set; 0 if all are alike. x: [N, ...]."""
    x = x.flatten(1)
    return (torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))).item()


def nearest_distance(x: Tensor, reference: Tensor, chunk: int = 1000) -> Tensor:
    """The Euclidean distance of each image to the nearest of `reference`. Returns: [N]."""
    x, reference = x.flatten(1), reference.flatten(1)
    return torch.cat([torch.cdist(part, reference).amin(dim=1) for part in x.split(chunk)])


def probability_closer(a: Tensor, b: Tensor) -> float:
    """The probability that a random one of `a` is smaller than a random one of `b`, ties halved.

    1/2 if both have one distribution: the Mann-Whitney statistic U / (n m), by which Meehan, Chaudhuri &
    Dasgupta, A Non-Parametric Test to Detect Data-Copying in Generative Models (2020), compare the
    distances of generated and of held-out images to the nearest training image.
    """
    b = b.sort().values
    below, at_most = torch.searchsorted(b, a, right=False), torch.searchsorted(b, a, right=True)
    return 1 - ((below + at_most).double() / 2).mean().item() / len(b)


# --- Likelihood ---------------------------------------------------------------------------------


def kl_by_latent(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_i|x) || N(0, 1)) of each latent of each image, in nats. mu, logvar: [N, d]. Returns: [N, d]."""
    q = Normal(mu, logvar.div(2).exp())
    return kl_divergence(q, Normal(torch.zeros_like(mu), 1.0))


def log_cross_entropy(recon: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of binary pixels, and what stands in its place for grey ones. Returns: [B], nats."""
    return -x[0].numel() * cross_entropy(recon, x)


def log_gaussian(recon: Tensor, x: Tensor, var: float) -> Tensor:
    """log p(x|z) for p(x|z) = N(recon, var I), the observation model of `vae_loss`. Returns: [B], nats."""
    return -0.5 * x[0].numel() * (mse(recon, x) / var + math.log(2 * math.pi * var))


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

    ELBO: the mean of log w over k codes. log p(x): log of the mean of w, a lower bound that rises with k; for
    k = 1 the two are one. `chunk` codes are decoded at once, which bounds the memory; the other arguments are
    those of `log_weights`, for all N images. Papers: Kingma & Welling (2014), eq. 2; Burda, Grosse &
    Salakhutdinov, Importance Weighted Autoencoders (2016), eq. 8.
    """
    elbo, log_px = torch.empty(2, len(x), dtype=torch.float64)
    samples = min(k, chunk)
    for part in tqdm(torch.arange(len(x)).split(max(1, chunk // samples)), desc="log p(x)", disable=None):
        these = [None if values is None else values[part] for values in (labels, prior_mean)]
        log_w = torch.cat(
            [
                log_weights(model, x[part], these[0], log_p, min(samples, k - done), these[1])
                for done in range(0, k, samples)
            ]
        )  # [k, B]
        elbo[part] = log_w.mean(dim=0).cpu()
        log_px[part] = (log_w.logsumexp(dim=0) - math.log(k)).cpu()
    return elbo, log_px


# --- The score ----------------------------------------------------------------------------------


def bonus(latent_dim: int) -> float:
    """The factor that rewards compression: 0.2 + R with R = 1 - latent_dim / 784."""
    return 0.2 + 1 - latent_dim / PIXELS


def score_terms(task: str, values: dict[str, float]) -> list[tuple[str, float, float]]:
    """The terms that the score sums before the bonus: (formula, points, most points) each.

    values: `ssim`, `mse` and, for Genwithlabel, `fid`.
    """
    weight = 1 if task == "VAE0label" else 2
    terms = [
        (f"{5 * weight} ssim", 5 * weight * values["ssim"], 5.0 * weight),
        (f"{50 * weight} max(0.1 - mse, 0)", 50 * weight * max(0.1 - values["mse"], 0.0), 5.0 * weight),
    ]
    if task == "Genwithlabel":
        terms.append(("max(10 - fid, 0)", max(10 - values["fid"], 0.0), 10.0))
    return terms


def max_score(task: str) -> float:
    """The cap of a task's score: 10 for VAE0label, 30 for Genwithlabel."""
    return 10.0 if task == "VAE0label" else 30.0


def score(task: str, values: dict[str, float], latent_dim: int) -> dict[str, float]:
    """`bonus`, `score` and `score_uncapped`, which tells good solutions apart. values: see `score_terms`."""
    uncapped = sum(points for _, points, _ in score_terms(task, values)) * bonus(latent_dim)
    return {
        "bonus": bonus(latent_dim),
        "score": min(uncapped, max_score(task)),
        "score_uncapped": uncapped,
    }
