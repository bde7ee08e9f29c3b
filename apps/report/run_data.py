"""The files of a run that the report shows: log.jsonl, samples/ and config.json.

All of them come from a user and are not trusted: they are read within limits, numbers are checked, and
pictures are decoded and encoded again.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from apps.report.charts import LineChart, evenly_spaced, line_chart
from apps.report.pictures import Picture, embed
from vaelab.cli import LabError, printable, reason
from vaelab.files import read_json
from vaelab.language import N_, _

MAX_BYTES = 4_000_000  # of a file
MAX_ROWS = 60  # of a configuration
MAX_VALUE = 1e30  # of a number in a log; larger ones can't be drawn
MAX_SIDE = 1400  # pixels of a sample grid
SAMPLE_COUNTS = (12, 8, 6, 4, 2, 1)  # numbers of sample grids to try, until they fit into SAMPLE_BYTES
SAMPLE_BYTES = 640_000  # of all sample grids of a task
SAMPLE_NAME = re.compile(r"epoch_(\d{1,6})\.png")
CURVES = (  # title, unit, and the keys of log.jsonl
    (N_("loss"), N_("nats per image"), ("train_loss", "valid_loss")),
    (N_("recon"), N_("nats per image"), ("train_recon_term", "valid_recon_term")),
    (N_("KL"), N_("nats per image"), ("train_kl_term", "valid_kl_term")),
    ("MSE", "", ("valid_mse",)),
    ("SSIM", "", ("valid_ssim",)),
)
Row = dict[str, float]  # of log.jsonl
Setting = tuple[str, str]  # name and value


class Sample(NamedTuple):
    """The sample grid of an epoch."""

    epoch: int
    picture: Picture


class Curve(NamedTuple):
    """A line chart of the log, with its title, its unit and a text that describes it."""

    title: str
    unit: str
    alt: str
    chart: LineChart


@dataclass(frozen=True)
class RunData:
    """The report's data from the files of a run. What could not be read is empty, and `problems` says why."""

    rows: list[Row]  # of the log
    curves: list[Curve]
    samples: list[Sample]
    config: list[Setting]
    problems: list[str]


# --- The log ------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of a file. Raises: LabError if it is not a regular file, or larger than `MAX_BYTES`."""
    if not path.is_file():  # reading a pipe would never end
        raise LabError("{path} is not a file", path=path)
    if path.stat().st_size > MAX_BYTES:
        raise LabError("{path} is larger than {max_bytes:,} bytes", path=path, max_bytes=MAX_BYTES)
    return path.read_text(encoding="utf-8", errors="replace")


def parse_row(line: str, last_epoch: int | None) -> Row | None:
    """The numbers of a line of log.jsonl; None if one is missing or can't be drawn.

    last_epoch: of the line before, if any; the epoch must be a later one.
    """
    keys = ["epoch", *(key for _, _, keys in CURVES for key in keys)]
    try:
        values = json.loads(line)
        row = {key: values[key] for key in keys}
        valid = all(type(value) in (int, float) and abs(value) < MAX_VALUE for value in row.values())
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    valid = valid and type(row["epoch"]) is int and (last_epoch is None or row["epoch"] > last_epoch)
    return row if valid else None


def read_log(path: Path) -> tuple[list[Row], int]:
    """The rows of a log.jsonl up to the first damaged one, and that one's line number (0: none)."""
    rows: list[Row] = []
    for number, line in enumerate(read_text(path).splitlines() or [""], start=1):
        row = parse_row(line, rows[-1]["epoch"] if rows else None)
        if row is None:
            return rows, number
        rows.append(row)
    return rows, 0


def curves(rows: list[Row]) -> list[Curve]:
    """The line charts of a log."""
    epochs, charts = [int(row["epoch"]) for row in rows], []
    for title, unit, keys in CURVES:
        lines = {key.partition("_")[0]: [row[key] for row in rows] for key in keys}
        text = N_("on {name} from {first:.5g} to {last:.5g}")
        ends = [_(text, name=name, first=line[0], last=line[-1]) for name, line in lines.items()]
        alt = N_("{title} over epochs {start} to {end}: {line}")
        if len(ends) == 2:
            alt = N_("{title} over epochs {start} to {end}: {line}, {other}")
        values = {"title": _(title), "start": epochs[0], "end": epochs[-1]}
        alt = _(alt, **values, line=ends[0], other=ends[-1])
        charts.append(Curve(_(title), _(unit), alt, line_chart(epochs, lines)))
    return charts


