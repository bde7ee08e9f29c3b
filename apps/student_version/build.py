"""Build the students' repository from this one, the solved one.

    python scripts/make_student_version.py --out student/
    python scripts/make_student_version.py --out student/ --with_data mnist
    python scripts/make_student_version.py --out student/ --with_discrete     # with part 6, discrete codes

Each answer in submission.py, between `# BEGIN SOLUTION n` and `# END SOLUTION n`, is replaced by a TODO and a
`NotImplementedError`. The files of `SHIPPED` and `SHIPPED_FOLDERS` are copied unchanged; a new file elsewhere
is not shipped until it is listed. The build fails if a shipped file contains a line of a solution, computes a
piece of one in another way (`leaks.py`), or imports a module of the lab that is not shipped. `manifest.json`
has the sha256 of every file without blanks.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from apps.student_version.blanks import BLANKS, DISCRETE_BLANKS, find_blocks, without_solutions
from apps.student_version.leaks import check_no_piece
from vaelab.cli import LabError, Parser
from vaelab.files import make_folder, read_json, write_file, write_json
from vaelab.language import _

REPO = Path(__file__).resolve().parents[2]

LAB = "VAE Lab, the students' version"  # identifies a manifest.json that this module wrote
IMPORT_FOLDERS = ("", "tests", "tests/unit")  # from which Python files are imported
LINK = re.compile(r"(\[([^\]]+)\]\(([\w.]+\.md)\))")  # from a document to another one
MIN_LINE = 15  # characters: a shorter line of code is not specific to a solution

# The files that training, inference, grading, the self-check and the students' own tests need.
SHIPPED = [
    *(".gitignore", "LICENSE", "pyproject.toml", "requirements.txt", "requirements/test.txt"),
    *(
        "requirements/playground.txt",
        "requirements/docs.txt",
        "requirements/sweep.txt",
    ),  # test.txt names them
    *("dataset/README.md", "notebooks/lab.ipynb"),
    *("model.py", "data_utils.py", "trainer.py", "train.py", "inference.py", "grade.py", "check.py"),
    *("playground.py", "scripts/install.sh", "scripts/quickstart.sh"),
    *("tests/conftest.py", "tests/unit/test_submission.py", "tests/unit/test_metrics.py"),
]
# All Python files and templates of these folders, except those in `EXCLUDED`.
SHIPPED_FOLDERS = ["vaelab", "apps/report", "apps/selfcheck", "apps/playground"]
# Part 6 of the handout, shipped with --with_discrete.
DISCRETE_SOURCE = "beyond/discrete/discrete.py"
DISCRETE_CHECKS = ["apps/selfcheck/discrete.py", "vaelab/checks/discrete_checks.py"]
DISCRETE = [*DISCRETE_CHECKS, "docs/discrete.md", "docs/discrete.zh.md"]
# likelihood.py has functions that are answers of blank 2.3.
EXCLUDED = ["vaelab/sweep_results.py", "vaelab/metrics/likelihood.py", *DISCRETE_CHECKS]
# Shipped if they exist.
OPTIONAL = [
    *("docs/handout.md", "docs/handout.zh.md", "docs/figures/*.png", "docs/gallery/*"),
    *("locale/*/LC_MESSAGES/*.mo", "notebooks/lab.*.ipynb"),
    *("docs/answers*", "docs/code_tour*", "docs/figures/ideas.py", "docs/figures/rate_distortion.csv"),
]
RENAMED = {"scripts/student_readme.md": "README.md", "scripts/student_readme.zh.md": "README.zh.md"}


# --- Checks of the built folder -----------------------------------------------------------------


def code_of(line: str) -> str:
    """A line of code without its comment and with single spaces."""
    return " ".join(re.sub(r"(^|\s+)#.*", "", line).split())


def check_no_solution(folder: Path, text: str) -> None:
    """Search all text files for lines of the solutions. Raises: LabError that names the first one found."""
    lines = text.splitlines()
    solutions = {}
    for block in find_blocks(lines):
        for line in lines[block.start + 1 : block.end - 1]:
            if len(code_of(line)) >= MIN_LINE:
                solutions[code_of(line)] = block.number
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".md", ".sh", ".ipynb")):
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            spaced = " ".join(line.split())
            for code, number in solutions.items():
                if code in spaced:
                    place = f"{path.relative_to(folder)} line {i + 1}"
                    raise LabError(
                        "{place} contains a line of SOLUTION {number}: '{code}'",
                        place=place,
                        number=number,
                        code=code,
                    )


def module_file(root: Path, name: str) -> Path | None:
    """The file of a module of the lab or of its tests; None if there is none. root: the repository."""
    for folder in IMPORT_FOLDERS:
        path = root.joinpath(folder, *name.split("."))
        for candidate in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def lab_imports(path: Path) -> Iterator[tuple[str, int]]:
    """(name, line) of each import of a module of the lab in a Python file, inside functions too.

    Imports inside an `if` are left out: they are of modules that not every version of the lab has.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    conditional = {id(node) for branch in branches for node in ast.walk(branch)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if id(node) not in conditional and module_file(REPO, name):
                yield name, node.lineno


def check_imports(folder: Path) -> None:
    """Raise LabError if a file of the students' version imports a module that is not shipped."""
    for path in sorted(folder.rglob("*.py")):
        for name, line in lab_imports(path):
            if not module_file(folder, name):
                raise LabError(
                    "{path} line {line} imports {name}, which is not shipped: add it to SHIPPED or "
                    "SHIPPED_FOLDERS in {build}, or remove the import",
                    path=path.relative_to(folder),
                    line=line,
                    name=name,
                    build=Path(__file__).name,
                )


# --- The folder ---------------------------------------------------------------------------------


def check_out(out: Path, overwrite: bool) -> None:
    """Raise LabError if the students' version must not be written to `out`."""
    if out.is_relative_to(REPO):
        command = ["git", "-C", str(REPO), "check-ignore", "--quiet", str(out / "manifest.json")]
        ignored = shutil.which("git") and subprocess.run(command, capture_output=True, check=False).returncode
        if out == REPO or ignored == 1:  # 1: not ignored; 128: not a git repository
            raise LabError(
                "{out} is inside the lab's repository: name a folder outside of it, or one that git ignores",
                out=out,
            )
    if not out.exists():
        return
    if not out.is_dir():
        raise LabError("{out} is a file: name a folder", out=out)
    if any(out.iterdir()):
        if not overwrite:
            raise LabError("{out} is not empty: name another folder, or replace it with --overwrite", out=out)
        if not (out / "manifest.json").is_file() or read_json(out / "manifest.json").get("lab") != LAB:
            raise LabError("{out} has no manifest.json of a students' version: it is not replaced", out=out)


def files_to_ship() -> dict[str, Path]:
    """The path of each file in the students' version, and its source. Raises: LabError if one is missing."""
    folders = [
        str(path.relative_to(REPO))
        for folder in SHIPPED_FOLDERS
        for pattern in ("*.py", "*.html", "*.css", "*.js")
        for path in (REPO / folder).rglob(pattern)
    ]
    names = {*SHIPPED, *folders, "apps/__init__.py"} - set(EXCLUDED)
    files = {name: REPO / name for name in sorted(names)}
    files |= {
        str(path.relative_to(REPO)): path
        for pattern in OPTIONAL
        for path in REPO.glob(pattern)
        if path.is_file()
    }
    files |= {name: REPO / source for source, name in RENAMED.items()}
    for path in files.values():
        if not path.is_file():
            raise LabError("there is no {path}, which the students' version needs", path=path)
    return files


def prepared_data(dataset: str) -> dict[str, Path]:
    """The prepared splits train and valid. Raises: LabError if they are not in the working folder."""
    files = {
        name: Path.cwd() / name for name in (f"dataset/{dataset}/{split}.npz" for split in ("train", "valid"))
    }
    for name, path in files.items():
        if not path.is_file():
            raise LabError(
                "there is no {name}: python data_utils.py --dataset {dataset} makes it",
                name=name,
                dataset=dataset,
            )
    return files


def remove_broken_links(folder: Path) -> None:
    """Replace the handout's links to documents that are not shipped, as part 6, by their text."""
    for path in folder.glob("docs/handout*.md"):
        text = path.read_text(encoding="utf-8")
        for link, words, document in set(LINK.findall(text)):
            if not (path.parent / document).exists():
                text = text.replace(link, words)
        write_file(path, text)


def build(folder: Path, dataset: str | None, with_discrete: bool = False) -> int:
    """Write the students' version into an empty folder. Returns: the number of its files."""
    files = files_to_ship() | (prepared_data(dataset) if dataset else {})
    files |= {name: REPO / name for name in DISCRETE if with_discrete}
    for name, source in files.items():
        make_folder((folder / name).parent)
        shutil.copy(source, folder / name)
    remove_broken_links(folder)
    solved = (REPO / "submission.py").read_text(encoding="utf-8")
    write_file(folder / "submission.py", without_solutions(solved))
    discrete = (REPO / DISCRETE_SOURCE).read_text(encoding="utf-8")
    if with_discrete:
        write_file(folder / "discrete.py", without_solutions(discrete, DISCRETE_BLANKS, "discrete.py"))
    check_no_solution(folder, solved)
    check_no_solution(folder, discrete)
    check_no_piece(folder, solved)
    check_imports(folder)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(files)}
    write_json(folder / "manifest.json", {"lab": LAB, "files": hashes})
    return len(files) + 2 + with_discrete


def main(argv: Sequence[str] | None = None) -> None:
    """Build in a temporary folder beside `--out`, then move it there."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="the folder to create")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier students' version there")
    parser.add_argument(
        "--with_data",
        metavar="DATASET",
        choices=("mnist", "fashion", "kmnist", "digits"),
        help="also include dataset/DATASET/train.npz and valid.npz, as prepared in the working folder",
    )
    parser.add_argument(
        "--with_discrete",
        action="store_true",
        help="also include part 6, discrete codes, which is optional: its text, discrete.py, its checks",
    )
    args = parser.parse_args(argv)
    out = args.out.resolve()
    check_out(out, args.overwrite)
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=".student-", dir=out.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        n = build(new, args.with_data, args.with_discrete)
        if out.exists():
            out.rename(old)
        new.rename(out)
    print(_("wrote {n} files to {out}; manifest.json lists those without blanks", n=n, out=args.out))
    print(_("submission.py has {count} blanks", count=len(BLANKS)))
    if args.with_discrete:
        print(_("discrete.py has {count} blanks", count=len(DISCRETE_BLANKS)))
