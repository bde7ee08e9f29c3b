"""What a hand-in consists of: finds `submission.py` as a person would, and copies the files that are graded.

A hand-in is a folder, an archive (`.zip`, `.tar`, `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`), or a few loose
files. `submission.py` may be in folders or archives inside of it. Taken are all Python files beside it and
below it, and the checkpoint of each task: `<task>.pt`, else `outputs/<task>/best.pt`, else the only file of
such a name anywhere. Links, devices and paths that lead outside are refused. `check.py --hand_in` and
`autograde.py` both decide with this module; it runs none of the student's code.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vaelab.archives import (
    ARCHIVES,
    OTHER_ARCHIVES,
    Member,
    archive_members,
    file_member,
    folder_members,
    ignored,
    is_archive,
)
from vaelab.cli import LabError, printable, reason
from vaelab.language import N_, Message, as_message, in_english
from vaelab.tasks import TASKS

MAX_BYTES = 512 << 20  # of the graded files of a hand-in
MAX_DEPTH = 3  # archives inside archives
# Folders of the lab itself beside submission.py: the grader uses its own.
LAB_FOLDERS = ("vaelab", "apps", "beyond", "tests", "benchmarks", "docs", "scripts", "notebooks", "dataset")
SUBMISSION, MODEL = "submission.py", "model.py"
COPY_OF_SUBMISSION = re.compile(r"submission(-\d+| ?\(\d+\)|_\d+)\.py", re.IGNORECASE)  # browsers and Canvas


@dataclass
class HandIn:
    """What is taken of a hand-in, and what is not."""

    taken: dict[str, str] = field(default_factory=dict)  # graded name to the path inside the hand-in
    left: list[str] = field(default_factory=list)  # paths that are not graded
    messages: list[Message] = field(default_factory=list)  # sentences, for student and staff

    @property
    def notes(self) -> list[str]:
        """The messages in English, for records."""
        return [in_english(message) for message in self.messages]

    @property
    def where(self) -> str:
        """The folder of submission.py inside the hand-in; empty for its top, or if there is none."""
        parent = str(PurePosixPath(self.taken.get(SUBMISSION, SUBMISSION)).parent)
        return "" if parent == "." else parent

    def describe(self) -> str:
        """What was found, taken and left, in a line."""
        parts = []
        if SUBMISSION in self.taken:
            place = self.where or Message("the hand-in itself")
            parts.append(Message("submission.py found in {place}", place=place))
        texts = ((N_("taken: {names}"), sorted(self.taken)), (N_("left: {names}"), sorted(self.left)))
        for text, names in texts:
            if names:
                listed: str | Message = ", ".join(names[:8])
                if names[8:]:
                    listed = Message("{names} and {more} more", names=listed, more=len(names) - 8)
                parts.append(Message(text, names=listed))
        return printable("; ".join(map(str, [*parts, *self.messages])), 1000)


def stage(path: Path | Mapping[str, Path], folder: Path) -> HandIn:
    """Copy the graded files of a hand-in into `folder`, an empty one, readable for all users.

    path: a folder, an archive, or several loose files by name. Raises: LabError with the reason.
    """
    with ExitStack() as stack:
        try:
            members = read_members(path, stack)
            hand_in, chosen = choose(members)
            copy_members(chosen, folder)
        except LabError:
            raise
        except Exception as error:  # damaged, encrypted, of an unknown compression, unreadable, ...
            raise LabError(
                "the submission can't be read ({kind}: {reason}): hand it in again",
                kind=type(error).__name__,
                reason=reason(error),
            ) from error
    for inner in [folder, *folder.rglob("*")]:
        inner.chmod(0o755 if inner.is_dir() else 0o644)
    return hand_in


def fingerprint(folder: Path) -> str:
    """A checksum of the files that `stage` copied: of their names and contents."""
    checksum = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        checksum.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return checksum.hexdigest()


def copy_members(chosen: dict[str, Member], folder: Path) -> None:
    """Copy files into `folder` under their graded names. Raises: LabError if they are too large."""
    left = MAX_BYTES
    for name, member in chosen.items():
        if member.problem:
            raise LabError(
                "{path} is not a regular file ({problem}): hand in the file itself",
                path=member.path,
                problem=as_message(member.problem),
            )
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, target.open("wb") as file:
            while chunk := source.read(1 << 20):
                left -= len(chunk)
                if left < 0:  # counted, since an archive can state any size
                    raise LabError("the submission is larger than {megabytes} MB", megabytes=MAX_BYTES >> 20)
                file.write(chunk)


# --- Which files are graded -----------------------------------------------------------------------


def choose(members: Iterable[Member]) -> tuple[HandIn, dict[str, Member]]:
    """What is taken, and its files by graded name. Raises: LabError if there are several submissions."""
    files = {member.path: member for member in members if not ignored(member.path)}
    hand_in, chosen = HandIn(), {}
    main = find_submission(files, hand_in)
    if main is not None:
        root = main.parent
        for path, member in files.items():
            name = python_name(path, root)
            if name is not None and path != main and name not in chosen:
                chosen[name] = member
        chosen[SUBMISSION] = files[main]
        exact_model = files.get(root / MODEL)
        if exact_model is not None:
            chosen[MODEL] = exact_model
    for task in TASKS:
        found = find_checkpoint(task, files, main.parent if main is not None else PurePosixPath())
        if len(found) > 1:
            names = ", ".join(map(str, found[:4]))
            text = N_("several files could be {task}.pt ({names}), so none was taken")
            hand_in.messages.append(Message(text, task=task, names=names))
        elif found:
            chosen[f"{task}.pt"] = files[found[0]]
    hand_in.taken = {name: str(member.path) for name, member in chosen.items()}
    taken = set(hand_in.taken.values())
    hand_in.left = [str(path) for path in files if str(path) not in taken]
    return hand_in, chosen


def find_submission(files: dict[PurePosixPath, Member], hand_in: HandIn) -> PurePosixPath | None:
    """The path of submission.py, in any case of letters: the one nearest to the top. Adds to the notes."""
    found = [path for path in files if path.name.lower() == SUBMISSION]
    found = found or [path for path in files if COPY_OF_SUBMISSION.fullmatch(path.name)]
    if not found:
        names = ", ".join(str(path) for path in list(files)[:5])
        text = N_("there is no submission.py (found: {names})") if names else N_("there is no submission.py")
        hand_in.messages.append(Message(text, names=names))
        if any(path.name.lower().endswith(OTHER_ARCHIVES) for path in files):
            text = N_("of archives, only {kinds} can be read")
            hand_in.messages.append(Message(text, kinds=", ".join(ARCHIVES)))
        return None
    nearest = min(len(path.parts) for path in found)
    best = [path for path in found if len(path.parts) == nearest]
    if len(best) > 1:  # one spelled exactly so, or with a checkpoint beside it
        with_checkpoint = [
            path for path in best if any(checkpoints_at(task, files, path.parent) for task in TASKS)
        ]
        same_folder = [path for path in best if path.name == SUBMISSION]
        best = with_checkpoint if len({path.parent for path in best}) > 1 else same_folder
    if len(best) != 1:
        names = ", ".join(str(path) for path in found[:4])
        raise LabError("there are several submission.py ({names}): hand in one", names=names)
    if best[0].name != SUBMISSION:
        hand_in.messages.append(Message("{name} was taken as submission.py", name=best[0].name))
    if len(found) > 1:
        text = N_("{path} was taken, of {count} files of this name")
        hand_in.messages.append(Message(text, path=best[0], count=len(found)))
    return best[0]


def python_name(path: PurePosixPath, root: PurePosixPath) -> str | None:
    """The graded name of a Python file at or below `root`; None for a file that isn't taken."""
    if path.suffix.lower() != ".py" or not path.is_relative_to(root):
        return None
    inner = path.relative_to(root)
    if len(inner.parts) > 1 and inner.parts[0] in LAB_FOLDERS:
        return None
    if len(inner.parts) == 1 and inner.name.lower() in (SUBMISSION, MODEL):
        return inner.name.lower()
    return str(inner)


