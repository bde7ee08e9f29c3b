"""The tables of a class, as CSV and Markdown.

grades.csv        a row for each student and task, with the metrics
students.csv      a row for each student, with the points of all parts and the total; Excel opens it
checks.csv        a row for each student, a column for each check of the blanks
leaderboard.md    a ranking under pseudonyms
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from apps.autograde.generated import BESIDE_FID
from apps.autograde.gradebook import one_line
from apps.autograde.points import MAX_TOTAL, PARTS
from apps.autograde.record import status_of
from apps.autograde.results import StudentResult
from apps.autograde.verdicts import VERDICTS
from vaelab.cli import markdown
from vaelab.metrics.score import max_score

COLUMNS = ("name", "task", "ssim", "mse", "fid", *BESIDE_FID, "latent_dim", "score")
COLUMNS += ("score_uncapped", "max_score")
COLUMNS += ("status", "reason", "flags", "seconds")
BOM = "\ufeff"  # tells Excel that the file is UTF-8


def markdown_text(text: str) -> str:
    """Text from a submission made safe for a cell of a Markdown table: no markup, no HTML, no new cell."""
    escaped = re.sub(r"([\\`*_{}\[\]()#!|~:.])", r"\\\1", one_line(text, 200))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def csv_text(columns: Sequence[str], rows: Sequence[dict]) -> str:
    """The text of a CSV file."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def grades_csv(results: list[StudentResult]) -> str:
    """The text of grades.csv."""
    rows = []
    for result in results:
        for task, grade in result.counted.grades.items():
            row = {"name": one_line(result.name), "task": task, "max_score": max_score(task), **grade}
            row |= {key: f"{grade[key]:.6f}" for key in ("ssim", "mse", "fid", *BESIDE_FID) if key in grade}
            row |= {key: f"{grade[key]:.4f}" for key in ("score", "score_uncapped") if key in grade}
            row |= {"status": status_of(grade), "reason": one_line(grade.get("kept") or grade["reason"])}
            rows.append(row | {"flags": "; ".join(grade["flags"])})
    return csv_text(COLUMNS, rows)


def students_csv(results: list[StudentResult]) -> str:
    """The text of students.csv."""
    columns = ["name", "id", "email", "group", "status", *PARTS, "before_late_days", "late_days", "total"]
    columns += ["max_total", "not_graded", "by_hand", "handed_in", "files", "comment", "for_staff"]
    rows = []
    for result in results:
        statuses = sorted(set(result.statuses.values()))
        row = {"name": one_line(result.name), "status": " ".join(statuses), "max_total": f"{MAX_TOTAL:g}"}
        if result.student:
            row |= {key: one_line(getattr(result.student, key)) for key in ("id", "email", "group")}
        row |= {number: f"{value:g}" for number, value in result.points.items() if value is not None}
        row |= {"before_late_days": f"{result.before:.2f}", "late_days": result.late_days}
        row |= {"total": f"{result.total:.2f}", "by_hand": " ".join(result.by_hand)}
        row |= {"not_graded": " ".join(result.missing_parts), "comment": one_line(result.comment)}
        row |= {"for_staff": one_line("; ".join(result.staff), 2000)}
        if result.handed_in:
            row["handed_in"] = result.handed_in.isoformat(sep=" ", timespec="minutes")
        if result.counted.attempt:
            row["files"] = one_line(result.counted.attempt.found, 1000)
        rows.append(row)
    return BOM + csv_text(columns, rows)


def checks_csv(results: list[StudentResult]) -> str:
    """The text of checks.csv: `passed`, or why not."""
    rows = [
        {"name": one_line(result.name)}
        | {
            name: "passed" if check["passed"] else one_line(check["why"], 200) or "failed"
            for name, check in result.counted.checks.items()
        }
        for result in results
    ]
    return BOM + csv_text(["name", *VERDICTS], rows)


def leaderboard(results: list[StudentResult]) -> str:
    """The text of leaderboard.md, sorted by the score and, at equal scores, by that before the cap.

    Ties are in the order of the pseudonyms: that of the names would tell who is who.
    """
    ranked = sorted(
        (result for result in results if result.counted.attempt is not None),
        key=lambda result: (-result.sum_of("score"), -result.sum_of("score_uncapped"), result.pseudonym),
    )
    rows = []
    for rank, result in enumerate(ranked, start=1):
        dims = " / ".join(str(grade.get("latent_dim", "-")) for grade in result.counted.grades.values())
        totals = [f"{result.sum_of(key):.2f}" for key in ("score", "score_uncapped")]
        rows.append([rank, result.pseudonym, *totals, dims])
    return markdown(["rank", "who", "score", "before the cap", "latent_dim"], rows) + "\n"
