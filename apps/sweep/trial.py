"""Trains, infers and grades one configuration, in a folder of its own."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import runpy
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import optuna
import torch

from apps.sweep.space import Configuration, Settings
from apps.sweep.study import MAX_STARTS, STORAGE_ERRORS, Claim
from vaelab import callbacks
from vaelab.cli import LabError
from vaelab.files import read_json, write_json
from vaelab.metrics.score import score
from vaelab.sweep_results import RESULT
from vaelab.threads import default_threads

REPO = Path(__file__).resolve().parents[2]
# Errors that every other configuration would have too.
DISK_ERRORS = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)]


class ReportScores:
    """A training callback: reports the score of each epoch to an Optuna trial, which may be pruned.

    This is the score before the cap that the MSE and SSIM of the epoch on the validation images would give;
    the FID of a conditional model, which is not measured during a training, counts as one without points.
    """

    def __init__(self, claim: Claim, prune: bool) -> None:
        self.trial, self.prune = claim.trial, prune
        self.reported = set(claim.study._storage.get_trial(claim.trial._trial_id).intermediate_values)

    def __call__(self, trainer: Any) -> None:
        """Report the epochs that are not reported yet. Raises: TrialPruned if the trial is to be pruned."""
        config = trainer.config
        for row in trainer.log:
            if row["epoch"] not in self.reported:
                values = {"ssim": row["valid_ssim"], "mse": row["valid_mse"], "fid": math.inf}
                value = score(config.task, values, config.latent_dim)["score_uncapped"]
                self.trial.report(value, row["epoch"])
                self.reported.add(row["epoch"])
        if self.prune and 0 < trainer.epoch < config.epochs and self.trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {trainer.epoch} of {config.epochs}")


def commands(configuration: Configuration, folder: Path, settings: Settings) -> list[list[str]]:
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


def run(command: list[str], folder: Path) -> str:
    """Run a command of the lab in this process. Returns: its error in one line, or an empty text."""
    torch.set_num_threads(default_threads())  # as in a new process, whatever the last command has set
    sys.argv, errors = command, io.StringIO()
    with (folder / "output.txt").open("a") as output:
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                runpy.run_path(str(REPO / command[0]), run_name="__main__")
            return ""
        except SystemExit as stop:
            if not stop.code:
                return ""
        except (optuna.TrialPruned, *STORAGE_ERRORS):
            raise
        except Exception:
            errors.write(traceback.format_exc())
        output.write(errors.getvalue())
    last_line = (errors.getvalue().strip().splitlines() or ["it has failed"])[-1]
    return f"{command[0]}: {last_line.removeprefix('error: ')}"


def run_trial(claim: Claim, settings: Settings) -> dict[str, Any]:
    """Run a configuration's commands and write its result, which is returned."""
    configuration, folder = claim.configuration, claim.folder
    result: dict[str, Any] = {"task": configuration.task, "options": configuration.options}
    callbacks.REGISTERED[:] = [ReportScores(claim, prune=settings.pruner != "none")]
    try:
        if claim.count_start() > MAX_STARTS:
            reason = f"its process was killed {MAX_STARTS} times at the same epoch: has it too little memory?"
        else:
            lines = commands(configuration, folder, settings)
            reason = next(filter(None, (run(line, folder) for line in lines)), "")
        status = "failed" if reason else "done"
    except optuna.TrialPruned as pruned:
        status, reason = "pruned", str(pruned)
    finally:
        callbacks.REGISTERED.clear()  # other trainings of this process are not of this trial
    if any(text in reason for text in DISK_ERRORS):
        raise LabError("{reason}: make room, then run the same command again to continue", reason=reason)
    result |= {"status": status, "reason": reason, "finished": time.time()}
    if status == "done":
        grade = read_json(folder / "grade_result.json")[configuration.task]
        result |= {key: value for key, value in grade.items() if not isinstance(value, (list, dict))}
    write_json(folder / RESULT, result)
    if status != "failed":
        delete_outputs(folder, configuration.task)
    return result


def delete_outputs(folder: Path, task: str) -> None:
    """Delete large files that can be made again."""
    for name in ("valid/hyperparams.json", "valid/recon.npy", "valid/gen.npy", "last.pt"):
        (folder / task / name).unlink(missing_ok=True)