def checkpoints_at(task: str, files: dict[PurePosixPath, Member], root: PurePosixPath) -> list[PurePosixPath]:
    """The checkpoint of a task beside submission.py, else that of a training run there."""
    beside = [path for path in files if path.parent == root and is_named(path, task)]
    exact = [path for path in beside if path.name == f"{task}.pt"]
    run = root / "outputs" / task / "best.pt"
    return exact or beside or [run] * (run in files)


def find_checkpoint(
    task: str, files: dict[PurePosixPath, Member], root: PurePosixPath
) -> list[PurePosixPath]:
    """The files that may be the checkpoint of a task: none, one, or several that can't be told apart."""
    found = checkpoints_at(task, files, root)
    found = found or [path for path in files if is_named(path, task)]
    return found or [path for path in files if path.name == "best.pt" and path.parent.name == task]


def is_named(path: PurePosixPath, task: str) -> bool:
    """Whether a file has the name of a task's checkpoint, in any case of letters."""
    names = {f"{name}.pt".lower() for name in (task, *TASKS[task].aliases)}
    return path.name.lower() in names


def complete(members: list[Member]) -> bool:
    """Whether nothing is missing, so that archives inside need not be opened."""
    files = {member.path: member for member in members if not ignored(member.path)}
    has_submission = any(path.name.lower() == SUBMISSION for path in files)
    return has_submission and all(find_checkpoint(task, files, PurePosixPath()) for task in TASKS)


# --- Reading it ---------------------------------------------------------------------------------


def read_members(path: Path | Mapping[str, Path], stack: ExitStack) -> list[Member]:
    """The files of a hand-in; archives inside are opened where something is missing. stack: closes them."""
    if not isinstance(path, Path):
        members = [file_member(file, PurePosixPath(name)) for name, file in path.items()]
    elif path.is_symlink():
        raise LabError("{name} is a link: hand in the folder itself", name=path.name)
    elif path.is_dir():
        members = folder_members(path)
    else:
        members = archive_members(path, path.name, stack)
    for _ in range(MAX_DEPTH):
        inner = [each for each in members if is_archive(each.path.name) and not ignored(each.path)]
        if complete(members) or not inner:
            break
        members = [each for each in members if each not in inner]
        for archive in inner:
            members += inner_members(archive, stack)
    return members


def inner_members(archive: Member, stack: ExitStack) -> list[Member]:
    """The files of an archive that is a file of the hand-in, below its path."""
    if archive.problem:
        raise LabError(
            "{path} is not a regular file ({problem}): hand in the file itself",
            path=archive.path,
            problem=as_message(archive.problem),
        )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    copy_members({"archive": archive}, folder)
    found = archive_members(folder / "archive", str(archive.path), stack)
    return [Member(archive.path / member.path, member.open, member.problem) for member in found]


def make_zip(folder: Path, target: Path) -> HandIn:
    """Write the graded files of a student's folder as a zip file. Returns: what is in it."""
    with tempfile.TemporaryDirectory() as staged:
        hand_in = stage(folder, Path(staged))
        beside = target.with_name(f".{target.name}.tmp")
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(hand_in.taken):
                archive.write(Path(staged, name), name)
        shutil.move(beside, target)
    return hand_in
