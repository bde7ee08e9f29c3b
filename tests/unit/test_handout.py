"""The handout and its solutions: every formula is checked by numbers, in both languages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPO, chinese

from vaelab.grading import score_table
from vaelab.language import _
from vaelab.metrics.score import score

CHECKS = (
    *("formulas", "handout_background", "handout_discrete", "handout_lab"),
    *("handout_solutions", "handout_statements"),
)
pytest.register_assert_rewrite(*CHECKS)  # so that a failed check shows its values

import handout_background  # noqa: E402, F401
import handout_discrete  # noqa: E402, F401
import handout_lab  # noqa: E402, F401
import handout_solutions  # noqa: E402, F401
import handout_statements  # noqa: E402, F401
from formulas import REGISTRY, STATEMENTS, checked, formulas_of, running_text  # noqa: E402

DOCS = REPO / "docs"
HANDOUTS = [DOCS / name for name in ("handout.md", "handout.zh.md")]
BLANKS = ["2.2.1", "2.2.2", "2.2.3", "2.2.4", "2.3", "3.1", "3.2", "3.3"]
DISCRETE = [DOCS / name for name in ("discrete.md", "discrete.zh.md")]  # part 6
SOLUTIONS = [DOCS / name for name in ("solutions.md", "solutions.zh.md")]
STUDENT_README = [REPO / "scripts" / name for name in ("student_readme.md", "student_readme.zh.md")]
TEXTS = ("docs/handout", "docs/discrete", "docs/solutions", "README", "scripts/student_readme")
REFERENCE = ("docs/score", "docs/options", "docs/gallery", "docs/playground", "docs/problems")
REFERENCE_ZH = [REPO / f"{name}.zh.md" for name in REFERENCE]
# Words that the texts avoid: metaphors, and other names for a term of the glossary.
AVOIDED = {
    "en": r"\bcloud|\bprice|\bladder|\brung|\bclimb|\bbent\b|\bheld?s?\b|put beside|is told|are told",
    "zh": "云|价格|梯子|行走|台阶|说出名字|奈特|手册|重建|笔记本(?!电脑)|评测模式|小了 784",
}
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;:!?()]|[,;:!?][\u4e00-\u9fff]|[\u4e00-\u9fff]\.(?=\s|$)")


@pytest.mark.parametrize("tag", REGISTRY)
def test_formula(tag: str) -> None:
    REGISTRY[tag][1]()


@pytest.mark.parametrize("path", HANDOUTS + DISCRETE + SOLUTIONS, ids=lambda path: path.name)
def test_every_formula_of_a_text_is_checked_as_it_stands(path: Path) -> None:
    assert formulas_of(path) == checked(path.name.partition(".")[0])


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement(name: str) -> None:
    texts, check = STATEMENTS[name]
    check()
    for document, words in texts.items():
        assert words in running_text(DOCS / document), document


@pytest.mark.parametrize("path", HANDOUTS, ids=lambda path: path.name)
def test_points_of_the_parts(path: Path) -> None:
    """The table of points is the original's, and so are the points in the text."""
    text = path.read_text(encoding="utf-8")
    cells = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    points = [row[3].strip() for row in cells[2 : cells.index(next(row for row in cells if "130" in row[3]))]]
    assert points == ["10 + 10", "10", "10", "15", "15", "10", "20", "30"]
    assert sum(int(number) for cell in points for number in cell.split(" + ")) == 130
    of_exercise = re.findall(r"^> \*\*\S+ (\d\.\d)\s?[(（](\d+|extra|选做)", text, re.MULTILINE)
    extra = "选做" if path.name.endswith("zh.md") else "extra"
    assert of_exercise == [
        ("0.1", "10"),
        ("0.2", "10"),
        ("0.3", "10"),
        ("0.4", extra),
        ("1.1", "10"),
        ("1.2", extra),
    ]
    headings = dict(re.findall(r"^### (\d\.\d) .*?[(（]\D*(\d+) (?:points|分)[)）]$", text, re.MULTILINE))
    assert headings == {
        **{"0.1": "20", "0.2": "10", "1.1": "10"},
        **{"2.2": "15", "2.3": "15", "2.4": "10", "3.1": "20", "3.4": "30"},
    }


