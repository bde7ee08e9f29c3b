"""Which arguments of its constructor a submission's model uses, read from submission.py without importing it.

An argument that the code never uses changes nothing: as an option of `train.py` it is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaelab.cli import LabError
from vaelab.config import SUBMISSION, SUBMISSION_MODEL, TrainConfig
from vaelab.tasks import TASKS


def read_classes(path: Path) -> dict[str, ast.ClassDef]:
    """The classes of a Python file by name; none if it is missing or not valid Python."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def argument_names(constructor: ast.FunctionDef) -> list[str]:
    """The names of a constructor's arguments, without self."""
    about = constructor.args
    return [arg.arg for arg in (*about.posonlyargs, *about.args, *about.kwonlyargs)][1:]


def names_in(node: ast.AST) -> set[str]:
    """The variables that a piece of code reads."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def is_super_init(node: ast.AST) -> bool:
    """Whether this is a call `super().__init__(...)` without unpacked arguments."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != "super().__init__":
        return False
    unpacked = any(isinstance(arg, ast.Starred) for arg in node.args)
    return not unpacked and all(keyword.arg for keyword in node.keywords)


def arguments_of_model(classes: dict[str, ast.ClassDef], name: str) -> tuple[list[str], set[str]] | None:
    """(the arguments of a class's constructor, those that it uses); None if the code doesn't tell.

    An argument that is handed to `super().__init__` is used if the parent's constructor uses it.
    """
    if name not in classes:
        return None
    node = classes[name]
    parent = next((base.id for base in node.bases if isinstance(base, ast.Name)), "")
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if not functions:
        return arguments_of_model(classes, parent)
    if functions[0].args.kwarg:  # **options: any name may be used
        return None
    known, used = argument_names(functions[0]), set()
    if names_in(functions[0]) & {"locals", "NotImplementedError"}:  # the latter: a blank not filled yet
        return known, set(known)
    calls = [inner for inner in ast.walk(functions[0]) if is_super_init(inner)]
    above = arguments_of_model(classes, parent) if calls else None
    for call in calls:
        given = list(zip(above[0] if above else [], call.args, strict=False))
        given += [(keyword.arg, keyword.value) for keyword in call.keywords]
        for argument, value in given:
            if above is None or argument in above[1]:
                used |= names_in(value)
        if above is not None:
            call.args, call.keywords = [], []  # judged: what is left of the constructor follows
    for statement in functions[0].body:
        used |= names_in(statement)
    return known, used & set(known)


def unused_arguments(task: str, path: Path = SUBMISSION) -> set[str]:
    """The arguments of a task's model that its code never uses. path: of the submission."""
    found = arguments_of_model(read_classes(path), TASKS[task].model_class)
    return set(found[0]) - found[1] if found else set()


def used_arguments(config: TrainConfig) -> dict[str, Any]:
    """The arguments of a run's model that its code uses, with their values."""
    unused = unused_arguments(config.task) if config.model == SUBMISSION_MODEL else ()
    return {key: value for key, value in config.model_args.items() if key not in unused}


def takes(task: str, name: str, path: Path = SUBMISSION) -> bool:
    """Whether a task's model has an argument and uses it; true if the code doesn't tell."""
    found = arguments_of_model(read_classes(path), TASKS[task].model_class)
    return found is None or name in found[1]


def check_options(task: str, names: Iterable[str], path: Path = SUBMISSION) -> None:
    """Raise LabError if the task's model doesn't take an option, or never uses it."""
    found, model = arguments_of_model(read_classes(path), TASKS[task].model_class), TASKS[task].model_class
    if found is None:
        return
    known, used = found
    for name in names:
        if name not in known:
            options = ", ".join(f"--{each}" for each in known if each in used and each != "image_shape")
            raise LabError(
                "{model} in {file} has no option {name}: it takes {options}",
                model=model,
                file=path.name,
                name=name,
                options=options,
            )
        if name not in used:
            raise LabError(
                "{model} in {file} never uses its argument {name}, so --{name} would change nothing: leave "
                "it out, or use {name} in __init__",
                model=model,
                file=path.name,
                name=name,
            )
