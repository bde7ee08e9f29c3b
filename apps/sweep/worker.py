"""Worker processes: each runs one command of the lab, forked from a process that has imported torch already.

Importing torch takes seconds, which is most of the time of a command on little data. Modules at the top level
of the lab (submission.py, trainer.py, ...) are imported by each worker, from the folder of its command.
"""

from __future__ import annotations

import atexit
import importlib
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path


def preload() -> None:
    """Import the packages that the commands need, so that their workers don't have to."""
    for name in ("vaelab.run", "vaelab.inference", "vaelab.grading"):
        importlib.import_module(name)


def start(
    argv: Sequence[str], stdout: Path, stderr: Path, cwd: Path | None = None, env: Mapping | None = None
) -> int:
    """Start `python <argv>` in a fork of this process; its outputs are appended to two files.

    Returns: the process id of the fork, for `os.waitpid`.
    """
    sys.stdout.flush()  # otherwise the fork would print it too
    sys.stderr.flush()
    # Block interruptions: Python's fork must not be interrupted.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    pid = os.fork()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if pid:
        return pid
    code = 1
    try:
        for number, path in ((0, os.devnull), (1, stdout), (2, stderr)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666), number)
        if cwd is not None:
            os.chdir(cwd)
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        sys.argv, sys.path[0] = list(argv), str(Path(argv[0]).parent)
        runpy.run_path(argv[0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
