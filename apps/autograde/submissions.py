"""Find what students handed in, and copy what is graded of it, and nothing else, into a clean folder.

A submission is a folder or a zip file that holds `submission.py`, perhaps `model.py` and other modules, and
the checkpoints `VAE0label.pt` and `Genwithlabel.pt`. A folder in which `train.py` ran will do: where there
is no `VAE0label.pt`, `outputs/VAE0label/best.pt` is taken. Links, devices and paths that lead outside are
refused.
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
MAX_BYTES = 512 << 20  # of all that is graded of a submission


@dataclass(frozen=True)
class Submission:
    """What one student handed in."""

    name: str
    path: Path


def find_submissions(path: Path, but: Container[Path] = ()) -> list[Submission]:
    """The submission that `path` is, or those that lie in it, by name. Raises: LabError if there are none.

    but: folders in it that are none, such as the one for the grades.
    """
    if path.is_file() or (path / "submission.py").exists():
        return [Submission(path.stem if path.is_file() else path.resolve().name, path)]
    if not path.is_dir():
        raise LabError(f"there is no {path}: name a folder of submissions, or one submission")
    entries = [
        entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.resolve() not in but
    ]
    found: dict[str, Submission] = {}
    for entry in sorted(entries, key=lambda entry: (not entry.is_dir(), entry.name)):
        if entry.is_dir() or entry.suffix.lower() == ".zip":
            # The first name that nobody has: alice.zip beside the folder alice is alice.zip, and so on.
            names = (
                entry.name if entry.is_dir() else entry.stem,
                entry.name,
                *(f"{entry.name}-{i}" for i in range(9)),
            )
            name = next(name for name in names if file_name(name).casefold() not in found)
            found[file_name(name).casefold()] = Submission(name, entry)
    if not found:
        raise LabError(f"{path} holds no submissions: neither folders nor zip files")
    return sorted(found.values(), key=lambda submission: submission.name)


def file_name(name: str) -> str:
    """A file name for a submission of any name: letters and digits of any script stay as they are."""
    data = os.fsencode
    escaped = re.sub(r"[^\w-]", lambda match: "".join(f"%{byte:02X}" for byte in data(match[0])), name)
    if len(data(escaped)) <= 150:
        return escaped
    return f"{escaped[:40]}%{hashlib.sha256(data(name)).hexdigest()[:16]}"


def wanted(path: PurePosixPath) -> str | None:
    """The name under which a file of a submission is graded; None for a file that isn't."""
    if len(path.parts) == 1 and (path.suffix == ".py" or path.name in {f"{task}.pt" for task in TASKS}):
        return path.name
    if len(path.parts) == 3 and path.parts[0] == "outputs" and path.parts[2] == "best.pt":
        return f"{path.parts[1]}.pt" if path.parts[1] in TASKS else None
    return None


def stage(submission: Submission, folder: Path) -> None:
    """Copy what is graded into `folder`, readable to all. Raises: LabError that says what is wrong."""
    try:
        files = folder_files(submission.path) if submission.path.is_dir() else zip_files(submission.path)
        # The checkpoint beside submission.py comes after the one in outputs/, and so in its place.
        files = sorted(files, key=lambda file: -len(file[0].parts))
        left = MAX_BYTES
        for path, open_file in files:
            with open_file() as source, (folder / str(wanted(path))).open("wb") as target:
                while chunk := source.read(1 << 20):
                    left -= len(chunk)
                    if left < 0:  # whatever size a zip file says it has
                        raise LabError(f"it is larger than {MAX_BYTES >> 20} MB")
                    target.write(chunk)
    except LabError:
        raise
    except Exception as error:  # damaged, encrypted, of an unknown compression, unreadable, ...
        raise LabError(
            f"it can't be read ({type(error).__name__}: {reason(error)}): hand it in again"
        ) from error
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)


Files = Iterator[tuple[PurePosixPath, Callable[[], IO[bytes]]]]


def folder_files(folder: Path) -> Files:
    """The files of a folder that are graded, each with a function that opens it."""
    if folder.is_symlink():
        raise LabError(f"{folder.name} is a link: hand in the folder itself")
    candidates = [*folder.iterdir(), *(folder / "outputs" / task / "best.pt" for task in TASKS)]
    for path in candidates:
        name = PurePosixPath(path.relative_to(folder).as_posix())
        if wanted(name) is None or not os.path.lexists(path):
            continue
        if not stat.S_ISREG(path.lstat().st_mode) or path.resolve() != folder.resolve() / name:
            raise LabError(f"{name} is not a plain file (a link?): hand in the file itself")
        yield name, lambda path=path: path.open("rb")


def zip_files(path: Path) -> Files:
    """The same for a zip file, whose files may all lie in one folder."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise LabError(f"{path.name} is not a plain file (a link?): hand in the file itself")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise LabError(f"{path.name} is damaged, or not a zip file ({reason(error)})") from error
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise LabError(f"{path.name} holds {len(infos):,} files: at most {MAX_FILES:,} are read")
    names = {}
    for info in infos:
        name = PurePosixPath(info.filename)
        if not name.parts or name.is_absolute() or ".." in name.parts or "\\" in info.filename:
            raise LabError(f"{path.name} holds a path that leads outside: {info.filename!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise LabError(f"{path.name} holds a link, {info.filename!r}: hand in the file itself")
        if name.parts[0] != "__MACOSX":  # what macOS adds to a zip file
            names[name] = info
    tops = {name.parts[0] for name in names}
    inside = len(tops) == 1 and all(len(name.parts) > 1 for name in names)

    def opener(info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
        return lambda: archive.open(info)

    for name, info in names.items():
        name = PurePosixPath(*name.parts[1:]) if inside else name
        if wanted(name) is not None:
            yield name, opener(info)


def fingerprint(folder: Path) -> str:
    """A checksum of all that was staged."""
    checksum = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        checksum.update(f"{path.name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return checksum.hexdigest()
