"""The benchmarks run, on the smallest of what they can run on, and say what they measured."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import REPO, copy_lab, succeed
from PIL import Image


@pytest.fixture
def lab_copy(tmp_path: Path, main_job: Path) -> Path:
    """The lab's code in a folder of its own, with the digits: benchmarks write beside the code."""
    copy_lab(tmp_path)
    shutil.copytree(REPO / "benchmarks", tmp_path / "benchmarks")
    shutil.copytree(main_job / "dataset", tmp_path / "dataset")
    return tmp_path


def table(printed: str) -> list[list[str]]:
    """The cells of a Markdown table, without its header."""
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_train_speed(lab_copy: Path) -> None:
    options = ("--dataset", "digits", "--images", 1280, "--rounds", 1)
    rows = table(succeed("benchmarks/train_speed.py", *options, cwd=lab_copy, repo=lab_copy))
    assert {row[0] for row in rows} >= {"MLP 784-400-20", "VAE0label's default", "Genwithlabel's default"}
    speeds = {(row[0], row[1]): float(row[2].replace(",", "")) for row in rows}
    for network, contender, _, _, ratio, _ in rows:
        if contender == "plain loop":
            assert float(ratio) == pytest.approx(
                speeds[network, "ours"] / speeds[network, contender], abs=0.06
            )


def test_grade_speed(lab_copy: Path, main_job: Path) -> None:
    options = ("--checkpoint_path", main_job / "outputs/Genwithlabel/best.pt", "--runs", 1)
    rows = table(succeed("benchmarks/grade_speed.py", *options, cwd=lab_copy, repo=lab_copy))
    assert [row[:2] for row in rows] == [
        [codes, way] for codes in ("mu", "searched") for way in ("ours", "original")
    ]
    assert float(rows[2][-1]) > float(rows[0][-1])  # what the search is for


def test_quality_goes_on_where_it_was(lab_copy: Path) -> None:
    """Runs that are done are read; the table gives their means."""
    for seed, fid in ((0, 1.0), (1, 2.0)):
        for prior, task in (
            ("learned", "VAE0label"),
            *((p, "Genwithlabel") for p in ("standard", "class_mean", "learned")),
        ):
            name = f"digits-{task}-{prior}-d4-epochs3-seed{seed}"
            grade = {"ssim": 0.9, "mse": 0.01, "score": 8.5, "score_uncapped": 8.5}
            grade |= {"fid": fid} if task == "Genwithlabel" else {}
            path = lab_copy / "outputs/quality" / name / "valid.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({task: grade}))
    options = ("--dataset", "digits", "--seeds", 2, "--latent_dims", 4)
    rows = table(succeed("benchmarks/quality.py", *options, cwd=lab_copy, repo=lab_copy))
    assert len(rows) == 4
    assert rows[0][4] == ""
    assert rows[1][4] == "1.50 ± 0.71"
    with (lab_copy / "benchmarks/results/quality.csv").open() as file:
        assert float(list(csv.DictReader(file))[3]["fid_mean"]) == 1.5
    assert Image.open(lab_copy / "benchmarks/results/quality.png").size[0] > 1000
