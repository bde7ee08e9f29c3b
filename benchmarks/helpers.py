"""Functions that the benchmarks share: a description of the machine, and running the lab's commands.

Importing this module puts the repository's folder on the path, so that a benchmark can import its
modules.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

import torch  # noqa: E402

from vaelab.cli import LabError  # noqa: E402


def machine() -> str:
    """The processor, the number of threads and the versions in one line."""
    cpu = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{cpu}, {cores} cores, {torch.get_num_threads()} threads, {versions}"


def lab(script: str, *args: object, threads: int | None = None) -> None:
    """Run one of the lab's commands, in the repository's folder. Raises: LabError if it fails."""
    command = [sys.executable, str(REPO / script), *map(str, args)]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    result = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LabError(f"{shlex.join(command)} failed: {result.stderr.strip() or result.stdout.strip()}")
