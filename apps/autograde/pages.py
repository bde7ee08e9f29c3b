"""The pages of a class: one for each student, and `index.html` for the lecturer. Every value is escaped."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from apps.autograde.generated import BESIDE_FID
from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.points import MAX_TOTAL, PARTS
from apps.autograde.record import Attempt, status_of
from apps.autograde.results import StudentResult
from apps.autograde.statuses import STATUSES
from apps.autograde.verdicts import TITLES
from vaelab.images import data_uri
from vaelab.language import N_, _
from vaelab.metrics.score import max_score, score_terms
from vaelab.tasks import TASKS
from vaelab.templates import template_environment

METRICS = ("ssim", "mse", "fid", *BESIDE_FID, "latent_dim", "score_uncapped", "score")  # of a grade
LABELS = {
    "neighbour_correlation": N_("correlation of neighbouring pixels"),
    "classifier_fid": N_("FID on a classifier's features"),
    "read_as_asked": N_("share that a classifier reads as asked"),
    "score_uncapped": N_("score before the cap"),
    "score": N_("score"),
}
BINS = 20


@dataclass(frozen=True)
class PageSection:
    """The part of a student's page about one task."""

    task: str
    grade: dict[str, Any]
    status: str
    max_score: float
    rows: list[tuple[str, str, str]]  # name, the student's value, the median of the class
    hint: str
    picture: str | None  # a data: URI
    generated: bool  # the picture shows generated images too


@dataclass(frozen=True)
class Histogram:
    """The distribution of points over the class."""

    title: str
    most: float  # points, the right end
    counts: list[int]  # in BINS equal parts
    n: int
    median: float | None

    @property
    def bars(self) -> list[tuple[float, float]]:
        """(left end, height) of each bar, as fractions of the width and of the highest."""
        highest = max(self.counts, default=0) or 1
        return [(i / BINS, count / highest) for i, count in enumerate(self.counts)]


def number_text(value: float | None) -> str:
    """A number for a table."""
    if value is None:
        return "-"
    if value == int(value) and value >= 1:
        return f"{value:g}"
    return f"{value:.4f}" if value < 1 else f"{value:.2f}"


def hint(task: str, grade: Mapping[str, Any], medians: Mapping[str, float]) -> str:
    """The term of the score that would gain the most, and what the median of the class is there."""
    if grade["status"] != "ok":
        return ""
    if grade["score"] >= max_score(task):
        return _("This task has all its points.")
    gains = [((term.most - term.points) * grade["bonus"], term) for term in score_terms(task, grade)]
    gain, term = max(gains, key=lambda pair: pair[0])
    metric = next(key for key in ("ssim", "mse", "fid") if key in term.formula)
    sentences = [
        _(
            "The most points to gain are in the term {formula}: up to {gain:.2f}.",
            formula=term.formula,
            gain=gain,
        )
    ]
    if metric in medians:
        yours, middle = number_text(grade[metric]), number_text(medians[metric])
        about = {"metric": metric, "yours": yours, "median": middle}
        sentences.append(_("Your {metric} is {yours}, the median of the class {median}.", **about))
    missing = max_score(task) - grade["score"]
    sentences.append(_("{missing:.2f} points are missing to the maximum.", missing=missing))
    return " ".join(sentences)


