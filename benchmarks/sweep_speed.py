"""What a sweep costs beside its training: 16 points of one epoch on the embedded digits, two at once.

    python benchmarks/sweep_speed.py

First each point's `train.py` by itself, one after the other, on one thread: the sum of their training time.
Then `scripts/sweep.sh` with JOBS=2 on the same grid, which also reconstructs, generates and grades. Had it
nothing to do but the training, it would take half of that sum.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench import REPO, lab, machine

from vaelab.cli import LabError, Parser, markdown, number, run

GRID = {"LATENT_DIM": "8 16", "LR": "0.001 0.003", "HIDDEN_DIM": "256 512", "SEED": "1 2"}
FIXED = {"TASK": "Genwithlabel", "EPOCHS": "1", "DATASET": "digits"}


def train_all(folder: Path) -> float:
    """Train each point by a train.py of its own. Returns: seconds, the sum over all."""
    seconds = 0.0
    for values in itertools.product(*(text.split() for text in GRID.values())):
        point = FIXED | dict(zip(GRID, values, strict=True))
        options = [f"--{name.lower()}={value}" for name, value in point.items()]
        start = time.perf_counter()
        lab("train.py", *options, "--output_dir", folder, "--overwrite", threads=1)
        seconds += time.perf_counter() - start
    return seconds


def sweep_all(folder: Path) -> float:
    """Sweep the same points. Returns: seconds."""
    variables = GRID | FIXED | {"JOBS": "2", "OUTPUT_DIR": str(folder)}
    start = time.perf_counter()
    command = ["bash", str(REPO / "scripts" / "sweep.sh")]
    done = subprocess.run(
        command, cwd=REPO, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or "16/16" not in done.stdout:
        raise LabError(f"the sweep failed: {done.stderr or done.stdout}")
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--runs", type=number(int, 1, 100), default=3, help="of each (default: 3)")
    runs = parser.parse_args().runs
    trained, swept = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(runs):
            trained.append(train_all(Path(folder, "trained")))
            swept.append(sweep_all(Path(folder, f"swept-{i}")))
    print(machine())
    rows = []
    for name, seconds in (("16 times train.py, the sum", trained), ("the sweep, JOBS=2", swept)):
        rows.append(
            [name, f"{statistics.median(seconds):.1f} s", f"{min(seconds):.1f} to {max(seconds):.1f} s"]
        )
    ratios = [2 * b / a for a, b in zip(trained, swept, strict=True)]
    rows.append(["the sweep, to half of that sum", f"{statistics.median(ratios):.2f}"])
    rows[-1].append(f"{min(ratios):.2f} to {max(ratios):.2f}")
    print(markdown(["", "median", "range"], rows))


if __name__ == "__main__":
    run(main)
