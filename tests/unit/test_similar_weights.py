"""Pairs of submissions whose weights are near each other; nothing is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_term import attempt, result

from apps.autograde.gradebook import Gradebook
from apps.autograde.pages import index_page
from apps.autograde.record import Attempt
from apps.autograde.results import StudentResult
from apps.autograde.similarity import near_weights, similar_pairs, weight_sketches


def student(folder: Path, name: str, *arrays: np.ndarray) -> StudentResult:
    """A student whose checkpoint has these arrays."""
    (folder / name).mkdir()
    with zipfile.ZipFile(folder / name / "VAE0label.pt", "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02cos\nsystem\n")
        for i, array in enumerate(arrays):
            archive.writestr(f"x/data/{i}", array.astype("<f4").tobytes())
    one = attempt(name)
    one.sketches = weight_sketches(folder / name)
    return result(name, one)


def test_a_copy_that_was_changed_a_little_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = (40_000, 400, 8_000, 1_000, 5_000, 900)

    def weights() -> list[np.ndarray]:
        return [rng.normal(0, 0.1, n) for n in shapes]

    ann = weights()
    near = [array + 0.05 * array.std() * rng.normal(size=array.shape) for array in ann]
    far = [array + array.std() * rng.normal(size=array.shape) for array in ann]
    people = [
        student(tmp_path, "ann", *ann),
        student(tmp_path, "bob", *near),
        student(tmp_path, "eve", *far),
        *(student(tmp_path, f"student {i}", *weights()) for i in range(20)),
        student(tmp_path, "other", *(ann[:3])),  # another model
    ]
    found = near_weights(people)
    assert found == {("ann", "bob"): pytest.approx(0.9988, abs=0.002)}  # 1 / sqrt(1 + 0.05 ** 2)
    (pair,) = similar_pairs(people, [])
    assert (pair.a, pair.b, pair.weights) == ("ann", "bob", 0.0)
    assert f"{pair.cosine:.4f}" in index_page(people, Gradebook(tmp_path / "grades"), [pair], 1.0)


def test_arrays_that_are_no_float32_are_left_out(tmp_path: Path) -> None:
    one = student(tmp_path, "ann", np.full(1000, np.nan), np.ones(1000), np.arange(1000.0), np.ones(3))
    assert [*one.counted.attempt.sketches] == ["VAE0label/2:1000"]
    assert near_weights([one]) == {}
    assert near_weights([result("bob", attempt())]) == {}  # a record of an earlier version
    assert isinstance(one.counted.attempt, Attempt)
