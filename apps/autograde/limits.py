"""The limits of a sandboxed process, and its resource usage."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STOP = threading.Event()  # set it to end all sandboxes of this process


@dataclass(frozen=True)
class Limits:
    """The resources that a sandboxed program may use."""

    seconds: float = 300.0  # wall time; and CPU time, for each of `threads` + 1
    memory_mb: int = 4096  # of all its processes together, not counting files in /tmp
    processes: int = 16  # and threads
    tmp_mb: int = 64  # of all files in /tmp, and of any single file
    tmp_files: int = 1000
    threads: int = 1  # for torch
    output_bytes: int = 1 << 20  # of its result


@dataclass(frozen=True)
class Outcome:
    """How a sandboxed program ended."""

    status: str  # ok (the program ended), or the limit it exceeded: timeout, memory, processes, files, output
    returncode: int
    output: bytes
    errors: str  # the end of its stderr


def apply_limits(limits: Limits, uid: int | None) -> None:
    """Limit this process and its children. Called in the sandbox, before any code of the submission.

    uid: the user to become, if the sandbox was made by root.
    """
    import resource  # not available on Windows

    # Above the grader's own limit: the grader measures the time too, and can report the reason.
    cpu = math.ceil(limits.seconds) * (limits.threads + 2)
    for what, value in (
        (resource.RLIMIT_CPU, cpu),
        # The address space: torch reserves gigabytes without using them. The grader measures the used memory.
        (resource.RLIMIT_AS, (limits.memory_mb << 20) + (8 << 30)),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.tmp_mb << 20),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Without root, the user's processes outside the sandbox would be counted too.
        if what != resource.RLIMIT_NPROC or uid is not None:
            resource.setrlimit(what, (value, value))
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


@dataclass
class Usage:
    """The resources that a process and all its descendants use."""

    threads: int = 0
    memory: int = 0  # bytes
    cpu_s: float = 0.0
    tmp_files: int = 0


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """The file descriptor of a folder. It stays valid while a process changes its root to the sandbox."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def usage(pid: int, shared: bool = True) -> Usage:
    """The current usage of `pid` and its descendants. Processes that end in the meantime are left out.

    shared: count shared memory too.
    """
    total, pids, counted = Usage(), [pid], ("RssAnon", "RssShmem") if shared else ("RssAnon",)
    tick, own_tmp = os.sysconf("SC_CLK_TCK"), Path("/tmp").stat().st_dev
    while pids:
        folder = Path("/proc", str(pids.pop()))
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (folder / "status").read_text(errors="replace").splitlines():
                key, _, value = line.partition(":")
                if key == "Threads":
                    total.threads += int(value)
                elif key in counted:
                    total.memory += int(value.split()[0]) << 10
            # After the name, which may contain anything: utime, stime, and those of children that ended.
            times = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[11:15]
            total.cpu_s += sum(map(int, times)) / tick
            for task in (folder / "task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
            with open_folder(folder / "root" / "tmp") as tmp:
                if os.fstat(tmp).st_dev != own_tmp:  # the sandbox's own; empty files use memory too
                    counts = os.fstatvfs(tmp)
                    total.tmp_files = max(total.tmp_files, counts.f_files - counts.f_ffree)
    return total
