"""Build the zip file of an autograder for Gradescope: setup.sh, run_autograder, the lab, and one split.

    python scripts/make_gradescope.py --out autograder.zip --split test

Gradescope unpacks it as /autograder/source, puts the student's files into /autograder/submission, and reads
/autograder/results/results.json: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from vaelab.cli import LabError, Parser
from vaelab.data.options import DATASETS, add_data_dir_option, add_split_option
from vaelab.files import write_file

REPO = Path(__file__).resolve().parents[2]
FILES = ("autograde.py", "model.py", "requirements.txt", "scripts/gradescope.py")
# The lab's files beside autograde.py that a submission must not change.
PROTECTED = ("trainer.py", "train.py", "inference.py", "grade.py", "check.py", "data_utils.py")
FOLDERS = ("vaelab", "apps/autograde", "apps/__init__.py")

SETUP = """#!/usr/bin/env bash
# Runs once, as root, when Gradescope builds the autograder's image.
set -euo pipefail
apt-get update --quiet=2
python=python3
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  python=python3.11  # Ubuntu 22.04, Gradescope's default, has 3.10, and this in its universe
fi
apt-get install --yes --quiet=2 --no-install-recommends $python $python-venv bubblewrap libseccomp2
$python -m venv /autograder/venv
/autograder/venv/bin/pip install --quiet torch=={torch} --index-url https://download.pytorch.org/whl/cpu
grep -v '^torch' /autograder/source/requirements.txt >/tmp/requirements.txt
/autograder/venv/bin/pip install --quiet -r /tmp/requirements.txt
"""
RUN = """#!/usr/bin/env bash
# Runs for each submission, as root. AUTOGRADER: another place than /autograder, to try it.
root=${{AUTOGRADER:-/autograder}}
python=${{PYTHON:-$root/venv/bin/python}}
cd "$root/source" || exit 1
chmod -R go-rwx dataset
exec "$python" scripts/gradescope.py --root "$root" --dataset {dataset} --split {split}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the zip file."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default="autograder.zip", help="(default: autograder.zip)")
    parser.add_argument(
        "--dataset",
        choices=[name for name in DATASETS if name != "auto"],
        default="mnist",
        help="the data to grade on (default: mnist)",
    )
    add_split_option(parser, "test", "the images to grade on")
    add_data_dir_option(parser)
    args = parser.parse_args(argv)
    from data_utils import MNISTDataset  # here: --help needs no torch
    from vaelab.data.splits import prepare, split_path
    from vaelab.metrics.classifier import load_classifier

    dataset, source = prepare(args.dataset, args.data_dir, ["train", args.split])
    splits = {f"dataset/{dataset}/{name}.npz": split_path(dataset, name) for name in ("train", args.split)}
    load_classifier(MNISTDataset("train", dataset, args.data_dir))  # else each container would train one
    splits[f"dataset/{dataset}/classifier.pt"] = split_path(dataset, "train").with_name("classifier.pt")
    write_file(args.out, build(splits, dataset, args.split))
    print(f"wrote {args.out}, to grade on the {args.split} split of {source}")


def build(splits: dict[str, Path], dataset: str, split: str) -> bytes:
    """The zip file's content. splits: path in it to file. Raises: LabError if torch is not pinned."""
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    torch = [line.removeprefix("torch==") for line in lines if line.startswith("torch==")]
    if len(torch) != 1:
        raise LabError("requirements.txt should pin torch in one line")
    files = {name: REPO / name for name in (*FILES, *PROTECTED)} | splits
    for folder in FOLDERS:
        paths = [REPO / folder] if (REPO / folder).is_file() else (REPO / folder).rglob("*")
        files |= {
            path.relative_to(REPO).as_posix(): path
            for path in paths
            if path.is_file() and "__pycache__" not in path.parts
        }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            archive.write(path, name)
        for name, text in (
            ("setup.sh", SETUP.format(torch=torch[0])),
            ("run_autograder", RUN.format(dataset=dataset, split=split)),
        ):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16
            archive.writestr(info, text)
    return buffer.getvalue()
