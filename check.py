"""Check submission.py, blank by blank, and explain the first mistake.

    python check.py          # seconds: after every change
    python check.py --full   # minutes: also trains both models for a minute each and estimates the grade

It stops at the first check that fails, with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vaelab.cli import Parser, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option

FOLDER = Path(__file__).resolve().parent


def discrete_file(folder: Path) -> Path | None:
    """The file with the blanks of part 6, if this version of the lab has it."""
    candidates = (folder / "discrete.py", folder / "beyond" / "discrete" / "discrete.py")
    return next((path for path in candidates if path.is_file()), None)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also train both models and estimate the grade")
    parser.add_argument(
        "--seconds",
        type=number(float, 0, exclusive=True),
        default=60,
        help="training time of each model with --full; the expected scores are those of a minute "
        "(default: 60)",
    )
    if discrete_file(FOLDER):  # staff choose whether students get it
        parser.add_argument(
            "--discrete",
            action="store_true",
            default=False,
            help="check the blanks of part 6, discrete codes, in discrete.py instead",
        )
    add_dataset_option(parser)
    add_data_dir_option(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the checks."""
    args = parse_args(argv)
    from apps.selfcheck.runner import TrialSettings, self_check  # here: --help needs no torch

    if getattr(args, "discrete", False):
        from apps.selfcheck.discrete import discrete_check

        sys.exit(0 if discrete_check(discrete_file(FOLDER)) else 1)
    trial = TrialSettings(args.seconds, args.dataset, args.data_dir) if args.full else None
    if not self_check(FOLDER, trial):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
