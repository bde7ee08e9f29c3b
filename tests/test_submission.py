"""The solved submission: the loss against PyTorch's distributions, sampling, labels, and the markers."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import REPO
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

import metrics
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
    q, prior = Normal(mu, (0.5 * logvar).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.testing.assert_close(kl_term, kl_divergence(q, prior).sum(dim=1).mean())
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
    x, labels = (t[:1].repeat_interleave(20_000, dim=0) for t in batch)
    codes = []
    model.decode = lambda z, labels=None: codes.append(z) or x[: len(z)]
    model.train()
    _, mu, logvar = model(x, labels)
    # The mean of n samples is within 5 sigma / sqrt(n) of mu; the deviation within 2.5 % of sigma.
    std = (0.5 * logvar[0]).exp()
    assert ((codes[0].mean(dim=0) - mu[0]).abs() < 5 * std / 20_000**0.5).all()
    torch.testing.assert_close(codes[0].std(dim=0), std, rtol=0.025, atol=0)


def test_gradient_reaches_every_weight(model, batch) -> None:
    x, labels = batch
    recon, _, _ = model(x, labels)
    (recon - x).square().sum().backward()  # without the KL: only the sampled path is there
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name for name, _ in model.named_parameters() if not name.startswith("prior.")} == reached
    model.training_loss(x, labels, 0.1)[0].backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unreached == []


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


# --- 4 Beyond the lab ---------------------------------------------------------------------------


def test_training_loss_with_the_plain_options_is_vae_loss(batch) -> None:
    x, labels = batch
    model = GenModel(6, recon="mse", prior="standard")
    torch.manual_seed(1)
    expected = vae_loss(*(lambda recon, mu, logvar: (recon, x, mu, logvar))(*model(x, labels)), var=0.1)
    torch.manual_seed(1)
    torch.testing.assert_close(model.training_loss(x, labels, 0.1), expected)


def test_training_loss_weighs_ssim_as_the_score_does(model, batch) -> None:
    """A change of the reconstruction term is in proportion to what the score loses by it."""
    x, labels = batch
    model.eval()
    recon = model(x, labels)[0]
    _, recon_term, _ = model.training_loss(x, labels, 0.1)
    lost = 5 - 5 * metrics.ssim(recon, x) + 50 * metrics.mse(recon, x)  # of VAE0label's ten points
    torch.testing.assert_close(recon_term, 784 / 0.2 * lost.mean() / 50)


def test_class_means_are_where_the_kl_is_measured_from(batch) -> None:
    x, labels = batch
    model = GenModel(6, prior="class_mean")
    model.encode = lambda x, labels: (model.prior.means(labels), torch.zeros(len(x), 6))
    assert model.training_loss(x, labels, 0.1)[2].item() == pytest.approx(0, abs=1e-6)


def test_compressed_codes_reconstruct_better_than_the_encoders(model, batch) -> None:
    x, labels = batch
    model.eval()
    with torch.no_grad():  # as inference runs it
        before = model.recon_error(model(x, labels)[0], x)
        codes = model.compress(x, labels)
        after = model.recon_error(model.decode(codes, labels), x)
        assert codes.shape == (5, 6)
        assert (after <= before + 1e-7).all()
        assert after.mean() < before.mean()
        one = model.compress(x[:1], labels[:1])
        torch.testing.assert_close(one, codes[:1], rtol=1e-3, atol=1e-3)  # an image's code is its own affair
    assert all(p.grad is None for p in model.parameters())


# --- The markers --------------------------------------------------------------------------------


def test_solution_markers_are_paired_and_numbered() -> None:
    markers = re.findall(
        r"^ *# (BEGIN|END) SOLUTION (\S+)$", (REPO / "submission.py").read_text(), re.MULTILINE
    )
    numbers = ["4.1", "2.2.1", "2.2.2", "2.2.3", "2.2.4", "4.2", "4.3", "2.3", "3.1", "3.2", "3.3"]
    assert markers == [(kind, number) for number in numbers for kind in ("BEGIN", "END")]
