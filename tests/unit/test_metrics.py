"""MSE, SSIM, FID and the score formula against scikit-image, closed forms and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from vaelab.cli import LabError
from vaelab.metrics import saved_images
from vaelab.metrics.fid import fid, frechet_distance
from vaelab.metrics.memorization import mean_pairwise_distance, nearest_distance, probability_closer
from vaelab.metrics.reconstruction import ssim, to_uint8
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import max_score, score, score_terms


def images(seed: int, n: int = 3, shape: tuple[int, ...] = (28, 28)) -> np.ndarray:
    """Blobs with flat black around them, as digits have."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (n, *shape))
    return (noise * (rng.random((n, *shape)) < rng.random())).astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(7, 40), width=st.integers(7, 40))
def test_ssim_is_scikit_images(seed: int, height: int, width: int) -> None:
    a, b = images(seed, 2, (height, width)), images(seed + 1, 2, (height, width))
    ours = ssim(*(torch.from_numpy(t).double() / 255 for t in (a, b)))
    oracle = [structural_similarity(x, y, data_range=255) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ours, oracle, rtol=0, atol=1e-12)
    np.testing.assert_allclose(saved_images.ssim(a, b), oracle, rtol=0, atol=1e-12)


def test_ssim_of_colour_is_scikit_images() -> None:
    a, b = images(0, 2, (3, 32, 32)), images(1, 2, (3, 32, 32))
    ours = ssim(*(torch.from_numpy(t).double() / 255 for t in (a, b)))
    oracle = [structural_similarity(x, y, data_range=255, channel_axis=0) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ours, oracle, rtol=0, atol=1e-12)
    np.testing.assert_allclose(saved_images.ssim(a, b), oracle, rtol=0, atol=1e-12)


def test_ssim_is_symmetric_one_for_equal_images_and_trains_in_float32() -> None:
    a, b = (torch.from_numpy(images(seed)).float() / 255 for seed in (0, 1))
    torch.testing.assert_close(ssim(a, a), torch.ones(3))
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    torch.testing.assert_close(ssim(a, b).double(), ssim(a.double(), b.double()), rtol=0, atol=1e-4)
    b.requires_grad_()
    ssim(a, b).sum().backward()
    assert torch.isfinite(b.grad).all()
    assert b.grad.abs().sum() > 0


def test_reconstruction_does_not_depend_on_the_chunk() -> None:
    a, b = images(0, 11), images(1, 11)
    whole = reconstruction(a, b, chunk=100)
    assert reconstruction(a, b, chunk=4) == pytest.approx(whole, abs=1e-14)
    assert reconstruction(a, a) == pytest.approx({"mse": 0, "ssim": 1})


def test_uint8_rounds_and_clips() -> None:
    x = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 2.0])
    assert to_uint8(x).tolist() == [0, 0, 0, 1, 255, 255]


# --- FID ----------------------------------------------------------------------------------------


def test_fid_of_equal_sets_is_zero_in_any_order() -> None:
    real = images(0, 40)
    labels = np.repeat(np.arange(10), 4)
    generated = real.reshape(10, 4, 28, 28)[:, ::-1]
    np.testing.assert_allclose(fid(generated, real, labels), np.zeros(10), atol=1e-12)


def test_fid_by_hand() -> None:
    # Every pixel: mean 51/255 = 0.2 and deviation 0.2 against mean 0.6 and deviation 0.
    generated = np.zeros((10, 2, 28, 28), np.uint8)
    generated[:, 1] = 102
    real = np.full((10, 28, 28), 153, np.uint8)
    distances = fid(generated, real, np.arange(10))
    np.testing.assert_allclose(distances, np.full(10, 784 * (0.4**2 + 0.2**2)))


