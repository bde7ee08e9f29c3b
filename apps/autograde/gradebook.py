"""The grades of a class in a folder, and the files made of them.

    <name>.json         the grade in the format of Gradescope's results.json, from which a later run continues
    <name>.html         the student's page: the numbers, the medians of the class, pictures
    <name>-<task>.png   the pictures
    grades.csv          a row for each submission and task
    leaderboard.md      a ranking under pseudonyms

https://gradescope-autograders.readthedocs.io/en/latest/specs/ describes results.json.
"""

from __future__ import annotations

import csv
import hashlib
import io
import secrets
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apps.autograde.grader import STATUSES
from apps.autograde.submissions import file_name
from vaelab.cli import LabError, markdown, printable
from vaelab.files import make_folder, read_json, write_file, write_json
from vaelab.images import data_uri
from vaelab.metrics.score import max_score, score_terms
from vaelab.tasks import TASKS
from vaelab.templates import template_environment

COLUMNS = ("name", "task", "ssim", "mse", "fid", "latent_dim", "score", "score_uncapped", "max_score")
COLUMNS += ("status", "reason", "flags", "seconds")
METRICS = ("ssim", "mse", "fid", "latent_dim", "score_uncapped", "score")  # of a grade that is ok
Grade = dict[str, Any]  # status, reason, flags, score, seconds and, if the status is ok, `METRICS` and bonus


@dataclass(frozen=True)
class Record:
    """The grades of a submission, and what they depend on."""

    name: str
    fingerprint: str  # of the submission's files
    settings: dict[str, str]  # see `Gradebook`
    grades: dict[str, Grade]  # by task

    def total(self, key: str) -> float:
        """The sum of a number over the tasks."""
        return sum(grade.get(key, 0.0) for grade in self.grades.values())


@dataclass(frozen=True)
class PageSection:
    """The part of a student's page about one task."""

    task: str
    grade: Grade
    max_score: float
    rows: list[tuple[str, str, str]]  # name, the student's value, the median of the class
    picture: str | None  # a data: URI
    generated: bool  # the picture shows generated images too


def one_line(text: str, max_length: int = 500) -> str:
    """Text from a submission made safe for a cell of a table: printable, short, and not a formula."""
    text = printable(text, max_length)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


