"""What other systems read: Moodle's worksheet and feedback, Canvas's gradebook, Gradescope's results.json."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from test_term import CANVAS, MOODLE, attempt, ok, result, rows

from apps.autograde.exports import results_json, write_canvas, write_moodle
from apps.autograde.gradescope import SETUP
from apps.autograde.policy import Policy
from apps.autograde.record import Record
from apps.autograde.results import result_of
from apps.autograde.roster import Student, WrittenPoints, read_roster
from vaelab.cli import LabError


def moodle(folder: Path, worksheet: str, found: list, page: bytes = b"page") -> list[dict[str, str]]:
    """The rows that Moodle gets. Everybody's page is written."""
    (folder / "m.csv").write_text(worksheet, encoding="utf-8")
    (folder / "page.html").write_bytes(page)
    pages = {each.name: folder / "page.html" for each in found}
    write_moodle(folder / "moodle", folder / "m.csv", found, pages)
    return rows((folder / "moodle/grades.csv").read_text(encoding="utf-8"))


def test_moodles_worksheet_is_filled_and_the_pages_are_zipped(tmp_path: Path) -> None:
    li = result_of(Record("李 明", [attempt()]), Student("李 明", lms_id="103"), None, Policy())
    found = [result("Ann Lee", lms_id="101"), li]
    before, after = rows(MOODLE), moodle(tmp_path, MOODLE, found)
    assert list(after[0]) == list(before[0])  # Moodle's columns, in Moodle's order
    assert [row["Grade"] for row in after] == [
        f"{each:.2f}" if each else "" for each in (found[0].total, 0, li.total)
    ]
    assert after[0]["Feedback comments"].startswith("2.2.1: 4 of 4; ")
    assert {**after[1], "Grade": "", "Feedback comments": ""} == before[1]
    with zipfile.ZipFile(tmp_path / "moodle/feedback.zip") as archive:
        names = archive.namelist()
    assert names == [f"{name}_assignsubmission_file/grade.html" for name in ("Ann Lee_101", "李 明_103")]


def test_moodle_finds_the_participant_in_the_name_of_a_feedback_file(tmp_path: Path) -> None:
    """importziplib.php takes what follows the first underscore for the number of the participant."""
    worksheet = MOODLE.replace("Ann Lee", "Ann_Lee/Ray")
    moodle(tmp_path, worksheet, [result("Ann_Lee/Ray", lms_id="101")])
    with zipfile.ZipFile(tmp_path / "moodle/feedback.zip") as archive:
        (name,) = archive.namelist()
    folder, _, file = name.partition("/")
    assert folder.split("_", 4) == ["Ann Lee Ray", "101", "assignsubmission", "file"]
    assert file == "grade.html"


def test_a_comment_is_text_in_moodle_which_reads_html(tmp_path: Path) -> None:
    written = WrittenPoints({"0.1": 20}, "sigma < 0 & more")
    (first, *_) = moodle(tmp_path, MOODLE, [result("Ann Lee", written=written, lms_id="101")])
    assert first["Feedback comments"].endswith("sigma &lt; 0 &amp; more")
    assert "sigma < 0 & more" in html.unescape(first["Feedback comments"])


def test_an_anonymous_assignment_of_moodle(tmp_path: Path) -> None:
    """Its worksheet has neither names nor addresses."""
    table = [row[:1] + row[3:] for row in csv.reader(io.StringIO(MOODLE.removeprefix("\ufeff")))]
    buffer = io.StringIO()
    csv.writer(buffer).writerows(table)
    (tmp_path / "m.csv").write_text(buffer.getvalue(), encoding="utf-8")
    assert [student.name for student in read_roster(tmp_path / "m.csv")][0] == "Participant 101"
    found = result("Participant 101", lms_id="101")
    assert moodle(tmp_path, buffer.getvalue(), [found])[0]["Grade"] == f"{found.total:.2f}"


def test_a_worksheet_that_moodle_would_refuse_or_skip(tmp_path: Path) -> None:
    found = [result("Ann Lee", lms_id="101")]
    for worksheet, says in (
        ("name\nAnn\n", "is not Moodle's grading worksheet"),
        (MOODLE.replace("Last modified (grade)", "Date"), r"expected .* Last modified \(grade\)"),
        (MOODLE.replace("130.00", "100.00"), "maximum of 100.00 points, expected 130: change it in Moodle"),
    ):
        with pytest.raises(LabError, match=says):
            moodle(tmp_path, worksheet, found)


