"""The documents: their links, the commands and files that they name, and the tables of docs/options.md.

python -m tests.unit.test_docs     # writes docs/options.md and docs/options.zh.md again
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from dataclasses import fields
from pathlib import Path

import pytest

from beyond import options as beyond_options
from vaelab import language
from vaelab.options_table import additions_table, options_table

REPO = Path(__file__).resolve().parents[2]
README, README_ZH = REPO / "README.md", REPO / "README.zh.md"
DOCUMENTS = [README, README_ZH, REPO / "dataset" / "README.md", *sorted((REPO / "docs").glob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(REPO))


# --- docs/options.md ----------------------------------------------------------------------------


TEXTS = {
    "en": """# Options

[中文](options.zh.md)

The options of `train.py` that decide its result; `python train.py --help` lists the others as well. Every
other command explains its options with `--help` too.

## The model and the training

The options of the model are the keyword arguments of the classes in `submission.py`: an argument that you
add there becomes an option.

{table}

<!-- staff -->

## Additions to a submission

All off by default; not part of the students' version. `--beyond` switches on all of them, with a larger
network, more epochs and augmentation. [beyond.md](beyond.md) explains them.

{additions}

## Discrete codes

Not part of the students' version. [beyond.md](beyond.md) explains them.

{discrete}

<!-- end of staff -->
""",
    "zh": """# 选项

[English](options.md)

本页列出 `train.py` 中影响训练结果的选项；全部选项见 `python train.py --help`。
其他命令的选项也可以用 `--help` 查看。

## 模型与训练

模型的选项就是 `submission.py` 中各个类的关键字参数：在那里增加一个参数，就增加了一个选项。

{table}

<!-- staff -->

## 附加的方法

默认全部关闭；学生版中没有这些选项。`--beyond` 把它们全部打开，并使用更大的网络、更多的轮数和数据增强。
说明见 [beyond.md](beyond.md)。

{additions}

## 离散编码

学生版中没有这些选项。说明见 [beyond.md](beyond.md)。

{discrete}

<!-- end of staff -->
""",
}
PAGES = {"en": REPO / "docs" / "options.md", "zh": REPO / "docs" / "options.zh.md"}


def options_page(name: str) -> str:
    """The content of docs/options.md, in a language."""
    before = language.language()
    language.set_language(name)
    try:
        additions = [
            (entry.name, entry.default, beyond_options.OPTIONS[entry.name])
            for entry in fields(beyond_options.Additions)
        ]
        discrete = [("model", "submission", beyond_options.MODEL)]
        discrete += [
            (name, default, about) for name, (about, default) in beyond_options.DISCRETE_OPTIONS.items()
        ]
        return TEXTS[name].format(
            table=options_table(), additions=additions_table(additions), discrete=additions_table(discrete)
        )
    finally:
        language.set_language(before)


@pytest.mark.parametrize("name", PAGES)
def test_options_page_has_the_table_that_the_configuration_prints(name: str) -> None:
    assert read(PAGES[name]) == options_page(name), "run: python -m tests.unit.test_docs"


# --- The READMEs --------------------------------------------------------------------------------


def headings(path: Path) -> list[int]:
    """The levels of a page's headings, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", FENCE.sub("", read(path)), re.MULTILINE)]


def test_readme_is_short() -> None:
    assert len(read(README).splitlines()) <= 150


def test_readmes_have_the_same_sections() -> None:
    assert headings(README) == headings(README_ZH)


def test_readmes_name_the_same_numbers_to_measure() -> None:
    markers = [
        re.findall(r"^<!-- numbers: (\S+) -->$", read(path), re.MULTILINE) for path in (README, README_ZH)
    ]
    assert markers[0] == markers[1]


# --- Commands -----------------------------------------------------------------------------------

COMMAND = re.compile(r"(?:^|[ `(])(?:[\w/]+/)?(?P<script>[a-z_]+)\.py(?P<rest>(?: [^\n`#|;&]*)?)")


def commands(text: str) -> list[tuple[str, str]]:
    """(command, its arguments) of each call of one of the lab's commands that has options."""
    joined = text.replace("\\\n", " ")
    found = [(match["script"], match["rest"]) for match in COMMAND.finditer(joined)]
    return [(script, rest) for script, rest in found if (REPO / f"{script}.py").is_file() and "--" in rest]


def help_text(script: str, rest: str) -> str:
    """The help of a command, from its own parser."""
    words = rest.split()
    subcommand = [word for word in words[:1] if script == "explore" and word.islower() and word[0] != "-"]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as stop:
        importlib.import_module(script).main([*subcommand, "--help"])
    assert stop.value.code == 0
    return output.getvalue()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_options_of_commands_exist(document: Path) -> None:
    for script, rest in commands(read(document)):
        known = set(re.findall(r"--\w+", help_text(script, rest)))
        missing = set(re.findall(r"--\w+", rest)) - known
        assert not missing, f"{name_of(document)}: {script}.py has no {', '.join(sorted(missing))}"


def test_options_are_found_in_commands() -> None:
    text = (
        "`python train.py --task T \\\n  --epochs 3` and `python explore.py likelihood --table`, `grade.py`"
    )
    assert [script for script, _ in commands(text)] == ["train", "explore"]
    assert "--epochs" in commands(text)[0][1]
    assert "--table" in help_text(*commands(text)[1])


# --- Links and files ----------------------------------------------------------------------------

LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
PATH = re.compile(r"`((?:vaelab|beyond|apps|scripts|docs|tests|benchmarks|notebooks|requirements)/[\w./]*)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_and_images_exist(document: Path) -> None:
    for match in LINK.finditer(FENCE.sub("", read(document))):
        target = match["target"].partition("#")[0]
        if target and "://" not in target:
            assert (document.parent / target).exists(), f"{name_of(document)} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_named_files_exist(document: Path) -> None:
    for path in PATH.findall(FENCE.sub("", read(document))):
        assert (REPO / path).exists(), f"{name_of(document)} names {path}"


if __name__ == "__main__":
    for name, path in PAGES.items():
        path.write_text(options_page(name), encoding="utf-8")
