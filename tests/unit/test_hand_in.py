"""What a hand-in consists of: `submission.py` is found as a person would, whatever the layout."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vaelab import hand_in
from vaelab.cli import LabError
from vaelab.hand_in import HandIn, fingerprint, make_zip, stage

FILES = {"submission.py": b"import model", "VAE0label.pt": b"vae", "Genwithlabel.pt": b"gen"}


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def staged(path: Path | dict[str, Path], to: Path) -> tuple[HandIn, dict[str, bytes]]:
    """The result of `stage`, and the files that it copied."""
    to.mkdir()
    found = stage(path, to)
    files = [file for file in to.rglob("*") if file.is_file()]
    return found, {file.relative_to(to).as_posix(): file.read_bytes() for file in files}


def below(folder: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


LAYOUTS = {
    "at the top": FILES,
    "in a folder": below("lab"),
    "two folders deep": below("lab/solution"),
    "a .DS_Store beside the folder": below("lab") | {".DS_Store": b"", "__MACOSX/lab/._submission.py": b"x"},
    "a report beside the folder": below("lab") | {"report.pdf": b"%PDF"},
    "Submission.py": {
        "Submission.py": FILES["submission.py"],
        "vae0label.pt": b"vae",
        "Genwithlabel.PT": b"gen",
    },
    "a zip file inside": {"lab.zip": zip_bytes(below("lab"))},
    "a zip file in a zip file": {"x/outer.zip": zip_bytes({"inner.ZIP": zip_bytes(FILES)})},
    "the checkpoints packed": {
        "submission.py": FILES["submission.py"],
        "weights.zip": zip_bytes({name: FILES[name] for name in ("VAE0label.pt", "Genwithlabel.pt")}),
    },
    "a folder in which it was trained": {
        "submission.py": FILES["submission.py"],
        "outputs/VAE0label/best.pt": b"vae",
        "outputs/Genwithlabel/best.pt": b"gen",
        "outputs/Genwithlabel/last.pt": b"not this",
    },
    "checkpoints elsewhere": {
        "code/submission.py": FILES["submission.py"],
        "weights/VAE0label/best.pt": b"vae",
        "weights/Genwithlabel.pt": b"gen",
    },
    "a copy by the browser": {"submission (1).py": FILES["submission.py"], "VAEOlabel.pt": b"vae"}
    | {"Genwithlabel.pt": b"gen"},
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz", "tar.xz", "moodle"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_files(tmp_path: Path, name: str, kind: str) -> None:
    files = LAYOUTS[name]
    path = tmp_path / f"hand-in.{kind}"
    if kind == "folder":
        write_folder(path, files)
    elif kind == "zip":
        path.write_bytes(zip_bytes(files))
    elif kind == "moodle":
        path = tmp_path / "Ann Lee_123_assignsubmission_file"
        write_folder(path, {"lab.zip": zip_bytes(files)})
    else:
        write_tar(path, files, f"w:{kind[4:]}")
    found, copied = staged(path, tmp_path / "to")
    assert copied == FILES
    assert found.taken.keys() == FILES.keys()
    for inner in (tmp_path / "to").iterdir():
        assert inner.stat().st_mode & 0o777 == 0o644


def test_modules_in_folders_are_taken_and_the_lab_is_not(tmp_path: Path) -> None:
    files = FILES | {
        "layers/conv.py": b"a",
        "layers/__init__.py": b"",
        "vaelab/tasks.py": b"x",
        "tests/t.py": b"",
    }
    files |= {"layers/__pycache__/conv.py": b"", ".git/hook.py": b"", "notes.txt": b"", "Model.py": b"m"}
    found, copied = staged(write_folder(tmp_path / "ann", below("lab", files)), tmp_path / "to")
    assert copied == FILES | {"layers/conv.py": b"a", "layers/__init__.py": b"", "model.py": b"m"}
    assert found.where == "lab"
    assert sorted(found.left) == ["lab/notes.txt", "lab/tests/t.py", "lab/vaelab/tasks.py"]
    line = found.describe()
    assert "submission.py found in lab; taken: Genwithlabel.pt, VAE0label.pt, layers/__init__.py" in line
    assert "left: lab/notes.txt" in line
    before = fingerprint(tmp_path / "to")
    (tmp_path / "to/layers/conv.py").write_bytes(b"b")
    assert fingerprint(tmp_path / "to") != before


def test_the_nearest_one_is_taken_and_it_is_said(tmp_path: Path) -> None:
    files = below("lab") | below("lab/old", {"submission.py": b"old", "VAE0label.pt": b"old"})
    found, copied = staged(write_folder(tmp_path / "ann", files), tmp_path / "to")
    assert copied["submission.py"] == FILES["submission.py"]
    assert copied["VAE0label.pt"] == b"vae"
    assert "lab/submission.py was taken, of 2 files of this name" in found.describe()


def test_what_cannot_be_told_apart_is_not_guessed(tmp_path: Path) -> None:
    two = {"a/submission.py": b"1", "b/submission.py": b"2"}
    with pytest.raises(LabError, match=r"several submission\.py \(a/submission\.py, b/submission\.py\)"):
        staged(write_folder(tmp_path / "ann", two), tmp_path / "1")
    found, copied = staged(write_folder(tmp_path / "ann", {"b/VAE0label.pt": b"vae"}), tmp_path / "2")
    assert (copied["submission.py"], found.where) == (b"2", "b")  # the one with a checkpoint
    more = {"c/best/Genwithlabel.pt": b"1", "c/last/Genwithlabel.pt": b"2"}
    found, copied = staged(write_folder(tmp_path / "ann", more), tmp_path / "3")
    assert "Genwithlabel.pt" not in copied
    assert "several files could be Genwithlabel.pt (c/best/Genwithlabel.pt, c/last" in found.describe()


def test_without_submission_py_it_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    found, copied = staged(tmp_path / "report.pdf", tmp_path / "to")
    assert copied == {}
    assert found.describe() == "left: report.pdf; there is no submission.py (found: report.pdf)"
    (tmp_path / "none").mkdir()
    assert staged(tmp_path / "none", tmp_path / "2")[0].describe() == "there is no submission.py"


def test_an_unknown_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "lab.rar").write_bytes(b"Rar!")
    found, _ = staged({"lab.rar": tmp_path / "lab.rar"}, tmp_path / "to")
    assert "of archives, only .zip, .tar, .tgz" in found.describe()


def test_loose_files_are_a_hand_in(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "canvas", FILES)
    _, copied = staged({path.name: path for path in folder.iterdir()}, tmp_path / "to")
    assert copied == FILES


def damaged(path: Path) -> None:
    path.with_suffix(".zip").write_bytes(b"PK\3\4 broken")


def truncated_tar(path: Path) -> None:
    target = write_tar(path.with_suffix(".tgz"), {"submission.py": os.urandom(50_000)})
    target.write_bytes(target.read_bytes()[:20_000])


def link_in_tar(path: Path) -> None:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        info = tarfile.TarInfo("submission.py")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)


def bomb(path: Path) -> None:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        info = tarfile.TarInfo("zeros.bin")
        info.size = 2_000_001
        archive.addfile(info, io.BytesIO(bytes(info.size)))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (damaged, "damaged, or not a zip file"),
        (truncated_tar, "damaged, or not a tar archive|can't be read"),
        (link_in_tar, "submission.py is not a regular file"),
        (bomb, "is larger than 1 MB when it is unpacked"),
        (
            lambda path: path.with_suffix(".rar").write_bytes(b"Rar!"),
            "an archive of another kind: expected a",
        ),
        (
            lambda path: write_tar(path.with_suffix(".tgz"), {"../x.py": b""}),
            "a path outside of it: '../x.py'",
        ),
        (lambda path: write_tar(path.with_suffix(".tgz"), {"/x.py": b""}), "a path outside of it"),
        (lambda path: path.with_suffix(".zip").write_bytes(zip_bytes({"C:\\x.py": b""})), "outside of it"),
        (lambda path: os.mkfifo(path.with_suffix(".zip")), "is not a regular file"),
        (
            lambda path: write_folder(path, {"a.py": b""}).joinpath("submission.py").symlink_to("a.py"),
            "a link",
        ),
        (lambda path: path.symlink_to("/etc"), "is a link"),
        (lambda path: write_folder(path, {"submission.py": b"x" * 2000}), "is larger than 0 MB"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object], says: str
) -> None:
    monkeypatch.setattr("vaelab.archives.MAX_UNPACKED", 1 << 20)
    monkeypatch.setattr(hand_in, "MAX_BYTES", 1000)
    (tmp_path / "class").mkdir()
    write(tmp_path / "class" / "ann")
    (entry,) = (tmp_path / "class").iterdir()
    with pytest.raises(LabError, match=says):
        staged(entry, tmp_path / "to")


def test_backslashes_of_windows_are_folders(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({f"lab\\{name}": content for name, content in FILES.items()}))
    assert staged(path, tmp_path / "to")[1] == FILES


def test_the_zip_that_is_handed_in_holds_what_is_graded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "lab", LAYOUTS["a folder in which it was trained"] | {"train.log": b"x"})
    made = make_zip(folder, tmp_path / "hand_in.zip")
    assert made.taken["VAE0label.pt"] == "outputs/VAE0label/best.pt"
    assert staged(tmp_path / "hand_in.zip", tmp_path / "to")[1] == FILES
