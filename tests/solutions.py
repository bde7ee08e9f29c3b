"""The answers of submission.py, taken out of it here independently of the builder, and put back."""

from __future__ import annotations

import re

from conftest import REPO

SOLVED = (REPO / "submission.py").read_text()
# Number to lines, markers left out. Part 4 goes beyond the lab.
BLOCKS = dict(re.findall(r" *# BEGIN SOLUTION (\S+)\n(.*?) *# END SOLUTION \1\n", SOLVED, re.DOTALL))
ANSWERS = {number: lines for number, lines in BLOCKS.items() if number < "4"}


def put_back(text: str, numbers: list[str] | None = None) -> str:
    """A student's submission.py with the answers to `numbers` (default: all) in the place of its TODOs."""
    for number in ANSWERS if numbers is None else numbers:
        todo = re.compile(rf" *# TODO {re.escape(number)}: (.*\n)+? *raise NotImplementedError\(.*\)\n")
        text, n = todo.subn(lambda _, number=number: ANSWERS[number], text)
        assert n == 1, f"{number} is there {n} times"
    return text
