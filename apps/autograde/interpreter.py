"""A copy of the interpreter and its packages in memory, which sandboxed steps see in place of files on disk.

Files on disk leave traces of who read them: the kernel keeps what was read, and even names that were looked
up and don't exist, so that the next look-up is faster. One step could measure what an earlier one had read,
and so receive a message. A tmpfs has no such state: all of it is in memory, always, and reading changes
nothing. The copy has the packages of requirements.txt that are imported, and what these need, and nothing
else of the system.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "vae-lab-steps-"
REPO = Path(__file__).resolve().parents[2]
ALWAYS = ("torch", "numpy", "tqdm", "filelock")  # what every step imports, with what these need
# Not needed to run a model; scikit-learn's data are the digits that may be graded on.
LEFT_OUT = {"test", "tests", "idlelib", "ensurepip", "turtledemo", "tkinter", "lib2to3", "include"}
LEFT_OUT.add("site-packages")
LEFT_OUT_PATHS = ("torch/share", "sklearn/datasets/data", "skimage/data")
LEFT_OUT_ENDINGS = (".a", ".h", ".cuh", ".hpp", ".pyi", ".pxd", ".pyx", ".c", ".exe")
LEFT_OUT_ENDINGS += (".opt-1.pyc", ".opt-2.pyc")
# What the packages' shared objects need of the system, besides what the interpreter needs.
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1", "librt.so.1", "libpthread.so.0", "libdl.so.2")


def installed(name: str) -> Distribution | None:
    """A distribution; None if it is not installed."""
    with contextlib.suppress(PackageNotFoundError):
        return distribution(name)
    return None


def with_requirements(names: Iterable[str]) -> dict[str, Distribution]:
    """The installed distributions of these names, and all that they require, by name."""
    waiting, found = list(names), {}
    while waiting:
        requirement = waiting.pop()
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        if name not in found and "extra ==" not in requirement and (about := installed(name)):
            found[name] = about
            waiting += about.requires or []
    return found


def modules_of(about: Distribution) -> set[str]:
    """The names of a distribution's files and folders in site-packages."""
    tops = (about.read_text("top_level.txt") or "").split()
    if not tops:
        tops = [
            file.parts[0] for file in about.files or () if file.parts[0] not in ("..", "bin", "__pycache__")
        ]
    return {*tops, f"{about.metadata['Name'].lower().replace('-', '_')}.libs"}


def needed_libraries() -> set[Path]:
    """The shared libraries of the system that the interpreter, its modules and the packages need."""
    standard = Path(os.__file__).parent
    programs = [Path(sys.executable).resolve(), *(standard / "lib-dynload").glob("*.so")]
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    found = {Path(name) for name in re.findall(r"(/\S+) \(0x", listed)}
    folders = {path.parent for path in found}
    found |= {folder / name for folder in folders for name in LIBRARIES}
    return {path for path in found if path.is_file()}


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times, by which Python recognises *.pyc, and its permissions."""
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        about, start = os.fstat(reader.fileno()), 0
        while sent := os.sendfile(writer.fileno(), reader.fileno(), start, 1 << 30):
            start += sent
        os.fchmod(writer.fileno(), about.st_mode & 0o755 | 0o444)
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, without what no model needs. Links stay links."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(source):
        path, place = source / entry.name, target / entry.name
        if entry.is_symlink():
            with contextlib.suppress(FileExistsError):
                place.symlink_to(path.readlink())
        elif entry.is_dir():
            if entry.name not in LEFT_OUT and not entry.path.endswith(LEFT_OUT_PATHS):
                copy_tree(path, place)
        elif not entry.name.endswith(LEFT_OUT_ENDINGS):
            copy_file(path, place)


@dataclass
class Interpreter:
    """The copy in `root`. mounts: path in the sandbox to the folder that belongs there."""

    root: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    copied: set[str] = field(default_factory=set)  # distributions
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def copy(cls, root: Path) -> Interpreter:
        """Copy the interpreter, and the packages that every step imports, into `root`."""
        made, standard, executable = cls(root), Path(os.__file__).parent, Path(sys.executable)
        for library in needed_libraries():
            copy_file(library.resolve(), made.place(library.parent) / library.name)
        copy_tree(standard, made.place(standard))
        while executable.is_symlink():  # .venv/bin/python -> ... -> the interpreter
            (made.place(executable.parent) / executable.name).symlink_to(executable.readlink())
            executable = Path(os.path.normpath(executable.parent / executable.readlink()))
        copy_file(executable, made.place(executable.parent) / executable.name)
        configuration = Path(sys.prefix, "pyvenv.cfg")
        if configuration.is_file():
            copy_file(configuration, made.place(configuration.parent, mount=False) / configuration.name)
            made.mounts[str(configuration)] = (
                made.place(configuration.parent, mount=False) / configuration.name
            )
        # PyTorch chooses its kernels by what it says. Nothing else of /proc is there.
        (made.place(Path("/proc")) / "cpuinfo").write_bytes(Path("/proc/cpuinfo").read_bytes())
        made.add(ALWAYS)
        return made

    def place(self, folder: Path, mount: bool = True) -> Path:
        """The folder of the copy for a folder of the system. mount: sandboxes see it at the system's path."""
        place = self.root / folder.relative_to("/")
        place.mkdir(parents=True, exist_ok=True)
        if mount:
            self.mounts[str(folder)] = place
        return place

    def add(self, names: Iterable[str]) -> None:
        """Copy distributions, and what they require, if they are not there yet."""
        with self.lock:
            for name, about in with_requirements(set(names) - self.copied).items():
                if name in self.copied:
                    continue
                for top in sorted(modules_of(about)):
                    for path in {Path(about.locate_file(top)), Path(about.locate_file(f"{top}.py"))}:
                        place = self.place(path.parent) / path.name
                        if path.is_dir():
                            copy_tree(path, place)
                        elif path.is_file():
                            copy_file(path, place)
                self.copied.add(name)

    def add_imported(self, folder: Path) -> None:
        """Copy the packages of requirements.txt whose names are in the Python files of a submission."""
        words: set[str] = set()
        for path in folder.rglob("*.py"):
            words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8", errors="replace")))
        lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
        names = [name for line in lines for name in re.findall(r"^[\w.-]+", line)]
        self.add(name for name in names if (about := installed(name)) and modules_of(about) & words)


def ram_folder() -> Path | None:
    """A folder of this machine in memory (tmpfs), where programs may be run; None if there is none."""
    candidates = ["/dev/shm", os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"]
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "tmpfs" and place in candidates and not {"noexec", "ro"} & set(options.split(",")):
            enough = shutil.disk_usage(place).free > 3 << 30
            if enough and os.access(place, os.W_OK):
                return Path(place)
    return None


@contextlib.contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder. Those that a killed process left behind, and nobody has locked, are removed."""
    for lock_path in parent.glob(f"{PREFIX}*.lock"):
        with contextlib.suppress(Timeout, OSError), FileLock(lock_path, timeout=0):
            shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
            lock_path.unlink()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock_path = folder.with_name(f"{folder.name}.lock")
    with FileLock(lock_path):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock_path.unlink(missing_ok=True)
