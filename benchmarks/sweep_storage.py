"""How many trials a second a sweep's storage takes, from 1, 8 and 64 workers whose trials train nothing.

    python benchmarks/sweep_storage.py                      # SQLite and a journal
    python benchmarks/sweep_storage.py --url postgresql://lab@127.0.0.1/studies

Each worker is a process with a connection of its own. As a worker of a sweep does, it takes a trial of a
random search, reports four epochs, asks whether to prune, writes result.json, and records the score.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path

from helpers import machine

from apps.sweep.space import Settings, Space, read_settings, read_space
from apps.sweep.study import Sweep
from vaelab.cli import Parser, markdown, number, run
from vaelab.files import write_json

SPACE = {
    "LATENT_DIM": "8..40",
    "LR": "1e-4..1e-2:log",
    "TASK": "VAE0label",
    "TRIALS": "1000000",
    "SAMPLER": "random",
}
EPOCHS = 4


def work(space: Space, settings: Settings, seconds: float, start, counts) -> None:
    """Finish as many trials as possible in some seconds. Sends: how many."""
    sweep, done = Sweep(space, settings), 0
    start.wait()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        claim = sweep.take()
        with claim.locks:
            for epoch in range(EPOCHS):
                claim.trial.report(epoch, epoch)
                claim.trial.should_prune()
            result = {"task": "VAE0label", "options": claim.configuration.options, "status": "done"}
            result |= {"reason": "", "score_uncapped": 8.0}
            write_json(claim.folder / "result.json", result)
            sweep.finish(claim, result)
        done += 1
    counts.put(done)


def measure(storage: str, workers: int, seconds: float) -> float:
    """Trials a second of some workers on a new study."""
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
        total = sum(counts.get() for _ in processes)
        duration = time.perf_counter() - before
        for process in processes:
            process.join()
    return total / duration


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
        rows.append([storage.partition("://")[0], *(f"{rate:.1f}" for rate in rates)])
    print(machine())
    print(markdown(["trials a second", *(f"{workers} workers" for workers in args.workers)], rows))


if __name__ == "__main__":
    run(main)
