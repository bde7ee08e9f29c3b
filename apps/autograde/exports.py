"""What other systems read: Gradescope's results.json, Moodle's worksheet and feedback, Canvas's gradebook.

Written after the descriptions of the formats, and after the code that reads them.
Moodle: "Offline grading worksheet" and "Feedback files" in the documentation of the assignment activity;
importgradeslib.php and locallib.php in mod/assign/feedback/offline, importziplib.php in feedback/file.
It skips a grade above the maximum without a message.
Canvas: "How do I import grades in the Gradebook?" in the Instructor Guide; lib/gradebook_importer.rb and
lib/gradebook_exporter.rb. An empty cell deletes a grade there.
Gradescope: "Autograder Specifications", https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.autograde.points import MAX_TOTAL, PARTS, points_of, total_of
from apps.autograde.record import Record, counted
from apps.autograde.roster import column, is_student, plain, separator
from vaelab.cli import LabError
from vaelab.files import make_folder, write_file
from vaelab.metrics.score import max_score, score_terms

if TYPE_CHECKING:
    from apps.autograde.results import StudentResult

# --- Gradescope -------------------------------------------------------------------------------------


def results_json(record: Record, with_record: bool = True) -> dict[str, Any]:
    """The content of Gradescope's results.json. with_record: `extra_data` is the record, for a later run.

    A student sees no flag: those stand in a test of the visibility `hidden`.
    """
    chosen, tests, boards, flags = counted(record.attempts), [], [], []
    points = points_of(chosen.grades, chosen.checks, {})
    for number, part in PARTS.items():
        if part.checks and points[number] is not None:
            tests.append(check_test(number, points[number], chosen.checks))
    for task, grade in chosen.grades.items():
        tests.append(
            {
                "name": task,
                "score": round(grade["score"], 4),
                "max_score": max_score(task),
                "status": "passed" if grade["status"] == "ok" else "failed",
                "output": terms_text(task, grade),
                "visibility": "visible",
            }
        )
        flags += [f"{task}: {flag}" for flag in grade["flags"]]
        if grade["status"] == "ok":
            boards.append({"name": f"{task}, before the cap", "value": round(grade["score_uncapped"], 4)})
            boards.append({"name": f"{task}, latent_dim", "value": grade["latent_dim"], "order": "asc"})
    if flags:
        tests.append(
            {
                "name": "to review",
                "score": 0,
                "max_score": 0,
                "output": "\n".join(flags),
                "visibility": "hidden",
            }
        )
    values = {
        "score": round(sum(test["score"] for test in tests), 4),
        "execution_time": round(sum(grade["seconds"] for grade in chosen.grades.values())),
        "output": chosen.attempt.found if chosen.attempt else "",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "leaderboard": boards,
    }
    return values | ({"extra_data": record.to_dict()} if with_record else {})


def check_test(number: str, points: float, checks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of a part whose checks were run."""
    part = PARTS[number]
    wrong = [f"{name}: {checks[name]['why']}" for name, _ in part.checks if not checks[name]["passed"]]
    return {
        "name": part.title,
        "number": number,
        "score": points,
        "max_score": part.most,
        "status": "failed" if wrong else "passed",
        "output": "\n".join(wrong),
        "visibility": "visible",
    }


def terms_text(task: str, grade: Mapping[str, Any]) -> str:
    """The terms of a grade's score, or the reason why there is none."""
    lines = [text for text in (grade["reason"], grade.get("kept")) if text]
    if grade["status"] == "ok":
        terms = score_terms(task, grade)
        lines += [f"{term.formula}: {term.points:.3f} of {term.most:g}" for term in terms]
        lines.append(f"times the bonus {grade['bonus']:.3f} (latent_dim {grade['latent_dim']})")
        lines.append(f"{grade['score_uncapped']:.3f} before the cap of {max_score(task):g}")
    return "\n".join(lines)


# --- Moodle and Canvas ------------------------------------------------------------------------------


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, unchanged. Raises: LabError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text), delimiter=separator(text), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"can't read {path}: {error}; expected the CSV file that the LMS gave") from error
    if not lines:
        raise LabError(f"{path} is empty: expected the CSV file that the LMS gave")
    return lines[0], [line for line in lines[1:] if any(cell.strip() for cell in line)]


def table_text(header: list[str], rows: list[list[str]]) -> str:
    """The text of a CSV file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows([header, *rows])
    return buffer.getvalue()


class ResultIndex:
    """The results of a class, to be found by the rows of an LMS's file."""

    def __init__(self, results: list[StudentResult]) -> None:
        self.by_id = {each.student.lms_id: each for each in results if each.student and each.student.lms_id}
        self.by_name: dict[str, list[StudentResult]] = {}
        for result in results:
            self.by_name.setdefault(plain(result.name), []).append(result)

    def find(self, cells: Mapping[str, str]) -> StudentResult | None:
        """The result of the student in a row. cells: the row, by lower-case header."""
        lms_id = re.sub(r"\D", "", column(cells, "lms_id")) or cells.get("id", "")
        named = self.by_name.get(plain(column(cells, "name")), [])
        return self.by_id.get(lms_id) or (named[0] if len(named) == 1 else None)


