"""Damaged files and odd options end in one clear line: no traceback, no hanging, no lost file.

    pytest tests/unit/test_fuzz.py --fuzz 10000

Each input is a good file with random damage. The seed of a failure is in its message.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import idx_bytes

from apps.autograde import command as autograde_command
from apps.autograde.arrays import pack
from apps.autograde.gradebook import Gradebook
from apps.autograde.limits import Limits, Outcome
from apps.autograde.policy import read_policy
from apps.autograde.roster import points_by_name, read_roster
from apps.autograde.steps import StepFailed, read_result
from vaelab.checkpoint import load_checkpoint
from vaelab.cli import LabError
from vaelab.config import TrainConfig
from vaelab.data import splits
from vaelab.data.idx import read_idx
from vaelab.hand_in import fingerprint, stage
from vaelab.outputs import read_hyperparams, read_npy
from vaelab.run_files import read_log

SECONDS = 20  # for one input; most take a millisecond
TASK = "VAE0label"


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the code inside after some seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- Good files, and what reads them --------------------------------------------------------------


def checkpoint_bytes() -> bytes:
    buffer = io.BytesIO()
    config = TrainConfig(TASK, "digits", {"latent_dim": 4}, var=0.1, epochs=1).to_dict()
    weights = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    torch.save({"task": TASK, "config": config, "epoch": 1, "best_loss": 0.0, "model": weights}, buffer)
    return buffer.getvalue()


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((20, 28, 28), np.uint8), labels=np.arange(20, dtype=np.uint8) % 10)
    return buffer.getvalue()


def npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((20, 28, 28), np.uint8))
    return buffer.getvalue()


def zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ann/submission.py", "class VAE: pass\n" * 20)
        archive.writestr("ann/VAE0label.pt", checkpoint_bytes())
    return buffer.getvalue()


def hyperparams_bytes() -> bytes:
    values = {"task": TASK, "latent_dim": 4, "dataset": "digits", "split": "valid", "seed": 0}
    return json.dumps(values | {"checkpoint": "best.pt", "model": "submission"}, indent=2).encode()


def record_bytes(folder: Path) -> bytes:
    from apps.autograde.record import Attempt, failed
    from vaelab.tasks import TASKS

    grades = {task: failed("error", "why", ["a flag"]) for task in TASKS}
    decided = {"split_sha256": "s", "time_limit": 300.0, "memory_mb": 4096, "date": "2026-11-20"}
    checks = {"layers": {"passed": False, "why": "because"}}
    book = Gradebook(folder)
    book.add("ann", Attempt("f", "ann.zip", 0.0, "found", {}, grades, checks, decided), {})
    return (folder / "ann.json").read_bytes()


def read_split(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "split_path", lambda dataset, split: path)
    splits.load_split("digits", "test")


def read_hand_in(path: Path, _: object) -> None:
    folder = path.parent / "staged"
    folder.mkdir()
    try:
        stage(path, folder)
        fingerprint(folder)
    finally:
        shutil.rmtree(folder)


def read_record(path: Path, _: object) -> None:
    Gradebook(path.parent).load("ann")


def read_step(path: Path, _: object) -> None:
    outcome = Outcome("ok", 0, path.read_bytes(), "a line")
    with contextlib.suppress(StepFailed):
        read_result(outcome, "encode", Limits())


LOG = b"".join(
    json.dumps({"epoch": i, "train": {"loss": 1.0}, "lr": 1e-3}).encode() + b"\n" for i in range(9)
)
ROSTER = b"name,id,email,group\nAnn Lee,1,ann@x.example,A\nBob,2,bob@x.example,B\n"
POINTS = b"name,0.1,0.2,comment\nAnn Lee,20,9.5,good\n"
POLICY = b'deadline = 2026-11-20T23:59:00\ncounts = "last"\n[extensions]\n"Ann Lee" = 2\n'
Read = Callable[[Path, pytest.MonkeyPatch], object]
KINDS: dict[str, tuple[str, Callable[[Path], bytes], Read]] = {
    "a checkpoint": ("x.pt", lambda _: checkpoint_bytes(), lambda path, _: load_checkpoint(path, TASK)),
    "a split": ("test.npz", lambda _: npz_bytes(), read_split),
    "an array": ("recon.npy", lambda _: npy_bytes(), lambda path, _: read_npy(path, (20, 28, 28))),
    "an idx file": (
        "x-idx3-ubyte",
        lambda _: idx_bytes(np.zeros((9, 28, 28), np.uint8)),
        lambda path, _: read_idx(path, 3),
    ),
    "a hand-in": ("ann.zip", lambda _: zip_bytes(), read_hand_in),
    "hyper-parameters": (
        "hyperparams.json",
        lambda _: hyperparams_bytes(),
        lambda path, _: read_hyperparams(path.parent, TASK, "valid"),
    ),
    "a record": ("ann.json", record_bytes, read_record),
    "a log": ("log.jsonl", lambda _: LOG, lambda path, _: read_log(path)),
    "a roster": ("roster.csv", lambda _: ROSTER, lambda path, _: read_roster(path)),
    "points": ("points.csv", lambda _: POINTS, lambda path, _: points_by_name(path, {"Ann Lee": None})),
    "a policy": ("policy.toml", lambda _: POLICY, lambda path, _: read_policy(path)),
    "what a step returned": (
        "result",
        lambda _: b'#encode\n{"status": "ok"}\n' + pack({"result": np.zeros((5, 3), np.float32)}),
        read_step,
    ),
}


# --- Damage -----------------------------------------------------------------------------------------

PIECES = (
    b"\x00",
    b"\xff" * 8,
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 40,
    b"null",
    b"[" * 5000,
    b'"',
    b"\n",
    b",",
    b"{}",
)
PIECES += (b"../../x", "学".encode(), b"\xed\xa0\x80", b"PK\x05\x06", b"PK\x03\x04", b"\x93NUMPY", b"=", b"'")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four damages."""
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 16, 200))
        kind = rng.randrange(7)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + rng.randbytes(length) + data[at + length :]
        elif kind == 2:
            data = data[:at] + data[at + length :]
        elif kind == 3:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif kind == 4:
            piece = rng.choice(PIECES)
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == 5:
            data = data[:at] + data[max(0, at - length) :]
        elif data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig) -> None:
    name, make, read = KINDS[kind]
    good, folder = make(tmp_path), tmp_path / "files"
    folder.mkdir()
    path, beside = folder / name, folder / "beside"
    beside.write_bytes(b"kept")
    path.write_bytes(good)
    read(path, monkeypatch)  # the good one
    for seed in range(pytestconfig.getoption("fuzz") // (len(KINDS) + 1)):
        data = damaged(good, random.Random(seed))
        path.write_bytes(data)
        try:
            with time_limit(SECONDS):
                read(path, monkeypatch)
        except LabError:
            pass
        except BaseException as error:
            raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__}: {error}") from error
        assert path.read_bytes() == data, f"{kind}, seed {seed}: the file was changed"
        assert beside.read_bytes() == b"kept"


WORDS = (
    *("--only", "--split", "test", "--time_limit", "-1", "nan", "1e999", "--memory_mb", "--roster"),
    *("x", "--share", "3/2", "0/0", "1/3", "--jobs", "@", "@/nowhere", "--", "-x", "学", "--salt"),
    *("--regrade", "ok,", "--latent_precision", "float32", "--dataset", "--lang", "zh"),
    *("--output_dir", "=", "--every_hand_in=1", "--points", "--policy", "--export", "moodle"),
    *("--sandbox", "none", "", "\udcff", "\0"),
)


def test_odd_options(pytestconfig, capsys) -> None:
    for seed in range(pytestconfig.getoption("fuzz") // (len(KINDS) + 1)):
        rng = random.Random(seed)
        words = [rng.choice(WORDS) for _ in range(rng.randint(0, 6))]
        try:
            with time_limit(SECONDS):
                autograde_command.parse_args(words)
        except SystemExit as stop:
            if stop.code not in (0, 2):
                raise AssertionError(f"seed {seed}: {words}: exit code {stop.code}") from stop
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {words}: {type(error).__name__}: {error}") from error
