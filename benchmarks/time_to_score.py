"""The time to reach a score: train (with `--beyond`), infer and grade Genwithlabel, for three targets.

    python benchmarks/time_to_score.py --data_dir FOLDER_OF_MNIST

A run is three processes, as a user starts them; its time is from the start of the first to the end of the
last. The score is the uncapped one on `valid`. For each target, the number of epochs is the smallest that
reached it with every seed (the schedule of the learning rate depends on it).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time

from helpers import REPO, machine, train_and_grade

from vaelab.cli import Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.data.splits import prepare

EPOCHS = {28.48: 1, 30.0: 1, 33.0: 3}  # 28.48: the score published for this lab


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--seeds", type=number(int, 1, 100), default=3, help="runs of each target (default: 3)"
    )
    add_dataset_option(parser)
    add_data_dir_option(parser)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    dataset, _ = prepare(args.dataset, args.data_dir)  # before the runs, which then share it
    folder = REPO / "outputs" / "time_to_score"
    times, scores = {}, {}
    for seed in range(args.seeds):
        for epochs in sorted(set(EPOCHS.values())):
            shutil.rmtree(folder, ignore_errors=True)
            start = time.perf_counter()
            options = (
                "--task",
                "Genwithlabel",
                "--beyond",
                "--dataset",
                dataset,
                "--epochs",
                epochs,
                "--seed",
                seed,
            )
            train_and_grade(folder, "valid", args.data_dir, *options)
            times.setdefault(epochs, []).append(time.perf_counter() - start)
            grade = json.loads((folder / "grade_result.json").read_text())
            scores.setdefault(epochs, []).append(grade["Genwithlabel"]["score_uncapped"])
    print(f"{machine()}; {dataset}, {args.seeds} runs each\n")
    rows = [
        (
            target,
            epochs,
            f"{statistics.median(times[epochs]):.0f} s",
            f"{min(times[epochs]):.0f} to {max(times[epochs]):.0f} s",
            f"{statistics.median(scores[epochs]):.2f}",
            f"{min(scores[epochs]):.2f}{'' if min(scores[epochs]) >= target else ' (missed)'}",
        )
        for target, epochs in EPOCHS.items()
    ]
    header = ("target", "epochs", "median", "range", "median score", "lowest score")
    print(markdown(header, rows))


if __name__ == "__main__":
    run(main)
