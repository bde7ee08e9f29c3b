"""The record of a student's grades: every hand-in that was graded, with all that decided its grade.

why_again   whether a hand-in must be graded again, and why
rescored    its scores by today's formula, from the stored numbers, without running anything
counted     the grades that count, of all hand-ins
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from apps.autograde.statuses import STATUSES
from vaelab.metrics.score import score
from vaelab.tasks import TASKS
from vaelab.threads import available_processors

LIMITED = {"timeout": "time_limit", "memory": "memory_mb"}  # status to the limit that decided it
PHRASES = {"timeout": "exceeded the time limit", "memory": "exceeded the memory limit"}  # in a check's reason
METHOD = 6  # raise it when steps, canary inputs or checks change what is stored: all are then graded again
REPO = Path(__file__).resolve().parents[2]

# status, reason, flags, seconds; if the status is ok also ssim, mse, fid (conditional), latent_dim, and the
# values of `score`. kept: why a newer result was not taken.
Grade = dict[str, Any]


@dataclass
class Attempt:
    """One hand-in that was graded."""

    fingerprint: str  # of its files; empty if they could not be read
    label: str  # the name of what was handed in
    handed_in: float  # seconds since 1970
    found: str  # which files were taken, and which were left
    weights: dict[str, int]  # checksums of the checkpoints' arrays, with their sizes in bytes
    grades: dict[str, Grade]  # by task
    checks: dict[str, dict[str, Any]]  # by name: passed, why
    decided: dict[str, Any]  # what decided the grade; see `what_decides`
    sketches: dict[str, list[float]] = field(default_factory=dict)  # of the arrays; see `similarity.py`


@dataclass
class Record:
    """All that is known of a student's hand-ins."""

    name: str
    attempts: list[Attempt] = field(default_factory=list)  # in the order of `handed_in`
    notes: list[dict[str, str]] = field(default_factory=list)  # date, text: of regrades after an appeal

    def attempt(self, fingerprint: str) -> Attempt | None:
        """The graded hand-in with these files."""
        return next((each for each in self.attempts if each.fingerprint == fingerprint), None)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """The record that `asdict` wrote. Raises: KeyError, TypeError, ValueError if something is missing."""
        attempts = [Attempt(**attempt) for attempt in values["attempts"]]
        for attempt in attempts:
            if not isinstance(attempt.fingerprint, str) or list(attempt.grades) != list(TASKS):
                raise ValueError("not a record")
            attempt.decided["split_sha256"], attempt.decided["time_limit"]  # KeyError
            for task, grade in attempt.grades.items():
                if grade["status"] not in STATUSES or not isinstance(grade["flags"], list):
                    raise ValueError("not a grade")
                float(grade["seconds"]), str(grade["reason"]), float(grade["score"])
                if grade["status"] == "ok":
                    score(task, grade, grade["latent_dim"])
        return cls(str(values["name"]), attempts, list(values["notes"]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)


# --- What decides a grade ---------------------------------------------------------------------------


def formula_sha256() -> str:
    """A checksum of the formula of the scores: of its values at fixed points, whatever it is written like."""
    rng = np.random.default_rng(0)
    values = []
    for task in TASKS:
        for ssim, mse, fid in rng.random((50, 3)) * [1, 0.15, 15]:
            for latent_dim in (1, 8, 20, 64, 700):
                got = score(task, {"ssim": ssim, "mse": mse, "fid": fid}, latent_dim)
                values += [round(value, 9) for value in got.values()]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def split_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """A checksum of a split's images and labels."""
    return hashlib.sha256(str(images.shape).encode() + images.tobytes() + labels.tobytes()).hexdigest()


@functools.cache
def provenance() -> dict[str, Any]:
    """The lab's commit, versions and the processor: they explain a grade that differs in the last digits."""
    git = ["git", "-C", str(REPO), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    return {
        "commit": found or "unknown",
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": available_processors(),
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def what_decides(
    dataset: str, split: str, arrays: tuple[np.ndarray, np.ndarray], limits: dict[str, Any]
) -> dict[str, Any]:
    """All that decides a grade besides the hand-in. arrays: the images and labels of the split.

    limits: time_limit, memory_mb, sandbox, latent_precision, threads.
    """
    return {
        "dataset": dataset,
        "split": split,
        "split_sha256": split_sha256(*arrays),
        "formula": formula_sha256(),
        "method": METHOD,
        **limits,
        **provenance(),
    }


def why_again(attempt: Attempt | None, now: dict[str, Any]) -> str:
    """Why a hand-in must be graded again; empty if its stored numbers still hold."""
    if attempt is None:
        return "new or changed files"
    then = attempt.decided
    if then["split_sha256"] != now["split_sha256"]:
        return f"the images of {now['dataset']} {now['split']} are others"
    if then.get("method") != now["method"]:
        return "the method of grading has changed"
    if then.get("torch") != now["torch"]:
        return f"torch was {then.get('torch')} and is {now['torch']}"
    if now["latent_precision"] == "float32" and then.get("latent_precision") != "float32":
        return "the codes in float32 were not looked at"
    for status, limit in LIMITED.items():
        if status in all_statuses(attempt) and now[limit] > then[limit]:
            return f"{status} under {limit} {then[limit]:g}, which is now {now[limit]:g}"
    return ""


def limits_reached(checks: dict[str, dict[str, Any]]) -> set[str]:
    """`timeout` or `memory`, if the checks of the blanks ended in this way."""
    whys = [check["why"] for check in checks.values() if not check["passed"]]
    return {status for status, phrase in PHRASES.items() if any(phrase in why for why in whys)}


def all_statuses(attempt: Attempt) -> set[str]:
    """The statuses of a hand-in: of its tasks, as graded and as shown, and of its checks."""
    grades = attempt.grades.values()
    shown = {status_of(grade) for grade in grades}
    return shown | {grade["status"] for grade in grades} | limits_reached(attempt.checks)


def rescored(attempt: Attempt, formula: str) -> bool:
    """Compute the scores of an attempt by today's formula, from stored numbers. Returns: if it changed."""
    if attempt.decided.get("formula") == formula:
        return False
    for task, grade in attempt.grades.items():
        if grade["status"] == "ok":
            grade |= score(task, grade, grade["latent_dim"])
    attempt.decided["formula"] = formula
    attempt.decided["rescored"] = today()
    return True


def today() -> str:
    """The date and time, to the second, with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


# --- Which grades count -----------------------------------------------------------------------------


def merge_again(old: Attempt | None, new: Attempt) -> Attempt:
    """The result of grading the same files again: a task that fails now keeps an earlier grade that was ok.

    If the data have changed it does not: the earlier grade would be on other data.
    """
    if old is None or old.decided["split_sha256"] != new.decided["split_sha256"]:
        return new
    for task, grade in new.grades.items():
        before = old.grades[task]
        if grade["status"] != "ok" and before["status"] == "ok":
            why = f"grading the same files again failed on {new.decided['date']} ({grade['status']}): "
            new.grades[task] = before | {"kept": why + grade["reason"], "kept_status": grade["status"]}
    if not any_passed(new) and any_passed(old):
        new.checks = old.checks
    return new


@dataclass(frozen=True)
class Counted:
    """The grades of a student that count."""

    attempt: Attempt | None  # the hand-in that counts; None: nothing was handed in
    grades: dict[str, Grade]  # by task; with a key `kept`, it is not that of the newest result
    checks: dict[str, dict[str, Any]]


def counted(attempts: list[Attempt], value: Callable[[Attempt], float] | None = None) -> Counted:
    """What counts of several hand-ins: the last, or the one of the highest `value`.

    A task that could not be graded in the last one keeps the newest earlier grade, on the same data.
    """
    if not attempts:
        return Counted(None, {task: nothing_handed_in() for task in TASKS}, {})
    if value is not None:
        best = max(attempts, key=value)
        return Counted(best, best.grades, best.checks)
    last, grades = attempts[-1], {}
    for task, grade in last.grades.items():
        grades[task] = grade
        earlier = [
            each
            for each in attempts[:-1]
            if each.grades[task]["status"] == "ok"
            and each.decided["split_sha256"] == last.decided["split_sha256"]
        ]
        if grade["status"] != "ok" and earlier:
            why = f"the hand-in {last.label} could not be graded ({grade['status']}): {grade['reason']}"
            why += f"; the grade of {earlier[-1].label} is kept"
            flags = [*earlier[-1].grades[task]["flags"], *grade["flags"]]
            kept = {"kept": why, "kept_status": grade["status"], "graded_files": earlier[-1].fingerprint}
            grades[task] = earlier[-1].grades[task] | kept | {"flags": flags}
    if not any_passed(last) and any(grade.get("kept") for grade in grades.values()):
        checks = next((each.checks for each in reversed(attempts) if any_passed(each)), last.checks)
        return Counted(last, grades, checks)
    return Counted(last, grades, last.checks)


def any_passed(attempt: Attempt) -> bool:
    """Whether a check of a hand-in passed: else its code could not be run at all."""
    return any(check["passed"] for check in attempt.checks.values())


def nothing_handed_in() -> Grade:
    """The grade of a task of which nothing was handed in."""
    return failed("absent", "nothing was handed in")


def failed(status: str, why: str, flags: list[str] | None = None) -> Grade:
    """The grade of a task that could not be graded."""
    return {"status": status, "reason": why, "flags": flags or [], "score": 0.0, "seconds": 0.0}


def status_of(grade: Grade) -> str:
    """The status of a grade as it is shown: `kept` if a newer result was not taken."""
    return "kept" if grade.get("kept") else grade["status"]
