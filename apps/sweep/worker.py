"""Runs command lines of the lab, each in a copy of this process, which has loaded the packages they import.

Importing torch takes seconds, which is most of what a command takes on little data. The lab's own modules
are not loaded here: each copy reads them from the folder of its script.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path


def start(
    argv: Sequence[str], stdout: Path, stderr: Path, cwd: Path | None = None, env: Mapping | None = None
) -> int:
    """Start `python <argv>` in a copy of this process; its outputs are added to two files.

    Returns: the copy's process id, for `os.waitpid`.
    """
    sys.stdout.flush()  # or the copy would print it too
    sys.stderr.flush()
    # An interruption has to wait until there are two: what Python does around a fork must be whole.
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
