"""Training: interrupted and resumed runs, lost losses, full disks, and models that students write."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import fail, made_once, rows, run_command, start_process, succeed

from vaelab.checkpoint import load_checkpoint

SMALL = ("train.py", "--task", "Genwithlabel", "--dataset", "digits", "--arch", "mlp", "--hidden_dim", "32")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_seconds(log: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of sixty epochs."""
    cwd = made_once(tmp_path_factory, "whole_run", lambda cwd: succeed(*SMALL, "--epochs", 30, cwd=cwd))
    return cwd / "outputs/Genwithlabel"


# --- What a run leaves --------------------------------------------------------------------------


def test_files_of_a_run(whole_run: Path) -> None:
    names = {path.name for path in whole_run.iterdir() if path.name != ".lock"}
    assert names == {"config.json", "log.jsonl", "last.pt", "best.pt", "loss_curve.png", "samples"}
    assert len(list((whole_run / "samples").iterdir())) == 30
    log = rows(whole_run)
    assert [row["epoch"] for row in log] == list(range(1, 31))
    terms = [row["valid_recon_term"] + row["valid_kl_term"] for row in log]
    assert [row["valid_loss"] for row in log] == pytest.approx(terms)
    assert log[-1]["train_loss"] < log[0]["train_loss"] / 2
    assert log[-1]["valid_ssim"] > log[0]["valid_ssim"]
    config = json.loads((whole_run / "config.json").read_text())
    assert (config["dataset"], config["model_args"]["hidden_dim"], config["epochs"]) == ("digits", 32, 30)
    best, last = load_checkpoint(whole_run / "best.pt"), load_checkpoint(whole_run / "last.pt")
    assert best.epoch == min(log, key=lambda row: row["valid_loss"])["epoch"]
    assert last.epoch == 30
    assert last.optimizer is not None
    assert best.optimizer is None


def test_the_grade_is_that_of_the_log(main_job: Path) -> None:
    for task, grade in json.loads((main_job / "outputs/grade_result.json").read_text()).items():
        best = min(rows(main_job / "outputs" / task), key=lambda row: row["valid_loss"])
        assert grade["ssim"] == pytest.approx(best["valid_ssim"], abs=2e-3)
        assert grade["mse"] == pytest.approx(best["valid_mse"], rel=1e-2)


def test_the_grade_of_refined_codes_is_above_the_logged_quality(beyond_job: Path) -> None:
    """The log's is of the encoder's codes, the grade's of those that `compress` makes of them."""
    for task, grade in json.loads((beyond_job / "outputs/grade_result.json").read_text()).items():
        best = min(rows(beyond_job / "outputs" / task), key=lambda row: row["valid_loss"])
        assert grade["ssim"] > best["valid_ssim"]
        assert grade["mse"] < best["valid_mse"]


def test_seed_decides_the_result(whole_run: Path, tmp_path: Path) -> None:
    succeed(*SMALL, "--epochs", 2, "--output_dir", "a", cwd=tmp_path)
    succeed(*SMALL, "--epochs", 2, "--output_dir", "b", cwd=tmp_path)
    succeed(*SMALL, "--epochs", 2, "--output_dir", "c", "--seed", 1, cwd=tmp_path)
    a, b, c = (digest(tmp_path / name / "Genwithlabel/last.pt") for name in "abc")
    assert a == b
    assert a != c


