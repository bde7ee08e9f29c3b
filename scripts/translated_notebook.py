"""The messages of notebooks/lab.ipynb, and its translations, notebooks/lab.<language>.ipynb.

A message is a heading, a paragraph or an item of a list in a markdown cell; in a code cell it is a comment or
a printed text of at least three words. scripts/catalogues.py collects them and writes the files.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
SOURCE = REPO / "notebooks" / "lab.ipynb"
# What stands before a message in a markdown cell, and the message.
BLOCK = re.compile(r"(?P<mark>#+ |- |)(?P<text>.+)", re.DOTALL)
# A comment, or the text in `print("...")`, with at least three words.
IN_CODE = re.compile(
    r"""(?P<before>(?:^|  )# |print\(")(?P<text>[^"\n]*[a-z]+,? [a-z]+,? [a-z]+[^"\n]*)""", re.MULTILINE
)
# What the first cell that imports os gets: the language of the commands that the cells run.
IMPORT_OS = "import os\n"


def read() -> dict[str, Any]:
    """The notebook."""
    return json.loads(SOURCE.read_text(encoding="utf-8"))


def blocks(source: str) -> Iterator[tuple[str, str]]:
    """(separator before it, block) of a markdown cell; the lines of a block are joined."""
    separator = ""
    for part in re.split(r"\n\n", source):
        for i, item in enumerate(re.split(r"\n(?=- )", part)):
            yield "\n" if i else separator, " ".join(line.strip() for line in item.split("\n"))
        separator = "\n\n"


def notebook_messages() -> Iterator[str]:
    """All messages of the notebook."""
    for cell in read()["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield from (BLOCK.fullmatch(block)["text"] for _separator, block in blocks(source))
        else:
            yield from (match["text"] for match in IN_CODE.finditer(source))


def translated(source: str, is_markdown: bool, translate: Callable[[str], str]) -> str:
    """The source of a cell in another language."""
    if not is_markdown:
        return IN_CODE.sub(lambda match: match["before"] + translate(match["text"]), source)
    parts = []
    for separator, block in blocks(source):
        match = BLOCK.fullmatch(block)
        parts.append(separator + match["mark"] + translate(match["text"]))
    return "".join(parts)


def translated_notebook(language: str, translate: Callable[[str], str]) -> bytes:
    """The notebook in another language, whose cells run the commands in that language."""
    notebook = copy.deepcopy(read())
    for cell in notebook["cells"]:
        source = translated("".join(cell["source"]), cell["cell_type"] == "markdown", translate)
        if source.startswith(IMPORT_OS):
            head, tail = source.split("\n\n", 1)
            source = f'{head}\n\nos.environ["VAE_LAB_LANG"] = "{language}"\n{tail}'
        cell["source"] = source.splitlines(keepends=True)
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def path_of(language: str) -> Path:
    """The file of a translation."""
    return SOURCE.with_name(f"lab.{language}.ipynb")
