"""A search against a grid: what each needs until it has the best score of a grid of 24, and what it finds.

    python benchmarks/sweep_search.py            # three seeds, on the embedded digits, two trials at once

The grid has 24 configurations of the MLP. The search draws 24 trials from the same region by TPE, and prunes
them with the median rule. The seed is that of the trainings and of the sampler. Epochs are counted up to the
trial that reaches the score, that one included, in the order in which trials were finished; a second run of
this benchmark in the same folder continues, and its seconds mean nothing.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from helpers import REPO, machine

from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.files import read_json
from vaelab.run_files import read_log

FIXED = {"TASK": "VAE0label", "DATASET": "digits", "ARCH": "mlp", "JOBS": "2", "OMP_NUM_THREADS": "1"}
GRID = {"LATENT_DIM": "10 20 30 40", "LR": "0.0003 0.001 0.003", "VAR": "0.003 0.03"}
SEARCH = {"LATENT_DIM": "10..40", "LR": "0.0003..0.003:log", "VAR": "0.003..0.03:log", "TRIALS": "24"}


def sweep(folder: Path, variables: dict[str, str]) -> float:
    """Run a sweep. Returns: the time at which it started."""
    start = time.time()
    environment = os.environ | variables | {"OUTPUT_DIR": str(folder)}
    command = ["bash", str(REPO / "scripts" / "sweep.sh")]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError("the sweep failed: {text}", text=done.stderr or done.stdout)
    return start


def until(folder: Path, score: float) -> tuple[int, int, float, float]:
    """Trials, epochs and the time until a score is reached (of all, if it never is), and the best score."""
    results = [(read_json(path), path.parent) for path in folder.glob("*/result.json")]
    results.sort(key=lambda pair: pair[0]["finished"])
    best = max(result.get("score_uncapped", 0.0) for result, _ in results)
    trials = epochs = 0
    for result, path in results:
        trials += 1
        epochs += len(read_log(path / result["task"] / "log.jsonl"))
        if result.get("score_uncapped", 0.0) >= score:
            break
    return trials, epochs, result["finished"], best


def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--seeds", type=number(int, 1, 100), default=3, help="(default: 3)")
    parser.add_argument("--epochs", type=number(int, 1), default=40, help="of each training (default: 40)")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/sweep_search"))
    args = parser.parse_args()
    rows = []
    for seed in range(args.seeds):
        fixed = FIXED | {"EPOCHS": str(args.epochs), "SEED": str(seed)}
        grid, search = (args.output_dir / f"{name}-{seed}" for name in ("grid", "search"))
        starts = [sweep(grid, fixed | GRID), sweep(search, fixed | SEARCH | {"SAMPLER_SEED": str(seed)})]
        target = until(grid, float("inf"))[-1]
        for name, folder, start in zip(("grid", "TPE, median"), (grid, search), starts, strict=True):
            trials, epochs, end, best = until(folder, target)
            reached = f"{trials} trials, {epochs} epochs, {end - start:.0f} s" if best >= target else "never"
            _, total, end, _ = until(folder, float("inf"))
            row = [seed, name, f"{best:.3f}", reached, f"{total} epochs, {end - start:.0f} s"]
            rows.append(row)
    print(machine())
    print(markdown(["seed", "", "best score", "until the grid's best score", "all 24 trials"], rows))


if __name__ == "__main__":
    run(main)
