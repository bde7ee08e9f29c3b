"""`report.html`: what two trainings made and what it was graded, on one page in one file.

`grade.py` writes it after each grade. Beside the arrays that were graded it draws on `config.json`,
`log.jsonl` and `samples/` of the run. All of these are a user's: they are read within limits, pictures are
encoded anew, and text reaches the page escaped, under a policy by which no script but the page's own runs and
no host is asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apps.report import charts
from vaelab.cli import LabError, printable, reason
from vaelab.files import read_json
from vaelab.images import image_grid, png_bytes
from vaelab.metrics.reconstruction import mse, to_float
from vaelab.metrics.score import bonus, max_score, score_terms
from vaelab.metrics.score_sensitivity import sensitivities
from vaelab.outputs import Outputs, other_data
from vaelab.tasks import TASKS

MAX_BYTES = 4_000_000  # of a file that is read
MAX_ROWS = 60  # of a configuration
MAX_VALUE = 1e30  # of a number in a log: larger ones can't be drawn
MAX_SIDE = 1400  # pixels: of a sample grid
EPOCHS_SHOWN = (12, 8, 6, 4, 2, 1)  # as many sample grids as fit into SAMPLE_BYTES
SAMPLE_BYTES = 640_000  # of all the sample grids of a task
SAMPLE_NAME = re.compile(r"epoch_(\d{1,6})\.png")
CURVES = (  # title, unit, and the keys of log.jsonl
    ("loss", "nats per image", ("train_loss", "valid_loss")),
    ("recon", "nats per image", ("train_recon_term", "valid_recon_term")),
    ("KL", "nats per image", ("train_kl_term", "valid_kl_term")),
    ("MSE", "", ("valid_mse",)),
    ("SSIM", "", ("valid_ssim",)),
)


# --- Reading what a user's run left -------------------------------------------------------------


def read_text(path: Path) -> str:
    """A text file. Raises: LabError if it isn't a file, or a large one."""
    if not path.is_file():  # a pipe would never end
        raise LabError(f"{path} is not a file")
    if path.stat().st_size > MAX_BYTES:
        raise LabError(f"{path} is larger than {MAX_BYTES:,} bytes")
    return path.read_text(encoding="utf-8", errors="replace")


def read_log(path: Path) -> tuple[list[dict[str, float]], int]:
    """The rows of a log.jsonl up to the first damaged one, and the number of that line, 0 if all are good.

    What `trainer.read_log` trusts is checked here: that the values are numbers that can be drawn.
    """
    keys = ["epoch", *(key for _, _, keys in CURVES for key in keys)]
    rows: list[dict[str, float]] = []
    for number, line in enumerate(read_text(path).splitlines() or [""], start=1):
        try:
            values = json.loads(line)
            row = {key: values[key] for key in keys}
            good = all(type(value) in (int, float) and abs(value) < MAX_VALUE for value in row.values())
            good = good and type(row["epoch"]) is int and (not rows or row["epoch"] > rows[-1]["epoch"])
        except (ValueError, LookupError, TypeError, RecursionError):
            good = False
        if not good:
            return rows, number
        rows.append(row)
    return rows, 0


def read_picture(path: Path) -> np.ndarray:
    """A PNG file as uint8 [H, W] or [H, W, 3]. Raises: LabError if it isn't one, or is too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabError("it is too large")
        # Pillow warns of pictures too large to be honest: here that is an error.
        with warnings.catch_warnings(action="error"), Image.open(path, formats=["PNG"]) as image:
            if max(image.size) > MAX_SIDE:
                raise LabError(f"it is larger than {MAX_SIDE} x {MAX_SIDE} pixels")
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except Exception as error:  # damaged or hostile bytes can raise anything
        raise LabError(f"can't read {path}: {reason(error)}") from error
    half = pixels[::2, ::2]
    doubled = half.repeat(2, axis=0).repeat(2, axis=1)
    # A grid of the trainer's has each pixel four times; once is enough here.
    return half if np.array_equal(doubled, pixels) else pixels


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """The sample grids of some epochs, evenly, the last among them: as many as fit. [] if there are none."""
    paths = [path for path in folder.glob("epoch_*.png") if SAMPLE_NAME.fullmatch(path.name)]
    paths = sorted((path for path in paths if path.is_file()), key=epoch_of)
    for most in EPOCHS_SHOWN:
        chosen = [paths[i] for i in charts.thinned(len(paths), most)] if paths else []
        pictures = [picture(read_picture(path)) | {"epoch": epoch_of(path)} for path in chosen]
        if sum(len(picture["uri"]) for picture in pictures) * 3 / 4 <= SAMPLE_BYTES:
            return pictures
    raise LabError(f"{paths[-1]} is too large for a page")


def epoch_of(path: Path) -> int:
    """The epoch that a sample grid's name tells."""
    return int(SAMPLE_NAME.fullmatch(path.name)[1])


def read_config(path: Path) -> list[tuple[str, str]]:
    """The names and values of a config.json."""
    read_text(path)
    return settings(read_json(path))


def settings(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The names and values of an object as short texts, those of objects within it in their place."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= value if isinstance(value, dict) else {key: value}

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(text, value[:10]))
        return "..." if isinstance(value, dict) else printable(str(value), 200)

    try:
        return [(printable(key, 60), text(value)) for key, value in list(flat.items())[:MAX_ROWS]]
    except (RecursionError, ValueError) as error:  # lists within lists within lists, or a number without end
        raise LabError(f"a value can't be shown: {reason(error)}") from error


# --- Pictures -----------------------------------------------------------------------------------


def picture(pixels: np.ndarray) -> dict[str, Any]:
    """Pixels, uint8 [H, W] or [H, W, 3], as the page embeds them."""
    uri = "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
    return {"uri": uri, "height": pixels.shape[0], "width": pixels.shape[1]}