def student_page(result: StudentResult, book: Gradebook, medians: dict[str, Mapping[str, float]]) -> str:
    """The HTML of a student's page, in one file. It holds nothing that is for staff only."""
    attempt = result.counted.attempt
    sections = []
    for task, grade in result.counted.grades.items():
        rows, picture = [], None
        if grade["status"] == "ok" and attempt is not None:
            keys = [key for key in METRICS if key in grade]
            rows = [
                (_(LABELS.get(key, key)), number_text(grade[key]), number_text(medians[task].get(key)))
                for key in keys
            ]
            path = book.picture(result.name, attempt, task)
            if grade.get("graded_files"):
                path = path.with_name(f"{path.name.rpartition('-')[0]}-{grade['graded_files'][:12]}.png")
            picture = data_uri(path.read_bytes()) if path.is_file() else None
        words = hint(task, grade, medians[task])
        section = (task, grade, status_of(grade), max_score(task), rows, words, picture, "fid" in grade)
        sections.append(PageSection(*section))
    failed = []
    for name in result.failed_checks:
        number, title = TITLES.get(name, ("", name))
        failed.append((number, _(title), result.counted.checks[name]["why"]))
    titles = {
        number: _("result: the score of {task}", task=number)
        if number in TASKS
        else f"{number} {_(part.title)}"
        for number, part in PARTS.items()
    }
    template = template_environment(Path(__file__).parent).get_template("student_page.html")
    return template.render(
        result=result,
        name=one_line(result.name),
        sections=sections,
        failed=failed,
        parts=PARTS,
        max_total=MAX_TOTAL,
        titles=titles,
        decided=attempt.decided if attempt else {},
        attempt=attempt,
        n_checks=len(result.counted.checks),
        history=[
            (each.label, time_text(each.handed_in), statuses_of(each)) for each in result.record.attempts
        ],
    )


def time_text(seconds: float) -> str:
    """A time, to the minute, in this machine's time zone."""
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="minutes")


def statuses_of(attempt: Attempt) -> str:
    """The status and the score of each task of a hand-in."""
    return ", ".join(
        f"{task} {status_of(grade)} {grade['score']:.2f}" for task, grade in attempt.grades.items()
    )


def histogram(title: str, most: float, values: list[float]) -> Histogram:
    """The histogram of some points."""
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(BINS * value / most))] += 1
    median = round(statistics.median(values), 2) if values else None
    return Histogram(title, most, counts, len(values), median)


def histograms(results: list[StudentResult]) -> list[Histogram]:
    """The total, and each part that has points."""
    present = [result for result in results if result.handed_in_anything]
    found = [histogram("total", MAX_TOTAL, [result.total for result in present])]
    for number, part in PARTS.items():
        values = [result.points[number] for result in present if result.points[number] is not None]
        if values:
            title = part.title if number in TASKS else f"{number} {part.title}"
            found.append(histogram(title, part.most, values))
    return found


def passed_text(result: StudentResult) -> str:
    """How many checks of the blanks passed, as `17 of 18`; empty if none was run."""
    n = len(result.counted.checks)
    return f"{n - len(result.failed_checks)} of {n}" if n else ""


def index_page(results: list[StudentResult], book: Gradebook, similar: list[Any], seconds: float) -> str:
    """The HTML of the lecturer's page. similar: the pairs of `similarity.py`; seconds: that grading took."""
    template = template_environment(Path(__file__).parent).get_template("index.html")
    statuses = Counter(status for result in results for status in result.statuses.values())
    rows = [
        {
            "name": one_line(result.name, 80),
            "group": one_line(result.student.group, 40) if result.student else "",
            "page": book.path(result.name, ".html").name,
            "statuses": " / ".join(dict.fromkeys(result.statuses.values())),
            "ok": set(result.statuses.values()) <= {"ok"},
            "scores": [f"{grade['score']:.2f}" for grade in result.counted.grades.values()],
            "checks": passed_text(result),
            "late_days": result.late_days,
            "total": f"{result.total:.2f}",
            "staff": [one_line(note, 300) for note in result.staff],
            "history": len(result.record.attempts),
            "notes": result.record.notes,
            "seconds": result.sum_of("seconds"),
        }
        for result in results
    ]
    return template.render(
        rows=rows,
        histograms=histograms(results),
        bins=BINS,
        tasks=list(TASKS),
        statuses=[(status, statuses[status]) for status in STATUSES if statuses[status]],
        absent=[
            row["name"] for row, result in zip(rows, results, strict=True) if result.counted.attempt is None
        ],
        similar=similar,
        seconds=seconds,
        decided=next((each.counted.attempt.decided for each in results if each.counted.attempt), {}),
        max_total=MAX_TOTAL,
    )
