"""Finds pieces of the solutions in other files, by their syntax trees: whatever the names and the spelling.

An expression of a solution is brought into a normal form, in which `torch.exp(0.5 * logvar)`,
`logvar.div(2).exp()` and `(s / 2).exp()` are the same. Each part of it that has enough operations, and one
that is typical of the solutions, is searched for in the code that is shipped: Python files, and blocks of
code in documents and notebooks.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from apps.student_version.blanks import find_blocks
from vaelab.cli import LabError

MIN_OPERATIONS = 3  # of a piece; fewer are in any program
TYPICAL = ("exp", "square", "randn_like", "chunk", "Embedding")  # a piece has one of these
SMALL = ("exp(half(v))",)  # pieces with fewer operations that are an answer all the same
MODULES = ("torch", "F", "nn", "np", "math", "functional", "numpy")
OPPOSITE = {"+": "-", "-": "+"}
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def is_number(node: ast.expr, *values: float) -> bool:
    """Whether an expression is one of these numbers."""
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value in values


def normal_form(node: ast.expr) -> str:
    """An expression without names: variables are `v`, methods are calls, halves are `half`."""
    if isinstance(node, ast.Call):
        return normal_call(node)
    if isinstance(node, ast.BinOp):
        return normal_operation(node)
    if isinstance(node, ast.UnaryOp):
        return f"{type(node.op).__name__.lower()}({normal_form(node.operand)})"
    return repr(node.value) if isinstance(node, ast.Constant) else "v"


def normal_operation(node: ast.BinOp) -> str:
    """The normal form of an operation. The order of factors and of summands has no meaning."""
    if isinstance(node.op, (ast.Add, ast.Sub)):
        return f"sum_of({','.join(sorted(summands(node, '+')))})"
    left, right = normal_form(node.left), normal_form(node.right)
    if isinstance(node.op, ast.Mult):
        if is_number(node.left, 0.5) or is_number(node.right, 0.5):
            return f"half({right if is_number(node.left, 0.5) else left})"
        if ast.dump(node.left) == ast.dump(node.right):
            return f"square({left})"
        return f"mul({','.join(sorted((left, right)))})"
    if isinstance(node.op, ast.Div):
        return f"half({left})" if is_number(node.right, 2) else f"div({left},{right})"
    if isinstance(node.op, ast.Pow) and is_number(node.right, 2):
        return f"square({left})"
    return f"{type(node.op).__name__.lower()}({left},{right})"


def summands(node: ast.expr, sign: str) -> list[str]:
    """The summands of a sum or difference, each with its sign."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        other = sign if isinstance(node.op, ast.Add) else OPPOSITE[sign]
        return [*summands(node.left, sign), *summands(node.right, other)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return summands(node.operand, OPPOSITE[sign])
    return [sign + normal_form(node)]


def normal_call(node: ast.Call) -> str:
    """The normal form of a call: of a function, or of a method with its object as first argument."""
    arguments = list(node.args)
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        of_module = isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES
        if not of_module and not isinstance(node.func.value, ast.Constant):
            arguments.insert(0, node.func.value)
    elif isinstance(node.func, ast.Name):
        name = node.func.id
    else:
        return "v"
    if name == "pow" and len(arguments) == 2 and is_number(arguments[1], 2):
        return f"square({normal_form(arguments[0])})"
    if len(arguments) == 2 and is_number(arguments[1], {"div": 2, "mul": 0.5}.get(name, math.nan)):
        return f"half({normal_form(arguments[0])})"
    return f"{name}({','.join(normal_form(argument) for argument in arguments)})"


def operations(form: str) -> int:
    """The number of operations in a normal form: a sum of n counts n - 1."""
    signs = sum(form.count(sign) for sign in "+-")
    return form.count("(") - form.count("sum_of(") + max(0, signs - form.count("sum_of("))


def expressions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The normal form and the line of each expression in a syntax tree that has an operation."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Call, ast.BinOp)):
            yield normal_form(node), node.lineno


def pieces(solved: str) -> dict[str, str]:
    """The pieces of the solutions in the solved submission.py: normal form to the number of the blank."""
    lines, found = solved.splitlines(), {}
    for block in find_blocks(lines):
        code = dedent("\n".join(lines[block.start + 1 : block.end - 1]))
        tree = ast.parse("def blank():\n" + "\n".join(f"    {line}" for line in code.splitlines()))
        for form, _ in expressions(tree):
            telling = any(f"{name}(" in form for name in TYPICAL) and operations(form) >= MIN_OPERATIONS
            if telling or form in SMALL:
                found.setdefault(form, block.number)
    return found


def code_in(path: Path) -> Iterator[tuple[str, int]]:
    """(code, the line before it) of a Python file, and of each Python block of a document or notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield text, 0
    elif path.suffix == ".ipynb":
        for cell in json.loads(text).get("cells", []):
            source = "".join(cell.get("source", []))
            if cell.get("cell_type") == "code":
                yield re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE), 0
    else:
        for match in PYTHON_BLOCK.finditer(text):
            yield dedent(match[1]), text[: match.start(1)].count("\n")


def leaks(folder: Path, solved: str) -> Iterator[tuple[Path, int, str, str]]:
    """(file, line, number of the blank, piece) for each piece of a solution in the files of a folder."""
    wanted = pieces(solved)
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".py", ".md", ".ipynb"):
            continue
        for code, before in code_in(path):
            try:
                tree = ast.parse(code)
            except SyntaxError:
                continue  # a fragment of a document: the search for lines sees it
            for form, line in expressions(tree):
                if form in wanted:
                    yield path, before + line, wanted[form], form


def check_no_piece(folder: Path, solved: str) -> None:
    """Raise LabError that names the first piece of a solution in the files of a folder."""
    for path, line, number, form in leaks(folder, solved):
        raise LabError(
            "{path} line {line} computes a piece of SOLUTION {number}, {form}: students could read the "
            "answer there, or call it; write it in another way, or don't ship the file",
            path=path.relative_to(folder),
            line=line,
            number=number,
            form=form,
        )
