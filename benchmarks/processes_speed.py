"""The speed of a training in one process and in two: `torchrun --nproc_per_node 2 train.py` on this machine.

    python benchmarks/processes_speed.py --data_dir FOLDER_OF_MNIST

It measures an epoch of each task's default, from `log.jsonl` (training and validation, without the start of
the processes): in one process with one thread, in one with two threads, and in two with one thread each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers import REPO, machine

from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.files import read_json
from vaelab.tasks import TASKS

WAYS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}


def epochs(folder: Path, task: str, processes: int, threads: int, options: list[str]) -> list[dict]:
    """Train two epochs. Returns: the log of each."""
    script = [str(REPO / "train.py"), "--task", task, "--epochs", "2", "--overwrite"]
    script += ["--output_dir", str(folder)]
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, *script, *options]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} failed: {done.stderr}")
    return [json.loads(line) for line in (folder / task / "log.jsonl").read_text().splitlines()]


def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--precision", choices=("auto", "bf16", "fp32"), default="auto", help="as in train.py (default: auto)"
    )
    parser.add_argument("--runs", type=number(int, 1, 100), default=2, help="of two epochs each (default: 2)")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    args = parser.parse_args()
    options = ["--precision", args.precision, "--dataset", args.dataset]
    options += [*(["--data_dir", str(args.data_dir)] if args.data_dir else [])]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            logs: dict[str, list[dict]] = {way: [] for way in WAYS}
            for _ in range(args.runs):
                for way, (processes, threads) in WAYS.items():
                    logs[way] += epochs(Path(folder), task, processes, threads, options)
            megabytes = 4 * read_json(Path(folder, task, "config.json"))["parameters"] / 1e6
            alone = statistics.median(row["seconds"] for row in logs["1 process, 1 thread"])
            for way, log in logs.items():
                seconds = [row["seconds"] for row in log]
                median = statistics.median(seconds)
                row = [task, way, f"{median:.1f} s", f"{min(seconds):.1f} to {max(seconds):.1f} s"]
                row += [f"{alone / median:.2f}", f"{megabytes:.1f} MB"]
                rows.append([*row, f"{log[0]['train_loss']:.3f}", f"{log[0]['valid_loss']:.3f}"])
    print(machine())
    head = ["task", "", "an epoch, median", "range", "faster by", "gradients a step"]
    print(markdown([*head, "loss of epoch 1", "valid loss"], rows))


if __name__ == "__main__":
    run(main)
