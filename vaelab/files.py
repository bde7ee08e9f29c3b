"""Writing, reading and locking files.

Every file is written beside its final place and moved there, so that a reader never sees half a file.
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
from filelock import FileLock, Timeout

from vaelab.cli import LabError, os_reason, reason
from vaelab.language import N_


def make_folder(folder: Path) -> Path:
    """Make `folder` and its parents. Raises: LabError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            "can't make the folder {folder}: {reason}; name another one",
            folder=folder,
            reason=os_reason(error),
        ) from error
    return folder


def write_file(path: Path, data: bytes | str, sync: bool = True) -> None:
    """Write `data` atomically: to another file, which is then renamed. Raises: LabError if that fails.

    After a crash or on a full disk, `path` is either the old file or the new one, complete. sync: wait until
    the disk has stored the data, so that this is also true after a crash of the machine.
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
        text = N_("can't write {path}: {reason}")
        if path.exists():
            text = N_("can't write {path}: {reason}; the earlier file is unchanged")
        raise LabError(text, path=path, reason=os_reason(error)) from error


def write_json(path: Path, value: dict) -> None:
    """Write `value` as indented JSON; see `write_file`."""
    write_file(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict:
    """The JSON object in `path`. Raises: LabError that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabError("can't read {path}: {reason}", path=path, reason=reason(error)) from error
    if not isinstance(value, dict):
        raise LabError("{path} should hold a JSON object, got {kind}", path=path, kind=type(value).__name__)
    return value


def file_md5(path: Path) -> str | None:
    """The md5 checksum of a file; None if it doesn't exist."""
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write `array` as `.npy`; see `write_file`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_file(path, buffer.getvalue())


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files of a `write_file` that was killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Lock `folder` for this process. The system releases the lock however the process ends.

    If another process has the lock: wait for it, or raise LabError.
    """
    file_lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    try:
        file_lock.acquire()
    except Timeout as error:
        raise LabError(
            "another run is writing to {folder}: wait for it, or name another --output_dir", folder=folder
        ) from error
    except OSError as error:
        raise LabError(
            "can't write into {folder}: {reason}; name another folder", folder=folder, reason=os_reason(error)
        ) from error
    try:
        clear_leftovers(folder)
        yield
    finally:
        file_lock.release()
