"""What the playground computes, against the model's own calls."""

# ruff: noqa: F811 (fixtures are imported, and named again by the tests that take them)
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MNIST_DIR
from playing import CPU, NASTY, cache, drawing, lab, png  # noqa: F401
from scipy.ndimage import center_of_mass

import submission
from apps.playground.cache import ModelCache
from apps.playground.drawing import decode_drawing, normalize_drawing
from apps.playground.rendering import BEST, PageRenderer
from apps.playground.session import ModelSession
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel, load_checkpoint
from vaelab.cli import LabError
from vaelab.config import TrainConfig
from vaelab.contract import build_model


def model_of(lab: Path, task: str) -> torch.nn.Module:
    checkpoint = load_checkpoint(lab / "outputs" / task / "best.pt")
    model = build_model(submission, checkpoint.config)
    model.load_state_dict(checkpoint.model)
    return model.eval()


def as_uint8(images: torch.Tensor) -> np.ndarray:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("size", [(280, 280), (200, 400), (1999, 300)])
def test_a_drawing_is_scaled_and_centred_as_mnist(size: tuple[int, int]) -> None:
    image = normalize_drawing(drawing(*size))
    assert (image.dtype, image.shape) == (np.uint8, (28, 28))
    rows, columns = np.nonzero(image)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert np.ptp(rows) > np.ptp(columns) > 10  # the proportions are kept: 120 by 100
    np.testing.assert_allclose(center_of_mass(image), 14, atol=0.51)  # in pixels, which are whole


@pytest.mark.mnist
def test_real_digits_enlarged_come_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = MNISTDataset("test", "mnist", MNIST_DIR).images[:200].numpy()
    back = np.stack([normalize_drawing(np.pad(image.repeat(9, 0).repeat(9, 1), (0, 99))) for image in images])
    errors = np.square((back.astype(float) - images) / 255).mean(axis=(1, 2))
    assert np.median(errors) < 0.001
    assert errors.mean() < 0.005  # a centre of mass half way between two pixels may be rounded the other way


def test_a_drawing_too_large_or_empty_is_told_so() -> None:
    with pytest.raises(LabError, match="the drawing is 5,000 x 4,000 pixels, expected at most 2,000 a side"):
        decode_drawing(png(np.zeros((4000, 5000), np.uint8)))
    with pytest.raises(LabError, match="the drawing is empty"):
        normalize_drawing(decode_drawing(png(np.zeros((280, 280), np.uint8))))
    for other in ("", "data:image/png;base64,AAAA", png(drawing())[:-200], 7, None):
        with pytest.raises(LabError, match="the drawing can't be read"):
            decode_drawing(other)


@pytest.mark.parametrize("task", ["VAE0label", "Genwithlabel"])
def test_what_is_computed_is_what_the_model_says(lab: Path, cache: ModelCache, task: str) -> None:
    session, model = cache.session(task), model_of(lab, task)
    image, labels = session.images[5], torch.arange(10)
    x = torch.from_numpy(image).float()[None].repeat(10, 1, 1) / 255
    with torch.no_grad():
        mu, _ = model.encode(x, labels)
        recon = as_uint8(model.decode(mu, labels))
    errors = np.square((recon.astype(float) - image) / 255).mean(axis=(1, 2))
    for label in (4, None):
        result = session.reconstruct(image, label)
        i = int(errors.argmin()) if label is None else label
        assert result.label == (i if task == "Genwithlabel" else None)
        np.testing.assert_allclose(result.code, mu[i], rtol=1e-4, atol=1e-4)
        assert np.abs(result.recon.astype(int) - recon[i]).max() <= 1
        assert result.mse == pytest.approx(errors[i], abs=1e-4)
    torch.manual_seed(3)
    generated = session.generate(2, 6)
    torch.manual_seed(3)
    with torch.no_grad():
        np.testing.assert_array_equal(generated, as_uint8(model.generate(torch.full((6,), 2))))