def test_fid_is_the_frechet_distance_of_gaussians_with_diagonal_covariance() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    generated, real = (
        rng.integers(0, 256, (10, 9, 4, 4), np.uint8),
        rng.integers(0, 256, (70, 4, 4), np.uint8),
    )
    labels = np.arange(70) % 10
    for label, distance in enumerate(fid(generated, real, labels)):
        a, b = (t.reshape(len(t), -1) / 255 for t in (generated[label], real[labels == label]))
        cov_a, cov_b = np.diag(a.var(axis=0)), np.diag(b.var(axis=0))
        spread = np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
        assert distance == pytest.approx(np.sum((a.mean(0) - b.mean(0)) ** 2) + spread, abs=1e-9)


def test_fid_needs_every_label() -> None:
    with pytest.raises(LabError, match="no real image has the label 9"):
        fid(np.zeros((10, 2, 8, 8), np.uint8), np.zeros((9, 8, 8), np.uint8), np.arange(9))


# --- The score ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "values", "latent_dim", "uncapped", "capped"),
    [
        # The formulas worked by hand. R = 1 - 24/784, bonus 1.1694.
        ("VAE0label", {"ssim": 0.882, "mse": 0.0104}, 24, (4.41 + 4.48) * (1.2 - 24 / 784), 10.0),
        ("VAE0label", {"ssim": 0.5, "mse": 0.2}, 784, 2.5 * 0.2, 0.5),
        ("Genwithlabel", {"ssim": 0.882, "mse": 0.0104, "fid": 3.43}, 24, 24.35 * (1.2 - 24 / 784), 28.475),
        ("Genwithlabel", {"ssim": 1.0, "mse": 0.0, "fid": 0.0}, 1, 30 * (1.2 - 1 / 784), 30.0),
        ("Genwithlabel", {"ssim": 0.0, "mse": 0.1, "fid": 12.0}, 20, 0.0, 0.0),
    ],
)  # fmt: skip
def test_score(task: str, values: dict, latent_dim: int, uncapped: float, capped: float) -> None:
    result = score(task, values, latent_dim)
    assert result["score_uncapped"] == pytest.approx(uncapped)
    assert result["score"] == pytest.approx(capped, abs=1e-3)
    assert result["bonus"] == pytest.approx(0.2 + 1 - latent_dim / 784)
    assert sum(most for _, _, most in score_terms(task, values)) == max_score(task)


# --- Beyond the score ---------------------------------------------------------------------------


def test_frechet_distance_is_the_closed_form() -> None:
    """Against SciPy's matrix square root; zero for equal sets; the shift squared for a shifted one."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5))
    b = rng.standard_normal((300, 5)) * np.array([1.0, 2.0, 0.5, 0.3, 1.0]) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    mean = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    expected = mean + np.trace(cov_a + cov_b - 2 * scipy.linalg.sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 2) == pytest.approx(5 * 2**2, rel=1e-4)


def test_distances_are_those_of_a_loop() -> None:
    rng = torch.Generator().manual_seed(0)
    x, reference = torch.rand(7, 4, 4, generator=rng), torch.rand(9, 4, 4, generator=rng)
    pairs = [(a - b).square().sum().sqrt() for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    assert mean_pairwise_distance(x) == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)
    assert mean_pairwise_distance(x[:1].expand(5, 4, 4)) == pytest.approx(0, abs=1e-3)
    nearest = torch.stack([min((a - b).square().sum().sqrt() for b in reference) for a in x])
    torch.testing.assert_close(nearest_distance(x, reference, chunk=3), nearest)


@settings(deadline=None)
@given(a=st.lists(st.integers(0, 5), min_size=1), b=st.lists(st.integers(0, 5), min_size=1))
def test_probability_closer_counts_pairs(a: list[int], b: list[int]) -> None:
    expected = np.mean([(i < j) + (i == j) / 2 for i in a for j in b])
    a, b = torch.tensor(a).float(), torch.tensor(b).float()
    assert probability_closer(a, b) == pytest.approx(expected)


def test_ssim_is_exact_in_an_autocast() -> None:
    x, y = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = ssim(x, y)
    assert torch.equal(inside, ssim(x, y))
