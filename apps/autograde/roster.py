"""The roster of the course, and the points of the parts that are graded by hand: two CSV files of the staff.

Roster: `name`, and any of `id`, `email`, `group`, `handed_in`; Moodle's grading worksheet and Canvas's
gradebook can be used as they are; `exports.py` names their descriptions. Points: `name` (or `id`, `email`),
`comment`, and a column for each part (`0.1`, `0.2`, `1.1`, or a part that the program grades, whose points
they then replace).
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from apps.autograde.points import PARTS
from apps.autograde.submissions import Submission
from vaelab.cli import LabError, reason

# Our column, and the headers of Moodle's worksheet and Canvas's gradebook that have the same content.
HEADERS = {
    "name": ("name", "full name", "student", "identifier"),  # the last: Moodle's, of an anonymous assignment
    "id": ("sis user id", "id number", "student id", "id"),
    "lms_id": ("identifier",),  # Moodle's: Participant 123
    "email": ("email", "email address", "sis login id"),
    "group": ("group", "groups", "section"),
    "handed_in": ("handed_in", "last modified (submission)"),
}
TIME_FORMATS = ("%A, %d %B %Y, %I:%M %p", "%A, %d %B %Y, %H:%M", "%d %B %Y, %I:%M %p", "%d/%m/%Y %H:%M")


@dataclass(frozen=True)
class Student:
    """A row of the roster."""

    name: str
    id: str = ""
    lms_id: str = ""
    email: str = ""
    group: str = ""
    handed_in: datetime | None = None

    def keys(self) -> set[str]:
        """What a submission may be called."""
        first, _, rest = self.name.partition(" ")
        last, _, given = self.name.partition(",")  # Canvas: "Lee, Ann", whose files are called leeann
        names = {self.name, f"{rest}{first}", f"{given}{last}" if given else "", self.id, self.email}
        return {plain(name) for name in (*names, self.email.partition("@")[0])} - {""}


@dataclass
class WrittenPoints:
    """The points that staff gave to a student by hand."""

    points: dict[str, float] = field(default_factory=dict)  # by part
    comment: str = ""


def plain(text: str) -> str:
    """Text without case, accents, spaces and signs, to compare names."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return re.sub(r"[\W_]", "", folded)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8, with lower-case headers. Raises: LabError that names the file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), delimiter=separator(text), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"can't read {path}: {reason(error)}; expected a CSV file in UTF-8") from error
    return [
        {
            (key or "").strip().lower(): (value or "").strip()
            for key, value in row.items()
            if isinstance(value, str)
        }
        for row in rows
    ]


def separator(text: str) -> str:
    """What separates the columns of a CSV file: a comma, or a semicolon, as where the comma is decimal."""
    header = text.partition("\n")[0]
    return ";" if header.count(";") > header.count(",") else ","


def column(row: Mapping[str, str], name: str) -> str:
    """The value of one of our columns in a row; empty if there is none."""
    if name == "name" and row.get("lastname"):  # Canvas, with first and last names in columns of their own
        return f"{row['lastname']}, {row.get('firstname', '')}"
    return next((row[header] for header in HEADERS[name] if row.get(header)), "")


def is_student(row: Mapping[str, str]) -> bool:
    """Whether a row of a roster, by lower-case header, is that of a student.

    Canvas has two other rows below its header (which assignments are posted by hand, and the points
    possible), and a test student.
    """
    cells = [cell.strip().lower() for cell in row.values()]
    if all(cell in ("", "muted") or cell.startswith("manual posting") for cell in cells):
        return False
    name = column(row, "name")
    test = "section" in row and name == "Student, Test" and not row.get("sis user id")
    return "points possible" not in name.lower() and not test


def parse_time(text: str, path: Path) -> datetime | None:
    """The time in a cell; None for an empty one or `-`. Raises: LabError."""
    if text in ("", "-"):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        pass
    for form in TIME_FORMATS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007
        except ValueError:
            continue
    raise LabError(f"{path}: expected a time as 2026-11-20 23:59, got '{text}'")


