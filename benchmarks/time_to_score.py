"""The time to a score of Genwithlabel: from the start of train.py to the end of grade.py.

    python benchmarks/time_to_score.py --data_dir FOLDER_OF_MNIST

A run is three processes, as a user starts them, on `valid`; the score is the one before the cap. The
trainings in `OURS` alternate with one epoch of an earlier commit, whose tree is taken from git into a
temporary folder. With `--earlier ""` only ours are measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import REPO, machine

from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option

TASK = "Genwithlabel"
ADDITIONS = ("--prior", "learned", "--recon", "ssim_mse", "--refine", 10)
OURS = {
    "MLP of width 512 with additions, 2 epochs": (
        "--arch",
        "mlp",
        "--hidden_dim",
        512,
        *ADDITIONS,
        "--epochs",
        2,
    ),
    "--beyond, 1 epoch": ("--beyond", "--epochs", 1),
    "--beyond, 3 epochs": ("--beyond", "--epochs", 3),
}
EARLIER = ("--epochs", 1)  # of a tree whose defaults have all additions


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--runs", type=number(int, 1, 100), default=3, help="runs of each, one a seed (default: 3)")
    add("--earlier", metavar="COMMIT", default="594c69a", help='(default: 594c69a; "": none)')
    add("--only", nargs="+", metavar="NAME", choices=OURS, default=list(OURS), help="(default: all)")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    return parser.parse_args()


def tree_of(commit: str, folder: Path) -> Path:
    """Write the files of a commit into `folder`. Returns: the folder. Raises: LabError if git can't."""
    archive = folder / "tree.tar"
    for command in (
        ["git", "-C", str(REPO), "archive", "-o", str(archive), commit],
        ["tar", "-x", "-C", str(folder), "-f", str(archive)],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise LabError("the tree of {commit} is not here: {error}", commit=commit, error=result.stderr)
    return folder


class Run:
    """A tree of the lab, and the options of a training in it."""

    def __init__(self, tree: Path, options: tuple[object, ...], args: argparse.Namespace) -> None:
        self.tree, self.options = tree, [*map(str, options)]
        self.data = ["--data_dir", str(args.data_dir.resolve())] if args.data_dir else []
        self.dataset = ["--dataset", args.dataset]
        self.seconds: dict[str, list[float]] = {}
        self.scores: list[float] = []

    def command(self, script: str, *arguments: str) -> None:
        """Run a command of the tree, and note its seconds. Raises: LabError if it fails."""
        start = time.perf_counter()
        command = [sys.executable, script, *arguments, *self.data]
        result = subprocess.run(command, cwd=self.tree, capture_output=True, text=True, check=False)
        if result.returncode:
            said = result.stderr.strip() or result.stdout.strip()
            raise LabError("{script} of {tree} failed: {said}", script=script, tree=self.tree, said=said)
        self.seconds.setdefault(script, []).append(time.perf_counter() - start)

    def measure(self, seed: int) -> None:
        """Train, infer and grade once."""
        folder = self.tree / "outputs" / "time_to_score"
        shutil.rmtree(folder, ignore_errors=True)
        where, split = ["--output_dir", str(folder)], ["--split", "valid"]
        training = ["--task", TASK, *self.dataset, "--seed", str(seed), *self.options]
        self.command("train.py", *training, *where)
        self.command("inference.py", "--checkpoint_path", str(folder / TASK / "best.pt"), *split, *where)
        self.command("grade.py", *split, *where)
        grade = json.loads((folder / "grade_result.json").read_text())
        self.scores.append(grade[TASK]["score_uncapped"])

    def totals(self) -> list[float]:
        """Seconds of the three commands together, for each run."""
        return [sum(times) for times in zip(*self.seconds.values(), strict=True)]


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: Run(REPO, OURS[name], args) for name in args.only}
        if args.earlier:
            runs = {args.earlier: Run(tree_of(args.earlier, Path(folder)), EARLIER, args)} | runs
        for first in {one.tree: one for one in runs.values()}.values():
            first.command("data_utils.py", *first.dataset)  # before the runs, which then share the splits
            first.seconds.clear()
        for seed in range(args.runs):
            for name, one in runs.items():
                one.measure(seed)
                print(f"seed {seed}, {name}: {one.totals()[-1]:.1f} s, {one.scores[-1]:.2f}", file=sys.stderr)
    print(f"{machine()}; {args.dataset}, {args.runs} runs each\n")
    base = next(iter(runs.values())).totals()
    rows = []
    for name, one in runs.items():
        totals = one.totals()
        ratios = statistics.median(ours / theirs for ours, theirs in zip(totals, base, strict=True))
        parts = " + ".join(f"{statistics.median(times):.1f}" for times in one.seconds.values())
        spent = f"{statistics.median(totals):.1f} s", f"{min(totals):.1f} to {max(totals):.1f} s", parts
        scores = f"{statistics.median(one.scores):.2f}", f"{min(one.scores):.2f}"
        rows.append((name, *spent, f"{ratios:.2f}", *scores))
    header = ("training", "median", "range", "train + infer + grade", "ratio", "median score", "lowest")
    print(markdown(header, rows))


if __name__ == "__main__":
    run(main)
