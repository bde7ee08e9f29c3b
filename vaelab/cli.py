"""Command lines: the parser, number types, one-line errors, text for terminals."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

# The top-level modules of requirements.txt.
PACKAGES = ("torch", "numpy", "skimage", "sklearn", "matplotlib", "tqdm", "PIL", "jinja2", "filelock")


class LabError(Exception):
    """A mistake that the user can fix: the text says what was expected, what was found, and what to do."""


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors and without guessing at abbreviated options."""

    def __init__(self, *args, **kwargs) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (python {self.prog} --help lists the options)\n")


def number(
    kind: type, minimum: float, maximum: float = 2**31 - 1, exclusive: bool = False
) -> Callable[[str], float]:
    """An `argparse` type: a `kind` (int or float) from `minimum` (`exclusive`: above it) to `maximum`."""

    def parse(text: str) -> float:
        expected = f"expected {'an integer' if kind is int else 'a number'} "
        expected += f"{'above' if exclusive else 'from'} {minimum:g} to {maximum:.10g}, got '{text}'"
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(expected) from error
        if not minimum <= value <= maximum or (exclusive and value == minimum):
            raise argparse.ArgumentTypeError(expected)
        return value

    return parse


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cuda", "mps", "cpu"),
        help="auto: the fastest one available (default: auto)",
    )


def reason(error: BaseException) -> str:
    """An error in one line: the last line of its text."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def printable(text: str, most: int) -> str:
    """Untrusted text as one line of at most `most` printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())[:most]


def stop_without_package(error: ModuleNotFoundError) -> NoReturn:
    """End with one line that says what to do where a package of requirements.txt is missing."""
    if str(error.name).partition(".")[0] not in PACKAGES:
        raise error
    print(
        f"error: {error.name} is not installed for {sys.executable}: activate the lab's environment (source "
        ".venv/bin/activate), which bash scripts/install.sh requirements.txt makes",
        file=sys.stderr,
    )
    sys.exit(2)


def run(main: Callable[[], None]) -> None:
    """Run the `main` of a command. A `LabError` becomes one line on stderr and exit code 2."""
    try:
        main()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        stop_without_package(error)
    except BrokenPipeError:  # the output was closed, as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # no permission, a folder where a file should be, a name too long, ...
        print(f"error: {error.filename}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, which is also readable in a terminal."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
