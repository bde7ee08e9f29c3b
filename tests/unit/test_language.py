"""Messages: all are marked, translated with the same placeholders, compiled; the choice of the language."""

from __future__ import annotations

import ast
import io
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPO, run_process

pytest.importorskip("babel")
sys.path.insert(0, str(REPO / "scripts"))
import catalogues  # noqa: E402

from vaelab import language  # noqa: E402
from vaelab.cli import LabError, Parser, display_width, pad, wrap  # noqa: E402
from vaelab.language import Message, _, in_english  # noqa: E402

# Files whose messages are not marked, or not translated, yet.
NOT_YET = (
    "apps/autograde",
    "apps/sweep",
    "apps/explore",
    "apps/student_version/leaks.py",
    "apps/site",  # its titles stand in both languages side by side
)
PYTHON = [
    path
    for pattern in ("*.py", "vaelab/**/*.py", "beyond/**/*.py", "apps/**/*.py")
    for path in sorted(REPO.glob(pattern))
]


def in_scope(file: str) -> bool:
    return not file.startswith(NOT_YET)


@pytest.fixture(autouse=True)
def _restore_language() -> Iterator[None]:
    before = language.language()
    yield
    language.set_language(before)


# --- The catalogues -----------------------------------------------------------------------------

CATALOGUES = sorted(path.parents[1].name for path in language.LOCALE.glob("*/LC_MESSAGES/*.po"))


def translations(name: str) -> list:
    """The entries of a language in the scope of this test."""
    catalog = catalogues.updated(name, catalogues.po_path(name).read_bytes())
    entries = [entry for entry in catalog if entry.id]
    return [entry for entry in entries if any(in_scope(file) for file, _line in entry.locations)]


def test_the_files_of_all_languages_are_up_to_date() -> None:
    assert "zh" in CATALOGUES
    catalogues.main(["--check"])


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_message_is_translated(name: str) -> None:
    assert [entry.id for entry in translations(name) if not all(catalogues.forms(entry.string))] == []


PRINTED = {"`loss`", "`valid:`"}  # quoted from what a program prints, which is translated as well


def placeholders(text: str) -> set[str]:
    """What a translation must keep: placeholders with their format, tags, options, code in backquotes."""
    fields = [f"{name}!{kind}:{form}" for _text, name, form, kind in parse(text) if name is not None]
    return set(fields + re.findall(r"%\(\w+\)[sr]|%[sr]|</?\w+[^<>]*>|--[a-z_]+\b|`[ -~]+?`", text)) - PRINTED


def parse(text: str) -> list[tuple]:
    """The parts of a text with {placeholders}; none where its braces are no placeholders."""
    try:
        return list(string.Formatter().parse(text))
    except ValueError:
        return []


@pytest.mark.parametrize("name", CATALOGUES)
def test_translations_have_the_placeholders_of_the_message(name: str) -> None:
    wrong = []
    for entry in translations(name):
        for text in catalogues.forms(entry.string):
            kept = [placeholders(text) == placeholders(one) for one in catalogues.forms(entry.id)]
            if not any(kept):
                wrong.append((entry.id, text))
    assert wrong == []


def chinese_texts() -> list[str]:
    """All Chinese messages."""
    return [text for entry in translations("zh") for text in catalogues.forms(entry.string)]


def test_chinese_has_full_width_punctuation() -> None:
    """Beside a Chinese character stands no punctuation of half the width, but for code such as `N(0, 1)`."""
    half = re.compile(r"[\u4e00-\u9fff][,;:?!()]|[,;:?!(] ?[\u4e00-\u9fff]|\)[\u4e00-\u9fff]")
    assert [text for text in chinese_texts() if half.search(re.sub(r"`[^`]*`", "", text))] == []


@pytest.mark.parametrize("name", ["README.zh.md", "scripts/student_readme.zh.md", "docs/problems.zh.md"])
def test_the_chinese_readmes_quote_what_the_programs_print(name: str) -> None:
    table = re.findall(r"^\| (`.*?`) \|", (REPO / name).read_text(encoding="utf-8"), re.MULTILINE)
    quoted = [text for row in table for text in re.findall(r"`([^`]*[\u4e00-\u9fff][^`]*)`", row)]
    assert len(quoted) >= 4
    printed = [re.sub(r"\{\w+\}|nan|digits", "...", text) for text in chinese_texts()]
    for text in quoted:
        pieces = [piece.strip() for piece in re.sub(r"nan|digits|2.2.1|20|8", "...", text).split("...")]
        assert all(piece in "\n".join(printed) for piece in pieces), text


