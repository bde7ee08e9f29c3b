"""Commands that are killed at random times go on where they were: nothing is lost, and results are equal.

    pytest tests/commands/test_kills.py --kills 500

Each command is started again until it was killed that many times; when it finishes, it is begun anew.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import finish, rows, start_process, succeed, without_data
from hostile import checkpoint, honest, write_class

from apps.autograde.sandbox import sandbox_problem
from vaelab.data.digits import embedded_digits

SEED = 7


def run_with_kills(
    start: Callable[[], subprocess.Popen], kills: int, finished: Callable[[], None], in_a_row: int = 20
) -> None:
    """Run a command again and again, and kill it at random times, `kills` times in all.

    finished: is called whenever the command has finished; it compares the results and removes them.
    in_a_row: kills until it is left to finish.
    """
    rng, killed, row, ended = random.Random(SEED), 0, 0, 0
    began = time.monotonic()
    finish(start())
    longest = time.monotonic() - began
    finished()
    while killed < kills or not ended:
        process = start()
        try:
            process.wait(rng.uniform(0.1, longest) if killed < kills and row < in_a_row else 240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed, row = killed + 1, row + 1
        result = finish(process)
        if result.returncode != -signal.SIGKILL:
            assert result.returncode == 0, result.stderr
            row, ended = 0, ended + 1
            finished()
    print(f"killed {killed} times, finished {ended} times")


def starter(*command: object, cwd: Path, **variables: str) -> Callable[[], subprocess.Popen]:
    """A function that starts a command in a session of its own."""
    env = without_data() | {"OMP_NUM_THREADS": "1"} | variables
    return lambda: start_process(*command, cwd=cwd, env=env, start_new_session=True)


def test_training(tmp_path: Path, pytestconfig) -> None:
    options = ("--task", "VAE0label", "--dataset", "digits", "--arch", "mlp", "--epochs", 12)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    succeed("train.py", *options, cwd=whole, process=True, env={"OMP_NUM_THREADS": "1"})
    expected = torch.load(whole / "outputs/VAE0label/last.pt", weights_only=True)["model"]

    def finished() -> None:
        found = torch.load(cut / "outputs/VAE0label/last.pt", weights_only=True)["model"]
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert [row["epoch"] for row in rows(cut / "outputs/VAE0label")] == list(range(1, 13))
        assert not list((cut / "outputs/VAE0label").glob(".*.tmp"))
        shutil.rmtree(cut / "outputs")

    start = starter("train.py", *options, "--resume", cwd=cut)
    run_with_kills(start, pytestconfig.getoption("kills"), finished)


def test_a_sweep(tmp_path: Path, pytestconfig) -> None:
    grid = {"DATASET": "digits", "ARCH": "mlp", "EPOCHS": "2", "TASK": "VAE0label", "LATENT_DIM": "3 5"}
    root, tables = tmp_path / "outputs" / "sweep", []

    def finished() -> None:
        tables.append((root / "sweep.csv").read_text())
        assert tables[-1] == tables[0]
        shutil.rmtree(tmp_path / "outputs")

    start = starter("sweep.py", cwd=tmp_path, **grid)
    # A trial that ends its process five times at one epoch counts as failed.
    run_with_kills(start, pytestconfig.getoption("kills"), finished, in_a_row=3)


@pytest.mark.xdist_group("autograde")  # not beside the tests that look for running sandboxes
@pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))
def test_grading(tmp_path: Path, digits_data: Path, pytestconfig) -> None:
    shutil.copytree(digits_data / "dataset", tmp_path / "dataset")
    train = embedded_digits()["train"][0]
    write_class(tmp_path / "class", train, {"ann": honest(), "bob": honest()}, {})
    (tmp_path / "class/bob/Genwithlabel.pt").write_bytes(checkpoint("Genwithlabel", train))
    grades, tables = tmp_path / "grades", []
    grades.mkdir()
    (grades / ".secret").write_text("5" * 64)

    def finished() -> None:
        with (grades / "grades.csv").open(newline="") as file:
            table = [
                {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
            ]
        tables.append(table)
        assert len(table) == 4
        assert table == tables[0]
        assert not list(grades.glob(".work-*"))
        shutil.rmtree(grades)
        grades.mkdir()
        (grades / ".secret").write_text("5" * 64)

    how = ("--dataset", "digits", "--split", "test", "--jobs", 1)
    start = starter("autograde.py", "class", *how, cwd=tmp_path)
    run_with_kills(start, pytestconfig.getoption("kills"), finished)
