"""Shared by the tests: files in the idx format, running commands as a user does, trained models."""

from __future__ import annotations

import argparse
import contextlib
import gettext
import gzip
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

# Several tests run in parallel, each on one core. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["VAE_LAB_LANG"] = "en"  # whatever the locale of the machine

from vaelab import language  # noqa: E402
from vaelab.data import idx  # noqa: E402
from vaelab.files import lock  # noqa: E402

LAB_PACKAGES = {"vaelab", "beyond", "apps"}
LAB_FOLDERS = (*LAB_PACKAGES, "locale")

# Absolute: the commands under test run in folders of their own.
MNIST_DIR = Path(os.environ.get("VAE_LAB_DATA", "dataset/raw")).resolve()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=300, help="damaged inputs for test_fuzz.py")
    parser.addoption("--kills", type=int, default=3, help="kills of each command for test_kills.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any(MNIST_DIR.glob("train-images-idx3-ubyte*")):
        return
    skip = pytest.mark.skip(reason="real MNIST is not here: name its folder in the variable VAE_LAB_DATA")
    for item in items:
        if "mnist" in item.keywords:
            item.add_marker(skip)


# --- Files in MNIST's format --------------------------------------------------------------------

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
    """Sixty training and ten test images, all different, with labels."""
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
    """A set of 60 + 10 images that the code accepts as MNIST."""
    arrays = small_set()
    sums = [hashlib.md5(idx_bytes(arrays[name])).hexdigest() for name in NAMES]
    md5 = {"train": tuple(sums[:2]), "t10k": tuple(sums[2:])}
    monkeypatch.setattr(idx, "MNIST_MD5", md5)
    monkeypatch.setattr(idx, "IDX_PREFIXES", {"train": 60, "t10k": 10})
    monkeypatch.setattr(idx, "VALID_IMAGES", 10)
    return arrays


def small_cifar10(folder: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Write a part of CIFAR-10 in which no two images are equal. Returns: its arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (50, 32, 32, 3), np.uint8),
        "train_labels": np.arange(50) % 10,
        "test_images": rng.integers(0, 256, (20, 32, 32, 3), np.uint8),
        "test_labels": np.arange(20) % 10,
    } | changes
    folder.mkdir(exist_ok=True)
    np.savez(folder / "cifar10_part.npz", **arrays)
    return arrays


# --- Languages ----------------------------------------------------------------------------------


class Untranslated(gettext.NullTranslations):
    """Raises an error for every message but a name, such as `mu`."""

    def gettext(self, message: str) -> str:
        assert re.fullmatch(r"[\w.]+", message), f"without a translation: {message}"
        return message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1)


@contextlib.contextmanager
def chinese() -> Iterator[None]:
    """Within this context, messages are in Chinese, and one without a translation is an error."""
    before, catalogue = language.language(), gettext.translation(language.DOMAIN, language.LOCALE, ["zh"])
    catalogue.add_fallback(Untranslated())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(language.VARIABLE, "zh")
        patch.setattr(
            language, "catalogue", lambda name: {"zh": catalogue}.get(name, gettext.NullTranslations())
        )
        language.set_language("zh")
        try:
            yield
        finally:
            language.set_language(before)


# --- Commands -----------------------------------------------------------------------------------


def without_data() -> dict[str, str]:
    """The environment, without the variable that may name a folder of data."""
    return {key: value for key, value in os.environ.items() if key != "VAE_LAB_DATA"}


def start_process(*args: object, cwd: Path, repo: Path = REPO, **kwargs: Any) -> subprocess.Popen:
    """Start `python <args>` in `cwd`, the script taken from `repo`. kwargs: those of `subprocess.Popen`."""
    defaults = {"env": without_data(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    argv = [sys.executable, str(repo / str(args[0])), *map(str, args[1:])]
    return subprocess.Popen(argv, cwd=cwd, **defaults | kwargs)


def finish(process: subprocess.Popen, timeout: float = 240) -> subprocess.CompletedProcess:
    """Wait for a process that was started, and read what it printed."""
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_process(*args: object, cwd: Path, timeout: float = 240, **kwargs: Any) -> subprocess.CompletedProcess:
    """Run `python <args>` in a process of its own. kwargs: those of `start_process`."""
    return finish(start_process(*args, cwd=cwd, **kwargs), timeout)


def copy_lab(folder: Path) -> Path:
    """Copy the lab's code into a folder, so that it can be changed. Returns: the folder."""
    for path in REPO.glob("*.py"):
        shutil.copy(path, folder)
    for name in set(LAB_FOLDERS) & {path.name for path in REPO.iterdir()}:
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@contextlib.contextmanager
def modules_of(repo: Path) -> Iterator[None]:
    """Within this context, the lab's modules are imported from `repo`, another copy of the lab."""
    tops = {path.stem for path in REPO.glob("*.py")} | LAB_PACKAGES

    def remove_modules() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] in tops]
        return {name: sys.modules.pop(name) for name in names}

    ours = remove_modules()
    elsewhere = [entry for entry in sys.path if Path(entry).resolve() != REPO]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(repo), *elsewhere])
        patch.setattr(sys, "dont_write_bytecode", True)  # submission.py may be rewritten within a second
        for name in ("_", "ngettext"):  # which the copy's vaelab.cli replaces
            patch.setattr(argparse, name, getattr(argparse, name))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            remove_modules()
            sys.modules.update(ours)


