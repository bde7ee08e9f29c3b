"""How the time of each step of `autograde.py` grows with the class, apart from grading itself.

    python benchmarks/class_size.py --sizes 60 150 300 600

Three small hand-ins (PCA of the digits) are really graded. Every other student gets a copy of one of their
records, under the checksum of own files, so that nothing is graded again: what is measured is all the rest of
the command, with a roster, points, late days, the export and, where it is installed, compare50.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

from example_class import (
    Plan,
    changed_weights,
    hostile,
    submission,
    tiny_files,
    write_hand_in,
    write_staff_files,
)
from helpers import REPO, lab, machine

from apps.autograde.command import parse_args as autograde_args
from apps.autograde.gradebook import Gradebook
from apps.autograde.grading import find_pending, select_submissions
from apps.autograde.pages import index_page
from apps.autograde.record import Attempt
from apps.autograde.report import find_similar, write_exports, write_report
from apps.autograde.settings import GradingSettings
from apps.autograde.similarity import weight_checksums
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.splits import load_split, prepare
from vaelab.hand_in import fingerprint, stage

GRADED = 3  # students whose hand-ins are really graded


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--sizes", type=number(int, GRADED), nargs="+", default=[60, 150, 300, 600], help="(default: 60 ...)")
    add("--no_code", action="store_true", help="leave compare50 out")
    return parser.parse_args()


def options(root: Path, *more: str) -> list[str]:
    """The options of `autograde.py` for the class in `root`."""
    words = [root / "class", "--dataset", "digits", "--split", "test", "--output_dir", root / "grades"]
    words += ["--roster", root / "roster.csv", "--points", root / "points.csv"]
    return [*map(str, words), "--policy", str(root / "policy.toml"), *more]


def write_class(root: Path, n: int, code: Callable[[Plan], str] = submission) -> None:
    """Write a class of `n` with its roster, points and policy. Everybody's files are different.

    code: of a student's submission.py.
    """
    models = tiny_files(load_split("digits", "train")[0])
    plans = [Plan(i) for i in range(1, n + 1)]
    for plan in plans:
        files = {"submission.py": f"{code(plan)}\n# {plan.name}\n".encode()}
        for name, checkpoint in models[plan.number % len(models)].items():
            files[name] = changed_weights(checkpoint, plan.number)
        write_hand_in(root / "class", plan, files)
    write_staff_files(root, plans, [Plan(n + 1)])


def write_records(root: Path, graded: Path) -> int:
    """Write a record for every student of the class in `root`. Returns: the number of students."""
    book, pattern = Gradebook(root / "grades", "salt"), Gradebook(graded, "salt")
    records = [pattern.load(path.stem.replace("%20", " ")) for path in sorted(graded.glob("Student*.json"))]
    submissions, _ = select_submissions(settings(root))
    for i, each in enumerate(submissions):
        record, source = records[i % len(records)], each.sources[-1]
        attempt = record.attempts[-1]
        with tempfile.TemporaryDirectory() as folder:
            stage(source.path, Path(folder))
            mark, weights = fingerprint(Path(folder)), weight_checksums(Path(folder))
        pictures = {}
        for task in attempt.grades:
            path = pattern.picture(record.name, attempt, task)
            pictures |= {task: path.read_bytes()} if path.exists() else {}
        copy: Attempt = replace(attempt, fingerprint=mark, handed_in=source.time, weights=weights)
        book.add(each.name, copy, pictures)
    return len(submissions)


def settings(root: Path, *more: str) -> GradingSettings:
    """The settings of a run on the class in `root`."""
    return GradingSettings(**vars(autograde_args(options(root, *more))))


def timed(function: Callable, *args: object) -> tuple[float, object]:
    """(seconds, what it returned) of a call: processor time, which other processes hardly change."""
    start = sum(os.times()[:4])  # of this process and of those that have ended
    with redirect_stdout(StringIO()):
        result = function(*args)
    return sum(os.times()[:4]) - start, result


def measure(root: Path, n: int, code: bool) -> dict[str, float]:
    """The seconds of each step for the class in `root`, and the kilobytes of its page."""
    seconds, chosen = {}, settings(root)
    seconds["find the hand-ins, read the roster"], found = timed(select_submissions, chosen)
    submissions, roster = found
    book, arrays = Gradebook(chosen.output_dir), load_split("digits", "test")
    work = root / "work"
    work.mkdir()
    comparing = timed(find_pending, book, submissions, chosen, work, arrays, "digits")
    seconds["compare files with records"], pending = comparing
    if pending:
        raise LabError(f"nothing should be graded again, got {len(pending)}: {pending[0].why}")
    record = book.records[submissions[0].name]
    adding = [timed(book.add, record.name, record.attempts[-1], {})[0] for _ in range(100)]
    seconds["add a record (one)"] = statistics.mean(adding)
    seconds["tables and all pages"], results = timed(write_report, book, submissions, roster, chosen)
    seconds["of these, index.html"], page = timed(index_page, results, book, [], 0.0)
    exporting = settings(root, "--export", "moodle")
    seconds["export to Moodle"], _ = timed(write_exports, book, results, exporting)
    if code:
        comparing = settings(root, "--similarity", "--handed_out", str(REPO / "student"))
        similar, _ = timed(find_similar, book.folder, submissions, results, comparing)
        seconds["--similarity (compare50)"] = similar
    command = [sys.executable, str(REPO / "autograde.py"), *options(root)]
    seconds["the whole command, nothing to grade"], _ = timed(
        lambda: subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    )
    seconds["size of index.html, kB"] = len(page.encode()) / 1000
    return seconds


def main() -> None:
    """Measure and print."""
    args = parse_args()
    prepare("digits", None)
    root = REPO / "outputs" / "class_size"
    shutil.rmtree(root, ignore_errors=True)
    write_class(root / "graded", GRADED, lambda _: hostile.source())
    lab("autograde.py", *options(root / "graded"))
    columns = {}
    for n in args.sizes:
        folder = root / str(n)
        write_class(folder, n)
        write_records(folder, root / "graded" / "grades")
        columns[n] = measure(folder, n, not args.no_code)
        print(f"{n}: {json.dumps(columns[n])}", file=sys.stderr, flush=True)
    small, large = min(columns), max(columns)
    rows = []
    for step in columns[small]:
        times = [columns[n][step] for n in columns]
        growth = columns[large][step] / columns[small][step] if columns[small][step] > 0 else float("nan")
        rows.append([step, *(f"{value:.3f}" if value < 1 else f"{value:.1f}" for value in times)])
        rows[-1].append(f"{growth:.1f}")
    print(f"{machine()}; processor time in seconds\n")
    print(markdown(["step", *map(str, columns), f"{large} relative to {small}"], rows))
    shutil.rmtree(root)


if __name__ == "__main__":
    run(main)
