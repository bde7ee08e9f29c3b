"""Trains, infers and grades one configuration, in a folder of its own."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.sweep.grid import Configuration
from apps.sweep.worker import start
from vaelab.cli import LabError
from vaelab.files import read_json, write_json
from vaelab.sweep_results import RESULT

REPO = Path(__file__).resolve().parents[2]
INTERRUPTED = 130  # exit code of a command that was stopped by Ctrl-C


@dataclass(frozen=True)
class SweepSettings:
    """The settings of a sweep, which don't change its results."""

    root: Path
    jobs: int
    data_dir: str  # empty: the default
    device: str  # empty: the default
    sweep_id: str  # identifies this run of the sweep
    parent: int  # the process id of the sweep


def is_finished(folder: Path, sweep_id: str = "") -> bool:
    """Whether a configuration has a result, or has failed in this run of the sweep."""
    try:
        result = read_json(folder / RESULT)
        return result["status"] == "done" or result["sweep"] == sweep_id
    except (LabError, KeyError):
        return False


def commands(configuration: Configuration, folder: Path, settings: SweepSettings) -> list[list[str]]:
    """The command lines that train, infer and grade a configuration."""
    task, root = configuration.task, ["--output_dir", str(folder)]
    data = ["--data_dir", settings.data_dir] if settings.data_dir else []
    device = ["--device", settings.device] if settings.device else []
    options = [f"--{key}={value}" for key, value in configuration.options.items()]
    # Without last.pt, the folder is empty or has the leftovers of a configuration whose result was lost.
    mode = "--resume" if (folder / task / "last.pt").exists() else "--overwrite"
    best = ["--checkpoint_path", str(folder / task / "best.pt")]
    return [
        ["train.py", "--task", task, mode, *options, *root, *data, *device],
        ["inference.py", *best, *root, *data, *device],
        ["grade.py", *root, *data],
    ]


def run_trial(configuration: Configuration, folder: Path, settings: SweepSettings) -> str:
    """Run a configuration's commands and write its result. Returns: the result in one line."""
    result: dict[str, Any] = {"task": configuration.task, "options": configuration.options}
    reason = next(filter(None, (run(line, folder) for line in commands(configuration, folder, settings))), "")
    result |= {"status": "failed" if reason else "done", "reason": reason, "sweep": settings.sweep_id}
    if not reason:
        grade = read_json(folder / "grade_result.json")[configuration.task]
        result |= {key: value for key, value in grade.items() if not isinstance(value, (list, dict))}
    write_json(folder / RESULT, result)
    if reason:
        return f"failed: {reason}"
    delete_outputs(folder, configuration.task)
    return f"score {result['score_uncapped']:.2f}"


def run(command: list[str], folder: Path) -> str:
    """Run a command of the lab in a process of its own. Returns: its error in one line, or an empty text."""
    out, errors = folder / "output.txt", folder / "errors.txt"
    errors.unlink(missing_ok=True)
    pid = start([str(REPO / command[0]), *command[1:]], out, errors)
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGINT)
        os.waitpid(pid, 0)
        raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code == 0:
        return ""
    last_line = (errors.read_text(errors="replace").strip().splitlines() or [""])[-1]
    return f"{command[0]}: " + (f"ended by signal {-code}" if code < 0 else last_line.removeprefix("error: "))


def delete_outputs(folder: Path, task: str) -> None:
    """Delete large files that can be made again: they are 64 of the 80 MB of a configuration."""
    for name in ("valid/hyperparams.json", "valid/recon.npy", "valid/gen.npy", "last.pt"):
        (folder / task / name).unlink(missing_ok=True)
