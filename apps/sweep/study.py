"""Train, reconstruct, generate and grade every configuration of a grid, several at once.

    LATENT_DIM="8 16 24" VAR="0.01 0.1" SEED="1 2 3" EPOCHS=5 JOBS=2 bash scripts/sweep.sh

The grid is given by environment variables, named as the options of train.py. Each configuration has a folder
of its own in OUTPUT_DIR (default: outputs/sweep), with a result.json when it is finished. After an
interruption, run the same command again: finished configurations are kept, started ones are resumed, and
failed ones, whose result.json has the reason, are tried again.

In a SLURM job array each task runs its share of the configurations. A configuration's folder is locked while
a process runs it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from apps.sweep.grid import Configuration, own_share, read_grid
from apps.sweep.trial import INTERRUPTED, SweepSettings, is_finished, run_trial
from apps.sweep.worker import preload
from vaelab.cli import LabError, Parser, number
from vaelab.files import lock, make_folder
from vaelab.sweep_results import summarise


def read_settings(variables: Mapping[str, str]) -> SweepSettings:
    """The settings that the variables of `grid.SETTINGS` describe. Raises: LabError if JOBS is wrong."""
    try:
        jobs = number(int, 1, 1024)(variables.get("JOBS") or "1")
    except argparse.ArgumentTypeError as error:
        raise LabError(f"JOBS: {error}") from error
    return SweepSettings(
        root=Path(variables.get("OUTPUT_DIR") or "outputs/sweep"),
        jobs=jobs,
        data_dir=variables.get("DATA_DIR", ""),
        device=variables.get("DEVICE", ""),
        sweep_id=f"{os.getpid()} {time.time()}",
        parent=os.getpid(),
    )


# --- Worker processes ---------------------------------------------------------------------------


def run_pending(
    pending: list[Configuration], settings: SweepSettings, on_finished: Callable[[str], None]
) -> None:
    """Run the configurations; then wait for those that other processes are running.

    on_finished: called with a one-line summary of each configuration that this process has finished.
    """
    for wait in (False, True):
        locked = []
        for configuration in pending:
            folder = make_folder(settings.root / configuration.name)
            with ExitStack() as stack:
                try:
                    stack.enter_context(lock(folder, wait))
                except LabError:
                    locked.append(configuration)
                    continue
                orphaned = os.getppid() != settings.parent  # the sweep was killed
                if not orphaned and not is_finished(folder, settings.sweep_id):
                    on_finished(f"{configuration.name}: {run_trial(configuration, folder, settings)}")
        pending = locked


def start_worker(pending: list[Configuration], settings: SweepSettings, pipe: int) -> int:
    """Fork a process that runs configurations and writes a line into `pipe` for each. Returns: its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        run_pending(pending, settings, lambda line: os.write(pipe, f"{line}\n".encode()))
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the sweep was killed
        pass
    except (LabError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run_sweep(configurations: list[Configuration], settings: SweepSettings) -> int:
    """Run the configurations in worker processes. Returns: the number of workers that failed."""
    total, finished = len(configurations), sum(is_finished(settings.root / c.name) for c in configurations)
    jobs = min(settings.jobs, total - finished)
    counts = f"{total} configurations, {finished} of them done, {settings.jobs} at once"
    print(f"{counts}, in {settings.root}/", flush=True)
    ours, theirs = os.pipe()
    workers = [start_worker(configurations, settings, theirs) for _ in range(jobs)]
    os.close(theirs)  # so that the pipe is closed when all workers have ended
    try:
        with os.fdopen(ours) as lines, tqdm(total=total, initial=finished, disable=None, unit="run") as bar:
            for n, line in enumerate(lines, start=finished + 1):
                bar.write(f"{n}/{total} {line.rstrip()}")
                sys.stdout.flush()
                bar.update()
        return sum(os.waitpid(worker, 0)[1] != 0 for worker in workers)
    except KeyboardInterrupt:
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        for worker in workers:
            os.waitpid(worker, 0)
        print("\nstopped: run the same command again to continue", file=sys.stderr)
        sys.exit(INTERRUPTED)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the grid, run it, and summarise the results."""
    Parser(description=__doc__).parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = read_settings(os.environ)
    configurations = own_share(read_grid(os.environ), os.environ)
    if not configurations:
        print("nothing to do: the array has more tasks than the grid has configurations")
        return
    make_folder(settings.root)
    preload()
    failed = run_sweep(configurations, settings)
    summarise(settings.root)
    if failed:
        raise LabError(f"{failed} of the worker processes failed: run the same command again to continue")