@pytest.mark.parametrize("assignment", ["VAE Lab", "Another"])
@pytest.mark.parametrize("semicolons", [False, True])
def test_canvas_gradebook_is_filled(tmp_path: Path, assignment: str, semicolons: bool) -> None:
    text = io.StringIO()
    table = list(csv.reader(io.StringIO(CANVAS)))
    csv.writer(text, delimiter=";" if semicolons else ",").writerows(table)
    (tmp_path / "c.csv").write_text(f"\ufeff{text.getvalue()}", encoding="utf-8")
    ann = result("Lee, Ann", lms_id="12")
    write_canvas(tmp_path / "canvas", tmp_path / "c.csv", [ann], assignment)
    lines = list(csv.reader((tmp_path / "canvas/grades.csv").open(encoding="utf-8")))
    column = "VAE Lab (77)" if assignment == "VAE Lab" else "Another"
    assert lines[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Root Account", "Section", column]
    assert lines[1] == ["    Points Possible", "", "", "", "", "", "130"]
    assert lines[2] == ["Lee, Ann", "12", "s1", "ann", "x.edu", "A", f"{ann.total:.2f}"]
    # Who handed in nothing keeps the cell: an empty one would delete what is there.
    assert lines[3][-1] == ("EX" if assignment == "VAE Lab" else "")
    assert len(lines) == 4  # no row of the test student, none about posting


def test_canvas_with_first_and_last_names_apart(tmp_path: Path) -> None:
    text = CANVAS.replace("Student,ID", "LastName,FirstName,ID").replace('"Lee, Ann"', "Lee,Ann")
    text = text.replace('"Wu, Bo"', "Wu,Bo").replace('"Student, Test"', "Student,Test")
    text = text.replace("\n,,", "\n,,,").replace("Possible,", "Possible,,")
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    assert [student.name for student in read_roster(tmp_path / "c.csv")] == ["Lee, Ann", "Wu, Bo"]
    ann = result("Lee, Ann", lms_id="12")
    write_canvas(tmp_path / "canvas", tmp_path / "c.csv", [ann], "VAE Lab")
    lines = list(csv.reader((tmp_path / "canvas/grades.csv").open(encoding="utf-8")))
    assert lines[0][:3] == ["LastName", "FirstName", "ID"]
    assert lines[2] == ["Lee", "Ann", "12", "s1", "ann", "x.edu", "A", f"{ann.total:.2f}"]


def test_canvas_with_other_points(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CANVAS.replace("10,130", "10,100"), encoding="utf-8")
    with pytest.raises(LabError, match="maximum of 100 points, expected 130: change it in Canvas"):
        write_canvas(tmp_path / "canvas", tmp_path / "c.csv", [], "VAE Lab")
    (tmp_path / "c.csv").write_text("name\nAnn\n", encoding="utf-8")
    with pytest.raises(LabError, match="is not Canvas's gradebook"):
        write_canvas(tmp_path / "canvas", tmp_path / "c.csv", [], "VAE Lab")


def test_gradescopes_results() -> None:
    """The keys of Gradescope's specification, and no others."""
    flagged = attempt(passed=False, VAE0label=ok("VAE0label") | {"flags": ["looks odd"]})
    values = results_json(Record("ann", [flagged]), with_record=False)
    assert values.keys() <= {
        *("score", "execution_time", "output", "output_format", "visibility", "stdout_visibility"),
        *("extra_data", "tests", "leaderboard"),
    }
    for test in values["tests"]:
        assert test.keys() <= {"score", "max_score", "status", "name", "number", "output", "visibility"}
        assert test.get("status", "passed") in ("passed", "failed")
    assert values["score"] == pytest.approx(sum(test["score"] for test in values["tests"]), abs=1e-3)
    assert sum(test["max_score"] for test in values["tests"]) == 90
    visible = [test for test in values["tests"] if test["visibility"] == "visible"]
    assert "looks odd" not in json.dumps([visible, values["output"]])
    assert values["tests"][-1] == {
        "name": "to review",
        "score": 0,
        "max_score": 0,
        "output": "VAE0label: looks odd",
        "visibility": "hidden",
    }


@pytest.mark.parametrize(("version", "wanted"), [("3.10", "python3.11"), ("3.12", "python3")])
def test_gradescopes_setup_gets_a_python_that_the_lab_can_use(
    tmp_path: Path, version: str, wanted: str
) -> None:
    """Gradescope's default image is Ubuntu 22.04, whose python3 is 3.10. The programs here only log."""
    log, old = tmp_path / "log", int(version == "3.10")
    for name in ("python3", "python3.11", "apt-get"):
        status = f'[ "$1" != -c ] || exit {old}' if name == "python3" else ""
        (tmp_path / name).write_text(f'#!/bin/bash\n{status}\necho "{name} $*" >>{log}\n')
        (tmp_path / name).chmod(0o755)
    first, _, _ = SETUP.format(torch="2").partition("/autograder/venv/bin/pip")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", first], env=environment, check=True)
    lines = log.read_text().splitlines()
    assert lines[-1] == f"{wanted} -m venv /autograder/venv"
    assert f" {wanted} {wanted}-venv bubblewrap" in lines[-2]
