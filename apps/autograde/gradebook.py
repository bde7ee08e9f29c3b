"""A folder of grades: what was graded of whom, and what is written for staff, Gradescope and students.

    <name>.json      the grade in the format of Gradescope's results.json; also what a later run goes on from
    <name>.html      a page for the student: the numbers, the class's median, pictures
    <name>-<task>.png
    grades.csv       a row for each submission and task
    leaderboard.md   by pseudonyms

https://gradescope-autograders.readthedocs.io/en/latest/specs/ describes results.json.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import secrets
import statistics
from pathlib import Path
from typing import Any

from apps.autograde.grader import STATUSES
from apps.autograde.submissions import file_name
from vaelab.cli import LabError, printable
from vaelab.files import make_folder, read_json, write_file, write_json
from vaelab.metrics.score import max_score, score_terms
from vaelab.tasks import TASKS

COLUMNS = ("name", "task", "ssim", "mse", "fid", "latent_dim", "score", "score_uncapped", "max_score")
COLUMNS += ("status", "reason", "flags", "seconds")
Grade = dict[str, Any]


def one_line(text: str, most: int = 500) -> str:
    """Text from a submission, fit for a cell of a table: printable, not too long, and not a formula."""
    text = printable(text, most)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


class Gradebook:
    """The grades in a folder, of one split of one data set."""

    def __init__(self, folder: Path, settings: dict[str, str], salt: str | None) -> None:
        """settings: what a grade depends on besides the submission; grades made otherwise don't count."""
        self.folder, self.settings = make_folder(folder), settings
        self.salt = salt or self.kept_salt()
        self.records: dict[str, dict[str, Any]] = {}

    def kept_salt(self) -> str:
        """A secret drawn once: without it the pseudonym of a name is found by trying all names."""
        path = self.folder / ".salt"
        if not path.exists() or not path.read_bytes().strip():
            write_file(path, secrets.token_hex(16))
        return path.read_text(encoding="utf-8", errors="replace")

    def path(self, name: str, suffix: str) -> Path:
        """Where something of a submission lies."""
        return self.folder / f"{file_name(name)}{suffix}"

    def load(self, name: str) -> dict[str, Any] | None:
        """What an earlier run recorded of a submission; None if it wrote nothing, or graded otherwise."""
        try:
            record = read_json(self.path(name, ".json"))["extra_data"]
            results_json(record)  # fails on one that is not whole
            good = record["settings"] == self.settings and record["name"] == name
            good = good and isinstance(record["fingerprint"], str) and list(record["grades"]) == list(TASKS)
            good = good and all(grade["status"] in STATUSES for grade in record["grades"].values())
        except (LabError, KeyError, TypeError, ValueError, AttributeError):
            return None
        return record if good else None

    def add(self, name: str, fingerprint: str, grades: dict[str, Grade], pictures: dict[str, bytes]) -> None:
        """Record the grades of a submission. One that failed leaves an earlier one standing."""
        before = self.load(name)
        for task, grade in grades.items():
            grade["reason"] = one_line(grade["reason"])
            grade["flags"] = [one_line(flag) for flag in grade["flags"]]
            earlier = before["grades"][task] if before else None
            if grade["status"] != "ok" and earlier and earlier["status"] == "ok":
                why = (
                    f"the earlier grade is kept: grading again failed ({grade['status']}): {grade['reason']}"
                )
                grades[task] = earlier | {"reason": one_line(why)}
        for task, picture in pictures.items():
            write_file(self.path(name, f"-{task}.png"), picture)
        record = {"name": name, "fingerprint": fingerprint, "settings": self.settings, "grades": grades}
        write_json(self.path(name, ".json"), results_json(record))
        self.records[name] = record

    # --- What is written for people ---

    def write_tables(self) -> None:
        """`grades.csv`, `leaderboard.md` and the pages, of all submissions that are recorded by now."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for name, record in sorted(self.records.items()):
            for task, grade in record["grades"].items():
                row = {"name": one_line(name), "task": task, "max_score": max_score(task), **grade}
                row |= {key: f"{grade[key]:.6f}" for key in ("ssim", "mse", "fid") if key in grade}
                row |= {key: f"{grade[key]:.4f}" for key in ("score", "score_uncapped") if key in grade}
                writer.writerow(row | {"flags": "; ".join(grade["flags"])})
        write_file(self.folder / "grades.csv", buffer.getvalue())
        write_file(self.folder / "leaderboard.md", self.leaderboard())
        medians = self.medians()
        for name, record in self.records.items():
            write_file(self.path(name, ".html"), self.page(record, medians))

    def pseudonym(self, name: str) -> str:
        """The name under which a submission stands on the leaderboard."""
        return f"student-{hashlib.sha256(f'{self.salt} {name}'.encode(errors='replace')).hexdigest()[:8]}"

    def leaderboard(self) -> str:
        """A Markdown table, best first: by the score and, beyond its cap, by the uncapped score."""

        def total(record: dict[str, Any], key: str) -> float:
            return sum(grade.get(key, 0.0) for grade in record["grades"].values())

        ranked = sorted(
            self.records.values(),
            key=lambda record: (-total(record, "score"), -total(record, "score_uncapped"), record["name"]),
        )
        lines = ["| rank | who | score | before the cap | latent_dim |", "| --- | --- | --- | --- | --- |"]
        for rank, record in enumerate(ranked, start=1):
            dims = " / ".join(str(grade.get("latent_dim", "-")) for grade in record["grades"].values())
            lines.append(
                f"| {rank} | {self.pseudonym(record['name'])} | {total(record, 'score'):.2f} | "
                f"{total(record, 'score_uncapped'):.2f} | {dims} |"
            )
        return "\n".join(lines) + "\n"

    def medians(self) -> dict[str, dict[str, float]]:
        """The median of each number over the class, by task, of grades that are ok."""
        keys = ("ssim", "mse", "fid", "latent_dim", "score", "score_uncapped")
        grades = {task: [record["grades"][task] for record in self.records.values()] for task in TASKS}
        return {
            task: {
                key: statistics.median(values)
                for key in keys
                if (
                    values := [
                        grade[key] for grade in grades[task] if grade["status"] == "ok" and key in grade
                    ]
                )
            }
            for task in TASKS
        }

    def page(self, record: dict[str, Any], medians: dict[str, dict[str, float]]) -> str:
        """The student's page, self-contained. Whatever comes from a submission is escaped."""
        parts = []
        for task, grade in record["grades"].items():
            parts.append(f"<h2>{task}: {grade['score']:.2f} of {max_score(task):.0f}</h2>")
            if grade["reason"]:
                parts.append(f"<p class=reason><b>{grade['status']}</b> {html.escape(grade['reason'])}</p>")
            parts += [f"<p class=flag>To look into: {html.escape(flag)}</p>" for flag in grade["flags"]]
            if grade["status"] != "ok":
                continue
            rows = [
                f"<tr><td>{key}<td>{shown(grade[key])}<td>{shown(medians[task].get(key))}"
                for key in ("ssim", "mse", "fid", "latent_dim", "score_uncapped", "score")
                if key in grade
            ]
            parts.append(f"<table><tr><th><th>yours<th>median of the class{''.join(rows)}</table>")
            path = self.path(record["name"], f"-{task}.png")
            if path.is_file():
                caption = "Images of the split, and below them your reconstructions"
                caption += "; then ten generated images of each label" if "fid" in grade else ""
                data = base64.b64encode(path.read_bytes()).decode()
                parts.append(f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">')
                parts.append(f"<figcaption>{caption}.</figcaption></figure>")
        about = f"{self.settings['dataset']}, {self.settings['split']} split"
        title = f"Grade of {html.escape(one_line(record['name']))}"
        return PAGE.format(title=title, about=html.escape(about), body="\n".join(parts))


def shown(value: float | None) -> str:
    """A number for a table."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}" if value < 1 else f"{value:.2f}"


def results_json(record: dict[str, Any]) -> dict[str, Any]:
    """A record in Gradescope's format; `extra_data` is the record itself."""
    tests, boards, notes = [], [], []
    for task, grade in record["grades"].items():
        tests.append(
            {
                "name": task,
                "score": round(grade["score"], 4),
                "max_score": max_score(task),
                "status": "passed" if grade["status"] == "ok" else "failed",
                "output": terms_text(task, grade),
            }
        )
        notes += [f"{task}: to look into: {flag}" for flag in grade["flags"]]
        if grade["status"] == "ok":
            boards.append({"name": f"{task}, before the cap", "value": round(grade["score_uncapped"], 4)})
            boards.append({"name": f"{task}, latent_dim", "value": grade["latent_dim"], "order": "asc"})
    return {
        "score": round(sum(test["score"] for test in tests), 4),
        "max_score": sum(test["max_score"] for test in tests),
        "execution_time": round(sum(grade["seconds"] for grade in record["grades"].values())),
        "output": "\n".join(notes),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "leaderboard": boards,
        "extra_data": record,
    }


def terms_text(task: str, grade: Grade) -> str:
    """What a grade is made of, or why there is none."""
    lines = [grade["reason"]] if grade["reason"] else []
    if grade["status"] == "ok":
        lines += [f"{name}: {points:.3f} of {most:g}" for name, points, most in score_terms(task, grade)]
        lines.append(f"times the bonus {grade['bonus']:.3f} (latent_dim {grade['latent_dim']})")
        lines.append(f"{grade['score_uncapped']:.3f} before the cap of {max_score(task):g}")
    return "\n".join(lines)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} th, td {{ padding: .2rem 1rem .2rem 0; text-align: right }}
td:first-child {{ text-align: left }} tr + tr td {{ border-top: 1px solid #8885 }}
figure {{ margin: 1rem 0 }} img {{ max-width: 100%; image-rendering: pixelated }}
.reason, .flag {{ border-left: .3rem solid #c60; padding-left: .8rem; overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
<p>Graded on {about}, by running the code in isolation: what is scored is what passes through the codes.</p>
{body}
"""
