"""Threads: shorter spinning beside busy processes, which changes no result; the note on a busy machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from vaelab.threads import (
    IDLE_INTERVALS,
    PaceMonitor,
    SpinControl,
    available_processors,
    default_threads,
    loaded_libgomp,
    waiting_time,
)

gomp = pytest.mark.skipif(loaded_libgomp() is None, reason="torch uses another OpenMP than libgomp here")


def thread_count() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@gomp
def test_a_sleeping_team_is_kept_while_other_processes_use_the_processors() -> None:
    control, before = SpinControl(), thread_count()
    control.update(0.5)
    assert control.team is not None
    assert thread_count() >= before + available_processors()  # more threads than processors: no long spinning
    control.update(0.5)
    for _ in range(IDLE_INTERVALS - 1):
        control.update(0.0)
    assert control.team is not None
    control.update(0.05)  # neither busy nor idle: the count starts again
    for _ in range(IDLE_INTERVALS):
        assert control.team is not None
        control.update(0.0)
    assert control.team is None
    deadline = time.monotonic() + 10
    while thread_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the threads of an ended team exit one by one
    assert thread_count() <= before


@gomp
def test_a_sleeping_team_changes_no_result() -> None:
    torch.manual_seed(0)
    x, threads = torch.randn(300, 300), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = torch.linalg.qr(x @ x).R.exp().sum(dim=0)
        control = SpinControl()
        control.update(1.0)
        assert torch.equal(torch.linalg.qr(x @ x).R.exp().sum(dim=0), expected)
        assert torch.get_num_threads() == 2
        control.__exit__()
        assert control.team is None
    finally:
        torch.set_num_threads(threads)


def test_the_control_ends_with_its_context() -> None:
    with SpinControl() as control:
        pass
    assert control.monitor is None or not control.monitor.is_alive()
    assert control.team is None


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this system has no /proc/self/schedstat"
)
def test_waiting_time_is_measured() -> None:
    assert waiting_time() > 0


@pytest.mark.parametrize(
    ("value", "threads"), [("3", 3), ("2,1", 2), ("", None), ("0", None), ("many", None)]
)
def test_default_threads(monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == (threads or available_processors())


def test_a_busy_machine_is_noted_once() -> None:
    pace = PaceMonitor()
    steps = [0.03, 0.01, 0.02, 0.05, 0.05, 0.01, 0.04, 0.04, 0.04, 0.04]
    notes = [pace.update(seconds) for seconds in steps]
    assert [i for i, note in enumerate(notes) if note] == [8]
    assert "a step takes 40 ms, 4.0 times as long" in notes[8]
