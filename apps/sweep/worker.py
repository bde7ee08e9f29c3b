"""A worker process of a sweep: it imports torch once, and runs one trial after the other."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import Connection

from tqdm import tqdm

from apps.sweep.space import Settings, Space
from vaelab.cli import LabError
from vaelab.language import SOURCE, VARIABLE

ARRAY_TASK = "SLURM_ARRAY_TASK_ID"
tqdm.set_lock(threading.RLock())  # its own lock is a semaphore of the system, which a killed process leaves


def end_with_parent() -> None:
    """End this process, in the middle of anything, when the sweep that has started it ends."""
    multiprocessing.parent_process().join()
    os._exit(1)


def work(space: Space, settings: Settings, pipe: Connection) -> None:
    """Run trials until there are no more. Sends each result, with its configuration's name, or a LabError."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ[VARIABLE] = SOURCE  # the reasons in result.json and sweep.csv are in English
    from apps.sweep.study import Sweep, read_result
    from apps.sweep.trial import run_trial

    # A task of a SLURM array that is killed starts again: the others need not keep their cores for it.
    wait = ARRAY_TASK not in os.environ
    try:
        sweep = Sweep(space, settings)
        with sweep.storage_errors():
            while claim := sweep.wait_and_take(wait):
                with claim.locks:
                    result = read_result(claim.folder) or run_trial(claim, settings)
                    sweep.finish(claim, result)
                pipe.send((claim.configuration.name, result))
    except LabError as error:
        pipe.send(error)
