"""Grade submissions whose code is not trusted: those of a whole class, or a single one.

    python autograde.py SUBMISSIONS --split test --output_dir grades

All code of a submission runs in sandboxes without network and data. Run the same command again at any time:
what is graded is kept, and what decides a grade is in its record. New or changed files, other images, another
method and time-outs under a shorter limit are graded again; where only the formula of the score has changed,
scores are computed from the stored numbers. The output says which and why.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apps.autograde.limits import Limits
from apps.autograde.statuses import STATUSES
from vaelab.cli import Parser, number
from vaelab.data.options import DATASETS, add_data_dir_option, add_split_option
from vaelab.threads import available_processors


def share(text: str) -> tuple[int, int]:
    """(K, N) of the text 'K/N', for `argparse`. Raises: ArgumentTypeError if K is not from 1 to N."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"expected K/N with K from 1 to N, as 3/10, got '{text}'")
    return int(k), int(n)


def names(text: str) -> list[str]:
    """The names of an `--only`. Raises: ArgumentTypeError."""
    if not text.startswith("@"):
        return [text]
    try:
        return [
            line.strip() for line in Path(text[1:]).read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"can't read {text[1:]}: {error}") from error


def statuses(text: str) -> tuple[str, ...]:
    """The statuses of `--regrade`. Raises: ArgumentTypeError."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [part for part in found if part not in STATUSES]
    if unknown or not found:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(STATUSES)}, got '{text}'")
    return found


def add_course_options(parser: argparse.ArgumentParser) -> None:
    """Add the course's files, exports and similarity."""
    add = parser.add_argument_group("course").add_argument
    add(
        "--roster",
        metavar="CSV",
        type=Path,
        help="name, id, email, group of each student; or Moodle's grading worksheet, or Canvas's gradebook",
    )
    add(
        "--points",
        metavar="CSV",
        type=Path,
        help="points that staff gave: name, a column for each part, comment",
    )
    add("--policy", metavar="TOML", type=Path, help="deadline, grace, penalty, and which hand-in counts")
    add(
        "--every_hand_in",
        action="store_true",
        help='grade all hand-ins of a student, not only the last: for the policy counts = "best"',
    )
    add("--export", choices=("moodle", "canvas"), help="fill the file of --roster with the grades")
    add("--assignment", default="VAE Lab", help="the assignment's column in Canvas (default: VAE Lab)")
    add(
        "--similarity",
        action="store_true",
        help="compare the submissions' code by compare50 (scripts/staff.sh)",
    )
    add(
        "--handed_out",
        metavar="FOLDER",
        type=Path,
        help="the students' version, whose code --similarity ignores",
    )


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add the limits of a step: an encoding, decoding or generation in a sandbox."""
    group, limits = parser.add_argument_group("limits"), Limits()
    group.add_argument(
        "--time_limit",
        type=number(float, 1),
        default=limits.seconds,
        help=f"seconds for each step of a submission (default: {limits.seconds:g})",
    )
    group.add_argument(
        "--memory_mb",
        type=number(int, 512),
        default=limits.memory_mb,
        help=f"megabytes of memory for each step (default: {limits.memory_mb})",
    )
    group.add_argument(
        "--sandbox",
        choices=("bubblewrap", "user", "none"),
        default="bubblewrap",
        help="user: as root in a container that can't make sandboxes, run the code as a user without "
        "rights; none: run it unprotected, with your rights (default: bubblewrap)",
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add, cores = parser.add_argument, available_processors()
    add("submissions", type=Path, help="a folder of submissions (folders or zip files), or one submission")
    add_split_option(parser, "valid", "the images to grade on")
    add(
        "--dataset",
        choices=[name for name in DATASETS if name != "auto"],
        default="mnist",
        help="the data to grade on; grading never falls back to others (default: mnist)",
    )
    add_data_dir_option(parser)
    add("--output_dir", type=Path, default="grades", help="the folder for the grades (default: grades)")
    add(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        type=names,
        help="grade this submission again, changed or not, and no other; can be repeated; @FILE names a file "
        "with a name in each line",
    )
    add(
        "--regrade",
        metavar="STATUS,...",
        type=statuses,
        default=(),
        help=f"also grade again what has one of these statuses: {', '.join(STATUSES)}",
    )
    add("--note", default="", help="a note on a regrade, as after an appeal; it is kept and shown")
    add(
        "--share",
        type=share,
        metavar="K/N",
        help="grade the K-th of N parts of the class, while other processes grade the other parts. To write "
        "the tables, run the same command without --share at the end",
    )
    add(
        "--jobs",
        type=number(int, 1, 256),
        default=cores,
        help=f"number of submissions graded at once; they share the cores (default: {cores}, the cores "
        "that it may use)",
    )
    add(
        "--latent_precision",
        choices=("float16", "float32"),
        default="float16",
        help="float32: also decode the codes without rounding, and flag a score that changes by it. The "
        "grade is always that of float16: rounding hardly changes honest codes, but destroys codes that pack "
        "several numbers into one (default: float16)",
    )
    add("--single", action="store_true", help="SUBMISSIONS is one submission, however its files lie")
    add("--salt", help="determines the pseudonyms of the leaderboard (default: random, kept in --output_dir)")
    add_course_options(parser)
    add_limit_options(parser)
    args = parser.parse_args(argv)
    args.only = tuple(name for each in args.only for name in each)
    if args.note and not args.only:
        parser.error("--note belongs to a regrade of --only NAME")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and grade."""
    args = parse_args(argv)
    from apps.autograde.grading import grade_class  # here: --help needs no torch
    from apps.autograde.settings import GradingSettings

    grade_class(GradingSettings(**vars(args)))