def errors_of(outputs: Outputs, chunk: int = 1000) -> np.ndarray:
    """The MSE of each reconstruction. Returns: [N]."""
    parts = [slice(i, i + chunk) for i in range(0, len(outputs.images), chunk)]
    pairs = [(outputs.recon[part], outputs.images[part]) for part in parts]
    return np.concatenate([mse(*map(to_float, pair)).numpy() for pair in pairs])


def reconstructions(outputs: Outputs, kind: str) -> list[dict[str, Any]]:
    """The best, the median and the worst reconstruction of each label, each below its original."""
    errors = errors_of(outputs)
    present = np.unique(outputs.labels)
    ranked = [np.flatnonzero(outputs.labels == y) for y in present]
    ranked = [of_label[np.argsort(errors[of_label], kind="stable")] for of_label in ranked]
    shown = []
    for name, says, share in (("best", "lowest", 0.0), ("median", "median", 0.5), ("worst", "highest", 1.0)):
        chosen = [of_label[int(share * (len(of_label) - 1))] for of_label in ranked]
        pairs = np.concatenate([outputs.images[chosen], outputs.recon[chosen]])
        alt = (
            f"{len(chosen)} images, one of each {kind}, each above its reconstruction: "
            f"those with the {says} error of their {kind}"
        )
        grid = picture(image_grid(pairs, columns=len(chosen), scale=1))
        columns = [(int(y), float(errors[i])) for y, i in zip(present, chosen, strict=True)]
        shown.append(grid | {"name": name, "alt": alt, "columns": columns})
    return shown


def generated(gen: np.ndarray) -> dict[str, Any]:
    """Ten generated images of each label, a row each: every hundredth of a thousand."""
    rows = gen[:, :: gen.shape[1] // 10]
    return picture(image_grid(np.concatenate(rows), columns=rows.shape[1], scale=1))


def curves(rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The charts of a log, with what they say in words."""
    epochs, shown = [int(row["epoch"]) for row in rows], []
    for title, unit, keys in CURVES:
        lines = {key.partition("_")[0]: [row[key] for row in rows] for key in keys}
        ends = [f"on {name} from {line[0]:.5g} to {line[-1]:.5g}" for name, line in lines.items()]
        alt = f"{title} over epochs {epochs[0]} to {epochs[-1]}: {', '.join(ends)}"
        shown.append(charts.line_chart(epochs, lines) | {"title": title, "unit": unit, "alt": alt})
    return shown


# --- The page -----------------------------------------------------------------------------------


def leftovers(folder: Path, train: str) -> dict[str, Any]:
    """What the page shows of a run's own files, and `said`: what of them is missing, and what makes it.

    train: the command that trains into the folder.
    """
    said: list[str] = []

    def attempt(read: Callable[[Path], Any], name: str, what: str) -> Any:
        """What `read` makes of a file; None, and a line on the page that says why, where it isn't there."""
        path, found = folder / name, None
        try:
            found = read(path) if path.exists() else None
            if not found:
                said.append(f"No {what}: there is no {path}. It is written by: {train}")
        except (LabError, OSError) as error:
            said.append(f"No {what}: {reason(error)}")
        return found

    rows, damaged = attempt(read_log, "log.jsonl", "loss curves") or ([], 0)
    if damaged:
        said.append(f"{folder / 'log.jsonl'} is damaged in line {damaged}: the curves end before it.")
    shown = {
        "curves": curves(rows) if rows else [],
        "samples": attempt(read_samples, "samples", "samples by epoch") or [],
        "config": attempt(read_config, "config.json", "configuration of the training") or [],
    }
    return shown | {"said": [printable(line, 500) for line in said]}


def section(task: str, grade: dict[str, Any], outputs: Outputs) -> dict[str, Any]:
    """What the page shows of a task's grade, and of the arrays that were graded."""
    kind = "digit" if grade["dataset"] in ("mnist", "digits") else "class"
    terms = score_terms(task, grade)
    return {
        "task": task,
        "grade": grade,
        "kind": kind,
        "warning": other_data(grade["dataset"]),
        "terms": terms,
        "most": max_score(task),
        "bonus_most": bonus(0),
        "uncapped_most": sum(most for _, _, most in terms) * bonus(0),
        "sensitivities": sensitivities(task, grade),
        "recon": reconstructions(outputs, kind),
        "gen": None if outputs.gen is None else generated(outputs.gen),
        "hyperparams": settings(asdict(outputs.hyperparams)),
    }


def render(**values: Any) -> str:
    """The page. Every value is escaped: the template marks nothing as safe."""

    import jinja2  # here: a grade without the report needs no jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csp_hash"] = lambda script: (
        "sha256-" + base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()
    )
    return environment.get_template("report.html").render(values, chart=vars(charts))


def report_page(
    output_dir: Path,
    grades: dict[str, dict[str, Any]],
    outputs: dict[str, Outputs],
    commands: dict[str, tuple[str, str]],
    printed: dict[str, list[str]],
) -> str:
    """The page on some tasks' grades, as HTML.

    output_dir: where their runs lie; grades: as in grade_result.json; commands: those that train a task and
    infer from it, of all tasks; printed: what `grade.py` prints beside a task's table.
    """
    sections = [
        section(task, grade, outputs[task])
        | leftovers(output_dir / task, commands[task][0])
        | {"printed": printed[task]}
        for task, grade in grades.items()
    ]
    return render(
        sections=sections,
        missing={task: both for task, both in commands.items() if task not in grades},
        total=sum(grade["score"] for grade in grades.values()),
        most=sum(map(max_score, TASKS)),
    )
