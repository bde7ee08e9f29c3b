"""The limits of a sandboxed process, and its resource usage."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STOP = threading.Event()  # set to end all sandboxes of this process


# --- Limits -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What a sandboxed program may use."""

    seconds: float = 300.0  # of wall time; of CPU time, as many on each thread and one more
    memory_mb: int = 4096  # of all its processes together, beside files in /tmp
    processes: int = 16  # and threads
    tmp_mb: int = 64  # of files in /tmp, and of a single file
    tmp_files: int = 1000
    threads: int = 1  # for torch
    output_bytes: int = 1 << 20  # of its result


@dataclass(frozen=True)
class Outcome:
    """How a sandboxed program ended."""

    status: str  # ok (ended by itself), timeout, memory, processes, files, output
    returncode: int
    output: bytes
    errors: str  # the end of what it printed on stderr


def limit_self(limits: Limits, uid: int | None) -> None:
    """Called by our code inside the sandbox, before any of the program's own: take on the limits for good.

    uid: the user to become, where the sandbox was made by root.
    """
    import resource  # there is none on Windows

    cpu = math.ceil(limits.seconds) * (limits.threads + 2)  # more than the watch allows, which says why
    for what, value in (
        (resource.RLIMIT_CPU, cpu),
        # Of addresses, of which torch takes gigabytes without using them; the watch counts what is used.
        (resource.RLIMIT_AS, (limits.memory_mb << 20) + (8 << 30)),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.tmp_mb << 20),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # A user's own processes outside count too, in a sandbox that was not made by root.
        if what != resource.RLIMIT_NPROC or uid is not None:
            resource.setrlimit(what, (value, value))
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


@dataclass
class Usage:
    """What a process and all that descend from it use."""

    threads: int = 0
    memory: int = 0  # bytes
    cpu_s: float = 0.0
    tmp_files: int = 0


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """A folder's file descriptor: it stays that folder's while a process moves into its sandbox."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def usage(pid: int) -> Usage:
    """What `pid` and its descendants use now. Those that end meanwhile are left out."""
    total, pids = Usage(), [pid]
    tick, own_tmp = os.sysconf("SC_CLK_TCK"), Path("/tmp").stat().st_dev
    while pids:
        folder = Path("/proc", str(pids.pop()))
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (folder / "status").read_text(errors="replace").splitlines():
                key, _, value = line.partition(":")
                if key == "Threads":
                    total.threads += int(value)
                elif key in ("RssAnon", "RssShmem"):
                    total.memory += int(value.split()[0]) << 10
            # After the name, which may hold anything: utime, stime and those of children that ended.
            times = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[11:15]
            total.cpu_s += sum(map(int, times)) / tick
            for task in (folder / "task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
            with opened(folder / "root" / "tmp") as tmp:
                if os.fstat(tmp).st_dev != own_tmp:  # the sandbox's: a file without content takes memory too
                    counts = os.fstatvfs(tmp)
                    total.tmp_files = max(total.tmp_files, counts.f_files - counts.f_ffree)
    return total
