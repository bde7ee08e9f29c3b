"""What comes from a submission is escaped where it lands: a corpus of strings that other programs act on."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.grading import summary
from apps.autograde.pages import METRICS, index_page, student_page
from apps.autograde.policy import Policy
from apps.autograde.progress import Progress
from apps.autograde.record import Attempt, failed, what_decides
from apps.autograde.results import medians, result_of
from apps.autograde.roster import Student
from apps.autograde.similarity import Pair
from apps.autograde.submissions import file_name
from apps.autograde.tables import checks_csv, grades_csv, leaderboard, markdown_text, students_csv
from apps.autograde.verdicts import VERDICTS
from vaelab.cli import markdown
from vaelab.tasks import TASKS

NASTY = {
    "a formula": '=HYPERLINK("http://x.example","click")',
    "a command of a spreadsheet": "=cmd|' /C calc'!A0",
    "a formula behind a space": "  =1+1",
    "a formula behind a tab": "\t=1+1",
    "a formula behind a new line": "x\n=1+1",
    "a formula behind a carriage return": "\r=1+1",
    "a formula in another language's table": "x;=1+1",
    "a formula behind a comma": "x,=1+1",
    "a formula of wide characters": "＝1＋1",
    "plus, minus, at": "+1-1@SUM(1)",
    "minus": "-2+3",
    "at": "@SUM(A1)",
    "quotes": 'a","b\',=1',
    "a script": "<script>alert(1)</script>",
    "an event": '"><img src=x onerror=alert(1)>',
    "an attribute": "' onmouseover='alert(1)",
    "a comment": "--><svg/onload=alert(1)><!--",
    "an entity": "&lt;script&gt; &#x3c;b&#x3e;",
    "a template": "{{ 7 * 7 }} {% include '/etc/passwd' %} ${7*7}",
    "a format": "{name} {0} %s %(x)d %n",
    "a Markdown link": "[click](javascript:alert(1)) ![x](http://x.example/x.png)",
    "Markdown": "a | b | c `code` **bold** # title <b>x</b>",
    "an automatic link": "https://x.example www.x.example",
    "colours of a terminal": "\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H",
    "a title of a terminal": "\x1b]0;title\x07 \x1b]8;;http://x.example\x07link\x1b]8;;\x07",
    "eight-bit controls": "\x9b31m \x9d0;x\x9c \x90 \x84",
    "back over the line": "ok\b\b\bno\r0 flags",
    "controls": "".join(map(chr, [*range(32), 127])),
    "text from right to left": "ann\u202egnp.exe \u2066x\u2069 \u200b\u200e\ufeff",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "half of a pair": "\ud800 \udcff",
    "undecodable bytes": os.fsdecode(b"\xff\xfe name"),
    "private and unassigned": "\ue000 \U000e0041 \U0010ffff \u0378",
    "marks": "a" + "\u0301" * 300,
    "long": "x" * 100_000,
    "empty": "",
    "a path": "../../etc/passwd",
    "a device": "CON\x00NUL",
    "JSON": '"}, {"status": "ok", "score": 40}',
    "a record": "\\u0022 \\n </script>",
    "Chinese": "学生，一号。",
}


class Seen(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.values: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.values += [(name, value or "") for name, value in attrs]


def attempt(text: str) -> Attempt:
    """A hand-in in which everything that a submission decides is `text`."""
    images = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)
    limits = {"time_limit": 300.0, "memory_mb": 4096, "sandbox": "bubblewrap", "latent_precision": "float16"}
    decided = what_decides("digits", "test", images, limits) | {"date": "2026-11-20T12:00:00+00:00"}
    return Attempt(
        fingerprint="f",
        label=text,
        handed_in=0.0,
        found=text,
        weights={},
        grades={task: failed("error", text, [text, f"seen: {text}"]) for task in TASKS},
        checks={name: {"passed": False, "why": text} for name in VERDICTS},
        decided=decided,
    )


def name_of(text: str) -> str:
    """`text` as a name that a file can have: it is a student's."""
    return re.sub("[\ud800-\udbff]", "?", text)