class Gradebook:
    """The grades in a folder, of one split of one data set."""

    def __init__(self, folder: Path, settings: dict[str, str], salt: str | None) -> None:
        """settings: what a grade depends on besides the submission; grades with other settings are ignored.

        salt: for the pseudonyms; None for the one stored in the folder.
        """
        self.folder, self.settings = make_folder(folder), settings
        self.salt = salt or self.stored_salt()
        self.records: dict[str, Record] = {}

    def stored_salt(self) -> str:
        """The folder's secret, drawn at random once; without it, nobody can compute the pseudonyms."""
        path = self.folder / ".salt"
        if not path.exists() or not path.read_bytes().strip():
            write_file(path, secrets.token_hex(16))
        return path.read_text(encoding="utf-8", errors="replace")

    def path(self, name: str, suffix: str) -> Path:
        """The path of a file of a submission."""
        return self.folder / f"{file_name(name)}{suffix}"

    def load(self, name: str) -> Record | None:
        """The record of an earlier run; None if there is none, it is damaged, or its settings are others."""
        try:
            record = Record(**read_json(self.path(name, ".json"))["extra_data"])
            results_json(record)  # fails if an entry is missing
            valid = record.settings == self.settings and record.name == name
            valid = valid and isinstance(record.fingerprint, str) and list(record.grades) == list(TASKS)
            valid = valid and all(grade["status"] in STATUSES for grade in record.grades.values())
        except (LabError, KeyError, TypeError, ValueError, AttributeError):
            return None
        return record if valid else None

    def add(self, name: str, fingerprint: str, grades: dict[str, Grade], pictures: dict[str, bytes]) -> None:
        """Record the grades of a submission. A task that failed keeps its earlier grade, if that was ok.

        pictures: PNG files, by task.
        """
        earlier_record = self.load(name)
        for task, grade in grades.items():
            grade["reason"] = one_line(grade["reason"])
            grade["flags"] = [one_line(flag) for flag in grade["flags"]]
            earlier = earlier_record.grades[task] if earlier_record else None
            if grade["status"] != "ok" and earlier and earlier["status"] == "ok":
                why = (
                    f"the earlier grade is kept: grading again failed ({grade['status']}): {grade['reason']}"
                )
                grades[task] = earlier | {"reason": one_line(why)}
        for task, picture in pictures.items():
            write_file(self.path(name, f"-{task}.png"), picture)
        record = Record(name, fingerprint, self.settings, grades)
        write_json(self.path(name, ".json"), results_json(record))
        self.records[name] = record

    # --- Tables and pages ---

    def write_tables(self) -> None:
        """Write `grades.csv`, `leaderboard.md` and the students' pages of all recorded submissions."""
        write_file(self.folder / "grades.csv", self.grades_csv())
        write_file(self.folder / "leaderboard.md", self.leaderboard())
        medians = self.medians()
        for name, record in self.records.items():
            write_file(self.path(name, ".html"), self.page(record, medians))

    def grades_csv(self) -> str:
        """The text of grades.csv."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for name, record in sorted(self.records.items()):
            for task, grade in record.grades.items():
                row = {"name": one_line(name), "task": task, "max_score": max_score(task), **grade}
                row |= {key: f"{grade[key]:.6f}" for key in ("ssim", "mse", "fid") if key in grade}
                row |= {key: f"{grade[key]:.4f}" for key in ("score", "score_uncapped") if key in grade}
                writer.writerow(row | {"flags": "; ".join(grade["flags"])})
        return buffer.getvalue()

    def pseudonym(self, name: str) -> str:
        """The name of a submission on the leaderboard."""
        return f"student-{hashlib.sha256(f'{self.salt} {name}'.encode(errors='replace')).hexdigest()[:8]}"

    def leaderboard(self) -> str:
        """The text of leaderboard.md, sorted by the score and, at equal scores, by that before the cap."""
        ranked = sorted(
            self.records.values(),
            key=lambda record: (-record.total("score"), -record.total("score_uncapped"), record.name),
        )
        rows = []
        for rank, record in enumerate(ranked, start=1):
            dims = " / ".join(str(grade.get("latent_dim", "-")) for grade in record.grades.values())
            totals = [f"{record.total(key):.2f}" for key in ("score", "score_uncapped")]
            rows.append([rank, self.pseudonym(record.name), *totals, dims])
        return markdown(["rank", "who", "score", "before the cap", "latent_dim"], rows) + "\n"

    def medians(self) -> dict[str, dict[str, float]]:
        """The median of each metric over the class, by task and metric. Only grades that are ok count."""
        medians: dict[str, dict[str, float]] = {}
        for task in TASKS:
            grades = [record.grades[task] for record in self.records.values()]
            grades = [grade for grade in grades if grade["status"] == "ok"]
            values = {key: [grade[key] for grade in grades if key in grade] for key in METRICS}
            medians[task] = {key: statistics.median(found) for key, found in values.items() if found}
        return medians

    def page(self, record: Record, medians: dict[str, dict[str, float]]) -> str:
        """The HTML of a student's page, in one file. All text from the submission is escaped."""
        sections = [
            self.page_section(record.name, task, grade, medians[task])
            for task, grade in record.grades.items()
        ]
        template = template_environment(Path(__file__).parent).get_template("student_page.html")
        return template.render(name=one_line(record.name), settings=self.settings, sections=sections)

    def page_section(self, name: str, task: str, grade: Grade, medians: dict[str, float]) -> PageSection:
        """The part of a student's page about one task."""
        rows, picture = [], None
        if grade["status"] == "ok":
            keys = [key for key in METRICS if key in grade]
            rows = [(key, number_text(grade[key]), number_text(medians.get(key))) for key in keys]
            path = self.path(name, f"-{task}.png")
            picture = data_uri(path.read_bytes()) if path.is_file() else None
        return PageSection(task, grade, max_score(task), rows, picture, generated="fid" in grade)


def number_text(value: float | None) -> str:
    """A number for a table."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}" if value < 1 else f"{value:.2f}"


def results_json(record: Record) -> dict[str, Any]:
    """The content of Gradescope's results.json; its `extra_data` is the record."""
    tests, boards, notes = [], [], []
    for task, grade in record.grades.items():
        tests.append(
            {
                "name": task,
                "score": round(grade["score"], 4),
                "max_score": max_score(task),
                "status": "passed" if grade["status"] == "ok" else "failed",
                "output": terms_text(task, grade),
            }
        )
        notes += [f"{task}: to review: {flag}" for flag in grade["flags"]]
        if grade["status"] == "ok":
            boards.append({"name": f"{task}, before the cap", "value": round(grade["score_uncapped"], 4)})
            boards.append({"name": f"{task}, latent_dim", "value": grade["latent_dim"], "order": "asc"})
    return {
        "score": round(sum(test["score"] for test in tests), 4),
        "max_score": sum(test["max_score"] for test in tests),
        "execution_time": round(sum(grade["seconds"] for grade in record.grades.values())),
        "output": "\n".join(notes),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "leaderboard": boards,
        "extra_data": asdict(record),
    }


def terms_text(task: str, grade: Grade) -> str:
    """The terms of a grade's score, or the reason why there is none."""
    lines = [grade["reason"]] if grade["reason"] else []
    if grade["status"] == "ok":
        terms = score_terms(task, grade)
        lines += [f"{term.formula}: {term.points:.3f} of {term.most:g}" for term in terms]
        lines.append(f"times the bonus {grade['bonus']:.3f} (latent_dim {grade['latent_dim']})")
        lines.append(f"{grade['score_uncapped']:.3f} before the cap of {max_score(task):g}")
    return "\n".join(lines)