# --- No message bypasses the catalogue ----------------------------------------------------------

MARKS = {*catalogues.MARKED, "plural"}
PRINTS = {"print", "write", "error", "ArgumentTypeError", "set_description", "suptitle", "set_title"}
PRINTS |= {"set_xlabel", "set_ylabel"}
PRINTED_KEYWORDS = {"desc", "label", "title", "xlabel", "ylabel", "suptitle"}
INTERNAL = {"ValueError", "RuntimeError", "AssertionError", "TypeError", "KeyError"}  # errors of programmers
SENTENCE = re.compile(r"[a-z]{2,},? [a-z]{2,},? [a-z]{2,}")  # three words
# Not for users: the text is compared, or read by a program.
ALLOWED = {
    *(
        "(recon, mu, logvar)",
        "recon/*.png",
        "gen/*/*.png",
        "log p(x)",
        "FAIL    \n     ",
        "outside right upper",
    ),
    *("split to grade", "images to reconstruct: valid to tune on, test for what you report"),  # of --help
    "VAE Lab, the students' version",  # in manifest.json
    *("stop unless the checkpoint is of this", "; on the digits "),
    "$OMP_NUM_THREADS, else the number of processors",
    "Connection closed by peer",
    *("shapes cannot be multiplied|size mismatch|Expected \\d+D .* input", "CUDA|cuda|NVIDIA"),
    "same device|not on the expected device|CUDA|cuda|NVIDIA",
    "same dtype|expected scalar type|expected .* dtype|Double and Float",
}


def literal_text(node: ast.AST) -> str | None:
    """The literal text of a string or an f-string; None for other nodes."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
        return " ".join(parts)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def unmarked(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of each string that a user may read and that is not marked as a message."""

    def look(node: ast.AST, printed: bool) -> Iterator[tuple[int, str]]:
        text = literal_text(node)
        if text is not None:
            if re.search("[A-Za-z]{3}" if printed else SENTENCE, text) and text not in ALLOWED:
                yield node.lineno, text
            return
        name = catalogues.called_name(node) if isinstance(node, ast.Call) else ""
        if name in INTERNAL:
            return
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.keyword):
                    if child.arg != "help":
                        yield from look(child.value, child.arg in PRINTED_KEYWORDS)
                elif isinstance(child, ast.AST):
                    marked = name in MARKS and field == "args"
                    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                        continue  # a docstring
                    if marked and isinstance(child, (ast.JoinedStr, ast.BinOp, ast.IfExp)):
                        yield child.lineno, ast.unparse(child)
                    elif not (marked and isinstance(child, ast.Constant)):
                        yield from look(child, name in PRINTS and field == "args")

    yield from look(tree, False)


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.relative_to(REPO).as_posix())
def test_every_string_for_users_is_marked(path: Path) -> None:
    if in_scope(path.relative_to(REPO).as_posix()):
        assert list(unmarked(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "line",
    [
        "raise LabError(f'{path} is damaged')",
        "raise LabError('there is no ' + path)",
        "raise CheckFailed('mu missing', 'a hint' if x else 'another')",
        "print('finished')",
        "print(f'{n} images')",
        "parser.error('no such file')",
        "tqdm(items, desc='classifier')",
        "axes.set(xlabel='epoch')",
        "return f'the model has {n} latents of unit variance'",
        "HINT = 'What keeps sigma from shrinking to zero?'",
    ],
)
def test_the_check_finds_a_string_that_bypasses_the_catalogue(line: str) -> None:
    assert len(list(unmarked(ast.parse(line)))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "raise LabError('{path} is damaged', path=path)",
        "print(_('{n} images', n=n), file=sys.stderr)",
        "print(f'{task}: {value:.2f}')",
        "HINT = N_('What keeps sigma from shrinking to zero?')",
        "parser.add_argument('--seed', help='the seed of the generated images')",
        "raise ValueError('a checksum of the archive is wrong')",
    ],
)
def test_the_check_accepts_marked_strings(line: str) -> None:
    assert list(unmarked(ast.parse(line))) == []


# --- Messages -----------------------------------------------------------------------------------