def test_a_walk_ends_at_the_reconstructions(cache: ModelCache) -> None:
    session = cache.session("Genwithlabel")
    a, b = (session.reconstruct(session.images[i], int(session.labels[i])) for i in (0, 1))
    assert a.label != b.label
    path = session.interpolate(a, b, np.array([0, 0.25, 0.75, 1]))
    np.testing.assert_array_equal(path[[0, 3]], [a.recon, b.recon])
    middle = session.decode(np.stack([0.75 * a.code + 0.25 * b.code]), np.array([a.label]))
    np.testing.assert_array_equal(path[1], middle[0])


def test_latents_come_in_the_order_of_their_kl_and_sliders_reach_where_codes_are(cache: ModelCache) -> None:
    session = cache.session("VAE0label")
    x = torch.from_numpy(session.images).float() / 255
    with torch.no_grad():
        mu, logvar = (value.double().numpy() for value in session.loaded.model.encode(x))
    kl = 0.5 * (np.exp(logvar) + mu**2 - 1 - logvar).mean(axis=0)
    np.testing.assert_allclose(session.kl, kl, rtol=1e-4)
    assert session.latent_order == list(np.argsort(-kl))
    z = mu + np.exp(logvar / 2) * np.random.default_rng(0).standard_normal(mu.shape)
    outside = (z < session.slider_min) | (z > session.slider_max)
    assert 0 < outside.mean() < 0.03


class Minimal(torch.nn.Module):
    """The contract's first five calls and no more."""

    def encode(self, x: torch.Tensor, labels: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        return x.flatten(1)[:, 400:403], torch.zeros(len(x), 3)

    def decode(self, z: torch.Tensor, labels: Any = None) -> torch.Tensor:
        return z.mean(dim=1)[:, None, None].expand(-1, 28, 28).sigmoid()

    def forward(self, x: torch.Tensor, labels: Any = None) -> tuple[torch.Tensor, ...]:
        return self.decode(self.encode(x)[0]), *self.encode(x)

    def generate(self, labels: torch.Tensor) -> torch.Tensor:
        return self.decode(torch.randn(len(labels), 3))


def minimal(model: torch.nn.Module) -> ModelSession:
    config = TrainConfig("VAE0label", "digits", {"latent_dim": 3}, var=0.1, epochs=1)
    loaded = LoadedModel("mine", Path("mine"), model, config, epoch=1)
    return ModelSession(loaded, MNISTDataset("valid", "digits"), CPU)


def test_a_students_model_needs_five_calls_only(lab: Path, cache: ModelCache) -> None:
    session = minimal(Minimal())
    assert sorted(session.latent_order) == [0, 1, 2]
    renderer = PageRenderer(cache)
    cache.sessions["mine"], cache.paths["mine"] = session, Path("mine")
    try:
        assert "7 generated, no label" in renderer.generate("mine", 0, 7)
        assert "the sliders&#39; code" in renderer.decode("mine", 0, 0, 1.0, 2.0, 3.0)
        assert "z3" in renderer.reconstruct("mine", png(drawing()), BEST)
    finally:
        del cache.sessions["mine"], cache.paths["mine"]


def test_a_model_that_breaks_the_contract_is_told_how(lab: Path) -> None:
    model = Minimal()
    model.encode = lambda x, labels=None: x.flatten(1)[:, :3]
    with pytest.raises(LabError, match=r"encode must return \(mu, logvar\), got Tensor"):
        minimal(model)
    model.encode = lambda x, labels=None: (x.flatten(1)[:, :3], x.flatten(1)[:, :2])
    with pytest.raises(LabError, match=r"logvar must be .* of shape \[257, 3\], got .*\[257, 2\]"):
        minimal(model)
    model.encode = lambda x, labels=None: (x.flatten(1)[:, :3] / 0, x.flatten(1)[:, :3])
    with pytest.raises(LabError, match="codes are nan or infinite"):
        minimal(model)


def test_what_cant_be_used_is_listed_with_its_reason(cache: ModelCache) -> None:
    assert cache.names == ["Genwithlabel", "VAE0label"]
    reasons = {
        "other_weights": "don't fit VAE in submission.py",
        "other_options": "VAE in submission.py has no option depth",
        "colour": "its images are in colour",
        NASTY: "is damaged, or not a checkpoint of this lab",
    }
    assert cache.refused.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in cache.refused[name]
