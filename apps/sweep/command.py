"""Train, reconstruct, generate and grade every configuration of a grid, or search ranges, several at once.

    LATENT_DIM="8 16 24" VAR="0.01 0.1" SEED="1 2 3" EPOCHS=5 JOBS=2 bash scripts/sweep.sh
    LATENT_DIM="8..40" LR="3e-4..1e-2:log" TRIALS=40 JOBS=2 bash scripts/sweep.sh

The space is given by environment variables, named as the options of train.py. A list of values is a grid; a
range makes the sweep a search of TRIALS trials for each task. Each configuration has a folder of its own in
OUTPUT_DIR (default: outputs/sweep), with a result.json when it is finished. After an interruption, run the
same command again: finished configurations are kept and started ones are resumed. Failed ones, whose
result.json has the reason, are tried again by a grid.

Any number of processes and machines that run the same command on the same OUTPUT_DIR share the work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from tqdm import tqdm

from apps.sweep.space import Settings, Space, read_settings, read_space
from apps.sweep.worker import work
from vaelab.cli import LabError, Parser
from vaelab.language import N_, _
from vaelab.sweep_results import summarise

INTERRUPTED = 130  # exit code after Ctrl-C
STOP = {signal.SIGINT, signal.SIGTERM}


def start_worker(space: Space, settings: Settings) -> tuple[Connection, BaseProcess]:
    """Start a process that runs trials. Returns: the pipe of its results, and the process.

    It is forked from a server process, which imports the large packages once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "optuna", "matplotlib.figure", "skimage.metrics"])
    results, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(space, settings, theirs), daemon=True)
    resource_tracker.ensure_running()  # it unblocks the signals
    # Both inherit the blocked signals: Ctrl-C reaches this process alone, which ends its workers.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()  # so that the pipe ends with its worker
    return results, process


class Progress:
    """The lines of the finished trials, and a bar over all of them with the best score of each task."""

    def __init__(self, total: int, finished: int) -> None:
        self.bar = tqdm(total=total, initial=finished, disable=None, unit="trial")
        self.total, self.finished, self.best = total, finished, {}

    def add(self, name: str, result: dict[str, Any]) -> None:
        """Print one result."""
        self.finished += 1
        text = result["reason"] if result["status"] == "pruned" else f"failed: {result['reason']}"
        if result["status"] == "done":
            text, task = f"score {result['score_uncapped']:.2f}", result["task"]
            self.best[task] = max(result["score_uncapped"], self.best.get(task, 0.0))
        self.bar.write(f"{self.finished}/{self.total} {name}: {text}")
        sys.stdout.flush()
        self.bar.set_postfix({f"best {task}": f"{best:.2f}" for task, best in self.best.items()})
        self.bar.update()


def run_workers(space: Space, settings: Settings, jobs: int, progress: Progress) -> None:
    """Run trials in `jobs` processes until there are no more. Raises: LabError if none can go on."""
    workers = dict(start_worker(space, settings) for _ in range(jobs))
    while workers:
        for pipe in connection.wait(list(workers)):
            try:
                message = pipe.recv()
            except EOFError:
                process = workers.pop(pipe)
                process.join()
                if process.exitcode > 0:
                    raise LabError("a worker process has failed: see above") from None
                if process.exitcode < 0:
                    text = _("a worker process ended by signal {number}: replaced", number=-process.exitcode)
                    progress.bar.write(text)
                    workers |= [start_worker(space, settings)]
                continue
            if isinstance(message, LabError):
                raise message
            progress.add(*message)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the space, run its trials, and summarise the results."""
    Parser(description=__doc__).parse_args(argv)
    space = read_space(os.environ)
    settings = read_settings(os.environ, space)
    if not find_spec("optuna"):
        raise LabError("a sweep needs the package optuna: pip install -r requirements/sweep.txt")
    print(space)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from apps.sweep.study import Sweep

        sweep = Sweep(space, settings)
        sweep.enqueue_grid()
        total, finished = sweep.counts()
        text = N_("{total} configurations, {finished} of them done, {jobs} at once, in {folder}/")
        if space.is_search:
            text = N_("{total} trials, {finished} of them done, {jobs} at once, in {folder}/")
        about = {"total": total, "finished": finished, "jobs": settings.jobs, "folder": settings.root}
        print(_(text, **about), flush=True)
        run_workers(space, settings, min(settings.jobs, total - finished), Progress(total, finished))
        summarise(settings.root)
    except KeyboardInterrupt:
        print("\n" + _("stopped: run the same command again to continue"), file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        for process in multiprocessing.active_children():
            process.kill()  # whatever it does: it can be killed at any time
            process.join()
