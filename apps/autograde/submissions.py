"""Finds submissions, and copies the graded files of one into a clean folder.

A submission is a folder or a zip file with `submission.py`, optionally `model.py` and other modules, and the
checkpoints `VAE0label.pt` and `Genwithlabel.pt`. It may also be a folder in which `train.py` ran: without a
`VAE0label.pt`, `outputs/VAE0label/best.pt` is used. Links, devices and paths outside of it are refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from vaelab.cli import LabError, reason
from vaelab.tasks import TASKS

MAX_FILES = 2000  # in a zip file
MAX_BYTES = 512 << 20  # of the graded files of a submission


@dataclass(frozen=True)
class Submission:
    """The folder or zip file of one student."""

    name: str
    path: Path


def find_submissions(path: Path, exclude: Container[Path] = ()) -> list[Submission]:
    """`path` if it is a submission, else the submissions in it, by name. Raises: LabError if there are none.

    exclude: folders in it that are not submissions, such as the one for the grades.
    """
    if path.is_file() or (path / "submission.py").exists():
        return [Submission(path.stem if path.is_file() else path.resolve().name, path)]
    if not path.is_dir():
        raise LabError(f"there is no {path}: name a folder of submissions, or one submission")
    entries = [
        entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.resolve() not in exclude
    ]
    found: dict[str, Submission] = {}
    for entry in sorted(entries, key=lambda entry: (not entry.is_dir(), entry.name)):
        if entry.is_dir() or entry.suffix.lower() == ".zip":
            # The first unused name: alice.zip beside the folder alice is called alice.zip, and so on.
            names = (
                entry.name if entry.is_dir() else entry.stem,
                entry.name,
                *(f"{entry.name}-{i}" for i in range(9)),
            )
            name = next(name for name in names if file_name(name).casefold() not in found)
            found[file_name(name).casefold()] = Submission(name, entry)
    if not found:
        raise LabError(f"{path} contains no submissions: neither folders nor zip files")
    return sorted(found.values(), key=lambda submission: submission.name)


def file_name(name: str) -> str:
    """A file name for a submission of any name. Letters and digits of any script are kept."""
    data = os.fsencode
    escaped = re.sub(r"[^\w-]", lambda match: "".join(f"%{byte:02X}" for byte in data(match[0])), name)
    if len(data(escaped)) <= 150:
        return escaped
    return f"{escaped[:40]}%{hashlib.sha256(data(name)).hexdigest()[:16]}"


def graded_name(path: PurePosixPath) -> str | None:
    """The name of a submission's file among the graded files; None for a file that is not graded."""
    if len(path.parts) == 1 and (path.suffix == ".py" or path.name in {f"{task}.pt" for task in TASKS}):
        return path.name
    if len(path.parts) == 3 and path.parts[0] == "outputs" and path.parts[2] == "best.pt":
        return f"{path.parts[1]}.pt" if path.parts[1] in TASKS else None
    return None


def stage(submission: Submission, folder: Path) -> None:
    """Copy the graded files into `folder`, readable for all users. Raises: LabError if that is impossible."""
    try:
        files = folder_files(submission.path) if submission.path.is_dir() else zip_files(submission.path)
        # The checkpoint beside submission.py comes after the one in outputs/, and so replaces it.
        files = sorted(files, key=lambda file: -len(file[0].parts))
        left = MAX_BYTES
        for path, open_file in files:
            with open_file() as source, (folder / str(graded_name(path))).open("wb") as target:
                while chunk := source.read(1 << 20):
                    left -= len(chunk)
                    if left < 0:  # counted, since a zip file can state any size
                        raise LabError(f"the submission is larger than {MAX_BYTES >> 20} MB")
                    target.write(chunk)
    except LabError:
        raise
    except Exception as error:  # damaged, encrypted, of an unknown compression, unreadable, ...
        raise LabError(
            f"the submission can't be read ({type(error).__name__}: {reason(error)}): hand it in again"
        ) from error
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)


Files = Iterator[tuple[PurePosixPath, Callable[[], IO[bytes]]]]


def folder_files(folder: Path) -> Files:
    """The graded files of a folder, each with a function that opens it."""
    if folder.is_symlink():
        raise LabError(f"{folder.name} is a link: hand in the folder itself")
    candidates = [*folder.iterdir(), *(folder / "outputs" / task / "best.pt" for task in TASKS)]
    for path in candidates:
        name = PurePosixPath(path.relative_to(folder).as_posix())
        if graded_name(name) is None or not os.path.lexists(path):
            continue
        if not stat.S_ISREG(path.lstat().st_mode) or path.resolve() != folder.resolve() / name:
            raise LabError(f"{name} is not a regular file (it may be a link): hand in the file itself")
        yield name, lambda path=path: path.open("rb")


def zip_files(path: Path) -> Files:
    """The graded files of a zip file, in which all files may be in one folder."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise LabError(f"{path.name} is not a regular file (it may be a link): hand in the file itself")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise LabError(f"{path.name} is damaged, or not a zip file ({reason(error)})") from error
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise LabError(f"{path.name} contains {len(infos):,} files: at most {MAX_FILES:,} are read")
    names = {}
    for info in infos:
        name = PurePosixPath(info.filename)
        if not name.parts or name.is_absolute() or ".." in name.parts or "\\" in info.filename:
            raise LabError(f"{path.name} contains a path outside of it: {info.filename!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise LabError(f"{path.name} contains a link, {info.filename!r}: hand in the file itself")
        if name.parts[0] != "__MACOSX":  # added by macOS
            names[name] = info
    tops = {name.parts[0] for name in names}
    inside = len(tops) == 1 and all(len(name.parts) > 1 for name in names)

    def opener(info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
        return lambda: archive.open(info)

    for name, info in names.items():
        name = PurePosixPath(*name.parts[1:]) if inside else name
        if graded_name(name) is not None:
            yield name, opener(info)


def fingerprint(folder: Path) -> str:
    """A checksum of the files that `stage` copied."""
    checksum = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        checksum.update(f"{path.name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return checksum.hexdigest()
