"""What the tables, pages and exports show of each student: points of each part, late days, total, flags."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from apps.autograde.points import PARTS, points_of, total_of
from apps.autograde.policy import Policy
from apps.autograde.record import Attempt, Counted, Record, counted, limits_reached, status_of
from apps.autograde.roster import Student, WrittenPoints
from vaelab.tasks import TASKS


@dataclass
class StudentResult:
    """A student's result."""

    name: str
    record: Record
    counted: Counted
    points: dict[str, float | None]  # by part
    by_hand: list[str]  # the parts whose points are the staff's
    before: float  # the total before the late days
    late_days: int
    factor: float
    handed_in: datetime | None
    student: Student | None = None  # the row of the roster
    comment: str = ""
    staff: list[str] = field(default_factory=list)  # for staff: flags, and what to look at
    pseudonym: str = ""

    @property
    def total(self) -> float:
        """The points after the late days."""
        return round(self.before * self.factor, 2)

    @property
    def handed_in_anything(self) -> bool:
        """Whether there is a hand-in, or points given by hand."""
        return self.counted.attempt is not None or bool(self.by_hand)

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each task."""
        return {task: status_of(grade) for task, grade in self.counted.grades.items()}

    @property
    def failed_checks(self) -> list[str]:
        """The names of the checks that failed."""
        return [name for name, check in self.counted.checks.items() if not check["passed"]]

    @property
    def missing_parts(self) -> list[str]:
        """The parts that have no points yet."""
        return [number for number, value in self.points.items() if value is None]

    def sum_of(self, key: str) -> float:
        """The sum of a number over the tasks."""
        return sum(grade.get(key, 0.0) for grade in self.counted.grades.values())


def time_of(attempt: Attempt, record: Record, student: Student | None) -> datetime:
    """When a hand-in was handed in: for the last one as the roster says, else as its files say."""
    if student is not None and student.handed_in is not None and attempt is record.attempts[-1]:
        return student.handed_in
    return datetime.fromtimestamp(attempt.handed_in)


def result_of(
    record: Record, student: Student | None, written: WrittenPoints | None, policy: Policy
) -> StudentResult:
    """A student's result, of the hand-in that counts by the policy."""
    by_hand = written.points if written else {}

    def late(attempt: Attempt) -> int:
        return policy.late_days(time_of(attempt, record, student))

    def value(attempt: Attempt) -> float:
        before = total_of(points_of(attempt.grades, attempt.checks, by_hand))
        return before * policy.factor(record.name, late(attempt))

    chosen = counted(record.attempts, value if policy.counts == "best" else None)
    points = points_of(chosen.grades, chosen.checks, by_hand)
    attempt = chosen.attempt
    late_days = late(attempt) if attempt else 0
    return StudentResult(
        name=record.name,
        record=record,
        counted=chosen,
        points=points,
        by_hand=[number for number in PARTS if number in by_hand],
        before=total_of(points),
        late_days=late_days,
        factor=policy.factor(record.name, late_days),
        handed_in=time_of(attempt, record, student) if attempt else None,
        student=student,
        comment=written.comment if written else "",
        staff=staff_notes(chosen),
    )


def staff_notes(chosen: Counted) -> list[str]:
    """What staff should look at: flags, and grades that are not those of the newest files."""
    notes = []
    for task, grade in chosen.grades.items():
        notes += [f"{task}: {flag}" for flag in grade["flags"]]
        if grade.get("kept"):
            notes.append(f"{task}: {grade['kept']}")
    for status in limits_reached(chosen.checks):
        notes.append(f"the checks of the blanks ended by a limit: grade it again by --regrade {status}")
    if chosen.checks and any(grade["status"] == "ok" for grade in chosen.grades.values()):
        failed = [name for name, check in chosen.checks.items() if not check["passed"]]
        if failed:
            notes.append(f"graded, but these checks failed: {', '.join(failed)}")
    return notes


def medians(results: list[StudentResult], keys: tuple[str, ...]) -> dict[str, Mapping[str, float]]:
    """The median of each number over the class, by task and key. Only tasks that were graded count."""
    found: dict[str, Mapping[str, float]] = {}
    for task in TASKS:
        grades = [result.counted.grades[task] for result in results]
        grades = [grade for grade in grades if grade["status"] == "ok"]
        values = {key: [grade[key] for grade in grades if key in grade] for key in keys}
        found[task] = {key: statistics.median(each) for key, each in values.items() if each}
    return found
