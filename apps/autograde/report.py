"""Writes what is made of the records of a class: tables, pages, similarity, exports."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from apps.autograde import tables
from apps.autograde.exports import write_canvas, write_moodle
from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.pages import METRICS, index_page, student_page
from apps.autograde.policy import Policy, read_policy
from apps.autograde.record import Record
from apps.autograde.results import StudentResult, medians, result_of
from apps.autograde.roster import Student, WrittenPoints, points_by_name
from apps.autograde.settings import GradingSettings
from apps.autograde.similarity import Pair, similar_code, similar_pairs
from apps.autograde.submissions import Submission
from vaelab.cli import LabError, markdown
from vaelab.files import make_folder, write_file
from vaelab.hand_in import stage


def write_report(
    book: Gradebook, submissions: list[Submission], roster: dict[str, Student], settings: GradingSettings
) -> list[StudentResult]:
    """Write all tables and pages, and what the settings ask for. Returns: the results, by name."""
    policy = read_policy(settings.policy) if settings.policy else Policy()
    graded = {name: record for name, record in book.records.items() if record.attempts}
    absent = {name: Record(name) for name in roster if name not in book.records}
    records = dict(sorted((graded | absent).items()))
    written: dict[str, WrittenPoints] = {}
    if settings.points is not None:
        written = points_by_name(settings.points, {name: roster.get(name) for name in records})
    results = []
    for name, record in records.items():
        result = result_of(record, roster.get(name), written.get(name), policy)
        result.pseudonym = book.pseudonym(name)
        if roster and name not in roster:
            result.staff.append("not in the roster")
        results.append(result)
    write_tables(book.folder, results)
    similar = find_similar(book.folder, submissions, results, settings)
    seconds = sum(result.sum_of("seconds") for result in results)
    write_file(book.folder / "index.html", index_page(results, book, similar, seconds), sync=False)
    middle = medians(results, METRICS)
    for result in results:
        write_file(book.path(result.name, ".html"), student_page(result, book, middle), sync=False)
    write_exports(book, results, settings)
    return results


def write_tables(folder: Path, results: list[StudentResult]) -> None:
    """Write the tables."""
    write_file(folder / "grades.csv", tables.grades_csv(results))
    write_file(folder / "students.csv", tables.students_csv(results))
    write_file(folder / "checks.csv", tables.checks_csv(results))
    write_file(folder / "leaderboard.md", tables.leaderboard(results))


def find_similar(
    folder: Path, submissions: list[Submission], results: list[StudentResult], settings: GradingSettings
) -> list[Pair]:
    """The similar pairs: of weights and outputs always, of code where the settings ask for it."""
    code: list[Pair] = []
    if settings.similarity:
        with ExitStack() as stack:
            sources = {}
            for submission in submissions:
                staged = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".work-")))
                try:
                    stage(submission.sources[-1].path, staged)
                except LabError:
                    continue
                sources[submission.name] = staged
            code = similar_code(sources, settings.handed_out, make_folder(folder / "similarity") / "code")
    pairs = [replace(pair, a=one_line(pair.a), b=one_line(pair.b)) for pair in similar_pairs(results, code)]
    if pairs:
        rows = [
            [*map(tables.markdown_text, (pair.a, pair.b))]
            + ["-" if pair.code is None else f"{pair.code:.1f}", f"{pair.weights:.0%}"]
            + [f"{pair.cosine:.4f}" if pair.cosine else "-", ", ".join(pair.outputs)]
            for pair in pairs
        ]
        header = ["student", "student", "code (10: the most similar)", "equal weights"]
        header += ["cosine of the weights", "equal outputs"]
        write_file(folder / "similar.md", markdown(header, rows) + "\n")
    return pairs


def write_exports(book: Gradebook, results: list[StudentResult], settings: GradingSettings) -> None:
    """Write what the learning management system reads. Raises: LabError if its own file was not named."""
    if settings.export is None:
        return
    if settings.roster is None:
        raise LabError(
            f"--export {settings.export} fills the file that it gave you: name it by --roster (Moodle's "
            "grading worksheet, or Canvas's exported gradebook)"
        )
    folder = book.folder / settings.export
    if settings.export == "moodle":
        pages = {result.name: book.path(result.name, ".html") for result in results}
        write_moodle(folder, settings.roster, results, pages)
    else:
        write_canvas(folder, settings.roster, results, settings.assignment)