def read_roster(path: Path) -> list[Student]:
    """The students of the roster. Raises: LabError if a row has no name, or two are the same."""
    students = []
    for i, row in enumerate(read_csv(path), start=2):
        if not is_student(row):
            continue
        values = {key: column(row, key) for key in HEADERS}
        if not values["name"]:
            raise LabError(f"{path} line {i}: expected columns name, id, email, group; the name is missing")
        digits = re.search(r"\d+", values["lms_id"])
        values["lms_id"] = digits[0] if digits else row.get("id", "")  # Canvas names files after its own ID
        students.append(Student(**values | {"handed_in": parse_time(values["handed_in"], path)}))
    if not students:
        raise LabError(f"{path} has no rows: expected columns name, id, email, group")
    names = Counter((student.name, student.id) for student in students)
    twice = sorted(name for (name, _), count in names.items() if count > 1)
    if twice:
        raise LabError(f"{path} has two rows for {twice[0]}: tell them apart by the column id")
    return students


def names_by_key(rows: Mapping[str, Student | None]) -> dict[str, list[str]]:
    """The names of a class by all that a student may be called: a look-up need not search the class."""
    found: dict[str, list[str]] = {}
    for name, student in rows.items():
        for key in {plain(name)} | (student.keys() if student else set()):
            found.setdefault(key, []).append(name)
    return found


def match_roster(
    submissions: list[Submission], roster: list[Student]
) -> tuple[list[Submission], dict[str, Student]]:
    """The submissions under the names of the roster, and each name's row.

    Two submissions of one student become one. A name that fits several rows is left as it is.
    """
    full_names = Counter(student.name for student in roster)
    rows = {
        student.name if full_names[student.name] == 1 else f"{student.name} {student.id}": student
        for student in roster
    }
    by_key, by_id = names_by_key(rows), {student.lms_id: name for name, student in rows.items()}
    merged: dict[str, Submission] = {}
    for submission in submissions:
        keys = {plain(submission.name), plain(submission.name.removesuffix(f" {submission.id}"))}
        found = {name for key in keys for name in by_key.get(key, [])}
        if submission.id and submission.id in by_id:
            found = {by_id[submission.id]}
        name = found.pop() if len(found) == 1 else submission.name
        sources = (*(merged[name].sources if name in merged else ()), *submission.sources)
        merged[name] = replace(
            submission, name=name, sources=tuple(sorted(sources, key=lambda each: each.time))
        )
    return sorted(merged.values(), key=lambda submission: submission.name), rows


def read_points(path: Path) -> list[tuple[dict[str, str], WrittenPoints]]:
    """(row, points) for each row of the staff's points. Raises: LabError for a wrong number or column."""
    found = []
    known = {*PARTS, "comment", *(header for headers in HEADERS.values() for header in headers)}
    for i, row in enumerate(read_csv(path), start=2):
        unknown = sorted(row.keys() - known - {""})
        if unknown:
            raise LabError(
                f"{path}: unknown column '{unknown[0]}': expected name, comment, {', '.join(PARTS)}"
            )
        points = {}
        for part, most in ((part, about.most) for part, about in PARTS.items() if row.get(part)):
            try:
                points[part] = float(row[part].replace(",", "."))
            except ValueError:
                points[part] = -1.0
            if not 0 <= points[part] <= most:
                raise LabError(
                    f"{path} line {i}: expected 0 to {most:g} points in '{part}', got '{row[part]}'"
                )
        found.append((row, WrittenPoints(points, row.get("comment", ""))))
    return found


def points_by_name(path: Path, names: dict[str, Student | None]) -> dict[str, WrittenPoints]:
    """The staff's points for each student. names: of all students, with their rows of the roster.

    Raises: LabError for a row that fits no student, or several.
    """
    result: dict[str, WrittenPoints] = {}
    by_key = names_by_key(names)
    for row, points in read_points(path):
        wanted = {plain(column(row, key)) for key in ("name", "id", "email")} - {""}
        found = sorted({name for key in wanted for name in by_key.get(key, [])})
        exact = [name for name in found if plain(name) == plain(column(row, "name"))]
        found = exact if len(found) > 1 and len(exact) == 1 else found
        if len(found) != 1:
            which = "no student" if not found else f"several students ({', '.join(found[:3])})"
            raise LabError(f"{path}: '{column(row, 'name') or next(iter(wanted), '')}' fits {which}")
        result[found[0]] = points
    return result
