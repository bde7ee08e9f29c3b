"""The time of `autograde.py` on the `test` split: of one submission, and of classes by kind of model.

    python benchmarks/autograde_speed.py --data_dir FOLDER_OF_MNIST

First a submission whose model needs almost no time (PCA): its time is that of six sandboxes, the canary
inputs, the probes, the score and the pages. Then a class for each kind of model in `KINDS`, trained for an
epoch, and a class that has also hostile submissions of `tests/hostile.py`, which together exceed every limit.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from helpers import REPO, lab, machine

sys.path.insert(0, str(REPO / "tests"))
import hostile

from apps.autograde.limits import usage
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.data.splits import load_split, prepare
from vaelab.tasks import TASKS

HOSTILE = ("endless loop", "fork bomb", "memory bit by bit", "100 GB file", "segfault", "syntax error")
HOSTILE += ("a pickle bomb", "nan codes", "a zip file of a billion zeros", "a process left running")
KINDS = {
    "MLP 784-400-20": ("--arch", "mlp"),
    "the default network": (),
}


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--honest", type=number(int, 1, 1000), default=50, help="honest submissions (default: 50)")
    add("--runs", type=number(int, 1, 100), default=3, help="runs of the one submission (default: 3)")
    add("--time_limit", type=number(float, 1), default=60, help="seconds for a step (default: 60)")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    return parser.parse_args()


def autograde(folder: Path, args: argparse.Namespace) -> tuple[float, float, float]:
    """Grade the submissions in `folder`/class.

    Returns: seconds, the peak memory of the grader in MB, and that of all processes together.
    """
    command = [sys.executable, REPO / "autograde.py", folder / "class", "--split", "test"]
    command += ["--dataset", args.dataset, "--time_limit", args.time_limit, "--output_dir", folder / "grades"]
    command += ["--data_dir", args.data_dir] if args.data_dir else []
    own = together = 0
    start = time.perf_counter()
    process = subprocess.Popen([*map(str, command)], cwd=REPO, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        status = Path("/proc", str(process.pid), "status").read_text()
        own = max([own, *(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)])
        together = max(together, usage(process.pid).memory / 2**20)
        time.sleep(0.2)
    if process.returncode != 0:
        raise LabError("autograde.py failed: see above")
    return time.perf_counter() - start, own, together


def grade_single(root: Path, train: np.ndarray, args: argparse.Namespace) -> list[float]:
    """Grade one submission several times. Returns: the seconds of each run."""
    seconds = []
    for i in range(args.runs):
        folder = root / f"single{i}"
        hostile.write_class(folder / "class", train, {"pca": hostile.honest()}, {})
        checkpoint = hostile.checkpoint("Genwithlabel", train)
        (folder / "class" / "pca" / "Genwithlabel.pt").write_bytes(checkpoint)
        seconds.append(autograde(folder, args)[0])
    return seconds


def train(folder: Path, options: tuple[object, ...], args: argparse.Namespace) -> None:
    """Train a model of each task for an epoch."""
    data = ["--data_dir", args.data_dir] if args.data_dir else []
    for task in TASKS:
        where = ["--output_dir", folder, "--dataset", args.dataset]
        lab("train.py", "--task", task, "--epochs", 1, *options, *where, *data)


def write_honest(folder: Path, trained: Path, count: int) -> None:
    """Add `count` honest submissions with the same checkpoints to a class."""
    for i in range(count):
        student = folder / f"student{i}"
        student.mkdir(parents=True)
        shutil.copy(REPO / "submission.py", student)
        for task in TASKS:
            shutil.copy(trained / task / "best.pt", student / f"{task}.pt")


def main() -> None:
    """Measure and print."""
    args = parse_args()
    args.dataset, _ = prepare(args.dataset, args.data_dir)
    train_images, _ = load_split(args.dataset, "train")
    root = REPO / "outputs" / "autograde_speed"
    shutil.rmtree(root, ignore_errors=True)
    single = grade_single(root, train_images, args)
    rows = [("PCA, one submission a command", 1, f"{statistics.median(single):.1f} s", "", "")]
    classes = [(kind, args.honest, ()) for kind in KINDS]
    classes.append((f"{next(iter(KINDS))}, and {len(HOSTILE)} hostile ones", args.honest, HOSTILE))
    for i, (title, honest, names) in enumerate(classes):
        kind, folder = title.partition(", ")[0], root / str(i)
        if not (root / kind).exists():
            train(root / kind, KINDS[kind], args)
        hostile.write_class(folder / "class", train_images, {name: hostile.CASES[name] for name in names}, {})
        write_honest(folder / "class", root / kind, honest)
        seconds, own, together = autograde(folder, args)
        n = honest + len(names)
        each, memory = f"{seconds / n:.1f} s", f"{own:.0f} MB; {together:.0f} MB"
        rows.append((title, n, f"{seconds:.0f} s", each, memory))
        print(rows[-1], file=sys.stderr)
        with (folder / "grades" / "grades.csv").open(newline="") as file:
            statuses = Counter(row["status"] for row in csv.DictReader(file))
    print(f"{machine()}; {args.dataset}, time limit {args.time_limit:g} s, {args.runs} runs of the first\n")
    header = ("models", "submissions", "time", "each", "peak memory of the grader; with all sandboxes")
    print(markdown(header, rows))
    print("\nStatuses of the last class: " + ", ".join(f"{key} {n}" for key, n in sorted(statuses.items())))
    shutil.rmtree(root)


if __name__ == "__main__":
    run(main)
