"""The files of a folder, of a zip file or of a tar archive that a stranger made; nothing is unpacked here."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from vaelab.cli import LabError, reason
from vaelab.language import N_, Message, as_message

MAX_FILES = 50_000  # in an archive, or in a folder
MAX_UNPACKED = 2 << 30  # bytes of all files of a tar archive, which is read from its start to its end
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OTHER_ARCHIVES = (".rar", ".7z", ".gz", ".bz2", ".xz", ".zst", ".iso", ".dmg")  # named in the reason
# Written by systems and tools, never by a student. Names that start with a dot are ignored too.
IGNORED = (
    "__MACOSX",
    "__pycache__",
    "node_modules",
    "site-packages",
    "venv",
    "env",
    "Thumbs.db",
    "desktop.ini",
)


@dataclass(frozen=True)
class Member:
    """A file of a hand-in."""

    path: PurePosixPath  # inside the hand-in; an archive inside counts as a folder
    open: Callable[[], IO[bytes]]
    problem: str | Message = ""  # the reason why it can't be taken, a message


def is_archive(name: str) -> bool:
    """Whether this is the name of an archive that can be read."""
    return name.lower().endswith(ARCHIVES)


def ignored(path: PurePosixPath) -> bool:
    """Whether a file is one that systems and tools write."""
    return any(part.startswith(".") or part in IGNORED for part in path.parts)


def file_problem(path: Path) -> str:
    """Why a file can't be taken; empty if it can."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        return ""
    return N_("a link") if stat.S_ISLNK(mode) else N_("a device or a pipe")


def file_member(path: Path, name: PurePosixPath) -> Member:
    """A file on disk."""
    return Member(name, lambda: path.open("rb"), file_problem(path))


def folder_members(folder: Path) -> list[Member]:
    """The files of a folder; links are not followed. Raises: LabError if there are too many."""
    members = []
    for top, folders, names in os.walk(folder):
        links = [name for name in folders if Path(top, name).is_symlink()]
        folders[:] = sorted(
            name for name in folders if name not in links and not ignored(PurePosixPath(name))
        )
        for name in sorted([*names, *links]):
            path = Path(top, name)
            members.append(file_member(path, PurePosixPath(path.relative_to(folder).as_posix())))
        if len(members) > MAX_FILES:
            raise LabError(
                "{name} contains more than {most:,} files: hand in those of the lab",
                name=folder.name,
                most=MAX_FILES,
            )
    return members


def archive_members(path: Path, name: str, stack: ExitStack) -> list[Member]:
    """The files of an archive. name: what to call it. Raises: LabError if it can't be read."""
    if file_problem(path):
        raise LabError(
            "{name} is not a regular file ({problem}): hand in the file itself",
            name=name,
            problem=as_message(file_problem(path)),
        )
    try:
        if name.lower().endswith(".zip"):
            return zip_members(stack.enter_context(zipfile.ZipFile(path)), name)
        if is_archive(name):
            return tar_members(stack.enter_context(tarfile.open(path)), name)
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        tarfile.TarError,
        ValueError,
        NotImplementedError,
    ) as error:
        text = N_("{name} is damaged, or not a tar archive ({reason})")
        if name.lower().endswith(".zip"):
            text = N_("{name} is damaged, or not a zip file ({reason})")
        raise LabError(text, name=name, reason=reason(error)) from error
    if name.lower().endswith(OTHER_ARCHIVES):
        raise LabError(
            "{name} is an archive of another kind: expected a folder, or a .zip or .tar.gz file; pack it "
            "again as .zip",
            name=name,
        )
    return [file_member(path, PurePosixPath(name))]


def inner_path(name: str, archive: str) -> PurePosixPath:
    """The path of a file in an archive. Raises: LabError if it leads outside."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise LabError("{archive} contains a path outside of it: {name!r}", archive=archive, name=name)
    return path


def check_count(n: int, name: str) -> None:
    """Raise LabError if an archive has too many files."""
    if n > MAX_FILES:
        raise LabError(
            "{name} contains {n:,} files: at most {most:,} are read", name=name, n=n, most=MAX_FILES
        )


def zip_members(archive: zipfile.ZipFile, name: str) -> list[Member]:
    """The files of a zip file."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    check_count(len(infos), name)
    members = {}
    for info in infos:
        path = inner_path(info.filename, name)
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        problem = Message("{name} contains a link", name=name) if is_link else ""
        members[path] = Member(path, lambda info=info: archive.open(info), problem)
    return list(members.values())


def tar_members(archive: tarfile.TarFile, name: str) -> list[Member]:
    """The files of a tar archive."""
    members, unpacked = {}, 0
    for info in archive:
        unpacked += info.size
        if unpacked > MAX_UNPACKED:
            raise LabError(
                "{name} is larger than {megabytes} MB when it is unpacked",
                name=name,
                megabytes=MAX_UNPACKED >> 20,
            )
        if info.isdir():
            continue
        path = inner_path(info.name, name)
        problem: str | Message = "" if info.isreg() else N_("a device")
        if info.issym() or info.islnk():
            problem = Message("{name} contains a link", name=name)
        members[path] = Member(path, lambda info=info: archive.extractfile(info), problem)
        check_count(len(members), name)
    return list(members.values())
