"""What every command line shares: the two tasks, one-line errors, safe writes, grids of images.

A user's mistake is a `LabError`: `run` prints it as one line and exits with code 2. Every file is
written beside its final place and moved there, so that a reader never meets half a file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vaelab.cli import LabError, reason

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
