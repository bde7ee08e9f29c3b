"""Grades one submission inside Gradescope's container.

Where the container can't make sandboxes, the code runs as a user without rights (`--sandbox user`): the test
images and the results are then protected by their permissions. A failure of this program itself is reported
as such, and never as a zero without a reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from vaelab.cli import LabError, Parser
from vaelab.files import make_folder, write_json


def main(argv: Sequence[str] | None = None) -> None:
    """Grade ROOT/submission."""
    parser = Parser(description=__doc__)
    parser.add_argument("--root", type=Path, default="/autograder", help="(default: /autograder)")
    parser.add_argument("--dataset", default="mnist", help="the data to grade on (default: mnist)")
    parser.add_argument("--split", default="test", help="the images to grade on (default: test)")
    args = parser.parse_args(argv)
    from apps.autograde.command import main as autograde  # here: --help needs no torch
    from apps.autograde.exports import results_json
    from apps.autograde.gradebook import Gradebook
    from apps.autograde.sandbox import sandbox_problem

    results = make_folder(args.root / "results") / "results.json"
    sandbox = "bubblewrap" if sandbox_problem() is None else "user"
    with tempfile.TemporaryDirectory(prefix="grades-") as folder:
        Path(folder).chmod(0o711)  # the sandbox's user passes through it
        options = ["--dataset", args.dataset, "--split", args.split, "--output_dir", folder, "--jobs", "1"]
        try:
            autograde([str(args.root / "submission"), *options, "--sandbox", sandbox, "--single"])
            book = Gradebook(Path(folder))
            record = book.load("submission")
            write_json(results, results_json(record, with_record=False))
        except LabError as error:
            write_json(results, {"score": 0, "output": f"The autograder failed, not your code: {error}"})
            raise
