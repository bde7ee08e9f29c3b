"""The layout of the repository: imports run down only, one place for each decision, quick command lines."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

from model import ACTIVATIONS, ARCHITECTURES
from vaelab import config
from vaelab.contract import BUILDERS
from vaelab.tasks import TASKS

LAB = ("submission", "model", "data_utils", "trainer")
FILES = [
    path
    for place in (
        "*.py",
        "vaelab/**/*.py",
        "beyond/**/*.py",
        "apps/**/*.py",
        "benchmarks/**/*.py",
        "scripts/*.py",
    )
    for path in sorted(REPO.glob(place))
]
COMMANDS = sorted(path.stem for path in REPO.glob("*.py") if path.stem not in LAB)


def name_of(path: Path) -> str:
    """The file, as a test's name."""
    return str(path.relative_to(REPO))


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere, function bodies included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the floor"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floor(module: str) -> int | None:
    """vaelab 0, the lab 1, beyond 2, apps 3, commands 4; None for other packages."""
    top = module.partition(".")[0]
    return {"vaelab": 0, "beyond": 2, "apps": 3}.get(top, 1 if top in LAB else 4 if top in COMMANDS else None)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_down_only(path: Path) -> None:
    own = ".".join(path.relative_to(REPO).with_suffix("").parts)
    own_floor = 5 if floor(own) is None else floor(own)  # scripts and benchmarks stand above all
    for module in imports(path):
        assert floor(module) is None or floor(module) < 4, f"{own} imports the command {module}"
        assert (floor(module) or 0) <= own_floor, f"{own} imports {module} from a floor above"
        if own.startswith("apps.") and module.startswith("apps."):
            assert module.split(".")[1] == own.split(".")[1], f"the application {own} imports {module}"
    if own == "submission":
        assert {module.partition(".")[0] for module in imports(path)} <= {"__future__", "torch", "model"}


def test_a_builder_named_in_the_library_is_loaded_only_from_its_list() -> None:
    """`vaelab/contract.py` imports beyond/ by a name: no name but those of its list."""
    assert BUILDERS == {"beyond": "beyond.extended", "discrete": "beyond.discrete.build"}
    calls = [
        (name_of(path), ast.unparse(node))
        for path in FILES
        if path.is_relative_to(REPO / "vaelab")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func)
    ]
    assert calls == [("vaelab/contract.py", "importlib.import_module(BUILDERS[name])")]
    keys = {
        ast.unparse(node.args[0])
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("load_builder")
    }
    assert keys == {"'beyond'", "'discrete'"}  # written in the source, not read from anywhere


def test_files_stay_readable_in_one_sitting() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > 350} == {}


def test_a_newcomer_sees_the_lab_at_the_top() -> None:
    assert len(list(REPO.glob("*.py"))) <= 12
    assert len((REPO / "submission.py").read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_condition_names_a_task(path: Path) -> None:
    """What a task decides stands in vaelab/tasks.py; other files ask for a field of `Task`."""
    if name_of(path) == "vaelab/tasks.py":
        return
    conditions = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert)):
            conditions.append(node.test)
        elif isinstance(node, ast.comprehension):
            conditions += node.ifs
        elif isinstance(node, (ast.Compare, ast.BoolOp)):
            conditions.append(node)
        elif isinstance(node, ast.Match):
            conditions.append(node.subject)
            conditions += [case.pattern for case in node.cases]
    for condition in conditions:
        text = ast.unparse(condition)
        assert not [task for task in TASKS if task in text], text
        assert not re.search(r"""\btask (==|!=|in) [(\[{]?['"]""", text), text


def test_the_names_in_config_are_those_of_model() -> None:
    assert sorted(ARCHITECTURES) == sorted(config.ARCHITECTURES)
    assert sorted(ACTIVATIONS) == sorted(config.ACTIVATIONS)


# --- Command lines without torch ----------------------------------------------------------------

PROBE = """
import runpy, sys
try:
    {code}
finally:
    assert "torch" not in sys.modules, "torch was imported"
"""


def run_code(code: str) -> subprocess.CompletedProcess:
    """Run code in a new process, which fails if torch is imported."""
    return subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], cwd=REPO, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["vaelab.tasks", "vaelab.config", "vaelab.cli", "vaelab.files"])
def test_the_foundations_import_no_torch(module: str) -> None:
    result = run_code(f"import {module}")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["train", "inference", "grade", "check"])
def test_help_and_a_misspelt_option_need_no_torch(command: str) -> None:
    start = f"sys.argv = ['{command}.py', '{{}}']; runpy.run_path('{command}.py', run_name='__main__')"
    result = run_code(start.format("--help"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: ")
    result = run_code(start.format("--sedd=1"))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["data_utils", "check", "train --task VAE0label", "grade"])
def test_a_missing_package_is_one_line(command: str) -> None:
    """As with an interpreter outside of the lab's environment."""
    name, *rest = command.split()
    start = f"sys.modules['numpy'] = sys.modules['torch'] = None; sys.argv = {[name, *rest]!r}; "
    code = f"import runpy, sys; {start}runpy.run_path('{name}.py', run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"error: (numpy|torch) is not installed for \S+: activate .*\n", result.stderr)
