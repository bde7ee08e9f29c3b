"""Part 4 of submission.py, beyond the lab: what is minimised, the prior's part in it, improved codes."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import REPO

from beyond.priors import PRIORS
from submission import VAE, GenModel, vae_loss
from vaelab.metrics.reconstruction import mse, ssim


@pytest.fixture(params=[VAE, GenModel])
def model(request: pytest.FixtureRequest):
    torch.manual_seed(0)
    return request.param(latent_dim=6)


@pytest.fixture
def batch():
    return torch.rand(5, 28, 28), torch.tensor([0, 3, 3, 9, 5])


def test_training_loss_reaches_every_weight(model, batch) -> None:
    model.training_loss(*batch, 0.1)[0].backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unreached == []


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
    lost = 5 - 5 * ssim(recon, x) + 50 * mse(recon, x)  # of VAE0label's ten points
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


def test_the_command_line_knows_every_prior() -> None:
    """options.py lists them itself: the students' version has no prior.py."""
    choices = re.search(r'"--prior",\n +choices=\((.*)\)', (REPO / "options.py").read_text())[1]
    assert re.findall(r'"(\w+)"', choices) == sorted(PRIORS)
