"""The overhead of a sweep: 16 configurations of one epoch on the embedded digits, two at once.

    python benchmarks/sweep_speed.py

First `train.py` for each configuration, one after the other, with one thread: the sum of their times. Then
`scripts/sweep.sh` with JOBS=2 on the same grid, which also reconstructs, generates and grades. Without
those steps, and without overhead, it would take half of the sum.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from helpers import REPO, lab, machine

from vaelab.cli import LabError, Parser, markdown, number, run

GRID = {"LATENT_DIM": "8 16", "LR": "0.001 0.003", "HIDDEN_DIM": "256 512", "SEED": "1 2"}
FIXED = {"TASK": "Genwithlabel", "EPOCHS": "1", "DATASET": "digits"}


def train_all(folder: Path) -> float:
    """Train each configuration by a train.py of its own. Returns: the sum of the seconds."""
    seconds = 0.0
    for values in itertools.product(*(text.split() for text in GRID.values())):
        configuration = FIXED | dict(zip(GRID, values, strict=True))
        options = [f"--{name.lower()}={value}" for name, value in configuration.items()]
        start = time.perf_counter()
        lab("train.py", *options, "--output_dir", folder, "--overwrite", threads=1)
        seconds += time.perf_counter() - start
    return seconds


def sweep_all(folder: Path) -> float:
    """Sweep the same configurations. Returns: seconds."""
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
    trained, sweeps = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(runs):
            trained.append(train_all(Path(folder, "trained")))
            sweeps.append(sweep_all(Path(folder, f"sweep-{i}")))
    print(machine())
    rows = []
    for name, seconds in (("16 times train.py, the sum", trained), ("the sweep, JOBS=2", sweeps)):
        rows.append(
            [name, f"{statistics.median(seconds):.1f} s", f"{min(seconds):.1f} to {max(seconds):.1f} s"]
        )
    ratios = [2 * b / a for a, b in zip(trained, sweeps, strict=True)]
    rows.append(["the sweep, to half of that sum", f"{statistics.median(ratios):.2f}"])
    rows[-1].append(f"{min(ratios):.2f} to {max(ratios):.2f}")
    print(markdown(["", "median", "range"], rows))


if __name__ == "__main__":
    run(main)
