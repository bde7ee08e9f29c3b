"""Command lines: the parser, number types, one-line errors, text for terminals."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vaelab.language import (
    N_,
    SOURCE,
    Message,
    _,
    catalogue,
    find_language,
    language,
    languages,
    prepare_console,
    set_language,
)

# What argparse and the operating system say (Python 3.11's words; others stay English).
BORROWED = (
    *(N_("usage: "), N_("options"), N_("positional arguments"), N_("show this help message and exit")),
    *(N_("argument %(argument_name)s: %(message)s"), N_("the following arguments are required: %s")),
    *(N_("invalid choice: %(value)r (choose from %(choices)s)"), N_("unrecognized arguments: %s")),
    *(N_("expected one argument"), N_("expected at least one argument"), N_("not allowed with argument %s")),
    *(N_("invalid %(type)s value: %(value)r"), N_("ignored explicit argument %r")),
    *(N_("No such file or directory"), N_("Permission denied"), N_("Is a directory"), N_("Not a directory")),
    *(N_("File exists"), N_("File name too long"), N_("No space left on device")),
    N_("Read-only file system"),
)
# argparse asks gettext for the language of the environment, which --lang may contradict.
argparse._ = _
argparse.ngettext = lambda one, many, n: catalogue(language()).ngettext(one, many, n)

# The top-level modules of requirements.txt.
PACKAGES = ("torch", "numpy", "skimage", "sklearn", "matplotlib", "tqdm", "PIL", "jinja2", "filelock")


class LabError(Exception):
    """A mistake that the user can fix: the text says what was expected, what was found, and what to do.

    text: a message in English, which is translated when it is printed; values: those of its {placeholders}.
    """

    def __init__(self, text: str | Message, /, **values: Any) -> None:
        super().__init__(text)
        self.message = text if isinstance(text, Message) else Message(text, **values)

    def __str__(self) -> str:
        return str(self.message)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Translates the headings of `--help`."""

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and _(heading))


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors, without guessing at abbreviated options, and with `--lang`."""

    def __init__(self, *args, **kwargs) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        set_language(SOURCE)  # in which argparse keeps the headings
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.add_argument(
            "--lang",
            choices=languages(),
            default=argparse.SUPPRESS,
            help="language of messages (default: $VAE_LAB_LANG, else that of the locale)",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list]:
        """As argparse's, in the user's language; `lang` is not in the namespace."""
        args = sys.argv[1:] if args is None else list(args)
        set_language(find_language(args))
        prepare_console()
        namespace, rest = super().parse_known_args(args, namespace)
        vars(namespace).pop("lang", None)
        return namespace, rest

    def error(self, message: str) -> NoReturn:
        hint = _(
            "error: {message} (python {program} --help lists the options)", message=message, program=self.prog
        )
        self.exit(2, f"{hint}\n")


EXPECTED = {
    (int, False): N_("expected an integer from {minimum:g} to {maximum:.10g}, got '{text}'"),
    (int, True): N_("expected an integer above {minimum:g} to {maximum:.10g}, got '{text}'"),
    (float, False): N_("expected a number from {minimum:g} to {maximum:.10g}, got '{text}'"),
    (float, True): N_("expected a number above {minimum:g} to {maximum:.10g}, got '{text}'"),
}


def number(
    kind: type, minimum: float, maximum: float = 2**31 - 1, exclusive: bool = False
) -> Callable[[str], float]:
    """An `argparse` type: a `kind` (int or float) from `minimum` (`exclusive`: above it) to `maximum`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not minimum <= value <= maximum or (exclusive and value == minimum):
            values = {"minimum": minimum, "maximum": maximum, "text": text}
            raise argparse.ArgumentTypeError(_(EXPECTED[kind, exclusive], **values))
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


def os_reason(error: OSError) -> str:
    """The system's reason for an error, in the user's language where it is known."""
    return _(error.strerror or str(error))


def printable(text: str, most: int) -> str:
    """Untrusted text as one line of at most `most` printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())[:most]


def stop_without_package(error: ModuleNotFoundError) -> NoReturn:
    """End with one line that says what to do where a package of requirements.txt is missing."""
    if str(error.name).partition(".")[0] not in PACKAGES:
        raise error
    text = _(
        "{package} is not installed for {python}: activate the lab's environment (source "
        ".venv/bin/activate), which bash scripts/install.sh requirements.txt makes",
        package=error.name,
        python=sys.executable,
    )
    print(_("error: {message}", message=text), file=sys.stderr)
    sys.exit(2)


def run(main: Callable[[], None]) -> None:
    """Run the `main` of a command. A `LabError` becomes one line on stderr and exit code 2."""
    try:
        main()
    except LabError as error:
        print(_("error: {message}", message=error), file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        stop_without_package(error)
    except BrokenPipeError:  # the output was closed, as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # no permission, a folder where a file should be, a name too long, ...
        about = {"file": error.filename, "reason": os_reason(error)}
        print(_("error: {file}: {reason}", **about), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\n" + _("interrupted"), file=sys.stderr)
        sys.exit(130)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, which is also readable in a terminal."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


# --- Text of any script in a terminal -----------------------------------------------------------

NOT_AT_START = "，。；：？！、）》」』”’…"  # closing punctuation, which must not begin a line
NOT_AT_END = "（《「『“‘"
# A shape such as [B, 28, 28], a word, a space, or one wide character.
PIECE = re.compile(r"\[[^\[\]]*\] ?|[\u0021-\u2017\u2020-\u2e7f]+ ?| |[^\u0020-\u2e7f]|[\u2018-\u201f]")


def display_width(text: str) -> int:
    """The columns of a terminal that `text` takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def pad(text: str, width: int) -> str:
    """`text`, filled with spaces to `width` columns."""
    return text + " " * (width - display_width(text))


def wrap(text: str, width: int, indent: str = "") -> str:
    """`text` in lines of at most `width` columns, each after `indent`."""
    if display_width(text) == len(text):
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
    lines = [""]
    for piece in PIECE.findall(text):
        full = display_width(lines[-1] + piece.rstrip()) > width - len(indent)
        if full and lines[-1] and piece not in NOT_AT_START:
            line = lines[-1].rstrip().rstrip(NOT_AT_END)
            lines[-1:] = [line, lines[-1][len(line) :].lstrip()]
        lines[-1] += piece
    return "\n".join(indent + line.rstrip() for line in lines)
