"""What several tests share: a way to run a command as a user does, and one finished main job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

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


def run_command(
    *args: object, cwd: Path, repo: Path = REPO, env: dict[str, str] | None = None, **kwargs
) -> subprocess.CompletedProcess:
    """Run `python <args>` in `cwd`, the script taken from `repo`. VAE_LAB_DATA is not passed on."""
    environment = {key: value for key, value in os.environ.items() if key != "VAE_LAB_DATA"} | (env or {})
    command = [sys.executable, str(repo / str(args[0])), *map(str, args[1:])]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **{"timeout": 240} | kwargs,
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


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both tasks were trained (a small MLP, scikit-learn's digits), run and graded.

    Tests read it; one that changes something copies it first.
    """
    cwd = tmp_path_factory.mktemp("main_job")
    for task in ("VAE0label", "Genwithlabel"):
        succeed(
            *(
                "train.py",
                "--task",
                task,
                "--dataset",
                "digits",
                "--arch",
                "mlp",
                "--epochs",
                20,
                "--latent_dim",
                12,
            ),
            cwd=cwd,
        )
        succeed("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", cwd=cwd)
    succeed("grade.py", cwd=cwd)
    return cwd


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
