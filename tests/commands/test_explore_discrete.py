"""`explore.py discrete`: its figures and their numbers, on the digits and on a few images in colour."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import small_cifar10
from PIL import Image

from apps.explore import command as explore
from apps.explore import discrete


def numbers(name: str) -> list[dict]:
    """The rows of a figure's JSON, all of them finite, after a look at its picture and its CSV."""
    path = Path("outputs/explore", name)
    picture = np.asarray(Image.open(path.with_suffix(".png")).convert("L"))
    assert min(picture.shape) > 100
    assert picture.std() > 20  # something is drawn
    rows = json.loads(path.with_suffix(".json").read_text(), parse_constant=pytest.fail)["rows"]
    with path.with_suffix(".csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows) > 0
    return rows


def test_figures_of_discrete_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    monkeypatch.setattr(discrete, "LATENT_DIMS", (8, 32))  # two sizes of four: it takes a minute
    monkeypatch.setattr(discrete, "NUM_CODES", (16, 64))
    explore.main(["discrete", "--dataset", "digits", "--epochs", "5", "--images", "256"])
    rates = numbers("discrete_rate")
    assert [row["size"] for row in rates if row["model"] == "VAE"] == [f"d = {d}" for d in (8, 32)]
    for model, codes in (("VQ", (16, 64)), ("FSQ", (15, 64))):
        rows = [row for row in rates if row["model"] == model]
        assert [row["size"] for row in rows] == [f"K = {n}" for n in codes]
        assert [row["bits, log2 K"] for row in rows] == pytest.approx([49 * math.log2(n) for n in codes])
        assert all(0 < row["bits"] < row["bits, log2 K"] for row in rows)  # the prior knows something
    assert [row["model"] for row in numbers("discrete_recon")] == ["VAE", "VQ", "FSQ"]
    for row in numbers("discrete_usage"):
        assert 0 < row["used"] <= 1
        assert 1 <= row["perplexity"] <= row["used"] * row["codes"] + 1e-6
    for row in numbers("discrete_index"):
        assert row["change in the patch"] > row["farther away"] >= 0
    for row in numbers("discrete_samples"):
        assert 0 <= row["label accuracy"] <= 1


def test_figures_of_discrete_codes_in_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_cifar10(tmp_path / "files")
    explore.main(["discrete", "--dataset", "cifar10", "--data_dir", "files", "--epochs", "2"])
    rows = numbers("discrete_dataset_cifar10")
    assert [row["model"] for row in rows] == ["real images", "VAE", "VQ", "FSQ"]
    assert (rows[0]["mse"], rows[0]["sharpness"]) == (0, 1)
    assert all(row["mse"] > 0 and row["sharpness"] >= 0 and row["bits"] > 0 for row in rows[1:])
