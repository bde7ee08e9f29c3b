"""The progress of grading a class: a bar, lines and a log."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from apps.autograde.gradebook import one_line
from apps.autograde.record import Attempt, today


class Progress:
    """The progress of a class: a bar in a terminal, lines elsewhere, and a log file in any case."""

    def __init__(self, total: int, jobs: int, log: Path) -> None:
        self.total, self.jobs, self.done, self.log = total, jobs, 0, log
        self.bar = tqdm(total=total, disable=not sys.stderr.isatty(), unit="submission")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def finished(self, name: str, attempt: Attempt, seconds: float) -> None:
        """Report a hand-in that was graded. seconds: since the first one was begun."""
        self.done += 1
        took = sum(grade["seconds"] for grade in attempt.grades.values())
        tasks = ", ".join(
            f"{task} {grade['status']} {grade['score']:.2f}" for task, grade in attempt.grades.items()
        )
        failed_checks = sum(not check["passed"] for check in attempt.checks.values())
        left = seconds / self.done * (self.total - self.done)
        line = f"{self.done}/{self.total} {one_line(name, 60)}: {tasks}; "
        line += f"{failed_checks} checks failed; {took:.0f} s"
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{today()} {line}\n")
        if self.done == min(self.total, max(2, self.jobs)) and self.total > self.done:
            self.show(f"estimate after {self.done} of {self.total}: {duration(left)} more")
        if self.bar.disable:
            self.show(f"{line}; {duration(left)} left")
        self.bar.set_postfix_str(one_line(name, 30))
        self.bar.update()

    def show(self, line: str) -> None:
        """Print a line above the bar."""
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.write(line)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