def results_of(folder: Path, text: str) -> tuple[Gradebook, list]:
    """The results of a class of one, whose name is `text` too."""
    book, name = Gradebook(folder, "salt"), name_of(text)
    book.add(name, attempt(text), {})
    student = Student(name, id=text, email=text, group=text)
    result = result_of(book.records[name], student, None, Policy())
    result.pseudonym = book.pseudonym(name)
    return book, [result]


def is_safe(cell: str) -> bool:
    """Whether a cell, or a part of it, is neither a formula nor able to control a terminal."""
    return cell.isprintable() and not re.search(r"(^|[;|]\s*)[=@+＝＋＠]|^[-－]\D|,\s*[=@]", cell)


@pytest.mark.parametrize("kind", NASTY)
def test_tables(kind: str, tmp_path: Path) -> None:
    _, results = results_of(tmp_path, NASTY[kind])
    for text in (grades_csv(results), students_csv(results), checks_csv(results)):
        rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
        assert len({len(row) for row in rows}) == 1  # no cell became two
        assert len(rows) in (2, 3)  # and no row
        assert all(is_safe(cell) for row in rows for cell in row), [
            c for r in rows for c in r if not is_safe(c)
        ]
        text.encode()
    assert all(line.isprintable() for line in leaderboard(results).splitlines())


@pytest.mark.parametrize("kind", NASTY)
def test_pages(kind: str, tmp_path: Path) -> None:
    book, results = results_of(tmp_path, NASTY[kind])
    pair = Pair(one_line(NASTY[kind]), one_line(NASTY[kind]), weights=1.0, outputs=["recon"])
    plain_book, plain = results_of(tmp_path / "plain", "plain")
    plain_pair = Pair("plain", "plain", weights=1.0, outputs=["recon"])
    for page, reference in (
        (
            student_page(results[0], book, medians(results, METRICS)),
            student_page(plain[0], plain_book, medians(plain, METRICS)),
        ),
        (index_page(results, book, [pair], 1.0), index_page(plain, plain_book, [plain_pair], 1.0)),
    ):
        seen, expected = Seen(), Seen()
        seen.feed(page)
        expected.feed(reference)
        assert seen.tags <= expected.tags
        assert {name for name, _ in seen.values} <= {name for name, _ in expected.values}
        links = [value for name, value in seen.values if name in ("href", "src")]
        assert all(re.fullmatch(r"[\w%.-]*\.html", link) for link in links)
        assert all(line.isprintable() for line in page.splitlines())
        page.encode()


@pytest.mark.parametrize("kind", NASTY)
def test_terminal_log_markdown_json_and_files(kind: str, tmp_path: Path, capsys) -> None:
    text = NASTY[kind]
    book, results = results_of(tmp_path / "grades", text)
    text = name_of(text)
    with Progress(1, 1, tmp_path / "log.txt") as progress:
        progress.finished(text, results[0].counted.attempt, 1.0)
    printed = capsys.readouterr().out + summary(book, results) + (tmp_path / "log.txt").read_text()
    assert all(line.isprintable() for line in printed.split("\n"))
    table = markdown(["student"], [[markdown_text(text)]])
    lines = table.split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 2
    assert not re.search(r"[<>]|(?<!\\)[*`\[\]_!]|(?<!\\)://", lines[2])
    (stored,) = (tmp_path / "grades").glob("*.json")
    assert stored.parent == tmp_path / "grades"
    stored.read_text(encoding="ascii")
    again = Gradebook(tmp_path / "grades", "salt")
    assert again.load(text).attempts == book.records[text].attempts
    assert again.damaged == []
    output = json.loads(stored.read_text())
    for test in output["tests"]:
        assert all(line.isprintable() for line in test["output"].split("\n"))
    assert output["output"].isprintable()
    name = file_name(text)
    assert re.fullmatch(r"[\w%-]*", name)
    assert len(os.fsencode(name)) <= 180
