"""The probes on principal components of the digits, honest and not, without a sandbox."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from apps.autograde.flags import generated_flags, probe_flags
from apps.autograde.probes import LEVELS_CHANGED, PIXELS_MOVED, Decoded, Probes, deform, measure, speckle
from vaelab.data.digits import embedded_digits

Function = Callable[[np.ndarray], np.ndarray]
LATENT_DIM, LEVELS, SCALE = 8, 32, 5.0
(TRAIN, _), (IMAGES, LABELS) = (embedded_digits()[split] for split in ("train", "test"))
MEAN = TRAIN.reshape(-1, 784).mean(axis=0) / 255
AXES = np.linalg.eigh(np.cov(TRAIN.reshape(-1, 784).T))[1][:, ::-1]


def encode(x: np.ndarray, latent_dim: int = LATENT_DIM) -> np.ndarray:
    return (x.reshape(-1, 784) / 255 - MEAN) @ AXES[:, :latent_dim]


def decode(z: np.ndarray) -> np.ndarray:
    recon = (MEAN + z.astype(float) @ AXES[:, : z.shape[1]].T).clip(0, 1)
    return (recon * 255).round().astype(np.uint8).reshape(-1, 28, 28)


def known(z: np.ndarray, every: int = 1) -> np.ndarray:
    """The stored images, or some of them, of codes that are exactly theirs; others are decoded."""
    stored = encode(IMAGES).astype(np.float16).astype(float)
    distance = np.square(z[:, None].astype(float) - stored).sum(axis=2)
    i = distance.argmin(axis=1)
    same = (distance.min(axis=1) < 1e-6) & (i % every == 0)
    return np.where(same[:, None, None], IMAGES[i], decode(z))


def pack(x: np.ndarray) -> np.ndarray:
    levels = ((encode(x, 2 * LATENT_DIM) / SCALE).clip(-1, 1) + 1) / 2 * (LEVELS - 1)
    return levels.round()[:, ::2] * LEVELS + levels.round()[:, 1::2]


def unpack(z: np.ndarray) -> np.ndarray:
    high, low = np.divmod(z.astype(float).round(), LEVELS)
    levels = np.stack([high, low], axis=2).reshape(len(z), -1)
    return decode((levels / (LEVELS - 1) * 2 - 1) * SCALE)


def flags(encoder: Function, decoder: Function) -> str:
    """The flags of a model."""
    probes = Probes.draw(IMAGES, LABELS, None, np.random.default_rng(0))
    z = encoder(IMAGES).astype(np.float16)
    parts = (z, encoder(probes.inputs()[0]).astype(np.float16), probes.codes(z, LABELS)[0])
    decoded = Decoded.of(*map(decoder, parts), probes)
    return "; ".join(probe_flags(measure("VAE0label", probes, IMAGES, decoded, z.shape[1])))


def test_an_honest_model_has_no_flag() -> None:
    assert flags(encode, decode) == ""


def test_stored_images_are_seen() -> None:
    found = flags(encode, known)
    assert "slightly deformed ones" in found
    assert "codes that are moved" in found


def test_few_stored_images_are_seen() -> None:
    """One of 20, which is worth 0.09 points here: all of these few images are probes."""
    assert "slightly deformed ones" in flags(encode, lambda z: known(z, every=20))


def test_codes_that_are_drawn_at_random_have_no_flag() -> None:
    rng = np.random.default_rng(0)
    assert flags(lambda x: encode(x) + 0.2 * rng.standard_normal((len(x), LATENT_DIM)), decode) == ""


def test_packed_numbers_are_seen() -> None:
    assert "codes that are moved" in flags(pack, unpack)
    assert "slightly deformed ones" not in flags(pack, unpack)


def test_speckled_images_differ_in_their_strokes_alone() -> None:
    change = speckle(IMAGES, np.random.default_rng(0)).astype(int) - IMAGES
    assert np.abs(change).max() == LEVELS_CHANGED
    assert (change[IMAGES == 0] == 0).all()


def test_deformed_images_are_new_and_similar() -> None:
    deformed = deform(IMAGES[:50], np.random.default_rng(0), PIXELS_MOVED)
    change = np.abs(deformed.astype(int) - IMAGES[:50]).mean(axis=(1, 2, 3))
    assert 0 < change[0] < change[1] < change[2] < 20
    assert (deformed != IMAGES[:50]).any(axis=(2, 3)).all()


@pytest.mark.parametrize("fid", [2.0, 12.0])
def test_images_that_only_the_simplified_fid_likes(fid: float) -> None:
    """An FID that gives no points is not looked at; copies always are."""
    seen = {"neighbour_correlation": 0.1, "neighbour_correlation_real": 0.9, "classifier_fid": 74.0}
    seen |= {"read_as_asked": 0.9, "generated_error": 1.5, "copies_of_train": 0.5, "copies_of_split": 0.0}
    found = "; ".join(generated_flags(fid, 10.0, seen))
    assert "copies of train 50%" in found
    assert ("neighbouring pixels" in found) == (fid < 10)
    assert ("can't decode" in found) == (fid < 10)
