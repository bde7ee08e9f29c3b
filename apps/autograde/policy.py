"""Late days: a small TOML file with the deadline, the grace, the penalty, and which hand-in counts.

deadline = 2026-11-20T23:59:00
grace_hours = 2             # later than this is late
percent_per_day = 10        # of the points of what was handed in, for each day begun
max_days = 5                # after these days: no points
free_days = 0               # late days that every student has without a penalty
counts = "last"             # or "best": of several hand-ins, after the penalty
[extensions]                # more free days, by name
"Ann Lee" = 3
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path

from vaelab.cli import LabError, reason


@dataclass(frozen=True)
class Policy:
    """The rules about time. Without a deadline nothing is late."""

    deadline: datetime | None = None
    grace_hours: float = 0.0
    percent_per_day: float = 10.0
    max_days: float = 7.0
    free_days: float = 0.0
    counts: str = "last"
    extensions: Mapping[str, float] = field(default_factory=dict)

    def late_days(self, handed_in: datetime | None) -> int:
        """The days, begun ones included, by which a hand-in is late; 0 if its time is not known."""
        if self.deadline is None or handed_in is None:
            return 0
        late = handed_in - self.deadline
        return 0 if late <= timedelta(hours=self.grace_hours) else math.ceil(late / timedelta(days=1))

    def factor(self, name: str, late_days: int) -> float:
        """What the points of a hand-in are multiplied by."""
        charged = max(0.0, late_days - self.free_days - self.extensions.get(name, 0))
        return 0.0 if charged > self.max_days else max(0.0, 1 - charged * self.percent_per_day / 100)


def read_policy(path: Path) -> Policy:
    """The policy in a file. Raises: LabError that names the entry that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"can't read {path}: {reason(error)}") from error
    known = [each.name for each in fields(Policy)]
    for key, value in values.items():
        if key not in known:
            raise LabError(f"{path}: unknown entry '{key}': expected {', '.join(known)}")
        if key == "deadline":
            good = isinstance(value, datetime)
        elif key == "counts":
            good = value in ("last", "best")
        elif key == "extensions":
            good = isinstance(value, dict) and all(is_amount(days) for days in value.values())
        else:
            good = is_amount(value)
        if not good:
            expected = {"deadline": "a time as 2026-11-20T23:59:00", "counts": '"last" or "best"'}
            raise LabError(f"{path}: {key}: expected {expected.get(key, 'a number from 0')}, got {value!r}")
    if isinstance(values.get("deadline"), datetime):
        deadline = values["deadline"]
        values["deadline"] = deadline.astimezone().replace(tzinfo=None) if deadline.tzinfo else deadline
    return Policy(**values)


def is_amount(value: object) -> bool:
    """Whether a value is a number from 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
