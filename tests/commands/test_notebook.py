"""notebooks/lab.ipynb: what is committed is clean, and it runs from a fresh kernel to the score."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
import shutil
import zipfile
from itertools import zip_longest
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import LAB_PACKAGES, REPO
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from apps.student_version.build import files_to_ship

NOTEBOOK = REPO / "notebooks/lab.ipynb"
OUTPUTS = Path("outputs/notebook_digits")
SETTINGS = r'QUICK = True  # .*\n\n# To be set by the course, .*\nREPOSITORY = ".*"'  # a course has set it
# The cells that show pictures, and the files they show.
SHOWN = {
    "images": [],
    "before": [],
    "train-vae": ["VAE0label/loss_curve.png"],
    "train-gen": ["Genwithlabel/loss_curve.png"],
    "samples": ["Genwithlabel/samples/epoch_001.png", "Genwithlabel/samples/epoch_010.png"],
    "reconstructions": ["VAE0label/valid/recon.png"],
    "generated": ["Genwithlabel/valid/gen.png"],
    "walk": [],
    "explore": ["explore/scatter.png"],
}


def read() -> NotebookNode:
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)


def code_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def execute(notebook: NotebookNode, cwd: Path) -> None:
    """Run all cells in a kernel of their own. Raises: CellExecutionError where one ends in an error."""
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(cwd)}})
    client.execute(env=os.environ | {"IPYTHONDIR": str(cwd / ".ipython")})


def printed(cell: NotebookNode, stream: str = "stdout") -> str:
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == stream)


def pictures(cell: NotebookNode) -> list[np.ndarray]:
    data = [out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})]
    return [pixels(io.BytesIO(base64.b64decode(png))) for png in data]


def pixels(file: Path | io.BytesIO) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


# --- As it is committed -------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(NOTEBOOK.parent.glob("lab*.ipynb")), ids=lambda path: path.name)
def test_it_is_valid_and_holds_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert len(code_cells(notebook)) > 15
    for cell in code_cells(notebook).values():
        assert (cell.outputs, cell.execution_count) == ([], None), cell.id
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    if path == NOTEBOOK:
        assert re.fullmatch(SETTINGS, code_cells(notebook)["settings"].source)


def test_a_translation_has_the_same_code() -> None:
    """The cells of a translated notebook differ in comments, printed texts and the language they set."""
    own, translation = read(), nbformat.read(NOTEBOOK.with_name("lab.zh.ipynb"), nbformat.NO_CONVERT)
    assert [cell.id for cell in own.cells] == [cell.id for cell in translation.cells]
    changed = {}
    for name, cell in code_cells(own).items():
        lines = zip_longest(cell.source.split("\n"), code_cells(translation)[name].source.split("\n"))
        if found := [line for pair in lines if len(set(pair)) > 1 for line in pair]:
            changed[name] = found
    assert changed.keys() == {"settings", "lab", "walk"}
    assert 'os.environ["VAE_LAB_LANG"] = "zh"' in changed["lab"]


def test_it_has_no_logic_of_its_own() -> None:
    """Short cells that call the lab's modules; no definitions, no loops but a comprehension."""
    own = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.Try)
    imported, ran = set(), set()
    for name, cell in code_cells(read()).items():
        assert len(cell.source.splitlines()) <= 12, name
        ran |= set(re.findall(r"^ *%run (\S+)", cell.source, re.MULTILINE))
        tree = ast.parse(re.sub(r"^( *)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE))
        nodes = list(ast.walk(tree))
        assert not [node for node in nodes if isinstance(node, own)], name
        if any(isinstance(node, ast.If) for node in nodes):
            assert name in ("lab", "explore")
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert ran == {"data_utils.py", "train.py", "inference.py", "explore.py", "grade.py", "check.py"}
    ours = {name for name in imported if files_of(name)}
    library = {"vaelab.images", "vaelab.checkpoint", "vaelab.metrics.reconstruction"}
    assert ours == {"submission", "data_utils"} | library
    assert imported - ours == {"os", "inspect", "pathlib", "torch", "PIL"}


def files_of(module: str) -> list[str]:
    """The file of a module of the lab, if it is one."""
    return [name for name in [f"{module.replace('.', '/')}.py"] if (REPO / name).exists()]


def test_students_have_what_it_calls() -> None:
    shipped = files_to_ship().keys() | {"submission.py"}
    assert "notebooks/lab.ipynb" in shipped
    text = "\n".join(cell.source for cell in code_cells(read()).values())
    called = set(re.findall(r"^%run (\S+)", text, re.MULTILINE))  # what is indented stands behind an if
    imported = re.findall(r"^(?:from|import) ([\w.]+)", text, re.MULTILINE)
    called |= {name for module in imported for name in files_of(module)}
    assert len(called) >= 8
    assert called <= shipped


# --- Executed -----------------------------------------------------------------------------------


def copy_of_the_lab(folder: Path) -> Path:
    """The lab's folder as Jupyter sees it, but what is made there stays there. Returns: its notebooks/."""
    (folder / "notebooks").mkdir()
    for path in (*REPO.glob("*.py"), *(REPO / name for name in LAB_PACKAGES)):
        (folder / path.name).symlink_to(path)
    return folder / "notebooks"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, NotebookNode], Path]:
    """The cells of the notebook after all of them ran, and the folder that they ran in."""
    folder, notebook = tmp_path_factory.mktemp("lab"), read()
    execute(notebook, copy_of_the_lab(folder))
    return code_cells(notebook), folder


