"""Build the students' repository from this one, the solved one.

    python scripts/make_student_version.py --out student/
    python scripts/make_student_version.py --out student/ --with_data mnist

Answers to the blanks of submission.py stand between `# BEGIN SOLUTION n` and `# END SOLUTION n`. Those of
parts 2 and 3 become a TODO and a `NotImplementedError`; part 4, beyond the lab, is left out. The other files
of `SHIPPED` are copied as they are, and nothing else: what is new in this repository stays here until it is
listed. `manifest.json` holds the sha256 of every file but submission.py, which is the student's.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from common import LabError, Parser, make_folder, read_json, run, write_file, write_json  # noqa: E402

HANDOUT = "docs/handout.md"
LAB = "VAE Lab, the students' version"  # how a manifest of ours is known


class Blank(NamedTuple):
    """A blank of submission.py. Its number is its part of the handout."""

    name: str
    task: str  # what is to be made, with its shapes


BLANKS = {
    "2.2.1": Blank(
        "the layers",
        "make self.encoder, images [B, 28, 28] to 2 d numbers [B, 2 d], and self.decoder, codes [B, d] to "
        "images [B, 28, 28] in [0, 1]; d is latent_dim. Begin with the layers of DemoVAE in model.py; "
        "ARCHITECTURES there holds an encoder and a decoder for each --arch.",
    ),
    "2.2.2": Blank(
        "encode",
        "the encoder's 2 d numbers, taken apart. x: [B, 28, 28]. Return (mu, logvar), each [B, d], any real "
        "numbers.",
    ),
    "2.2.3": Blank("decode", "z: [B, d]. Return images [B, 28, 28] in [0, 1]."),
    "2.2.4": Blank(
        "forward",
        "call self.encode, draw z [B, d] by the reparameterization trick in train mode (self.training), take "
        "the mean in eval mode, call self.decode. Hand labels on to both: part 3 needs them there. Return "
        "(recon [B, 28, 28], mu [B, d], logvar [B, d]).",
    ),
    "2.3": Blank(
        "vae_loss",
        "the two terms of the loss above, each a scalar []: sums over pixels and latents, means over the "
        "batch. Return (loss, recon_term, kl_term).",
    ),
    "3.1": Blank(
        "the conditional layers",
        "make self.encoder and self.decoder anew, with room for a vector [B, label_dim] beside the input of "
        "each (cond_dim in model.py), and what turns labels [B] into such a vector.",
    ),
    "3.2": Blank(
        "encode with labels",
        "as 2.2.2, from the image and its label. x: [B, 28, 28]; labels: [B]. Return (mu, logvar), each "
        "[B, d].",
    ),
    "3.3": Blank(
        "decode with labels",
        "as 2.2.3, from the code and its label. z: [B, d]; labels: [B]. Return images [B, 28, 28] in [0, 1].",
    ),
}

# What students get: all that the main job, the self-check and their own tests need.
SHIPPED = [
    *(".gitignore", "LICENSE", "pyproject.toml", "requirements.txt", "requirements-test.txt"),
    *("requirements-playground.txt", "playground.py", "answers.py", "play.py"),
    *("train.py", "inference.py", "grade.py", "check.py", "rungs.py", "probes.py", "mistakes.py"),
    *("options.py", "runs.py", "trainer.py", "watch.py", "distributed.py", "checkpoint.py", "steps.py"),
    *("model.py", "metrics.py", "classifier.py", "data_utils.py", "data_sources.py", "common.py"),
    *("report.py", "gains.py", "charts.py", "templates/report.html", "dataset/README.md"),
    *("scripts/install.sh", "scripts/quickstart.sh", "notebooks/lab.ipynb"),
    *("tests/conftest.py", "tests/test_submission.py", "tests/test_metrics.py"),
]
# Copied where they are there.
OPTIONAL = ["docs/handout.md", "docs/handout.zh.md", "docs/figures/*.png", "docs/gallery/*"]
RENAMED = {"scripts/student_readme.md": "README.md", "scripts/student_readme.zh.md": "README.zh.md"}

MARKER = re.compile(r"(?P<indent> *)# (?P<kind>BEGIN|END) SOLUTION (?P<number>\d+(\.\d+)+)")
LIKE_A_MARKER = re.compile(r"^\s*#.*\b(BEGIN|END)\b.*\bSOLUTION", re.IGNORECASE)
TRIVIAL = 15  # characters: a shorter line of code says nothing of a solution


# --- The blanks ---------------------------------------------------------------------------------


class Block(NamedTuple):
    """One solution: lines [start, end) of the file, its two markers included."""

    number: str
    indent: str
    start: int
    end: int


def find_blocks(lines: list[str], name: str = "submission.py") -> list[Block]:
    """The solution blocks of a file's lines. Raises: LabError that names the line of a bad marker."""
    blocks, opened = [], None
    for i, line in enumerate(lines):
        if not LIKE_A_MARKER.match(line):
            continue
        marker, place = MARKER.fullmatch(line), f"{name} line {i + 1}"
        if not marker:
            raise LabError(f"{place}: '{line.strip()}' is no marker: write '# BEGIN SOLUTION 2.2.1', or END")
        number = marker["number"]
        if marker["kind"] == "END":
            if opened is None or opened[0] != number:
                raise LabError(f"{place}: END SOLUTION {number} without its BEGIN")
            blocks.append(Block(number, marker["indent"], opened[1], i + 1))
            opened = None
            continue
        if opened is not None:
            raise LabError(
                f"{place}: SOLUTION {number} begins inside SOLUTION {opened[0]}: they can't be nested"
            )
        if number not in BLANKS and not number.startswith("4."):
            raise LabError(
                f"{place}: unknown SOLUTION {number}: BLANKS in {Path(__file__).name} describes it"
            )
        if number in [block.number for block in blocks]:
            raise LabError(f"{place}: SOLUTION {number} is there twice")
        opened = number, i
    if opened is not None:
        raise LabError(f"{name} line {opened[1] + 1}: SOLUTION {opened[0]} has no END")
    return blocks