def comment_of(result: StudentResult) -> str:
    """The comment on a grade: the points of each part, late days, the staff's words."""
    parts = [
        f"{number}: {value:g} of {PARTS[number].most:g}"
        for number, value in result.points.items()
        if value is not None
    ]
    text = "; ".join(parts)
    if result.late_days:
        text += f"; {result.late_days} days late: times {result.factor:g}"
    return f"{text}. {result.comment}".strip(". ") if result.comment else text


def write_moodle(folder: Path, roster: Path, results: list[StudentResult], pages: Mapping[str, Path]) -> None:
    """Fill Moodle's grading worksheet, and zip the students' pages as feedback files.

    roster: the worksheet as downloaded. pages: each student's page by name. Raises: LabError.
    """
    header, rows = read_table(roster)
    lower = [cell.strip().lower() for cell in header]
    needed = ("Identifier", "Grade", "Last modified (grade)")  # Moodle refuses a file without one of them
    if not all(name.lower() in lower for name in needed):
        raise LabError(
            f"{roster} is not Moodle's grading worksheet: expected the columns {', '.join(needed)} (download "
            "it while Moodle's language is English)"
        )
    make_folder(folder)
    found, buffer = ResultIndex(results), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for row in rows:
            cells = dict(zip(lower, row, strict=False))
            result = found.find(cells)
            if result is None or not result.handed_in_anything:
                continue
            check_maximum(cells.get("maximum grade", ""), roster, "Moodle")
            row[lower.index("grade")] = f"{result.total:.2f}"
            if "feedback comments" in lower:
                row[lower.index("feedback comments")] = html.escape(comment_of(result), quote=False)
            number = re.sub(r"\D", "", cells["identifier"])
            page = pages.get(result.name)
            if page is not None and page.is_file() and number:
                name = re.sub(r"[/\\_]", " ", column(cells, "name"))  # the number is what follows the first _
                archive.write(page, f"{name}_{number}_assignsubmission_file/grade.html")
    write_file(folder / "grades.csv", table_text(header, rows))
    write_file(folder / "feedback.zip", buffer.getvalue())


def check_maximum(cell: str, roster: Path, lms: str) -> None:
    """Raise LabError if the LMS has another maximum for the assignment than that of the lab."""
    text = cell.replace(",", ".").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) != MAX_TOTAL:
        raise LabError(
            f"{roster}: the assignment has a maximum of {cell} points, expected {MAX_TOTAL:g}: change it in "
            f"{lms}, and download the file again"
        )


def write_canvas(folder: Path, roster: Path, results: list[StudentResult], assignment: str) -> None:
    """Fill Canvas's gradebook. roster: the file as exported. assignment: its column; added if it is new.

    Written are the columns about the student, which Canvas needs in their order, and that of the assignment.
    Who handed in nothing keeps the cell of `roster`. Raises: LabError.
    """
    header, rows = read_table(roster)
    lower = [cell.strip().lower() for cell in header]
    if not {"id", "section"} <= set(lower) or not {"student", "lastname"} & set(lower):
        raise LabError(f"{roster} is not Canvas's gradebook: expected the columns Student, ID, Section")
    columns = [i for i, cell in enumerate(header) if re.sub(r" \(\d+\)$", "", cell.strip()) == assignment]
    keep = range(lower.index("section") + 1)
    found, table, possible = ResultIndex(results), [], f"{MAX_TOTAL:g}"
    for row in rows:
        cells = dict(zip(lower, row, strict=False))
        before = row[columns[0]] if columns and columns[0] < len(row) else ""
        if "points possible" in row[0].lower():
            possible = before or possible
            check_maximum(possible, roster, "Canvas")
        elif is_student(cells):
            result = found.find(cells)
            grade = f"{result.total:.2f}" if result is not None and result.handed_in_anything else before
            table.append([*(row[i] if i < len(row) else "" for i in keep), grade])
    title = header[columns[0]] if columns else assignment
    points = ["    Points Possible", *[""] * (len(keep) - 1), possible]
    make_folder(folder)
    write_file(folder / "grades.csv", table_text([*(header[i] for i in keep), title], [points, *table]))


def total_text(record: Record) -> str:
    """A student's points, in a few words, for the log."""
    chosen = counted(record.attempts)
    return f"{total_of(points_of(chosen.grades, chosen.checks, {})):g} points"
