"""Starts scripts through `forked.py` for tests.

Reads a request on each line of stdin: the arguments of `forked.start`, answered by a process id; or a process
id, answered by the exit code when that process has ended.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import sklearn.datasets  # noqa: E402, F401 most tests prepare the embedded digits

from apps.sweep.worker import start

for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request, dict):
        print(start(**request), flush=True)
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]), flush=True)
