"""CPU threads: their number, and how long they spin while they wait for each other.

PyTorch's CPU kernels divide each operation among the threads of an OpenMP team. In GNU's implementation
(libgomp) a thread that has finished its part spins: it waits for the others in a loop. On an idle machine
this is the fastest way. Beside another busy process the loop uses up the processor time that the other
threads of the team need, and a step can take a hundred times as long.

libgomp stops spinning early in a process that has more OpenMP threads than processors. `SpinControl`
therefore keeps a second, sleeping team while other processes use the processors, and ends it when they don't.
Neither the number of threads of an operation nor its result changes. Other OpenMP implementations (macOS,
Windows) do not spin for so long and are left unchanged.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from vaelab.language import _

INTERVAL = 0.5  # seconds between two measurements
BUSY = 0.10  # share of the time that a thread of ours waits for a processor: above it, others are using them
IDLE = 0.03  # below it, for `IDLE_INTERVALS` in a row, they are not
IDLE_INTERVALS = 4


def available_processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """The number of threads of a training: OMP_NUM_THREADS, else one for each processor."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) > 0 else available_processors()


def waiting_time() -> float:
    """The time that the threads of this process have waited for a processor so far, in seconds, summed."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[1])  # nanoseconds on a run queue
        except (OSError, ValueError, IndexError):
            continue  # the thread has ended in the meantime
    return total / 1e9


def loaded_libgomp() -> ctypes.CDLL | None:
    """The libgomp that this process has loaded; None if it has none."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = {line.split()[-1] for line in lines if "libgomp" in line}
    return ctypes.CDLL(paths.pop()) if paths else None


class SleepingTeam:
    """A second OpenMP team with more threads than there are processors, which does nothing."""

    def __init__(self, gomp: ctypes.CDLL) -> None:
        self.ended = threading.Event()
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(gomp, started), daemon=True)
        self.thread.start()
        started.wait()

    def _run(self, gomp: ctypes.CDLL, started: threading.Event) -> None:
        nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)  # a C function without effects
        gomp.GOMP_parallel(nothing, None, ctypes.c_uint(available_processors() + 1), ctypes.c_uint(0))
        started.set()
        self.ended.wait()  # when this thread ends, libgomp ends its team

    def end(self) -> None:
        """End the team."""
        self.ended.set()
        self.thread.join()


class SpinControl:
    """Shortens the spinning of OpenMP threads while other processes use the processors.

    Use as a context around the work. Where it can't work (no libgomp, no Linux), it does nothing.
    """

    def __init__(self) -> None:
        self.gomp = loaded_libgomp()
        self.team: SleepingTeam | None = None
        self.quiet = 0  # intervals without competition, in a row
        self.stopped = threading.Event()
        self.monitor: threading.Thread | None = None

    def update(self, share: float) -> None:
        """Start or end the sleeping team. share: fraction of the last interval that our threads waited."""
        if share > BUSY:
            self.quiet = 0
            if self.team is None:
                self.team = SleepingTeam(self.gomp)
        elif share < IDLE:
            self.quiet += 1
            if self.quiet >= IDLE_INTERVALS and self.team is not None:
                self.team.end()
                self.team = None
        else:
            self.quiet = 0

    def _monitor(self) -> None:
        before = waiting_time()
        while not self.stopped.wait(INTERVAL):
            now = waiting_time()
            self.update((now - before) / INTERVAL)
            before = now

    def __enter__(self) -> SpinControl:
        if self.gomp is not None and Path("/proc/self/schedstat").exists() and available_processors() > 1:
            self.monitor = threading.Thread(target=self._monitor, daemon=True)
            self.monitor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        if self.monitor is not None:
            self.monitor.join()
        if self.team is not None:
            self.team.end()
            self.team = None


class PaceMonitor:
    """Detects that the steps of a training take several times as long as the fastest ones."""

    FACTOR = 3.0
    PATIENCE = 3  # slow measurements in a row before the note

    def __init__(self) -> None:
        self.fastest, self.slow, self.noted = float("inf"), 0, False

    def update(self, seconds: float) -> str | None:
        """Record a step's duration, in seconds. Returns: a note if the machine is busy, once; else None."""
        self.fastest = min(self.fastest, seconds)
        self.slow = self.slow + 1 if seconds > self.FACTOR * self.fastest else 0
        if self.noted or self.slow < self.PATIENCE:
            return None
        self.noted = True
        return _(
            "note: the machine is busy: a step takes {milliseconds:.0f} ms, {times:.1f} times as long as the "
            "fastest ones; other programs are using the processors",
            milliseconds=1000 * seconds,
            times=seconds / self.fastest,
        )
