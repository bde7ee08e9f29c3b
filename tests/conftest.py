"""What several tests share: a way to run a command as a user does, and one finished main job."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from vaelab.files import lock  # noqa: E402

# Tests run beside each other, each on a core of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Absolute: the commands under test run in folders of their own.
MNIST_DIR = Path(os.environ.get("VAE_LAB_DATA", "dataset/raw")).resolve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any(MNIST_DIR.glob("train-images-idx3-ubyte*")):
        return
    skip = pytest.mark.skip(reason="real MNIST is not here: name its folder in the variable VAE_LAB_DATA")
    for item in items:
        if "mnist" in item.keywords:
            item.add_marker(skip)


# --- Files of MNIST's kind ----------------------------------------------------------------------

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: np.ndarray) -> bytes:
    """The idx format, written here from its description."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_set(seed: int = 0) -> dict[str, np.ndarray]:
    """Sixty training and ten test images that no two share, with labels."""
    rng = np.random.default_rng(seed)
    return {
        NAMES[0]: rng.integers(0, 256, (60, 28, 28), np.uint8),
        NAMES[1]: np.arange(60, dtype=np.uint8) % 10,
        NAMES[2]: rng.integers(0, 256, (10, 28, 28), np.uint8),
        NAMES[3]: np.arange(10, dtype=np.uint8),
    }


def write_set(folder: Path, arrays: dict[str, np.ndarray], gz: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        data = idx_bytes(array)
        (folder / (f"{name}.gz" if gz else name)).write_bytes(gzip.compress(data) if gz else data)
    return folder


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A set of 60 + 10 images that the code takes for MNIST."""
    arrays = small_set()
    sums = [hashlib.md5(idx_bytes(arrays[name])).hexdigest() for name in NAMES]
    md5 = {"train": tuple(sums[:2]), "t10k": tuple(sums[2:])}
    monkeypatch.setattr(data_sources, "MNIST_MD5", md5)
    monkeypatch.setattr(data_sources, "IDX_PREFIXES", {"train": 60, "t10k": 10})
    monkeypatch.setattr(data_sources, "VALID_IMAGES", 10)
    return arrays


# --- Commands -----------------------------------------------------------------------------------


@functools.cache
def fork_server() -> subprocess.Popen:
    """The process of `fork_server.py` for this process's commands; it ends when its stdin is closed."""
    command = [sys.executable, str(REPO / "tests" / "fork_server.py")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Forked:
    """A Python script that runs without the seconds that importing torch takes; see `fork_server.py`."""

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.argv = argv
        self.stdout, self.stderr = (tempfile.NamedTemporaryFile("r") for _ in range(2))  # noqa: SIM115
        files = {"stdout": self.stdout.name, "stderr": self.stderr.name}
        self.pid = self.ask({"argv": argv, "cwd": str(cwd), "env": env, **files})

    @staticmethod
    def ask(request: object) -> int:
        """What the server answers."""
        server = fork_server()
        print(json.dumps(request), file=server.stdin, flush=True)
        return int(server.stdout.readline())

    def wait(self, timeout: float = 240) -> subprocess.CompletedProcess:
        """Wait for its end. One that takes longer is killed, and has the code -9."""
        watch = threading.Timer(timeout, os.kill, (self.pid, signal.SIGKILL))
        watch.start()
        code = self.ask(self.pid)
        watch.cancel()
        with self.stdout, self.stderr:
            return subprocess.CompletedProcess(self.argv, code, self.stdout.read(), self.stderr.read())


def without_data() -> dict[str, str]:
    """The environment, without the folder of data that it may name."""
    return {key: value for key, value in os.environ.items() if key != "VAE_LAB_DATA"}


def run_command(
    *args: object,
    cwd: Path,
    repo: Path = REPO,
    env: dict[str, str] | None = None,
    timeout: float = 240,
    **kwargs,
) -> subprocess.CompletedProcess:
    """Run `python <args>` in `cwd`, the script taken from `repo`. VAE_LAB_DATA is not passed on."""
    environment = without_data() | (env or {})
    argv = [str(repo / str(args[0])), *map(str, args[1:])]
    if hasattr(os, "fork") and not kwargs and "PYTHONPATH" not in environment:
        return Forked(argv, cwd, environment).wait(timeout)
    return subprocess.run(
        [sys.executable, *argv],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        **kwargs,
    )


def succeed(*args: object, cwd: Path, **kwargs) -> str:
    """Run a command that must succeed. Returns: what it printed on stdout."""
    result = run_command(*args, cwd=cwd, **kwargs)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def fail(*args: object, cwd: Path, **kwargs) -> str:
    """Run a command that must end as a user's mistake does: code 2 and one line. Returns: the line."""
    result = run_command(*args, cwd=cwd, **kwargs)
    assert result.returncode == 2, (result.returncode, result.stdout, result.stderr)
    assert result.stderr.startswith("error: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def rows(folder: Path) -> list[dict]:
    """The rows of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, for all the processes of one run of the tests (pytest-xdist's workers)."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, done = shared / name, shared / f"{name}.done"
    with lock(shared, wait=True):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both tasks were trained (a small MLP, scikit-learn's digits), run and graded.

    Tests read it; one that changes something copies it first.
    """

    def make(cwd: Path) -> None:
        options = ("--dataset", "digits", "--arch", "mlp", "--epochs", 20, "--latent_dim", 12)
        for task in ("VAE0label", "Genwithlabel"):
            succeed("train.py", "--task", task, *options, cwd=cwd)
            succeed("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", cwd=cwd)
        succeed("grade.py", cwd=cwd)

    return made_once(tmp_path_factory, "main_job", make)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no folder of data named by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    return tmp_path


@pytest.fixture
def change(tmp_path: Path) -> Callable[[Path], Path]:
    """A function that copies a folder, so that the copy can be changed."""

    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return copy
