"""The bookkeeping of a course: names, roster, policy, records, points, exports. Nothing is graded here."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from apps.autograde import record as records
from apps.autograde import tables
from apps.autograde.command import parse_args
from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.pages import hint, index_page, student_page
from apps.autograde.policy import Policy, read_policy
from apps.autograde.record import Attempt, Record, counted, failed, status_of, why_again
from apps.autograde.report import options_left_out
from apps.autograde.results import StudentResult, medians, result_of
from apps.autograde.roster import Student, WrittenPoints, match_roster, points_by_name, read_roster
from apps.autograde.settings import GradingSettings
from apps.autograde.similarity import equal_outputs, links_in, similar_pairs, weight_checksums
from apps.autograde.submissions import file_name, find_submissions
from apps.autograde.verdicts import VERDICTS
from vaelab import language
from vaelab.cli import LabError
from vaelab.metrics.score import score
from vaelab.tasks import TASKS

NOW = records.what_decides(
    "digits",
    "test",
    (np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)),
    {"time_limit": 300.0, "memory_mb": 4096, "sandbox": "bubblewrap", "latent_precision": "float16"},
)


def ok(task: str, ssim: float = 0.9, mse: float = 0.01, fid: float = 5.0) -> dict:
    values = {"ssim": ssim, "mse": mse} | ({"fid": fid} if TASKS[task].conditional else {})
    grade = {"status": "ok", "reason": "", "flags": [], "seconds": 3.0, "latent_dim": 20}
    return grade | values | score(task, values, 20)


def attempt(mark: str = "f1", when: float = 0.0, passed: bool = True, **grades: dict) -> Attempt:
    return Attempt(
        fingerprint=mark,
        label=f"{mark}.zip",
        handed_in=when,
        found="submission.py found in the hand-in itself",
        weights={},
        grades={task: grades.get(task) or ok(task) for task in TASKS},
        checks={name: {"passed": passed, "why": "" if passed else "because"} for name in VERDICTS},
        decided=NOW | {"date": "2026-11-20T12:00:00+00:00"},
    )


def result(name: str = "Ann Lee", *attempts: Attempt, written: WrittenPoints | None = None, **student: str):
    row = Student(name, **student) if student else None
    found = result_of(Record(name, list(attempts or [attempt()])), row, written, Policy())
    found.pseudonym = "student-0123"
    return found


# --- Names and layouts ----------------------------------------------------------------------------


def class_of(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            (path / "submission.py").write_text("")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return folder


def test_every_entry_gets_a_row(tmp_path: Path) -> None:
    entries = ("ann/", "bob.zip", "eve.tar.gz", "report.pdf", "kim.rar", "submission_kim.py", ".DS_Store")
    found = find_submissions(class_of(tmp_path / "class", *entries, "__MACOSX/"))
    names = {submission.name for submission in found}
    assert names == {"ann", "bob", "eve", "report", "kim", "submission_kim"}


def test_a_zip_file_beside_a_folder_is_the_same_student(tmp_path: Path) -> None:
    class_of(tmp_path, "bob.zip", "bob/", "Bob.tgz")
    os.utime(tmp_path / "bob.zip", (1, 1))
    os.utime(tmp_path / "bob/submission.py", (3, 3))
    os.utime(tmp_path / "Bob.tgz", (2, 2))
    (bob,) = find_submissions(tmp_path)
    assert [source.label for source in bob.sources] == ["bob.zip", "Bob.tgz", "bob"]  # the newest counts


def test_moodles_folders_and_files(tmp_path: Path) -> None:
    folder = class_of(
        tmp_path,
        "Ann Lee_101_assignsubmission_file/",
        "Ann Lee_101_assignsubmission_onlinetext/",
        "Bob_102_assignsubmission_file_lab.zip",
        "Eve_103_assignsubmission_file_submission.py",
        "Eve_103_assignsubmission_file_VAE0label.pt",
        "Eve_104_assignsubmission_file_submission.py",
    )
    found = {submission.name: submission for submission in find_submissions(folder)}
    assert found.keys() == {"Ann Lee", "Bob", "Eve 103", "Eve 104"}
    assert (found["Ann Lee"].id, found["Bob"].id) == ("101", "102")
    assert found["Eve 103"].sources[-1].path.keys() == {"submission.py", "VAE0label.pt"}


def test_canvas_flat_files_are_put_together(tmp_path: Path) -> None:
    folder = class_of(
        tmp_path,
        "leeann_LATE_12_900_submission.py",
        "leeann_12_901_submission-1.py",
        "leeann_12_902_VAE0label.pt",
        "wubo_13_903_lab-2.zip",
    )
    ann, bo = find_submissions(folder)
    assert (ann.name, ann.id, bo.name) == ("leeann", "12", "wubo")
    assert ann.sources[0].late
    assert {name: path.name for name, path in ann.sources[0].path.items()} == {
        "submission.py": "leeann_12_901_submission-1.py",
        "VAE0label.pt": "leeann_12_902_VAE0label.pt",
    }


def test_names_stay_apart_as_files(tmp_path: Path) -> None:
    class_of(tmp_path, "x?/", "b.zip.zip", "b.zip", os.fsdecode(b"x\xff/"), "grades/")
    found = find_submissions(tmp_path, {tmp_path / "grades"})
    files = {file_name(submission.name).casefold() for submission in found}
    assert len(files) == len(found) == 4
    assert all(len(name) < 200 for name in files)
    for bad, says in (("nowhere", "there is no"), ("grades", "contains no submissions")):
        (tmp_path / "grades/submission.py").unlink(missing_ok=True)
        with pytest.raises(LabError, match=says):
            find_submissions(tmp_path / bad)


# --- Roster and points ----------------------------------------------------------------------------

MOODLE = """\ufeffIdentifier,Full name,Email address,Status,Grade,Maximum grade,Grade can be changed,\
Last modified (submission),Last modified (grade),Feedback comments
Participant 101,Ann Lee,ann@x.edu,Submitted,,130.00,Yes,"Friday, 20 November 2026, 11:58 PM",-,
Participant 102,"Bob, Jr.",bob@x.edu,No submission,,130.00,Yes,-,-,
Participant 103,李 明,li@x.edu,Submitted,,130.00,Yes,"Saturday, 21 November 2026, 1:00 AM",-,
"""
CANVAS = """Student,ID,SIS User ID,SIS Login ID,Root Account,Section,Old (5),VAE Lab (77),Final Score
,,,,,,,Manual Posting,
    Points Possible,,,,,,10,130,(read only)
