"""Parts 2 and 3 of submission.py: the loss against PyTorch's distributions, sampling, labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from submission import VAE, GenModel, vae_loss


def draw(seed: int, batch: int, latent_dim: int):
    generator = torch.Generator().manual_seed(seed)
    x, recon = torch.rand(2, batch, 28, 28, generator=generator)
    mu, logvar = torch.randn(2, batch, latent_dim, generator=generator)
    return recon, x, mu, logvar


# --- 2.3 The loss -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31), batch=st.integers(1, 5), latent_dim=st.integers(1, 9), var=st.floats(1e-3, 10)
)
def test_loss_is_the_negative_elbo(seed: int, batch: int, latent_dim: int, var: float) -> None:
    recon, x, mu, logvar = draw(seed, batch, latent_dim)
    loss, recon_term, kl_term = vae_loss(recon, x, mu, logvar, var)
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    prior = MultivariateNormal(torch.zeros(latent_dim), torch.eye(latent_dim))
    torch.testing.assert_close(kl_term, kl_divergence(q, prior).mean(), rtol=1e-4, atol=1e-4)
    # Up to the Gaussian's constant, the reconstruction term is -log p(x|z).
    p = Independent(Normal(recon.double(), var**0.5), 2)
    at_mean = Independent(Normal(x.double(), var**0.5), 2).log_prob(x.double())
    torch.testing.assert_close(
        recon_term.double(), (at_mean - p.log_prob(x.double())).mean(), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(loss, recon_term + kl_term)


def test_loss_is_zero_for_a_perfect_model_and_a_mean_over_the_batch() -> None:
    x, zero = torch.rand(4, 28, 28), torch.zeros(4, 3)
    assert [term.item() for term in vae_loss(x, x, zero, zero, 0.1)] == [0, 0, 0]
    recon, x, mu, logvar = draw(0, 6, 3)
    singles = [torch.stack(vae_loss(*(t[i : i + 1] for t in (recon, x, mu, logvar)), 0.1)) for i in range(6)]
    torch.testing.assert_close(
        torch.stack(vae_loss(recon, x, mu, logvar, 0.1)), torch.stack(singles).mean(dim=0)
    )


# --- 2.2 The model ------------------------------------------------------------------------------


@pytest.fixture(params=[VAE, GenModel])
def model(request: pytest.FixtureRequest):
    torch.manual_seed(0)
    return request.param(latent_dim=6)


@pytest.fixture
def batch():
    return torch.rand(5, 28, 28), torch.tensor([0, 3, 3, 9, 5])


def test_shapes_and_range(model, batch) -> None:
    x, labels = batch
    recon, mu, logvar = model(x, labels)
    assert recon.shape == x.shape
    assert recon.dtype == torch.float32
    assert mu.shape == logvar.shape == (5, 6)
    assert 0 <= recon.min() <= recon.max() <= 1
    assert model.generate(labels).shape == x.shape


def test_eval_mode_decodes_mu_and_train_mode_samples(model, batch) -> None:
    x, labels = batch
    model.eval()
    recon, mu, _ = model(x, labels)
    torch.testing.assert_close(recon, model.decode(mu, labels), rtol=0, atol=0)
    assert torch.equal(recon, model(x, labels)[0])
    model.train()
    assert not torch.equal(model(x, labels)[0], model(x, labels)[0])


def test_samples_have_the_posteriors_moments(model, batch) -> None:
    x, labels = (t[:1].repeat_interleave(5_000, dim=0) for t in batch)
    codes = []
    model.decode = lambda z, labels=None: codes.append(z) or x[: len(z)]
    model.train()
    _, mu, logvar = model(x, labels)
    # The mean of n samples is within 5 sigma / sqrt(n) of mu; the variance within 10 % of sigma^2.
    variance = logvar[0].exp()
    assert ((codes[0].mean(dim=0) - mu[0]).square() < 25 * variance / 5_000).all()
    torch.testing.assert_close(codes[0].var(dim=0), variance, rtol=0.1, atol=0)


def test_gradient_reaches_every_weight(model, batch) -> None:
    x, labels = batch
    recon, _, _ = model(x, labels)
    (recon - x).square().sum().backward()  # without the KL: only the sampled path is there
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name for name, _ in model.named_parameters() if not name.startswith("prior.")} == reached


def test_generation_follows_the_seed_and_draws_anew(model) -> None:
    labels = torch.tensor([4, 4])
    torch.manual_seed(1)
    first = model.generate(labels)
    torch.manual_seed(1)
    assert torch.equal(first, model.generate(labels))
    assert not torch.equal(first[0], first[1])


def test_only_the_conditional_model_looks_at_labels(batch) -> None:
    x, labels = batch
    z = torch.randn(5, 6)
    vae, gen = VAE(6).eval(), GenModel(6).eval()
    assert torch.equal(vae.encode(x, labels)[0], vae.encode(x)[0])
    assert torch.equal(vae.decode(z, labels), vae.decode(z))
    assert not torch.equal(gen.encode(x, labels)[0], gen.encode(x, (labels + 1) % 10)[0])
    assert not torch.equal(gen.decode(z, labels), gen.decode(z, (labels + 1) % 10))