def test_a_bar_is_drawn_on_a_terminal_only(tmp_path: Path) -> None:
    result = run_command(*SMALL, "--test_run", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    process = start_process(*SMALL, "--test_run", cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end has closed
        while more := os.read(ours, 4096):
            drawn += more
    assert process.wait() == 0
    for text in (b"epoch 1/1", b"100%", b"loss=", b"step/s"):
        assert text in drawn


# --- Resume -------------------------------------------------------------------------------------


def test_killed_at_five_moments_the_result_is_bit_identical(whole_run: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    command = (*SMALL, "--epochs", 30, "--resume")
    folder, resumed_from = tmp_path / "outputs/Genwithlabel", []
    for kill in range(6):
        process = start_process(*command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        if kill == 5:
            assert process.wait(timeout=120) == 0, process.stderr.read()
            break
        # Wait for training to move, then strike at a random moment of an epoch.
        before = digest(folder / "last.pt") if (folder / "last.pt").exists() else ""
        while not (folder / "last.pt").exists() or digest(folder / "last.pt") == before:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        resumed_from.append(load_checkpoint(folder / "last.pt").epoch)
    assert 0 < resumed_from[-1] < 30
    assert len(set(resumed_from)) > 1
    for name in ("last.pt", "best.pt"):
        assert digest(folder / name) == digest(whole_run / name)
    for name in ("samples/epoch_001.png", "samples/epoch_030.png", "config.json"):
        assert digest(folder / name) == digest(whole_run / name)
    assert without_seconds(rows(folder)) == without_seconds(rows(whole_run))
    assert not list(folder.glob(".*.tmp"))


def test_resuming_goes_on_for_more_epochs_and_guards_the_rest(whole_run: Path, change) -> None:
    folder = change(whole_run.parent.parent) / "outputs/Genwithlabel"
    cwd = folder.parent.parent
    line = fail(*SMALL, "--resume", "--lr", 0.1, cwd=cwd)
    assert "the run to resume has lr 0.003, not 0.1" in line
    assert "has latent_dim 20, not 3" in fail(*SMALL, "--resume", "--latent_dim", 3, cwd=cwd)
    assert "has dataset digits, not mnist" in fail(*SMALL[:3], "--resume", "--dataset", "mnist", cwd=cwd)
    assert "30 epochs are done: --epochs can't be 1" in fail(*SMALL, "--resume", "--epochs", 1, cwd=cwd)
    before = digest(folder / "last.pt")
    assert "30 of 30 epochs are done" in succeed("train.py", "--task", "Genwithlabel", "--resume", cwd=cwd)
    assert digest(folder / "last.pt") == before
    succeed("train.py", "--task", "Genwithlabel", "--resume", "--epochs", 31, cwd=cwd)
    assert [row["epoch"] for row in rows(folder)] == list(range(1, 32))


def test_a_run_is_not_replaced_unasked(whole_run: Path, change) -> None:
    cwd = change(whole_run.parent.parent)
    folder = cwd / "outputs/Genwithlabel"
    before = digest(folder / "last.pt")
    assert "already contains a run: continue it with --resume, or replace it with --overwrite" in fail(
        *SMALL, cwd=cwd
    )
    (folder / "valid").mkdir()  # outputs of the old model, which must not be graded as the new one's
    assert "not allowed with argument" in fail(*SMALL, "--resume", "--overwrite", cwd=cwd)
    assert digest(folder / "last.pt") == before
    succeed(*SMALL, "--overwrite", "--epochs", 2, cwd=cwd)
    assert len(rows(folder)) == len(list((folder / "samples").iterdir())) == 2
    assert not (folder / "valid").exists()
    (folder / "last.pt").unlink()
    assert "contains best.pt, log.jsonl but no last.pt to resume" in fail(*SMALL, "--resume", cwd=cwd)
    for name in ("best.pt", "log.jsonl"):
        (folder / name).unlink()
    succeed(*SMALL, "--resume", "--epochs", 1, cwd=cwd)  # what is left is no run


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = start_process(*SMALL, "--epochs", 100_000, cwd=tmp_path, **streams)
    try:
        while not (tmp_path / "outputs/Genwithlabel/log.jsonl").exists():
            time.sleep(0.05)
        for option in ("--resume", "--overwrite"):
            line = fail(*SMALL, option, cwd=tmp_path)
            assert f"another run is writing to {Path('outputs/Genwithlabel')}" in line
    finally:
        first.send_signal(signal.SIGINT)
        assert first.wait() == 130
    assert (tmp_path / "outputs/Genwithlabel/loss_curve.png").exists()


def test_test_run_does_one_batch_of_everything_beside_the_run(whole_run: Path, change) -> None:
    cwd = change(whole_run.parent.parent)
    before = digest(cwd / "outputs/Genwithlabel/last.pt")
    for _ in range(2):
        succeed(*SMALL, "--test_run", cwd=cwd)
    assert digest(cwd / "outputs/Genwithlabel/last.pt") == before
    folder = cwd / "outputs/test_run/Genwithlabel"
    assert [row["step"] for row in rows(folder)] == [1]
    assert {path.name for path in whole_run.iterdir()} == {path.name for path in folder.iterdir()}


# --- When it goes wrong -------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    line = fail(*SMALL, "--lr", 1e9, "--epochs", 3, cwd=tmp_path)
    assert "the loss became" in line
    assert "at step 1, in epoch 1; outputs/Genwithlabel/last.pt still contains epoch 0" in line
    weights = load_checkpoint(tmp_path / "outputs/Genwithlabel/last.pt").model.values()
    assert all(torch.isfinite(weight).all() for weight in weights)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As on a full disk: within this context, no file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_earlier_run_outlives_an_overwrite_that_finds_no_room(whole_run: Path, change) -> None:
    cwd = change(whole_run.parent.parent)
    folder = cwd / "outputs/Genwithlabel"
    before = {path: digest(path) for path in folder.rglob("*.*")}
    with largest_file(1000):
        line = fail(*SMALL, "--overwrite", cwd=cwd)
    assert "can't write outputs/Genwithlabel/last.pt" in line
    assert {path: digest(path) for path in folder.rglob("*.*")} == before


@pytest.mark.parametrize("damage", ["torn", "binary", "empty object", "null", "gone"])
def test_a_damaged_log_does_not_stop_a_resume(whole_run: Path, change, damage: str) -> None:
    folder = change(whole_run.parent.parent) / "outputs/Genwithlabel"
    log = folder / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)[:10]
    if damage == "gone":
        log.unlink()
    else:
        bad = {
            "torn": lines[0][:50].encode(),
            "binary": b"\xff\xfe\n",
            "empty object": b"{}\n",
            "null": b"null\n",
        }
        log.write_bytes("".join(lines).encode() + bad[damage])
    succeed("train.py", "--task", "Genwithlabel", "--resume", "--epochs", 31, cwd=folder.parent.parent)
    kept = 0 if damage in ("gone", "binary") else 10
    assert [row["epoch"] for row in rows(folder)] == [*range(1, kept + 1), 31]


@pytest.mark.parametrize("size", [1000, 150_000])  # too little for a log and a picture; for a checkpoint
def test_a_full_disk_leaves_the_earlier_files_whole(whole_run: Path, change, size: int) -> None:
    cwd = change(whole_run.parent.parent)
    folder = cwd / "outputs/Genwithlabel"
    before = {path: digest(path) for path in folder.glob("*.pt")}
    with largest_file(size):
        line = fail(*SMALL, "--resume", "--epochs", 31, cwd=cwd)
    assert "can't write" in line
    assert "the earlier file is unchanged" in line or size == 1000
    assert {path: digest(path) for path in folder.glob("*.pt")} == before
    assert not list(folder.glob(".*.tmp"))
    assert load_checkpoint(folder / "last.pt").epoch == 30


def damaged_checkpoint(path: Path, kind: str) -> None:
    whole = torch.load(path, weights_only=True)
    match kind:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-5000])
        case "flipped":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1  # in the middle of the weights: nothing but a checksum can tell
            path.write_bytes(data)
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("weights")
        case "other":
            torch.save(whole["model"], path)
        case "list":
            torch.save([1, 2], path)
        case "config":
            torch.save(whole | {"config": {}}, path)
        case "code":
            torch.save(whole | {"config": Path("a class that is not plain data")}, path)


@pytest.mark.parametrize("kind", ["truncated", "flipped", "empty", "text", "other", "list", "config", "code"])
def test_a_damaged_checkpoint_is_named(whole_run: Path, change, kind: str) -> None:
    cwd = change(whole_run.parent.parent)
    path = "outputs/Genwithlabel/last.pt"
    damaged_checkpoint(cwd / path, kind)
    line = fail("inference.py", "--checkpoint_path", path, cwd=cwd)
    assert path in line
    assert re.search("not a checkpoint of (this|the) lab", line), line
    if kind in ("truncated", "flipped", "config"):
        assert path in fail(*SMALL, "--resume", cwd=cwd)


def test_a_checkpoint_of_the_other_task_or_of_another_model_is_refused(whole_run: Path, change) -> None:
    cwd = change(whole_run.parent.parent)
    path = cwd / "outputs/Genwithlabel/best.pt"
    line = fail("inference.py", "--task", "VAEwolabel", "--checkpoint_path", path, cwd=cwd)
    assert "is of the task Genwithlabel, not VAE0label" in line
    (cwd / "outputs/VAE0label").mkdir()
    shutil.copy(cwd / "outputs/Genwithlabel/last.pt", cwd / "outputs/VAE0label")
    line = fail("train.py", "--task", "VAE0label", "--resume", cwd=cwd)
    assert "is of the task Genwithlabel, not VAE0label" in line
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["config"]["model_args"]["latent_dim"] = 5
    torch.save(checkpoint, path)
    assert "don't fit GenModel in submission.py" in fail("inference.py", "--checkpoint_path", path, cwd=cwd)
