"""`check.py --hand_in`: makes the zip file to hand in, and tries it in an empty folder as the grader will."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaelab.cli import LabError, reason
from vaelab.data.digits import embedded_digits
from vaelab.files import make_folder
from vaelab.hand_in import LAB_FOLDERS, stage
from vaelab.language import N_, VARIABLE, _, language
from vaelab.outputs import read_outputs
from vaelab.tasks import TASKS

TRIAL = Path(__file__).with_name("hand_in_trial.py")
NAME = "hand_in.zip"
TRIED = "hand_in_not_accepted.zip"  # until it passes: an earlier hand_in.zip is replaced only then
SPLIT = "valid"
IMAGES = 16  # that are reconstructed
MAX_DIFFERENCE = 1.0  # mean over pixels, in grey levels of 255, from the outputs of the same model
TIME_LIMIT = 300  # seconds for a task


class Verdict(NamedTuple):
    """Whether a task of the hand-in can be graded, and the lines to print about it."""

    good: bool
    lines: list[str]


def own_modules(folder: Path, name: str = "submission") -> Iterator[Path]:
    """The Python files of `folder` that submission.py consists of: itself and all that it imports."""
    waiting, found = [Path(f"{name}.py")], set()
    while waiting:
        path = waiting.pop()
        if path in found or not (folder / path).is_file():
            continue
        found.add(path)
        yield path
        for node in ast.walk(ast.parse((folder / path).read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            for parts in (name.split(".") for name in names if name.split(".")[0] not in LAB_FOLDERS):
                waiting += [Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")]


def write_zip(folder: Path, root: Path, target: Path) -> list[str]:
    """Write the hand-in of the submission in `folder` and the runs in `root`. Returns: the names in it."""
    try:
        files = {path.as_posix(): folder / path for path in own_modules(folder)}
    except (SyntaxError, ValueError) as error:
        raise LabError(
            "a Python file of the submission is not valid ({reason})", reason=reason(error)
        ) from error
    checkpoints = {f"{task}.pt": root / task / "best.pt" for task in TASKS}
    files |= {name: path for name, path in checkpoints.items() if path.is_file()}
    if "submission.py" not in files:
        raise LabError("there is no submission.py in {folder}", folder=folder)
    make_folder(target.parent)
    beside = target.with_name(f".{target.name}.tmp")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            archive.write(path, name)
    beside.replace(target)
    return sorted(files)


def run_trial(task: str, hand_in: Path, lab: Path, images: np.ndarray, labels: np.ndarray) -> dict | str:
    """The arrays that the model of a task gives in a process of its own, or the reason why it gives none."""
    with tempfile.TemporaryDirectory() as beside:
        source, target = Path(beside, "images.npz"), Path(beside, "result.npz")
        np.savez(source, images=images, labels=labels)
        command = [sys.executable, "-I", TRIAL, lab.resolve(), hand_in, task, source, target]
        try:
            done = subprocess.run(
                list(map(str, command)),
                cwd=hand_in,
                env=os.environ | {VARIABLE: language()},
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
            )
        except subprocess.TimeoutExpired:
            return _("{count} images took longer than {limit} s", count=IMAGES, limit=TIME_LIMIT)
        if not target.is_file():
            ended = _("the process ended with code {code}", code=done.returncode)
            return (done.stderr.strip() or ended).splitlines()[-1]
        with np.load(target, allow_pickle=False) as file:
            return dict(file)


def check_task(task: str, hand_in: Path, lab: Path, root: Path, data_dir: Path | None) -> Verdict:
    """Whether a task of the unpacked hand-in loads, runs, and gives the images of the outputs in `root`."""
    best, folder = root / task / "best.pt", root / task / SPLIT
    if not (hand_in / f"{task}.pt").is_file():
        text = _("there is no checkpoint: python train.py --task {task} makes {path}", task=task, path=best)
        return Verdict(False, [text])
    outputs = None
    if (folder / "hyperparams.json").is_file():
        outputs = read_outputs(folder, task, SPLIT, data_dir)
        images, labels = outputs.images[:IMAGES], outputs.labels[:IMAGES]
    else:
        images, labels = (array[:IMAGES] for array in embedded_digits()[SPLIT])
    result = run_trial(task, hand_in, lab, images, labels)
    if isinstance(result, str):
        return Verdict(False, [result])
    text = N_(
        "the model of epoch {epoch} loads; the grader will see codes of {latent_dim} numbers (latent_dim)"
    )
    loads = _(text, epoch=int(result["epoch"]), latent_dim=int(result["latent_dim"]))
    if outputs is None:
        command = f"python inference.py --checkpoint_path {best}"
        text = _("no outputs to compare with: {command}, then python grade.py", command=command)
        return Verdict(True, [loads, text])
    difference = np.abs(result["recon"].astype(float) - outputs.recon[:IMAGES]).mean()
    if outputs.hyperparams.latent_dim == result["latent_dim"] and difference <= MAX_DIFFERENCE:
        text = _("{count} reconstructions are those in {folder}", count=IMAGES, folder=folder)
        return Verdict(True, [loads, text])
    text = _(
        "its reconstructions are not those in {folder}: they differ by {difference:.1f} grey levels on "
        "average. The outputs and their score are of another model: run inference.py and grade.py again",
        folder=folder,
        difference=difference,
    )
    return Verdict(False, [loads, text])


def hand_in(folder: Path, root: Path, data_dir: Path | None) -> bool:
    """Make a zip file and try it; it becomes hand_in.zip if every task can be graded. Returns: it does."""
    target, tried = Path(NAME), Path(TRIED)
    names = ", ".join(write_zip(folder, root, tried))
    size = tried.stat().st_size / 1e6
    print(_("{file}: {size:.1f} MB with {names}", file=target, size=size, names=names))
    good = []
    with tempfile.TemporaryDirectory() as unpacked:
        taken = stage(tried, Path(unpacked))
        print("     " + _("the grader's view: {description}", description=taken.describe()))
        for task in TASKS:
            verdict = check_task(task, Path(unpacked), folder, root, data_dir)
            print(f"{'ok  ' if verdict.good else 'FAIL'} {task}: {verdict.lines[0]}")
            for line in verdict.lines[1:]:
                print(f"     {line}")
            good.append(verdict.good)
    if all(good):
        tried.replace(target)
        text = N_("Hand in {file}, with the written answers in the form that your course asks for.")
        print(_(text, file=target))
        print(_("This was not checked: whether the blanks are right. python check.py checks them."))
    else:
        print(
            _(
                "Not ready: don't hand in this zip file, {file}. An earlier {accepted} is left as it was. "
                "See the lines marked FAIL.",
                file=tried,
                accepted=target,
            )
        )
    return all(good)