def blank_lines(number: str, indent: str) -> list[str]:
    """What stands in the place of a solution: the task as a comment, and the error that names it."""
    blank = BLANKS[number]
    text, lines = f"TODO {number}: {blank.task} See part {number} of {HANDOUT}.", []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= 105:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}# {word}")
    message = f"{number} {blank.name}: see part {number} of {HANDOUT}"
    return [*lines, f'{indent}raise NotImplementedError("{message}")']


def without_solutions(text: str) -> str:
    """The students' submission.py. Raises: LabError for bad markers, or a blank that has no solution."""
    lines = text.splitlines()
    blocks = find_blocks(lines)
    missing = BLANKS.keys() - {block.number for block in blocks}
    if missing:
        raise LabError(f"submission.py has no SOLUTION {', '.join(sorted(missing))}")
    for block in reversed(blocks):
        start = block.start
        if block.number in BLANKS:
            lines[start : block.end] = blank_lines(block.number, block.indent)
            continue
        while not lines[start - 1] and not lines[block.end]:  # the space around what is left out goes with it
            start -= 1
        del lines[start : block.end]
    return "\n".join(lines) + "\n"


def code_of(line: str) -> str:
    """A line of code without its comment, and with single spaces."""
    return " ".join(re.sub(r"(^|\s+)#.*", "", line).split())


def check_no_solution(folder: Path, text: str) -> None:
    """Search every text file for every line of a solution. Raises: LabError that names the first found."""
    lines = text.splitlines()
    solutions = {}
    for block in find_blocks(lines):
        for line in lines[block.start + 1 : block.end - 1]:
            if len(code_of(line)) >= TRIVIAL:
                solutions[code_of(line)] = block.number
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".md", ".sh", ".ipynb")):
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            spaced = " ".join(line.split())
            for code, number in solutions.items():
                if code in spaced:
                    raise LabError(
                        f"{path.relative_to(folder)} line {i + 1} holds a line of SOLUTION {number}: '{code}'"
                    )


# --- The folder ---------------------------------------------------------------------------------


def check_out(out: Path, overwrite: bool) -> None:
    """Raises: LabError if the students' version must not be written to `out`."""
    if out.is_relative_to(REPO):
        command = ["git", "-C", str(REPO), "check-ignore", "--quiet", str(out / "manifest.json")]
        ignored = shutil.which("git") and subprocess.run(command, capture_output=True, check=False).returncode
        if out == REPO or ignored == 1:  # 128: this is no git repository
            raise LabError(
                f"{out} lies in the lab's own repository: name a folder outside, or one git ignores"
            )
    if not out.exists():
        return
    if not out.is_dir():
        raise LabError(f"{out} is a file: name a folder")
    if any(out.iterdir()):
        if not overwrite:
            raise LabError(f"{out} isn't empty: name another folder, or replace it with --overwrite")
        if not (out / "manifest.json").is_file() or read_json(out / "manifest.json").get("lab") != LAB:
            raise LabError(f"{out} holds no manifest.json of this lab: it is not replaced")


def files_to_ship() -> dict[str, Path]:
    """Path in the students' version to the file here. Raises: LabError if one is missing."""
    files = {name: REPO / name for name in SHIPPED}
    files |= {
        str(path.relative_to(REPO)): path
        for pattern in OPTIONAL
        for path in REPO.glob(pattern)
        if path.is_file()
    }
    files |= {name: REPO / source for source, name in RENAMED.items()}
    for path in files.values():
        if not path.is_file():
            raise LabError(f"there is no {path}, which students need")
    return files


def prepared_data(dataset: str) -> dict[str, Path]:
    """The prepared splits that students may see. Raises: LabError if they are not prepared here."""
    files = {
        name: Path.cwd() / name for name in (f"dataset/{dataset}/{split}.npz" for split in ("train", "valid"))
    }
    for name, path in files.items():
        if not path.is_file():
            raise LabError(f"there is no {name}: python data_utils.py --dataset {dataset} makes it")
    return files


def build(folder: Path, dataset: str | None) -> int:
    """Write the students' version into an empty folder. Returns: the number of its files."""
    files = files_to_ship() | (prepared_data(dataset) if dataset else {})
    for name, source in files.items():
        make_folder((folder / name).parent)
        shutil.copy(source, folder / name)
    solved = (REPO / "submission.py").read_text(encoding="utf-8")
    write_file(folder / "submission.py", without_solutions(solved))
    check_no_solution(folder, solved)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(files)}
    write_json(folder / "manifest.json", {"lab": LAB, "files": hashes})
    return len(files) + 2


def main() -> None:
    """Build beside the place it goes to, and move it there."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier students' version there")
    parser.add_argument(
        "--with_data",
        metavar="DATASET",
        choices=("mnist", "fashion", "kmnist", "digits"),
        help="hand out dataset/DATASET/train.npz and valid.npz too, as prepared in the working folder",
    )
    args = parser.parse_args()
    out = args.out.resolve()
    check_out(out, args.overwrite)
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=".student-", dir=out.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        n = build(new, args.with_data)
        if out.exists():
            out.rename(old)
        new.rename(out)
    print(
        f"wrote {n} files to {args.out}: submission.py has {len(BLANKS)} blanks, the rest is in manifest.json"
    )


if __name__ == "__main__":
    run(main)