def test_every_cell_runs_without_a_complaint(executed: tuple) -> None:
    for name, cell in executed[0].items():
        assert cell.execution_count, name
        assert printed(cell, "stderr") == "", name
        assert not [out for out in cell.outputs if out.output_type == "error"], name  # as %run reports one


def test_it_shows_the_pictures_that_the_lab_wrote(executed: tuple) -> None:
    cells, folder = executed
    assert {name for name, cell in cells.items() if pictures(cell)} == set(SHOWN)
    for name, files in SHOWN.items():
        shown = pictures(cells[name])
        assert len(shown) == max(len(files), 1), name
        for picture, file in zip(shown, files, strict=False):
            np.testing.assert_array_equal(picture, pixels(folder / OUTPUTS / file), err_msg=name)
    images, before = pictures(cells["images"])[0], pictures(cells["before"])[0]
    with np.load(folder / "dataset/digits/train.npz") as file:
        sevens, first = file["images"][file["labels"] == 7], file["images"][:10]
    for grid, row, column, image in ((images, 7, 4, sevens[4]), (before, 0, 9, first[9])):
        cell = grid[::2, ::2, 0][2 + 30 * row :, 2 + 30 * column :][:28, :28]
        np.testing.assert_array_equal(cell, image)


def test_the_walk_is_between_images_of_the_trained_model(executed: tuple) -> None:
    """Its ends are reconstructions: near the images themselves, and not near each other."""
    cells, folder = executed
    grid = pictures(cells["walk"])[0][::2, ::2, 0]
    walk = np.stack([grid[2 + 30 * row :][:28] for row in range(5)])  # [5, 28, columns]
    ends = np.concatenate([walk[:, :, 2:30], walk[:, :, 272:300]]) / 255  # [10, 28, 28]
    with np.load(folder / "dataset/digits/train.npz") as file:
        x = file["images"][:10] / 255
    assert np.square(ends - x).mean() < 0.02 < np.square(ends[:5] - ends[5:]).mean()


def test_the_score_it_prints_is_the_grade(executed: tuple) -> None:
    cells, folder = executed
    grades = json.loads((folder / OUTPUTS / "grade_result.json").read_text())
    assert list(grades) == ["VAE0label", "Genwithlabel"]
    text = printed(cells["grade"])
    scores = re.findall(r"^  score +([\d.]+) +[\d.]+ +\(([\d.]+) before the cap\)$", text, re.MULTILINE)
    assert scores == [
        (f"{grade['score']:.2f}", f"{grade['score_uncapped']:.2f}") for grade in grades.values()
    ]
    total = sum(grade["score"] for grade in grades.values())
    assert f"\ntotal {total:.2f} of 40\n" in text
    assert total > 30
    assert {grade["dataset"] for grade in grades.values()} == {"digits"}


def test_it_checks_a_derivation_and_makes_the_hand_in(executed: tuple) -> None:
    cells, folder = executed
    assert "m1 = 0, s1 = 1, m2 = 0, s2 = 2: should give 0.3181\n" in printed(cells["derivation"])
    assert "\nHand in hand_in.zip, with the written answers" in printed(cells["hand-in"])
    with zipfile.ZipFile(folder / "hand_in.zip") as file:
        assert {"submission.py", "VAE0label.pt", "Genwithlabel.pt"} <= set(file.namelist())


def start_of(repository: str) -> NotebookNode:
    """The cells up to the one that finds the lab, which comes twice, with REPOSITORY set."""
    notebook = read()
    cells = code_cells(notebook)
    settings = cells["settings"]
    settings.source = re.sub(r"REPOSITORY = .*", f"REPOSITORY = {repository!r}", settings.source)
    again = nbformat.from_dict(cells["lab"] | {"id": "again"})
    notebook.cells = [settings, cells["lab"], again]
    return notebook


def test_where_the_lab_is_not_it_says_what_to_do(tmp_path: Path) -> None:
    notebook = start_of("")
    execute(notebook, tmp_path)
    assert printed(notebook.cells[-1]).startswith("The lab was not found: open this notebook in")


@pytest.mark.skipif(not shutil.which("git") or not (REPO / ".git").exists(), reason="not a git checkout")
def test_where_the_course_names_its_repository_it_is_cloned_once(tmp_path: Path) -> None:
    notebook = start_of(str(REPO))
    execute(notebook, tmp_path)
    here = f"the lab is in {tmp_path}/vae-lab\n"
    assert [printed(cell) + printed(cell, "stderr") for cell in notebook.cells[1:]] == [here, here]
    assert (tmp_path / "vae-lab/submission.py").exists()
