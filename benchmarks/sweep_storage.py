"""How many trials a second a sweep's storage takes, from 1, 8 and 64 workers whose trials train nothing.

    python benchmarks/sweep_storage.py                      # SQLite and a journal
    python benchmarks/sweep_storage.py --url postgresql://lab@127.0.0.1/studies

Each worker is a process with a connection of its own. As a worker of a sweep does, it takes a trial of a
random search, reports four epochs, asks whether to prune, writes result.json, and records the score.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

from helpers import machine
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from apps.sweep.space import Settings, Space, read_settings, read_space
from apps.sweep.study import Sweep
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.files import write_json

SPACE = {
    "LATENT_DIM": "8..40",
    "LR": "1e-4..1e-2:log",
    "TASK": "VAE0label",
    "TRIALS": "1000000",
    "SAMPLER": "random",
}
EPOCHS = 4
STORAGE_ERRORS = (LabError, SQLAlchemyError, StorageInternalError)


def finish_one(sweep: Sweep) -> None:
    """Take a trial, report as a training does, and finish it."""
    claim = sweep.take()
    with claim.locks:
        for epoch in range(EPOCHS):
            claim.trial.report(epoch, epoch)
            claim.trial.should_prune()
        result = {"task": "VAE0label", "options": claim.configuration.options, "status": "done"}
        result |= {"reason": "", "score_uncapped": 8.0}
        write_json(claim.folder / "result.json", result)
        sweep.finish(claim, result)


def work(space: Space, settings: Settings, seconds: float, start, counts) -> None:
    """Finish as many trials as possible in some seconds. Sends: how many, and whether the storage failed."""
    done, sweep = 0, None
    try:
        sweep = Sweep(space, settings)
    except STORAGE_ERRORS as error:
        print(f"a worker can't start: {error}", file=sys.stderr)
    start.wait()
    end = time.perf_counter() + seconds
    try:
        while sweep and time.perf_counter() < end:
            finish_one(sweep)
            done += 1
    except STORAGE_ERRORS as error:
        print(f"a worker ends: {error}", file=sys.stderr)
        sweep = None
    counts.put((done, sweep is None))


def measure(storage: str, workers: int, seconds: float) -> str:
    """Trials a second of some workers on a new study, and how many of them the storage failed."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        variables = SPACE | {"STORAGE": storage, "OUTPUT_DIR": str(Path(folder, "sweep"))}
        space = read_space(variables)
        settings = read_settings(variables, space)
        start, counts = context.Barrier(workers + 1), context.SimpleQueue()
        arguments = (space, settings, seconds, start, counts)
        processes = [context.Process(target=work, args=arguments) for _ in range(workers)]
        for process in processes:
            process.start()
        start.wait()
        before = time.perf_counter()
        finished, failed = zip(*(counts.get() for _ in processes), strict=True)
        duration = time.perf_counter() - before
        for process in processes:
            process.join()
    return f"{sum(finished) / duration:.1f}" + (f" ({sum(failed)} workers failed)" if any(failed) else "")


def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--url", action="append", default=[], help="of a server, to measure that as well")
    parser.add_argument("--workers", type=number(int, 1, 1024), nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=number(float, 0.1, 3600), default=10, help="of each (default: 10)")
    args = parser.parse_args()
    rows = []
    for storage in ("sqlite", "journal", *args.url):
        rates = [measure(storage, workers, args.seconds) for workers in args.workers]
        rows.append([storage.partition("://")[0], *rates])
    print(machine())
    print(markdown(["trials a second", *(f"{workers} workers" for workers in args.workers)], rows))


if __name__ == "__main__":
    run(main)
