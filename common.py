"""What every command line shares: the two tasks, one-line errors, safe writes, grids of images.

A user's mistake is a `LabError`: `run` prints it as one line and exits with code 2. Every file is
written beside its final place and moved there, so that a reader never meets half a file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

TASKS = ("VAE0label", "Genwithlabel")
# Spellings found in printed handouts.
TASK_ALIASES = {"VAEOlabel": "VAE0label", "VAEwolabel": "VAE0label"}


class LabError(Exception):
    """A mistake that the user can mend: says what was expected, what came, and what to do next."""


# --- Command lines ------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors and without guessing at abbreviated options."""

    def __init__(self, *args, **kwargs) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (python {self.prog} --help lists the options)\n")


def task_name(text: str) -> str:
    """The task that `text` names, for `argparse`. Raises: ArgumentTypeError that lists the tasks."""
    task = TASK_ALIASES.get(text, text)
    if task not in TASKS:
        raise argparse.ArgumentTypeError(f"unknown task '{text}': choose one of {', '.join(TASKS)}")
    return task


def number(
    kind: type, minimum: float, maximum: float = 2**31 - 1, exclusive: bool = False
) -> Callable[[str], float]:
    """An `argparse` type: a `kind` (int or float) from `minimum` (`exclusive`: above it) to `maximum`."""

    def parse(text: str) -> float:
        expected = f"expected {'an integer' if kind is int else 'a number'} "
        expected += f"{'above' if exclusive else 'from'} {minimum:g} to {maximum:.10g}, got '{text}'"
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(expected) from error
        if not minimum <= value <= maximum or (exclusive and value == minimum):
            raise argparse.ArgumentTypeError(expected)
        return value

    return parse


def reason(error: BaseException) -> str:
    """What went wrong, in one line: the last one of an error's text (of several mirrors, the latest)."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def printable(text: str, most: int) -> str:
    """Text that is not ours, fit to be shown: one line of printable characters, not longer than `most`."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())[:most]


def run(main: Callable[[], None]) -> None:
    """Run a command line's `main`. What the user can mend becomes one line on stderr and exit code 2."""
    try:
        main()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has left, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # no permission, a folder where a file should be, a name too long, ...
        print(f"error: {error.filename}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, which is also readable in a terminal."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


# --- Files --------------------------------------------------------------------------------------


def make_folder(folder: Path) -> Path:
    """Make `folder` and its parents. Raises: LabError where that can't be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"can't make the folder {folder}: {error.strerror}; name another one") from error
    return folder


def write_file(path: Path, data: bytes | str, sync: bool = True) -> None:
    """Write `data` beside `path` and move it into place: after a crash or on a full disk `path` is
    either the old file or the new one, whole. Raises: LabError where it can't be written.

    sync: wait until the disk has it, so that this holds for a crash of the machine too.
    """
    data = data.encode() if isinstance(data, str) else data
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        kept = "; the file that was there before is untouched" if path.exists() else ""
        raise LabError(f"can't write {path}: {error.strerror}{kept}") from error


def write_json(path: Path, value: dict) -> None:
    """Write `value` as indented JSON; see `write_file`."""
    write_file(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict:
    """The JSON object in `path`. Raises: LabError that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"can't read {path}: {reason(error)}") from error
    if not isinstance(value, dict):
        raise LabError(f"{path} should hold a JSON object, got {type(value).__name__}")
    return value


def file_md5(path: Path) -> str | None:
    """The md5 checksum of a file; None where there is none."""
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write `array` as `.npy`; see `write_file`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_file(path, buffer.getvalue())


def clear_leftovers(folder: Path) -> None:
    """Delete what a `write_file` that was killed left beside its files."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def lock(folder: Path, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold `folder` for this process alone. The system lets go of it however the process ends.

    If another process holds it: wait for that one, or raise LabError. On Windows, which has no `fcntl`,
    nothing is locked. shared: hold it together with others that share it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise LabError(f"can't write into {folder}: {error.strerror}; name another folder") from error
    with file:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(
                f"another run is writing to {folder}: wait for it, or name another --output_dir"
            ) from error
        if not shared:
            clear_leftovers(folder)
        yield


# --- Pictures -----------------------------------------------------------------------------------


def channels_last(image: np.ndarray) -> np.ndarray:
    """An image as picture files have it. image: [H, W] or [C, H, W]. Returns: [H, W] or [H, W, C]."""
    return image if image.ndim == 2 else image.transpose(1, 2, 0)


def png_bytes(image: np.ndarray) -> bytes:
    """`image`, uint8 [H, W] or [H, W, 3], as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


def image_grid(images: np.ndarray, columns: int, gap: int = 2, scale: int = 2) -> np.ndarray:
    """Lay out images row by row, each pixel `scale` pixels wide, on a mid-grey ground.

    images: uint8 [N, H, W] or [N, C, H, W]. Returns: uint8 [rows * ., columns * .] or [., ., C]; the
    last row may be short.
    """
    if images.ndim == 3:
        images = images[:, None]
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    grid = np.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 96, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    grid = grid.repeat(scale, axis=1).repeat(scale, axis=2)
    return grid[0] if channels == 1 else channels_last(grid)