def exit_code(stop: SystemExit) -> int:
    """The exit code of a process that ends with this exception."""
    return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def run_here(
    script: Path, *args: object, cwd: Path, env: dict[str, str] | None = None, curve: bool = False
) -> subprocess.CompletedProcess:
    """Run the `main` of a command in this process, as the script itself would call it.

    curve: draw loss_curve.png, which takes longer than the training of a small model. Else an empty file.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", [str(script), *map(str, args)])
        patch.delenv("VAE_LAB_DATA", raising=False)
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        stack.callback(language.set_language, language.language())
        stack.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        if script.parent != REPO:
            stack.enter_context(modules_of(script.parent))
        try:
            if script.stem == "train" and not curve:
                trainer = importlib.import_module("trainer")
                patch.setattr(trainer, "draw_loss_curve", lambda _, path: path.write_bytes(b""))
            module = importlib.import_module(script.stem)
            importlib.import_module("vaelab.cli").run(module.main)
        except SystemExit as stop:
            code = exit_code(stop)
            if isinstance(stop.code, str):
                err.write(f"{stop.code}\n")  # as the interpreter does
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())


def run_command(*args: object, cwd: Path, repo: Path = REPO, **kwargs: Any) -> subprocess.CompletedProcess:
    """Run `python <args>` in `cwd`, the script taken from `repo`. VAE_LAB_DATA is not passed on.

    The commands of the lab run in this process, which has imported torch already; other scripts, and commands
    with options of `run_process` other than `env` or with `process=True`, in a process of their own.
    """
    script, options = repo / str(args[0]), dict(kwargs)
    own = options.pop("process", False)
    if not own and options.keys() <= {"env", "curve"} and script.parent == repo:
        return run_here(script, *args[1:], cwd=cwd, **options)
    options.pop("curve", None)
    if "env" in options:
        options["env"] = without_data() | options["env"]
    return run_process(*args, cwd=cwd, repo=repo, **options)


def succeed(*args: object, cwd: Path, **kwargs) -> str:
    """Run a command that must succeed. Returns: what it printed on stdout."""
    result = run_command(*args, cwd=cwd, **kwargs)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def fail(*args: object, cwd: Path, **kwargs) -> str:
    """Run a command that must end with exit code 2 and one line of error. Returns: the line."""
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


def do_main_job(cwd: Path, *options: object) -> None:
    """Train both tasks (a small MLP on scikit-learn's digits), run inference, and grade."""
    options = ("--dataset", "digits", "--arch", "mlp", "--epochs", 20, "--latent_dim", 12, *options)
    for task in ("VAE0label", "Genwithlabel"):
        succeed("train.py", "--task", task, *options, cwd=cwd, curve=True)
        succeed("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", cwd=cwd)
    succeed("grade.py", cwd=cwd)


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both tasks were trained without additions, and graded: see `do_main_job`.

    Tests only read it: a test that changes something copies it first (`change`).
    """
    return made_once(tmp_path_factory, "main_job", do_main_job)


@pytest.fixture(scope="session")
def beyond_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `main_job`, with all additions of beyond/ and fewer epochs."""
    return made_once(tmp_path_factory, "beyond_job", lambda cwd: do_main_job(cwd, "--beyond", "--epochs", 8))


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dataset/digits/, and the classifier that gradings would train for each folder of data."""

    def make(cwd: Path) -> None:
        from data_utils import MNISTDataset  # here: torch is imported after the settings above
        from vaelab.metrics.classifier import load_classifier

        succeed("data_utils.py", "--dataset", "digits", cwd=cwd)
        with contextlib.chdir(cwd):
            load_classifier(MNISTDataset("train", "digits"))

    return made_once(tmp_path_factory, "digits_data", make)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the variable VAE_LAB_DATA is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    return tmp_path


@pytest.fixture
def change(tmp_path: Path) -> Callable[[Path], Path]:
    """A function that copies a folder, so that the copy can be changed."""

    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return copy
