"""The ELBO and the importance-sampled log p(x): exact where log p(x) is known, bounds where it isn't."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal

from beyond.extended import Extended
from beyond.options import Additions
from submission import VAE, GenModel, vae_loss
from vaelab.metrics.likelihood import likelihood, log_cross_entropy, log_gaussian
from vaelab.metrics.reconstruction import cross_entropy

VAR = 0.3  # of a pixel, given the code


class LinearGaussian(nn.Module):
    """z ~ N(m, I), x|z ~ N(W z, VAR I) on 3 x 4 pixels; q(z|x) is the posterior, `off` by so much."""

    def __init__(self, off: float, mean: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.mean = torch.full((2,), mean)
        # Orthogonal columns, so that the posterior is diagonal and q can be exact.
        columns = torch.linalg.qr(torch.randn(12, 2, generator=generator))[0]
        self.weight = columns * torch.tensor([1.0, 2.0])
        precision = 1 + self.weight.square().sum(dim=0) / VAR
        self.std, self.off = precision.rsqrt(), off

    def encode(self, x: Tensor, labels=None) -> tuple[Tensor, Tensor]:
        mu = (x.flatten(1) @ self.weight / VAR + self.mean) * self.std**2
        return mu + self.off * self.std, (2 * self.std.log() + self.off).expand_as(mu)

    def decode(self, z: Tensor, labels=None) -> Tensor:
        return (z @ self.weight.T).reshape(-1, 3, 4)

    def log_px(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + VAR * torch.eye(12)
        return MultivariateNormal(self.weight @ self.mean, covariance).log_prob(x.flatten(1))


def log_p(recon: Tensor, x: Tensor) -> Tensor:
    return log_gaussian(recon, x, VAR)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [1, 5])
def test_with_the_true_posterior_every_sample_is_exact(x, k: int) -> None:
    model = LinearGaussian(off=0.0)
    elbo, log_px = likelihood(model, x, None, log_p, k, chunk=3)
    for values in (elbo, log_px):
        assert values.dtype == torch.float64
        torch.testing.assert_close(values.float(), model.log_px(x), atol=1e-4, rtol=0)


def test_with_another_posterior_many_samples_come_within_a_hundredth_of_a_nat(x) -> None:
    model = LinearGaussian(off=0.3)
    torch.manual_seed(0)
    elbo, log_px = likelihood(model, x, None, log_p, 20_000)
    assert (log_px - model.log_px(x)).abs().max() < 0.01
    # The ELBO lacks KL(q || posterior), which for these two Gaussians is known too.
    gap = 2 * 0.5 * (math.exp(0.3) + 0.3**2 - 1 - 0.3)
    assert (model.log_px(x) - elbo - gap).abs().max() < 0.03


def test_a_prior_with_another_mean(x) -> None:
    model = LinearGaussian(off=0.0, mean=1.5)
    _, log_px = likelihood(model, x, None, log_p, 2, prior_mean=model.mean.expand(len(x), 2))
    torch.testing.assert_close(log_px.float(), model.log_px(x), atol=1e-4, rtol=0)
    _, without = likelihood(model, x, None, log_p, 2)
    assert (without - log_px).abs().min() > 0.1


def test_the_bound_rises_with_k_up_to_log_p(x) -> None:
    model = LinearGaussian(off=1.0)
    torch.manual_seed(0)
    x = x.repeat(200, 1, 1)
    means = [likelihood(model, x, None, log_p, k)[1].mean() for k in (1, 3, 10, 100)]
    assert means == sorted(means)
    assert means[1] - means[0] > 0.1
    assert means[-1] < model.log_px(x).mean() + 0.01


@pytest.mark.parametrize("model_class", [VAE, GenModel])
def test_one_sample_is_the_one_sample_elbo(model_class) -> None:
    torch.manual_seed(0)
    model = Extended(model_class(4, arch="mlp"), vae_loss, Additions(recon="bce"), 4, 1).eval()
    x, labels = torch.rand(6, 28, 28).round(), torch.arange(6)
    torch.manual_seed(1)
    elbo, log_px = likelihood(model, x, labels, log_cross_entropy, k=1)
    assert torch.equal(elbo, log_px)
    torch.manual_seed(1)
    with torch.no_grad():
        mu, logvar = model.encode(x, labels)
        q = Normal(mu, (0.5 * logvar).exp())
        z = mu + q.stddev * torch.randn(1, 6, 4)[0]
        p_x = Independent(Bernoulli(probs=model.decode(z, labels)), 2)
        expected = p_x.log_prob(x) + Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z).sum(1)
    torch.testing.assert_close(elbo.float(), expected, atol=1e-3, rtol=0)


def test_the_training_loss_with_bce_is_the_negative_elbo() -> None:
    torch.manual_seed(0)
    model = Extended(VAE(4, arch="mlp"), vae_loss, Additions(recon="bce"), 4, 1).train()
    x = torch.rand(6, 28, 28).round()
    with torch.no_grad():
        losses = torch.stack([torch.stack(model.training_loss(x, None, 0.5)) for _ in range(300)])
        elbo, _ = likelihood(model, x, None, log_cross_entropy, k=2000)
    error = losses[:, 0].std() / len(losses) ** 0.5
    assert abs(losses[:, 0].mean() + elbo.mean()) < 5 * error + 0.02


@pytest.mark.parametrize(("k", "chunk"), [(3, 100), (100, 7), (1, 4), (50, 50)])
def test_chunk_bounds_what_is_decoded_at_once(x, k: int, chunk: int) -> None:
    model = LinearGaussian(off=0.0)
    sizes, decode = [], model.decode
    model.decode = lambda z, labels=None: sizes.append(len(z)) or decode(z)
    likelihood(model, x, None, log_p, k, chunk)
    assert max(sizes) <= chunk
    assert sum(sizes) == k * len(x)


def test_cross_entropy_is_pytorchs_and_finite_at_the_ends() -> None:
    torch.manual_seed(0)
    recon, x = torch.rand(2, 5, 28, 28)
    expected = torch.nn.functional.binary_cross_entropy(recon, x, reduction="none").flatten(1).mean(dim=1)
    torch.testing.assert_close(cross_entropy(recon, x), expected)
    black, white = torch.zeros(1, 28, 28), torch.ones(1, 28, 28)
    assert 10 < cross_entropy(black, white).item() < 20  # wrong everywhere: large, not infinite
    assert cross_entropy(white, white).item() == pytest.approx(0, abs=1e-6)


def test_the_gaussian_is_pytorchs() -> None:
    torch.manual_seed(0)
    recon, x = torch.rand(2, 5, 28, 28)
    expected = Independent(Normal(recon, 0.2), 2).log_prob(x)
    torch.testing.assert_close(log_gaussian(recon, x, 0.04), expected)