def test_a_message_is_translated_when_it_is_printed() -> None:
    inner = LabError("error: {message}", message="x")
    outer = Message("error: {message}", message=inner)
    language.set_language("zh")
    assert str(outer) == "错误：错误：x"
    assert in_english(outer) == "error: error: x"
    language.set_language("en")
    assert str(outer) == "error: error: x"


def test_braces_without_values_have_no_meaning() -> None:
    assert str(LabError("{'a': 1} is unknown")) == "{'a': 1} is unknown"
    assert _("a text that no catalogue has: {value}", value=3) == "a text that no catalogue has: 3"


@pytest.mark.parametrize(
    ("argv", "variables", "expected"),
    [
        ((), {}, "en"),
        ((), {"LANG": "zh_CN.UTF-8"}, "zh"),
        ((), {"LANG": "fr_FR.UTF-8"}, "en"),
        ((), {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ((), {"LANG": "zh_CN.UTF-8", "VAE_LAB_LANG": "en"}, "en"),
        ((), {"LANG": "C", "VAE_LAB_LANG": "zh-Hans"}, "zh"),
        ((), {"VAE_LAB_LANG": "xx"}, "en"),
        (("--lang", "zh"), {"VAE_LAB_LANG": "en"}, "zh"),
        (("--seed", "1", "--lang=en"), {"LANG": "zh_TW"}, "en"),
        (("--lang",), {"LANG": "zh"}, "zh"),
    ],
)
def test_option_then_variable_then_locale(
    argv: tuple, variables: dict, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VAE_LAB_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language.find_language(argv) == expected


# --- Command lines ------------------------------------------------------------------------------


def parser() -> Parser:
    made = Parser(prog="train.py")
    made.add_argument("--seed", type=int, help="seed of the first weights")
    return made


def test_help_has_translated_headings(capsys: pytest.CaptureFixture) -> None:
    for name, usage, options in (("en", "usage: ", "options:"), ("zh", "用法：", "选项:")):
        with pytest.raises(SystemExit):
            parser().parse_args(["--lang", name, "--help"])
        printed = capsys.readouterr().out
        assert printed.startswith(usage)
        assert f"\n{options}\n" in printed
        assert "seed of the first weights" in printed


def test_the_language_is_no_option_of_the_command(capsys: pytest.CaptureFixture) -> None:
    assert vars(parser().parse_args(["--lang", "zh", "--seed", "3"])) == {"seed": 3}
    with pytest.raises(SystemExit):
        parser().parse_args(["--lang", "xx"])
    assert "argument --lang: invalid choice: 'xx'" in capsys.readouterr().err


def test_errors_of_the_command_line_are_translated(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--lang", "zh", "--sed", "3"])
    expected = "错误：无法识别的参数：--sed 3（python train.py --help 列出所有选项）\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_a_console_never_fails_on_a_character(encoding: str, tmp_path: Path) -> None:
    env = {"PYTHONIOENCODING": encoding, "VAE_LAB_LANG": "zh", "PYTHONPATH": str(REPO), "PYTHONUTF8": "0"}
    result = run_process("data_utils.py", "--dataset", "x", cwd=tmp_path, env=env, text=False)
    text = result.stderr.decode(encoding)
    assert result.returncode == 2
    assert text.startswith("错误：" if encoding in ("gbk", "utf-8") else "error: ")


def test_a_replaced_console_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    language.set_language("zh")
    language.prepare_console()
    assert language.language() == "zh"


def test_the_module_needs_no_torch() -> None:
    code = "import sys, vaelab.language; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)


# --- Text in a terminal -------------------------------------------------------------------------


def test_chinese_text_is_wrapped_by_its_width() -> None:
    text = "线性层可以输出任意实数，logvar 可以为负：sigma = 0.1 时，log sigma^2 等于多少？" * 4
    lines = wrap(text, 40, "  ").split("\n")
    assert "".join(line.strip() for line in lines).replace(" ", "") == text.replace(" ", "")
    assert max(display_width(line) for line in lines) <= 42  # closing punctuation may stand out
    assert all(line.startswith("  ") and line[2] not in "，：？" for line in lines)
    assert wrap("a b c", 4) == "a b\nc"


def test_columns_are_padded_by_their_width() -> None:
    assert [pad("ok", 4), pad("通过", 5), pad("too long", 3)] == ["ok  ", "通过 ", "too long"]
