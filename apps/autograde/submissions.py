"""Finds the hand-ins of a class: each entry of a folder, under the name of its student.

Understood are folders and archives named after a student; Moodle's `Name_123_assignsubmission_file_`, as a
folder or in front of a file's name; Canvas's `leeann_LATE_12_34_submission.py`, of which the files of one
student are put together; and any other file, so that every entry gets a row. `vaelab/hand_in.py` decides what
is graded.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from vaelab.archives import ARCHIVES, ignored, is_archive
from vaelab.cli import LabError

MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_(?P<file>.*))?")
CANVAS = re.compile(r"(?P<name>[^\W_]+)_(?P<late>LATE_)?(?P<id>\d+)_(?P<attempt>\d+)_(?P<file>.+)")
RESUBMITTED = re.compile(r"-(\d+)(?=\.\w+$)")  # Canvas: submission-1.py


@dataclass(frozen=True)
class Source:
    """One hand-in of a student: a folder, an archive, or loose files by name."""

    path: Path | Mapping[str, Path]
    label: str  # the entry's name
    time: float  # when the newest of its files was changed, in seconds since 1970
    late: bool = False  # the LMS marked it as late


@dataclass(frozen=True)
class Submission:
    """A student, and what was handed in."""

    name: str
    sources: tuple[Source, ...]  # the oldest first
    id: str = ""  # of the student or of the participant in the LMS


@dataclass(frozen=True)
class Entry:
    """An entry of the folder of submissions, with what its name says."""

    path: Path
    name: str  # of the student
    id: str = ""
    file: str = ""  # the name that the student gave to a loose file
    late: bool = False


def parse_entry(path: Path) -> Entry:
    """What the name of an entry says."""
    if match := MOODLE.fullmatch(path.name):
        return Entry(
            path, match["name"].strip(), match["id"], (match["file"] or "") if path.is_file() else ""
        )
    if (match := CANVAS.fullmatch(path.name)) and path.is_file():
        return Entry(path, match["name"], match["id"], match["file"], bool(match["late"]))
    return Entry(path, path.name if path.is_dir() else stem(path.name))


def stem(name: str) -> str:
    """The name of a file without the ending: `ann` of `ann.tar.gz`."""
    found = [name[: -len(ending)] for ending in ARCHIVES if name.lower().endswith(ending)]
    return min(found, key=len) if found else PurePosixPath(name).stem


def find_submissions(path: Path, exclude: Container[Path] = (), single: bool = False) -> list[Submission]:
    """`path` if it is a submission, else those in it, by name. Raises: LabError for none.

    exclude: files and folders that are not submissions, such as the folder of the grades. single: `path` is
    one, wherever its submission.py is.
    """
    if path.is_file() or (single and path.is_dir()) or (path / "submission.py").exists():
        name = stem(path.name) if path.is_file() else path.resolve().name
        return [Submission(name, (Source(path, path.name, modified(path)),))]
    if not path.is_dir():
        raise LabError(f"there is no {path}: name a folder of submissions, or one submission")
    entries = [
        parse_entry(entry)
        for entry in sorted(path.iterdir())
        if not ignored(PurePosixPath(entry.name)) and entry.resolve() not in exclude
    ]
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((file_name(entry.name).casefold(), entry.id), []).append(entry)
    if not groups:
        raise LabError(f"{path} contains no submissions: it is empty")
    found = [Submission(group[0].name, sources_of(group), group[0].id) for group in groups.values()]
    return sorted(with_unique_names(found), key=lambda submission: submission.name)


def sources_of(entries: list[Entry]) -> tuple[Source, ...]:
    """The hand-ins of one student, the oldest first.

    A folder and an archive are a hand-in each. Loose files are one together.
    """
    whole = [
        entry for entry in entries if not entry.file and (entry.path.is_dir() or is_archive(entry.path.name))
    ]
    sources = [Source(entry.path, entry.path.name, modified(entry.path), entry.late) for entry in whole]
    loose = [entry for entry in entries if entry not in whole]
    if len(loose) == 1 and not sources and not loose[0].file:
        sources.append(Source(loose[0].path, loose[0].path.name, modified(loose[0].path)))
    elif loose and (not sources or any(entry.file for entry in loose)):
        files = {}
        for entry in sorted(loose, key=lambda entry: resubmission(entry.file)):
            files[RESUBMITTED.sub("", entry.file) or entry.path.name] = entry.path
        newest = max(modified(entry.path) for entry in loose)
        label = loose[0].path.name if len(loose) == 1 else f"{len(loose)} files"
        sources.append(Source(files, label, newest, any(entry.late for entry in loose)))
    return tuple(sorted(sources, key=lambda source: (source.time, source.label)))


def resubmission(name: str) -> int:
    """The number that Canvas puts into the name of a file that was handed in again; 0 for the first."""
    match = RESUBMITTED.search(name)
    return int(match[1]) if match else 0


def modified(path: Path) -> float:
    """When a file, or the newest file of a folder, was changed: seconds since 1970."""
    paths = [path, *path.iterdir()] if path.is_dir() and not path.is_symlink() else [path]
    files = [each for each in paths if not each.is_dir()] or paths
    return max(each.lstat().st_mtime for each in files)


def with_unique_names(found: list[Submission]) -> list[Submission]:
    """The same submissions; those of different students with one name get the LMS's number added."""
    names = [file_name(submission.name).casefold() for submission in found]
    counts = Counter(names)
    return [
        replace(submission, name=f"{submission.name} {submission.id}".strip())
        if counts[name] > 1
        else submission
        for submission, name in zip(found, names, strict=True)
    ]


def file_name(name: str) -> str:
    """A file name for a submission of any name. Letters and digits of any script are kept."""
    data = os.fsencode
    escaped = re.sub(r"[^\w-]", lambda match: "".join(f"%{byte:02X}" for byte in data(match[0])), name)
    if len(data(escaped)) <= 150:
        return escaped
    return f"{escaped[:40]}%{hashlib.sha256(data(name)).hexdigest()[:16]}"