"Lee, Ann",12,s1,ann,x.edu,A,9,,90
"Wu, Bo",13,s2,bo,x.edu,A,8,EX,80
"Student, Test",99,,f00d,x.edu,A,,,
"""


def test_rosters_of_moodle_and_canvas(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(MOODLE, encoding="utf-8")
    ann, bob, li = read_roster(tmp_path / "m.csv")
    assert (ann.name, ann.lms_id, ann.handed_in) == ("Ann Lee", "101", datetime(2026, 11, 20, 23, 58))
    assert (bob.name, bob.handed_in, li.email) == ("Bob, Jr.", None, "li@x.edu")
    (tmp_path / "c.csv").write_text(CANVAS, encoding="utf-8")
    ann, bo = read_roster(tmp_path / "c.csv")
    assert (ann.name, ann.lms_id, ann.id, bo.group) == ("Lee, Ann", "12", "s1", "A")
    class_of(tmp_path / "class", "leeann_12_1_submission.py", "bo/", "s1.zip", "x/")
    found, rows = match_roster(find_submissions(tmp_path / "class"), [ann, bo])
    assert [submission.name for submission in found] == ["Lee, Ann", "Wu, Bo", "x"]
    assert len(found[0].sources) == 2  # by the LMS's number, and by the student's own
    assert rows.keys() == {"Lee, Ann", "Wu, Bo"}


def test_a_roster_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    for text, says in (
        ("name,id\nAnn,1\nAnn,1\n", "two rows for Ann"),
        ("nom,id\nAnn,1\n", "the name is missing"),
        ("name\n", "has no rows"),
        ("name,handed_in\nAnn,soon\n", "expected a time as 2026-11-20 23:59, got 'soon'"),
    ):
        (tmp_path / "r.csv").write_text(text)
        with pytest.raises(LabError, match=says):
            read_roster(tmp_path / "r.csv")
    with pytest.raises(LabError, match="can't read"):
        read_roster(tmp_path / "none.csv")


def test_the_staffs_points(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("name;0.1;0.2;comment\nann lee;18,5;10;Good\nbob@x.edu;0;;\n", encoding="utf-8")
    names = {"Ann Lee": None, "Bob": Student("Bob", email="bob@x.edu")}
    with pytest.raises(LabError, match="unknown column|fits no student"):
        points_by_name(path, {"Eve": None})
    found = points_by_name(path, names)
    assert found["Ann Lee"] == WrittenPoints({"0.1": 18.5, "0.2": 10.0}, "Good")
    assert found["Bob"].points == {"0.1": 0.0}
    for text, says in (
        ("name,0.1\nBob,21\n", "0 to 20 points"),
        ("name,9.9\nBob,1\n", "unknown column '9.9'"),
    ):
        path.write_text(text)
        with pytest.raises(LabError, match=says):
            points_by_name(path, names)


def test_the_total_is_of_130(tmp_path: Path) -> None:
    written = WrittenPoints({"0.1": 20, "0.2": 10, "1.1": 10}, "Well done")
    full = {task: ok(task, 1.0, 0.0, 0.0) for task in TASKS}
    found = result("Ann", attempt(**full), written=written)
    assert (found.total, found.missing_parts) == (130.0, [])
    some = result("Ann", attempt(passed=False, **full))
    assert (some.total, some.missing_parts) == (40.0, ["0.1", "0.2", "1.1"])
    by_hand = result("Ann", attempt(passed=False, **full), written=WrittenPoints({"2.3": 12.5}))
    assert (by_hand.points["2.3"], by_hand.by_hand, by_hand.total) == (12.5, ["2.3"], 52.5)


# --- Late days ------------------------------------------------------------------------------------


def test_late_days(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        "deadline = 2026-11-20T23:59:00\ngrace_hours = 2\npercent_per_day = 10\nmax_days = 3\n"
        'counts = "best"\n[extensions]\n"Ann Lee" = 2\n'
    )
    policy = read_policy(path)
    for day, hour, late, bob, ann in (
        (20, 23, 0, 1.0, 1.0),
        (21, 1, 0, 1.0, 1.0),  # the grace
        (21, 2, 1, 0.9, 1.0),
        (22, 23, 2, 0.8, 1.0),
        (23, 1, 3, 0.7, 0.9),
        (24, 1, 4, 0.0, 0.8),
        (26, 1, 6, 0.0, 0.0),
    ):
        days = policy.late_days(datetime(2026, 11, day, hour))
        assert (days, policy.factor("bob", days)) == (late, pytest.approx(bob)), day
        assert policy.factor("Ann Lee", days) == pytest.approx(ann)
    assert policy.late_days(None) == 0
    for text, says in (
        ("deadline = 3", "expected a time"),
        ("dedline = 3", "unknown entry 'dedline'"),
        ('counts = "first"', '"last" or "best"'),
        ("max_days = -1", "a number from 0"),
        ("max_days =", "can't read"),
    ):
        path.write_text(text)
        with pytest.raises(LabError, match=says):
            read_policy(path)


def test_the_best_of_several_counts_after_the_penalty() -> None:
    day = 24 * 3600
    good, better = attempt("a", 0, VAE0label=ok("VAE0label", 0.8)), attempt("b", 2 * day)
    last = Record("ann", [good, better])
    deadline = datetime.fromtimestamp(day)
    chosen = [
        result_of(last, None, None, Policy(deadline, percent_per_day=each, counts=counts)).counted.attempt
        for each, counts in ((0, "best"), (50, "best"), (50, "last"))
    ]
    assert chosen == [better, good, better]


# --- What is graded again -------------------------------------------------------------------------


def test_what_decides_a_grade_is_compared() -> None:
    one = attempt()
    assert why_again(None, NOW) == "new or changed files"
    assert why_again(one, NOW) == ""
    assert why_again(one, NOW | {"commit": "other", "processor": "other", "formula": "other"}) == ""
    assert "are others" in why_again(one, NOW | {"split_sha256": "other"})
    assert "torch was" in why_again(one, NOW | {"torch": "9"})
    assert "method" in why_again(one, NOW | {"method": 99})
    assert "float32" in why_again(one, NOW | {"latent_precision": "float32"})
    assert why_again(one, NOW | {"time_limit": 900.0}) == ""
    slow = attempt(VAE0label=failed("timeout", "encode exceeded the time limit of 300 s"))
    assert why_again(slow, NOW | {"time_limit": 200.0}) == ""
    assert why_again(slow, NOW | {"time_limit": 900.0}) == "timeout under time_limit 300, which is now 900"
    checks = attempt()
    checks.checks["layers"] = {"passed": False, "why": "check exceeded the time limit of 300 s"}
    assert why_again(checks, NOW | {"time_limit": 900.0}) == "timeout under time_limit 300, which is now 900"
    assert any("--regrade timeout" in note for note in result("Ann", checks).staff)
    large = attempt(VAE0label=failed("memory", ""))
    assert "memory_mb 4096, which is now 8192" in why_again(large, NOW | {"memory_mb": 8192})
    assert {"commit", "torch", "processor", "threads", "date"} - one.decided.keys() == {"threads"}


def test_a_new_formula_rescores_without_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Gradebook(tmp_path)
    book.add("ann", attempt(), {})
    book = Gradebook(tmp_path)
    before = book.load("ann").attempts[0].grades["VAE0label"]["score_uncapped"]
    assert not book.rescore("ann", records.formula_sha256())
    monkeypatch.setattr("vaelab.metrics.score.bonus", lambda latent_dim: 2.0)
    formula = records.formula_sha256()
    assert formula != NOW["formula"]
    assert book.rescore("ann", formula)
    stored = Gradebook(tmp_path).load("ann").attempts[0]
    assert stored.grades["VAE0label"]["score_uncapped"] == pytest.approx(before * 2 / (1.2 - 20 / 784))
    assert stored.decided["rescored"]
    assert stored.decided["formula"] == formula


def test_a_broken_resubmission_is_visible_and_keeps_its_own_fingerprint(tmp_path: Path) -> None:
    book = Gradebook(tmp_path)
    book.add("ann", attempt("first", 1), {})
    broken = attempt("second", 2, passed=False, VAE0label=failed("error", "ZeroDivisionError"))
    book.add("ann", broken, {})
    record = Gradebook(tmp_path).load("ann")
    assert [each.fingerprint for each in record.attempts] == ["first", "second"]
    found = counted(record.attempts)
    grade = found.grades["VAE0label"]
    assert (status_of(grade), grade["graded_files"]) == ("kept", "first")
    assert grade["score"] == ok("VAE0label")["score"]
    assert found.checks == record.attempts[0].checks
    assert "could not be graded (error): ZeroDivisionError; the grade of first.zip is kept" in grade["kept"]
    assert record.attempts[1].grades["VAE0label"]["status"] == "error"
    (row,) = [
        row
        for row in rows(tables.grades_csv([result("ann", *record.attempts)]))
        if row["task"] == "VAE0label"
    ]
    assert row["status"] == "kept"
    # On other data there is nothing to keep.
    record.attempts[0].decided["split_sha256"] = "other"
    assert counted(record.attempts).grades["VAE0label"]["status"] == "error"


def test_the_same_files_that_fail_now_keep_their_grade(tmp_path: Path) -> None:
    book = Gradebook(tmp_path)
    book.add("ann", attempt(), {})
    book.add("ann", attempt(VAE0label=failed("timeout", "encode exceeded")), {}, "after an appeal")
    record = Gradebook(tmp_path).load("ann")
    (one,) = record.attempts
    assert status_of(one.grades["VAE0label"]) == "kept"
    assert "(timeout): encode exceeded" in one.grades["VAE0label"]["kept"]
    assert record.notes[0]["text"] == "after an appeal"


def test_damaged_records_are_graded_again(tmp_path: Path) -> None:
    book = Gradebook(tmp_path)
    grades = {"VAE0label": failed("missing", "there is none"), "Genwithlabel": failed("error", "=1+1")}
    book.add("ann", attempt(**grades), {})
    assert Gradebook(tmp_path).load("ann").attempts[0].grades["Genwithlabel"]["reason"] == "'=1+1"
    path = tmp_path / "ann.json"
    whole = path.read_text()
    damages = ["", "[]", whole[:200], whole.replace('"status": "error"', '"status": "fine"')]
    damages += [
        whole.replace(f'"{key}"', '"other"') for key in ("fingerprint", "decided", "seconds", "flags")
    ]
    for damaged in damages:
        assert damaged != whole
        path.write_text(damaged)
        book = Gradebook(tmp_path)
        assert (book.load("ann").attempts, book.damaged) == ([], ["ann"])


def test_the_salt_is_the_owners(tmp_path: Path) -> None:
    book = Gradebook(tmp_path)
    path = tmp_path / ".salt"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)  # as an earlier version left it
    assert Gradebook(tmp_path).salt == book.salt
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"")
    assert Gradebook(tmp_path).salt not in ("", book.salt)
    assert Gradebook(tmp_path, "s").pseudonym("ann") == Gradebook(tmp_path, "s").pseudonym("ann")


# --- Tables and pages -----------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_one_row_a_student_that_excel_opens() -> None:
    absent = result_of(Record("李 明"), Student("李 明", "7", email="li@x.edu", group="B"), None, Policy())
    written = WrittenPoints({"0.1": 18.5}, "=HYPERLINK(1)")
    text = tables.students_csv([result("Ann Lee", id="1", group="A", written=written), absent])
    assert text.startswith("\ufeff")
    ann, li = rows(text)
    assert (ann["name"], ann["id"], ann["0.1"], ann["2.3"], ann["max_total"]) == (
        "Ann Lee",
        "1",
        "18.5",
        "15",
        "130",
    )
    assert (ann["not_graded"], ann["by_hand"], ann["comment"]) == ("0.2 1.1", "0.1", "'=HYPERLINK(1)")
    assert (li["name"], li["status"], li["total"], li["group"]) == ("李 明", "absent", "0.00", "B")
    (checks,) = rows(tables.checks_csv([result("Ann", attempt(passed=False))]))
    assert checks == {"name": "Ann"} | dict.fromkeys(VERDICTS, "because")


def test_ties_of_the_leaderboard_do_not_tell_names() -> None:
    some = [result(name) for name in ("Ann", "Bob", "Eve")]
    for each, pseudonym in zip(some, ("student-c", "student-a", "student-b"), strict=True):
        each.pseudonym = pseudonym
    order = [line.split("|")[2].strip() for line in tables.leaderboard(some).splitlines()[2:]]
    assert order == ["student-a", "student-b", "student-c"]


def test_the_students_page_has_the_pseudonym_hints_and_no_flag(tmp_path: Path) -> None:
    book = Gradebook(tmp_path)
    flagged = ok("VAE0label", 0.6, 0.05) | {"flags": ["pure noise is reconstructed too well"]}
    one = attempt(passed=False, VAE0label=flagged)
    one.found = "<script>alert(1)</script>"
    found = result("<b>Ann</b>", one)
    text = student_page(found, book, medians([found], ("mse", "ssim")))
    assert "student-0123" in text
    assert "pure noise" not in text
    assert "<script>" not in text
    assert "&lt;b&gt;Ann" in text
    assert "The most points to gain are in the term 50 max(0.1 - mse, 0)" in text
    assert text.count("because") == len(VERDICTS)
    assert NOW["split_sha256"][:12] in text
    assert "pure noise" in index_page([found], book, [], 60.0)
    two = result("Ann", attempt("first", 0), attempt("second", 60))
    assert student_page(two, book, medians([two], ("mse",))).count("VAE0label ok") == 2  # the history
    assert hint("VAE0label", ok("VAE0label", 1.0, 0.0), {}) == "This task has all its points."


def test_the_students_page_in_chinese(tmp_path: Path) -> None:
    found = result("Ann", attempt(passed=False))
    before = language.language()
    language.set_language("zh")
    try:
        text = student_page(found, Gradebook(tmp_path), medians([found], ("mse", "ssim")))
    finally:
        language.set_language(before)
    for words in (
        "Ann 的成绩",
        "没有通过的检查",
        "全班中位数",
        "KL 散度",
        "结果：VAE0label 的得分",
        "最有提升空间",
    ):
        assert words in text
    assert "median of the class" not in text
    assert '<html lang="zh">' in text


def test_the_lecturers_page(tmp_path: Path) -> None:
    absent = result_of(Record("Bob"), Student("Bob"), None, Policy())
    found = [result("Ann Lee"), result("Eve"), absent]
    for each in found[:2]:
        each.counted.grades["Genwithlabel"]["gen_sha256"] = "same"
    pairs = similar_pairs(found, [])
    assert [(pair.a, pair.b, pair.outputs) for pair in pairs] == [
        ("Ann Lee", "Eve", ["Genwithlabel generated images"])
    ]
    text = index_page(found, Gradebook(tmp_path), pairs, 120.0)
    for words in (
        "Ann%20Lee.html".replace("%20", "%2520"),
        "Nothing handed in",
        "absent 2",
        "ok 4",
        "histogram of total",
    ):
        assert words in text, words
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


# --- Similarity and options -----------------------------------------------------------------------


def test_equal_weights_are_found_without_unpickling(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.bytes(5000), {name: rng.bytes(5000) for name in ("ann", "bob", "eve")}
    people = []
    for name in own:
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "VAE0label.pt", "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02cos\nsystem\n")
            archive.writestr("x/data/0", shared if name != "eve" else own[name])
            archive.writestr("x/data/1", own[name])
            archive.writestr("x/data/2", bytes(9000))  # zeros: as in everybody's
        (tmp_path / name / "Genwithlabel.pt").write_bytes(b"damaged")
        one = attempt(name)
        one.weights = weight_checksums(tmp_path / name)
        people.append(result(name, one))
    pairs = similar_pairs(people, [])
    assert [(pair.a, pair.b, pair.weights) for pair in pairs] == [("ann", "bob", 0.5)]


def test_what_many_have_in_common_is_not_listed_for_all_pairs() -> None:
    for n, expected in ((3, 3), (10, 45), (50, 49)):
        people = [result(f"student {i:02}", attempt(f"f{i}")) for i in range(n)]
        for each in people:
            each.counted.grades["VAE0label"]["recon_sha256"] = "same"
        assert len(equal_outputs(people)) == expected


def test_the_pairs_of_compare50s_page() -> None:
    link = '{"index": 0, "source": "s0001", "target": "s0002", "value": 10.0}'
    page = 'var GRAPH = {"data": {}, "links": [' + link + '], "n": 1};'
    assert links_in(page) == [{"index": 0, "source": "s0001", "target": "s0002", "value": 10.0}]
    assert links_in("no data") == []


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "names.txt").write_text("Ann Lee\n\nbob\n", encoding="utf-8")
    args = parse_args(
        ["class", "--only", f"@{tmp_path}/names.txt", "--only", "eve", "--regrade", "timeout,error"]
    )
    assert (args.only, args.regrade, args.dataset) == (
        ("Ann Lee", "bob", "eve"),
        ("timeout", "error"),
        "mnist",
    )
    for options, says in (
        (["--dataset", "auto"], "invalid choice: 'auto'"),
        (["--regrade", "slow"], "expected some of ok, kept, missing"),
        (["--note", "x"], "--note belongs to a regrade"),
        (["--only", "@nowhere"], "can't read nowhere"),
    ):
        with pytest.raises(SystemExit):
            parse_args(["class", *options])
        assert says in capsys.readouterr().err
    assert one_line("=1") == "'=1"


def test_a_command_without_the_options_of_the_last_one_says_so(tmp_path: Path) -> None:
    course = ["--roster", "r.csv", "--points", "p.csv"]
    for options, says in (
        (course, ""),
        (course, ""),
        (course[:2], "--points p.csv"),
        (course[:2], ""),
        ([], "--roster r.csv"),
    ):
        settings = GradingSettings(**vars(parse_args(["class", *options])))
        assert options_left_out(tmp_path, settings) == says, options
    (tmp_path / ".options.json").write_text("damaged")
    assert options_left_out(tmp_path, settings) == ""


def test_a_result_knows_its_sums() -> None:
    assert isinstance(result(), StudentResult)
    assert result().sum_of("seconds") == 6.0
