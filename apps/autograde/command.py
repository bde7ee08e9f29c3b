"""Grade submissions whose code is not trusted: those of a whole class, or a single one.

    python autograde.py SUBMISSIONS --split test --output_dir grades

All code of a submission runs in sandboxes without network and data. Finished submissions are kept: after an
interruption, run the same command again; a submission that has changed is graded again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from apps.autograde.limits import Limits
from vaelab.cli import Parser, number
from vaelab.data.options import add_data_dir_option, add_dataset_option, add_split_option


def share(text: str) -> tuple[int, int]:
    """(K, N) of the text 'K/N', for `argparse`. Raises: ArgumentTypeError if K is not from 1 to N."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"expected K/N with K from 1 to N, as 3/10, got '{text}'")
    return int(k), int(n)


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
        choices=("bubblewrap", "none"),
        default="bubblewrap",
        help="none: run the submissions' code unprotected, with your rights (default: bubblewrap)",
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add, cores = parser.add_argument, os.cpu_count() or 1
    add("submissions", type=Path, help="a folder of submissions (folders or zip files), or one submission")
    add_split_option(parser, "valid", "the images to grade on")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    add("--output_dir", type=Path, default="grades", help="the folder for the grades (default: grades)")
    add("--only", metavar="NAME", help="grade this submission again, changed or not, and no other")
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
        help=f"number of submissions graded at once; they share the cores (default: {cores}, the cores of "
        "this machine)",
    )
    add(
        "--latent_precision",
        choices=("float16", "float32"),
        default="float16",
        help="float32: also decode the codes without rounding, and flag a score that changes by it. The "
        "grade is always that of float16: rounding hardly changes honest codes, but destroys codes that pack "
        "several numbers into one (default: float16)",
    )
    add("--salt", help="determines the pseudonyms of the leaderboard (default: random, kept in --output_dir)")
    add_limit_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and grade."""
    args = parse_args(argv)
    from apps.autograde.grading import GradingSettings, grade_class  # here: --help needs no torch

    grade_class(GradingSettings(**vars(args)))
