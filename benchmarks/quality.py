"""Ablation: the score with the default training, with each addition of beyond/ alone, and with all of them.

    python benchmarks/quality.py --data_dir FOLDER_OF_MNIST --jobs 2

It trains, infers and grades both tasks with each variant and seed, and writes the means to
benchmarks/results/NAME.md. After an interruption, run the same command again: finished runs are kept in
outputs/quality/, and started ones are resumed. Delete that folder after a change of the code.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from helpers import REPO, lab, machine
from tqdm import tqdm

from vaelab.cli import Parser, markdown, number, run
from vaelab.data.options import SPLITS, add_data_dir_option, add_dataset_option
from vaelab.data.splits import prepare
from vaelab.files import make_folder, read_json, write_file
from vaelab.tasks import TASKS

# The options of each variant.
VARIANTS = {
    "default": (),
    "prior": ("--prior", "learned"),
    "recon": ("--recon", "ssim_mse"),
    "refine": ("--refine", "10"),
    "sharpen": ("--sharpen", "1.25"),
    "beyond": ("--beyond",),
}
# The values of a grade, with the number of decimals in the table.
VALUES = {"ssim": 4, "mse": 5, "fid": 2, "score": 2, "score_uncapped": 2}
Grade = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """The options that all runs share."""

    dataset: str
    data_dir: Path | None
    epochs: int | None
    splits: tuple[str, ...]
    threads: int  # of each run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="(default: both)")
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="(default: all)")
    add("--epochs", type=number(int, 1), help="of each run (default: the default of each variant)")
    add("--seeds", type=number(int, 1, 100), default=3, help="number of seeds (default: 3)")
    add("--splits", nargs="+", choices=SPLITS, default=["test"], help="the splits to grade (default: test)")
    add("--jobs", type=number(int, 1, 64), default=1, help="runs at once, which share the cores (default: 1)")
    add("--name", default="ablation", help="of the file in benchmarks/results/ (default: ablation)")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    return parser.parse_args(argv)


def run_one(settings: Settings, task: str, variant: str, seed: int) -> dict[str, Grade]:
    """Train, infer and grade, unless that was done before. Returns: the grade of each split."""
    epochs = "" if settings.epochs is None else f"-epochs{settings.epochs}"
    folder = REPO / "outputs" / "quality" / f"{settings.dataset}-{task}-{variant}{epochs}-seed{seed}"
    results = {split: folder / f"{split}.json" for split in settings.splits}
    missing = [split for split, path in results.items() if not path.exists()]
    data = ["--data_dir", settings.data_dir] if settings.data_dir else []
    if missing:
        options = ["--task", task, "--dataset", settings.dataset, "--seed", seed, *VARIANTS[variant]]
        options += [] if settings.epochs is None else ["--epochs", settings.epochs]
        lab("train.py", *options, "--resume", "--output_dir", folder, *data, threads=settings.threads)
    for split in missing:
        rest = ["--output_dir", folder, "--split", split, *data]
        best = ["--checkpoint_path", folder / task / "best.pt"]
        lab("inference.py", *best, *rest, threads=settings.threads)
        lab("grade.py", *rest, threads=settings.threads)
        (folder / "grade_result.json").replace(results[split])
    return {split: read_json(path)[task] for split, path in results.items()}


def mean_and_std(grades: list[Grade], key: str) -> str:
    """Mean ± sample standard deviation of a value; empty if the task has no such value."""
    values = [grade[key] for grade in grades if key in grade]
    if not values:
        return ""
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{VALUES[key]}f} ± {std:.{VALUES[key]}f}"


def to_markdown(results: dict[tuple[str, str], list[dict[str, Grade]]], splits: Sequence[str]) -> str:
    """A table with a row for each split, task and variant. results: a list over the seeds for each."""
    rows = []
    for split in splits:
        for (task, variant), of_seeds in results.items():
            cells = [mean_and_std([grades[split] for grades in of_seeds], key) for key in VALUES]
            rows.append((" ".join(VARIANTS[variant]) or "(default)", task, split, *cells))
    return markdown(("options", "task", "split", *VALUES), rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Do the runs that are missing, then write and print the table."""
    args = parse_args(argv)
    dataset, _ = prepare(args.dataset, args.data_dir)
    threads = max(1, torch.get_num_threads() // args.jobs)
    settings = Settings(dataset, args.data_dir, args.epochs, tuple(args.splits), threads)
    grid = list(itertools.product(args.tasks, args.variants, range(args.seeds)))
    results: dict[tuple[str, str], list[dict[str, Grade]]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(run_one, settings, *point) for point in grid]
        try:
            for (task, variant, _), done in zip(grid, tqdm(runs, disable=None, unit="run"), strict=True):
                results.setdefault((task, variant), []).append(done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    epochs = "default epochs" if args.epochs is None else f"{args.epochs} epochs"
    about = f"{machine()}; {dataset}, {epochs}, {threads} threads a run, {args.seeds} seeds, mean ± std"
    table = f"{about}\n\n{to_markdown(results, args.splits)}\n"
    write_file(make_folder(REPO / "benchmarks" / "results") / f"{args.name}.md", table)
    print(table)


if __name__ == "__main__":
    run(main)
