"""Runs the checks of the handout's blanks in order, and explains the first that fails."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from apps.selfcheck.trial_training import TrialSettings, run_trials
from vaelab.checks.checks import CHECKS, Check, run_checks
from vaelab.checks.explanation import explain
from vaelab.checks.test_doubles import SubmissionUnderTest
from vaelab.cli import wrap
from vaelab.files import read_json
from vaelab.hand_in import MODEL
from vaelab.language import N_, _


def load(path: Path) -> ModuleType:
    """The module in a file. Raises: any error of its code."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def report(part: str, title: str, error: Exception | None, folder: Path) -> bool:
    """Print the result of one check. Returns: whether it passed."""
    title = _(title)
    if error is None:
        print(f"ok   {part:<6} {title}", flush=True)
        return True
    name, hint = explain(error, folder)
    print(f"FAIL {part:<6} {title}\n     {name}")
    print(wrap(hint, 100, "     "))
    return False


def announce(check: Check) -> None:
    """Say before a slow check that it takes a while."""
    if check.slow:
        text = _("next: {title} (a short training, up to a minute)", title=_(check.title))
        print(f"     {text}", flush=True)


def note_changes(folder: Path) -> None:
    """Print the names of the original files that have been changed or deleted."""
    if not (folder / "manifest.json").is_file():
        return
    for name, expected in read_json(folder / "manifest.json").get("files", {}).items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            if name == MODEL:
                print(
                    _("note: {name} is not the original file; hand it in too: grading uses yours", name=name)
                )
            else:
                print(_("note: {name} is not the original file; grading uses the original", name=name))


def finish(
    results: Iterator[tuple[Check, Exception | None]],
    total: int,
    folder: Path,
    command: str = "python check.py",
) -> bool:
    """Print the results as they come, and how many checks passed. Returns: all passed."""
    passed = [report(check.part, check.title, error, folder) for check, error in results]
    if not passed[-1]:
        print(
            _(
                "{passed} of {count} checks passed. Fix this one, then run {command} again.",
                passed=len(passed) - 1,
                count=total,
                command=command,
            )
        )
        return False
    print(_("{count} of {count} checks passed", count=total))
    return True


def self_check(folder: Path, trial: TrialSettings | None) -> bool:
    """Check the submission.py in `folder`, then run the trial trainings, if any. Returns: all passed."""
    note_changes(folder)
    try:
        submission = load(folder / "submission.py")
        tested = SubmissionUnderTest(submission)
    except Exception as error:  # a student's code can raise anything
        report("", N_("submission.py can be imported"), error, folder)
        return False
    if not finish(run_checks(tested, announce=announce), len(CHECKS), folder):
        return False
    return trial is None or run_trials(submission, trial, folder)