# --- The samples --------------------------------------------------------------------------------


def read_picture(path: Path) -> np.ndarray:
    """The pixels of a PNG file, uint8 [H, W] or [H, W, 3]. Raises: LabError if it can't be read."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabError("it is larger than {max_bytes:,} bytes", max_bytes=MAX_BYTES)
        # Pillow only warns about decompression bombs: here they are an error.
        with warnings.catch_warnings(action="error"), Image.open(path, formats=["PNG"]) as image:
            if max(image.size) > MAX_SIDE:
                raise LabError("it is larger than {max_side} x {max_side} pixels", max_side=MAX_SIDE)
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except Exception as error:  # damaged or hostile bytes can raise anything
        raise LabError("can't read {path}: {reason}", path=path, reason=reason(error)) from error
    half = pixels[::2, ::2]
    doubled = half.repeat(2, axis=0).repeat(2, axis=1)
    # The trainer's grids are enlarged by 2: half the size contains the same information.
    return half if np.array_equal(doubled, pixels) else pixels


def epoch_of(path: Path) -> int:
    """The epoch in the name of a sample grid."""
    return int(SAMPLE_NAME.fullmatch(path.name)[1])


def read_samples(folder: Path) -> list[Sample]:
    """The sample grids of evenly spaced epochs up to the last one; as many as fit into the page."""
    paths = [path for path in folder.glob("epoch_*.png") if SAMPLE_NAME.fullmatch(path.name)]
    paths = sorted((path for path in paths if path.is_file()), key=epoch_of)
    if not paths:
        return []
    for count in SAMPLE_COUNTS:
        chosen = [paths[i] for i in evenly_spaced(len(paths), count)]
        samples = [Sample(epoch_of(path), embed(read_picture(path))) for path in chosen]
        if sum(len(sample.picture.uri) for sample in samples) * 3 / 4 <= SAMPLE_BYTES:
            return samples
    raise LabError("{path} is too large for a page", path=paths[-1])


# --- The configuration --------------------------------------------------------------------------


def read_config(path: Path) -> list[Setting]:
    """The names and values in a config.json. Raises: LabError if it is damaged or too large."""
    read_text(path)
    return settings(read_json(path))


def settings(values: dict[str, Any]) -> list[Setting]:
    """The names and values of a JSON object as short texts. Objects in it are replaced by their entries."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= value if isinstance(value, dict) else {key: value}

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(text, value[:10]))
        return "..." if isinstance(value, dict) else printable(str(value), 200)

    try:
        return [(printable(key, 60), text(value)) for key, value in list(flat.items())[:MAX_ROWS]]
    except (RecursionError, ValueError) as error:  # deeply nested lists, or a number with thousands of digits
        raise LabError("a value can't be shown: {reason}", reason=reason(error)) from error


# --- All files ----------------------------------------------------------------------------------


def read_run(folder: Path, train_command: str) -> RunData:
    """The data of the run in `folder`. train_command: the command that writes it, for the messages."""
    problems: list[str] = []

    def attempt(read: Callable[[Path], Any], name: str, content: str) -> Any:
        """The result of `read`; None, and a line in `problems`, if the file is missing or damaged."""
        path = folder / name
        try:
            found = read(path) if path.exists() else None
        except (LabError, OSError) as error:
            problems.append(_("No {content}: {reason}", content=_(content), reason=reason(error)))
            return None
        if not found:
            text = N_("No {content}: there is no {path}. It is written by: {command}")
            problems.append(_(text, content=_(content), path=path, command=train_command))
        return found

    rows, damaged_line = attempt(read_log, "log.jsonl", N_("loss curves")) or ([], 0)
    if damaged_line:
        problems.append(
            _(
                "{path} is damaged in line {line}: the curves end before it.",
                path=folder / "log.jsonl",
                line=damaged_line,
            )
        )
    return RunData(
        rows=rows,
        curves=curves(rows) if rows else [],
        samples=attempt(read_samples, "samples", N_("samples by epoch")) or [],
        config=attempt(read_config, "config.json", N_("configuration of the training")) or [],
        problems=[printable(problem, 500) for problem in problems],
    )
