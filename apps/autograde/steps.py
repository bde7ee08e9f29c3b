"""Runs the steps of a submission, each in a sandbox of its own, and reads what comes back.

The steps of one submission never run at the same time. Each gets its own copies of the files, in memory; see
`interpreter.py`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from apps.autograde.arrays import pack, unpack
from apps.autograde.interpreter import Interpreter
from apps.autograde.limits import Limits, Outcome
from apps.autograde.request import StepRequest
from apps.autograde.sandbox import USER_IDS, run_sandboxed
from vaelab.cli import printable
from vaelab.metrics.score import PIXELS


class StepFailed(Exception):  # noqa: N818
    """A step has no valid result. `status`: the status of the grade; the text of the error: the reason."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass
class Steps:
    """Runs the steps of submissions in sandboxes."""

    lab: Path  # a folder with the modules of the lab that a step imports
    image_shape: tuple[int, ...]
    limits: Limits
    interpreter: Interpreter | None  # for sandboxes; None for --sandbox user and none
    own_user: bool  # as root: each step runs as a user of its own

    def run(
        self, step: str, task: str, folder: Path, arrays: dict[str, np.ndarray], batches: list[int]
    ) -> np.ndarray:
        """Run one step in a sandbox. Returns: the array that it computed from `arrays`.

        batches: the sizes of the batches. Raises: StepFailed if there is no result, or its dtype or shape is
        wrong.
        """
        n = len(next(iter(arrays.values())))
        item = 4 * PIXELS if step == "encode" else int(np.prod(self.image_shape))  # maximum bytes
        results, _ = self.call(step, task, folder, arrays, batches, n * item + 10_000)
        if "result" not in results:
            raise StepFailed("error", f"{step} returned no result")
        self.check_result(results["result"], step, n)
        return results["result"]

    def call(
        self,
        step: str,
        task: str,
        folder: Path,
        arrays: dict[str, np.ndarray],
        batches: list[int],
        output_bytes: int,
    ) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """The arrays that a step returned, unchecked, and its errors by name. Raises: StepFailed."""
        limits = replace(self.limits, output_bytes=output_bytes)
        uid = next(USER_IDS) if self.own_user else None
        # Seed 0 is that of inference.py.
        request = StepRequest(step, task, 0, batches, self.image_shape, limits, uid)
        command = [sys.executable, "-I", "{lab}/apps/autograde/sandboxed_step.py", "{lab}", "{submission}"]
        data = request.to_json() + pack(arrays)
        with self.own_copies(folder) as folders:
            mounts = self.interpreter and self.interpreter.mounts
            outcome = run_sandboxed(command, mounts, folders, data, limits)
        return read_result(outcome, step, limits)

    @contextlib.contextmanager
    def own_copies(self, folder: Path) -> Iterator[dict[str, Path]]:
        """The lab's modules and the submission as new files, which no other step has seen."""
        originals = {"lab": self.lab, "submission": folder}
        if self.interpreter is None:
            yield originals
            return
        with tempfile.TemporaryDirectory(dir=self.interpreter.root) as copies:
            for name, original in originals.items():
                shutil.copytree(original, Path(copies, name))
            self.interpreter.add_imported(folder)
            yield {name: Path(copies, name) for name in originals}

    def check_result(self, result: np.ndarray, step: str, n: int) -> None:
        """Raise StepFailed if the result of a step for n items has the wrong dtype or shape."""
        if step == "encode":
            expected = f"float32 [{n}, d] with d from 1 to {PIXELS}"
            good = result.dtype == np.float32 and result.ndim == 2 and len(result) == n
            good = good and 1 <= result.shape[1] <= PIXELS
        else:
            expected = f"uint8 {[n, *self.image_shape]}"
            good = result.dtype == np.uint8 and result.shape == (n, *self.image_shape)
        if not good:
            got = f"{result.dtype} {list(result.shape)}"
            raise StepFailed("invalid", f"{step} returned {got}, expected {expected}")


def read_result(outcome: Outcome, step: str, limits: Limits) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays that a sandboxed step wrote, and its errors by name. Raises: StepFailed."""
    phase, output = last_phase(outcome.output)
    where = f"{step}: {phase}" if phase not in ("", step) else step
    reasons = {
        "timeout": ("timeout", f"{where} exceeded the time limit of {limits.seconds:g} s"),
        "memory": ("memory", f"{where} exceeded the memory limit of {limits.memory_mb} MB"),
        "processes": ("error", f"{where} exceeded the limit of {limits.processes} processes and threads"),
        "files": ("error", f"{where} exceeded the limit of {limits.tmp_files} files in /tmp"),
        "output": ("invalid", f"{where} returned more data than expected"),
    }
    if outcome.status in reasons:
        raise StepFailed(*reasons[outcome.status])
    head, _, body = output.partition(b"\n")
    try:
        values = json.loads(head)
        if values["status"] == "ok":
            errors = {str(name): str(why) for name, why in values.get("errors", {}).items()}
            return unpack(body), errors
        status, why = values["status"], str(values["reason"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        last_line = (outcome.errors.strip().splitlines() or ["it printed nothing"])[-1]
        why = f"{where}: the process ended with code {outcome.returncode} and without a result ({last_line})"
        raise StepFailed("error", why) from None
    raise StepFailed(status if status in ("error", "memory", "invalid") else "error", why)


def last_phase(output: bytes) -> tuple[str, bytes]:
    """The last phase that a step began, and its output without the lines that name phases."""
    phase = ""
    while output.startswith(b"#"):
        line, _, output = output.partition(b"\n")
        phase = printable(line[1:100].decode(errors="replace"), 60)
    return phase, output