@pytest.mark.parametrize(
    "path", HANDOUTS + DISCRETE + SOLUTIONS + STUDENT_README + REFERENCE_ZH, ids=lambda path: path.name
)
def test_words_and_punctuation(path: Path) -> None:
    chinese = path.name.endswith(".zh.md")
    text = path.read_text(encoding="utf-8")
    found = re.findall(AVOIDED["zh" if chinese else "en"], text)
    assert found == []
    if chinese:
        prose = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\]\([^)]*\)", "", text, flags=re.DOTALL)
        assert HALF_WIDTH.findall(prose) == []


def test_glossary_is_of_terms_that_the_handout_uses() -> None:
    body, _, glossary = (DOCS / "handout.zh.md").read_text(encoding="utf-8").partition("## 术语表")
    terms = re.findall(r"\*\*(.+?)\*\*", glossary)
    assert {"隐变量", "证据下界", "重参数化", "后验坍缩", "数据增强", "插值", "检查点", "讲义"} <= set(terms)
    everywhere = body + "".join(
        path.read_text(encoding="utf-8") for path in (SOLUTIONS[1], STUDENT_README[1])
    )
    assert [term for term in terms if term not in everywhere] == []


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


@pytest.mark.parametrize("path", HANDOUTS + DISCRETE + SOLUTIONS, ids=lambda path: path.name)
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
    """What stands between ``` and ```, without comments; of what a program prints, the numbers."""
    lines = []
    for block in re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE):
        if block.startswith("```text"):
            lines += re.findall(r"\d+(?:[.,]\d+)*", block)
        else:
            lines += [line.partition("  #")[0].rstrip() for line in block.splitlines()]
    return lines


def test_the_chinese_handout_quotes_what_the_programs_print() -> None:
    quoted = re.findall(r"^```text\n(.*?)^```", HANDOUTS[1].read_text("utf-8"), re.DOTALL | re.MULTILINE)
    values = {"epoch": 10, "epochs": 10, "train_loss": 373.29, "loss": 379.17, "recon_term": 317.53}
    values |= {"kl_term": 61.64, "mse": 0.0081, "ssim": 0.906, "seconds": 6.0}
    line = (
        "epoch {epoch:>3}/{epochs}  loss {train_loss:.2f}  valid: loss {loss:.2f}  recon {recon_term:.2f}  "
        "kl {kl_term:.2f}  mse {mse:.5f}  ssim {ssim:.4f}  {seconds:.1f} s"
    )
    with chinese():
        assert quoted[0] == _(line, **values).replace("6.0 秒", "...") + "\n"
        values = {"ssim": 0.9060, "mse": 0.0081, "latent_dim": 20}
        grade = values | score("VAE0label", values, 20)
        table = score_table("VAE0label", grade | {"dataset": "mnist", "split": "valid", "images": 10_000})
    assert quoted[1] == f"{table}\n"


def pictures(text: str) -> list[str]:
    """The pictures that a text shows."""
    return re.findall(r"\]\((\S+\.png)\)", text)


def table_numbers(text: str) -> list[list[str]]:
    """The numbers in each row of each table."""
    return [re.findall(r"\d+(?:[.,]\d+)*", line) for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("what", [code, pictures, table_numbers])
@pytest.mark.parametrize("name", [*TEXTS, *REFERENCE])
def test_both_languages_have_the_same(name: str, what: Callable[[str], list]) -> None:
    english, chinese = (
        what((REPO / f"{name}{ending}").read_text(encoding="utf-8")) for ending in (".md", ".zh.md")
    )
    assert english == chinese
    assert english or what is pictures or name in (*REFERENCE, "docs/solutions", "docs/discrete")
