"""The handout and its solutions: each formula is evaluated, and stands in both languages as it is checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPO

CHECKS = ("formulas", "handout_background", "handout_lab", "handout_solutions")
pytest.register_assert_rewrite(*CHECKS)  # so that a failed check shows its values

import handout_background  # noqa: E402, F401
import handout_lab  # noqa: E402, F401
import handout_solutions  # noqa: E402, F401
from formulas import REGISTRY, checked, formulas_of  # noqa: E402

DOCS = REPO / "docs"
HANDOUTS = [DOCS / name for name in ("handout.md", "handout.zh.md")]
BLANKS = ["2.2.1", "2.2.2", "2.2.3", "2.2.4", "2.3", "3.1", "3.2", "3.3"]
SOLUTIONS = [DOCS / name for name in ("solutions.md", "solutions.zh.md")]


@pytest.mark.parametrize("tag", REGISTRY)
def test_formula(tag: str) -> None:
    REGISTRY[tag][1]()


@pytest.mark.parametrize("path", HANDOUTS + SOLUTIONS, ids=lambda path: path.name)
def test_every_formula_of_a_text_is_checked_as_it_stands(path: Path) -> None:
    assert formulas_of(path) == checked("S" if path in SOLUTIONS else "")


@pytest.mark.parametrize("path", HANDOUTS, ids=lambda path: path.name)
def test_handout_names_the_blanks_of_the_submission(path: Path) -> None:
    """Every blank of parts 2 and 3 has its place in the text; no line of a solution has."""
    text, code = path.read_text(encoding="utf-8"), (REPO / "submission.py").read_text(encoding="utf-8")
    blocks = re.findall(r"# BEGIN SOLUTION ([23]\S*)\n(.*?)# END SOLUTION", code, re.DOTALL)
    assert [number for number, _ in blocks] == BLANKS
    for number, body in blocks:
        assert re.search(rf"(\*\*|### ){re.escape(number)} ", text), number
        lines = [line.partition("  #")[0].strip() for line in body.splitlines()]
        assert [line for line in lines if len(line) > 15 and line in text] == [], number


@pytest.mark.parametrize("path", HANDOUTS + SOLUTIONS, ids=lambda path: path.name)
def test_formulas_within_lines_render(path: Path) -> None:
    """What GitHub needs of `$...$`: on one line, space or a bracket before, no letter or digit after, and no
    backslash before punctuation, which Markdown takes away."""
    text = re.sub(
        r"^(```.*?^```|\$\$\n.*?\n\$\$)$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    found = 0
    for line in text.splitlines():
        pieces = re.sub(r"`[^`]*`", "code", line).split("$")
        assert len(pieces) % 2 == 1, line
        found += len(pieces) // 2
        for before, inside, after in zip(pieces[0::2], pieces[1::2], pieces[2::2], strict=False):
            assert inside == inside.strip() != "", line
            assert not before or before[-1] in " ([", line
            assert not after[:1].isalnum(), line
            assert not re.search(r"\\[^a-zA-Z ]|<", inside), line
    assert found > 20


def code(text: str) -> list[str]:
    """What stands between ``` and ```, without comments."""
    lines = "\n".join(re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    return [line.partition("  #")[0].rstrip() for line in lines]


def pictures(text: str) -> list[str]:
    """The pictures that a text shows."""
    return re.findall(r"\]\((\S+\.png)\)", text)


def table_numbers(text: str) -> list[list[str]]:
    """The numbers in each row of each table."""
    return [re.findall(r"\d+(?:[.,]\d+)*", line) for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("what", [code, pictures, table_numbers])
@pytest.mark.parametrize("name", ["docs/handout", "docs/solutions", "README"])
def test_both_languages_have_the_same(name: str, what: Callable[[str], list]) -> None:
    english, chinese = (
        what((REPO / f"{name}{ending}").read_text(encoding="utf-8")) for ending in (".md", ".zh.md")
    )
    assert english == chinese
    assert english or what is pictures or name == "docs/solutions"
