"""Check submission.py, blank by blank, and explain the first mistake.

    python check.py          # after every change: seconds for the first blanks, up to a minute for all
    python check.py --full   # minutes: also trains both models for 800 steps each and estimates the grade

It stops at the first check that fails, with exit code 1. A trial training that takes longer than --seconds is
called too slow to judge, which is no failure.

    python check.py --hand_in   # writes hand_in.zip and tries it in an empty folder, as the grader will
    python check.py --derivation 0.2    # values that the formula of an exercise should give
    python check.py --derivation 0.2 --formula "log(s2 / s1) + ..."     # compares your formula with them
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vaelab.cli import Parser, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.language import _

FOLDER = Path(__file__).resolve().parent
EXERCISES = ("0.2", "0.3", "1.1", "1.4", "1.5", "5.2")  # of --derivation


def discrete_file(folder: Path) -> Path | None:
    """The file with the blanks of part 6, if this version of the lab has it."""
    candidates = (folder / "discrete.py", folder / "beyond" / "discrete" / "discrete.py")
    return next((path for path in candidates if path.is_file()), None)


def exercise(text: str) -> str:
    """The number of an exercise that has a formula, for `argparse`. Raises: ArgumentTypeError."""
    if text in EXERCISES:
        return text
    raise argparse.ArgumentTypeError(
        _(
            "{number} has no formula to compare; those that have one: {exercises}",
            number=text,
            exercises=", ".join(EXERCISES),
        )
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also train both models and estimate the grade")
    parser.add_argument(
        "--hand_in",
        action="store_true",
        help="make hand_in.zip of submission.py and the best.pt of each task, and try it; no other checks",
    )
    parser.add_argument(
        "--derivation",
        type=exercise,
        metavar="NUMBER",
        help=f"values to compare a derived formula with: {', '.join(EXERCISES)} of the handout",
    )
    parser.add_argument(
        "--formula", help="with --derivation: your formula, in the variables that --derivation lists"
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("outputs"),
        help="root of the runs to hand in (default: outputs)",
    )
    parser.add_argument(
        "--steps",
        type=number(int, 1),
        default=800,
        help="steps of each training with --full; the expected scores are those after 800 (default: 800)",
    )
    parser.add_argument(
        "--seconds",
        type=number(float, 0, exclusive=True),
        default=600,
        help="with --full: stop a training that takes longer, as too slow to judge (default: 600)",
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
    words = list(sys.argv[1:] if argv is None else argv)
    if "--formula" in words[:-1]:  # joined: argparse takes a formula that begins with a minus for an option
        place = words.index("--formula")
        words[place : place + 2] = [f"--formula={words[place + 1]}"]
    args = parser.parse_args(words)
    if args.formula and not args.derivation:
        parser.error(_("--formula needs --derivation NUMBER"))
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the checks."""
    args = parse_args(argv)
    # Imported here: --help and a wrong option are answered before torch is loaded.
    if args.derivation:
        from apps.selfcheck.derivations import derivation

        if not derivation(args.derivation, args.formula):
            sys.exit(1)
        return
    if args.hand_in:
        from apps.selfcheck.hand_in import hand_in

        if not hand_in(FOLDER, args.output_dir, args.data_dir):
            sys.exit(1)
        return
    if getattr(args, "discrete", False):
        from apps.selfcheck.discrete import discrete_check

        sys.exit(0 if discrete_check(discrete_file(FOLDER)) else 1)
    from apps.selfcheck.runner import TrialSettings, self_check

    trial = TrialSettings(args.steps, args.seconds, args.dataset, args.data_dir) if args.full else None
    if not self_check(FOLDER, trial):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
