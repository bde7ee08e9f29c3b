"""The additions of beyond/: each alone around the solved submission and a student's model, and together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from beyond.extended import Extended, extend
from beyond.losses import recon_error
from beyond.options import ALL_ON, OPTIONS, Additions
from beyond.priors import PRIORS
from beyond.sharpening import sharpen
from submission import VAE, GenModel, vae_loss
from vaelab.cli import LabError
from vaelab.config import TrainConfig
from vaelab.contract import build_model
from vaelab.metrics.reconstruction import ssim


class Student(nn.Module):
    """A model with other layers than the lab's and the contract's five calls only."""

    def __init__(self, latent_dim: int = 6) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(784, latent_dim), nn.Linear(784, latent_dim)
        self.images = nn.Linear(latent_dim, 784)
        self.d = latent_dim

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.mean(x.flatten(1)), self.spread(x.flatten(1))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.images(z).sigmoid().view(-1, 28, 28)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu) if self.training else mu
        return self.decode(z), mu, logvar

    def generate(self, labels: Tensor) -> Tensor:
        return self.decode(torch.randn(len(labels), self.d))


MODELS = [VAE, GenModel, Student]


def extended(model_class: type, **additions: object) -> Extended:
    """A model of latent_dim 6 with additions."""
    torch.manual_seed(0)
    classes = 10 if model_class is GenModel else 1
    return Extended(model_class(6), vae_loss, Additions(**additions), 6, classes)


def repeatable(call, *args: object):
    """What a call returns from a fixed random state."""
    torch.manual_seed(1)
    return call(*args)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.rand(5, 28, 28), torch.tensor([0, 3, 3, 9, 5])


def plain_terms(model: Extended, x: Tensor, labels: Tensor, var: float) -> tuple[Tensor, Tensor, Tensor]:
    """The handout's loss of the submission's own forward."""
    recon, mu, logvar = model.model(x, labels)
    return vae_loss(recon, x, mu, logvar, var)


# --- What is off is left to the submission ------------------------------------------------------


@pytest.mark.parametrize("model_class", MODELS)
def test_without_additions_every_call_is_the_submissions(model_class, batch) -> None:
    model, (x, labels) = extended(model_class), batch
    for ours, theirs, args in (
        (model.encode, model.model.encode, batch),
        (model.decode, model.model.decode, (torch.ones(5, 6), labels)),
        (model, model.model, batch),
        (model.generate, model.model.generate, (labels,)),
    ):
        for a, b in zip(repeatable(ours, *args), repeatable(theirs, *args), strict=True):
            assert torch.equal(a, b)
    expected = repeatable(plain_terms, model, x, labels, 0.1)
    torch.testing.assert_close(repeatable(model.training_loss, x, labels, 0.1), expected)
    assert not hasattr(model, "compress")
    assert list(model.prior.parameters()) == []


def test_a_submissions_own_loss_and_search_are_handed_through(batch) -> None:
    class Own(Student):
        def training_loss(self, x, labels, var):
            return x.sum(), x.mean(), torch.tensor(var)

        def compress(self, x, labels=None):
            return 2 * self.encode(x)[0]

    with_search, (x, labels) = extended(Own), batch
    assert torch.equal(with_search.compress(x, labels), 2 * with_search.model.mean(x.flatten(1)))
    for additions in ({}, {"refine": 0}):
        terms = extended(Own, **additions).training_loss(x, labels, 0.5)
        assert [term.item() for term in terms] == pytest.approx([x.sum().item(), x.mean().item(), 0.5])


# --- Each alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("prior", ["class_mean", "learned"])
def test_a_prior_alone_changes_generation_and_its_own_terms(model_class, prior: str, batch) -> None:
    model, (x, labels) = extended(model_class, prior=prior), batch
    for parameter in model.prior.parameters():
        nn.init.normal_(parameter)  # class means begin near 0
    images = model.generate(labels)
    assert images.shape == x.shape
    assert not torch.equal(repeatable(model.generate, labels), repeatable(model.model.generate, labels))
    loss, recon_term, kl_term = repeatable(model.training_loss, x, labels, 0.1)
    _, plain_recon, plain_kl = repeatable(plain_terms, model, x, labels, 0.1)
    torch.testing.assert_close(recon_term, plain_recon)  # the reconstruction is the handout's
    if prior == "learned":
        torch.testing.assert_close(kl_term, plain_kl)
        assert loss > recon_term + kl_term  # the loss includes the prior's own term
    else:
        assert not torch.isclose(kl_term, plain_kl)
    assert not hasattr(model, "compress")


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("recon", ["bce", "ssim_mse"])
def test_a_reconstruction_loss_alone_changes_that_term_only(model_class, recon: str, batch) -> None:
    model, (x, labels) = extended(model_class, recon=recon), batch
    loss, recon_term, kl_term = repeatable(model.training_loss, x, labels, 0.1)
    _, _, plain_kl = repeatable(plain_terms, model, x, labels, 0.1)
    image = repeatable(model, x, labels)[0]
    torch.testing.assert_close(recon_term, 784 / 0.2 * recon_error(recon, image, x).mean())
    torch.testing.assert_close(kl_term, plain_kl)
    torch.testing.assert_close(loss, recon_term + kl_term)
    assert torch.equal(repeatable(model.generate, labels), repeatable(model.model.generate, labels))
    assert not hasattr(model, "compress")


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("recon", ["mse", "ssim_mse"])
def test_refined_codes_reconstruct_better_than_the_encoders(model_class, recon: str, batch) -> None:
    model, (x, labels) = extended(model_class, refine=10, recon=recon).eval(), batch
    with torch.no_grad():  # as inference runs it
        before = recon_error(recon, model(x, labels)[0], x)
        codes = model.compress(x, labels)
        after = recon_error(recon, model.decode(codes, labels), x)
        assert codes.shape == (5, 6)
        assert (after <= before + 1e-7).all()
        assert after.mean() < before.mean()
        one = model.compress(x[:1], labels[:1])
        # The search for an image does not depend on the other images of its batch.
        torch.testing.assert_close(one, codes[:1], rtol=1e-3, atol=1e-3)
    assert all(p.grad is None for p in model.parameters())
    if recon == "mse":
        expected = repeatable(plain_terms, model, x, labels, 0.1)
        torch.testing.assert_close(repeatable(model.training_loss, x, labels, 0.1), expected)
        assert torch.equal(repeatable(model.generate, labels), repeatable(model.model.generate, labels))


def test_sharpening_multiplies_the_logits_of_pixels() -> None:
    torch.manual_seed(3)
    images = torch.rand(4, 28, 28)
    torch.testing.assert_close(sharpen(images, 1.25), torch.sigmoid(1.25 * torch.logit(images)))
    torch.testing.assert_close(sharpen(images, 1.0), images)
    assert sharpen(images, 2.0).var() > images.var()
    extremes = torch.tensor([-1.0, 0.0, 1e-30, 0.5, 1.0, 1.5])
    torch.testing.assert_close(sharpen(extremes, 10.0), torch.tensor([0, 0, 0, 0.5, 1, 1]))


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_sharpening_changes_generated_images_only(model_class, prior: str, batch) -> None:
    model, plain = (extended(model_class, prior=prior, sharpen=factor).eval() for factor in (1.5, 1.0))
    x, labels = batch
    images = repeatable(plain.generate, labels)
    assert torch.equal(repeatable(model.generate, labels), sharpen(images, 1.5))
    assert torch.equal(model(x, labels)[0], plain(x, labels)[0])
    assert torch.equal(
        repeatable(model.training_loss, x, labels, 0.1)[0], repeatable(plain.training_loss, x, labels, 0.1)[0]
    )


# --- Together -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", MODELS)
def test_training_loss_reaches_every_weight(model_class, batch) -> None:
    model = extended(model_class, **ALL_ON)
    model.training_loss(*batch, 0.1)[0].backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unreached == []


@pytest.mark.parametrize("model_class", MODELS)
def test_training_loss_weighs_ssim_as_the_score_does(model_class, batch) -> None:
    """A change of the reconstruction term is in proportion to what the score loses by it."""
    x, labels = batch
    model = extended(model_class, **ALL_ON).eval()
    recon = model(x, labels)[0]
    _, recon_term, _ = model.training_loss(x, labels, 0.1)
    lost = 5 - 5 * ssim(recon, x) + 50 * (recon - x).square().mean(dim=(1, 2))  # of VAE0label's ten points
    torch.testing.assert_close(recon_term, 784 / 0.2 * lost.mean() / 50)


def test_class_means_are_where_the_kl_is_measured_from(batch) -> None:
    x, labels = batch
    model = extended(GenModel, prior="class_mean")
    model.model.encode = lambda x, labels: (model.prior.means(labels), torch.zeros(len(x), 6))
    assert model.training_loss(x, labels, 0.1)[2].item() == pytest.approx(0, abs=1e-6)


# --- Options and refusals -----------------------------------------------------------------------


def test_the_command_line_knows_every_prior() -> None:
    """options.py lists them itself: it must not import torch, which priors.py does."""
    assert OPTIONS["prior"].choices == tuple(sorted(PRIORS))


CONFIG = TrainConfig("VAE0label", "digits", {"latent_dim": 6}, var=0.1, epochs=1)
OFF = {"prior": "standard", "recon": "mse", "refine": 0, "sharpen": 1.0}


def test_a_configuration_without_additions_builds_the_submissions_own_model() -> None:
    import submission

    assert type(build_model(submission, CONFIG)) is VAE
    assert type(build_model(submission, replace(CONFIG, beyond=OFF | {"refine": 3}))) is Extended


def test_an_older_checkpoint_does_not_name_sharpen() -> None:
    assert Additions.from_dict({"prior": "learned", "recon": "mse", "refine": 3}) == Additions(
        prior="learned", refine=3
    )


@pytest.mark.parametrize(
    ("beyond", "says"),
    [
        (OFF | {"prior": "class_mean"}, "--prior class_mean needs labels, which VAE0label does not use"),
        (OFF | {"prior": "flow"}, "invalid prior 'flow'"),
        (OFF | {"refine": -1}, "invalid refine -1"),
        (OFF | {"refine": True}, "invalid refine True"),
        (OFF | {"sharpen": 0.5}, "invalid sharpen 0.5"),
        ({"prior": "learned"}, "expected the additions prior, recon, refine, sharpen, got prior"),
        (OFF | {"refined": 3}, "expected the additions prior, recon, refine, sharpen, got prior, recon"),
    ],
)
def test_additions_that_are_not_possible_are_refused(beyond: dict, says: str) -> None:
    with pytest.raises(LabError, match=says):
        extend(Student(), vae_loss, replace(CONFIG, beyond=beyond))
