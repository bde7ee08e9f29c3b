"""The language of messages. How to mark a string that a user reads:

1. The first argument of `LabError`, `CheckFailed` (and its second) and `Message` is a message as it stands:
   `raise LabError("{path} has {count:,} images", path=path, count=len(images))`. Printing translates it.
2. What is printed at once: `print(_("wrote {folder}/", folder=folder))`.
3. A constant that is printed elsewhere: `TITLE = N_("latent space")`, and there `_(TITLE)`.
4. A text that depends on a number: `plural("{n} image", "{n} images", n)`.
5. In a jinja2 template: `{{ _("ends at {time}", time=time) }}`; the text may have tags, values are escaped.
6. Whole sentences with named placeholders only: no f-string, no pieces joined by `+`, no `if` inside.
7. Not translated: options, files, tasks, statuses, JSON, CSV headers, logs (`in_english(message)`).
8. Then `python scripts/catalogues.py` (see requirements/test.txt) adds the string to locale/. Translate it in
   the .po file, run the command again, commit both files. tests/unit/test_language.py checks all of this.
"""

from __future__ import annotations

import contextlib
import functools
import gettext
import os
import re
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

LOCALE = Path(__file__).resolve().parent.parent / "locale"
DOMAIN = "vaelab"
SOURCE = "en"  # the language of the code
VARIABLE = "VAE_LAB_LANG"

_language = SOURCE  # of this process
_override: ContextVar[str | None] = ContextVar("language", default=None)  # within `in_english`


class Message:
    """A message with its values, translated and formatted each time that it is turned into text."""

    def __init__(self, text: str, /, **values: Any) -> None:
        self.text, self.values = text, values

    def __str__(self) -> str:
        return _(self.text, **self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.text, self.values) == (other.text, other.values)

    def __hash__(self) -> int:
        return hash(self.text)


def as_message(text: str | Message) -> Message:
    """`text` as a message."""
    return text if isinstance(text, Message) else Message(text)


def _(text: str, /, **values: Any) -> str:
    """The message `text` in the user's language, with its {placeholders} filled in."""
    return fill(catalogue(language()).gettext(text) if text else "", values)


def N_(text: str) -> str:  # noqa: N802  # gettext's own name
    """`text` itself: marks a constant as a message."""
    return text


def plural(one: str, many: str, n: int, /, **values: Any) -> str:
    """The form of a message for the number `n`, which is its placeholder {n}."""
    return fill(catalogue(language()).ngettext(one, many, n), {"n": n, **values})


def fill(text: str, values: dict[str, Any]) -> str:
    """`text` with its placeholders filled in. Without values, braces have no meaning."""
    return text.format(**values) if values else text


def in_english(message: object) -> str:
    """The text of a `Message` or an error in English, for files that programs read."""
    token = _override.set(SOURCE)
    try:
        return str(message)
    finally:
        _override.reset(token)


# --- Which language -----------------------------------------------------------------------------


def languages() -> list[str]:
    """The languages that have a catalogue, and English."""
    return [SOURCE, *sorted(path.parents[1].name for path in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))]


@functools.cache
def catalogue(name: str) -> gettext.NullTranslations:
    """The messages of a language; English where there is no catalogue."""
    return gettext.translation(DOMAIN, LOCALE, [name], fallback=True)


def language() -> str:
    """The current language, such as `en` or `zh`."""
    return _override.get() or _language


def set_language(name: str) -> None:
    """Use this language from now on, in this process."""
    global _language
    _language = name


def known(name: str) -> str | None:
    """The catalogue for a locale's name: `zh` for `zh_CN.UTF-8`. None if there is none."""
    parts = re.split(r"[.@]", name.replace("-", "_"))[0].split("_")
    candidates = ["_".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((candidate for candidate in candidates if candidate in languages()), None)


def find_language(argv: Sequence[str] = ()) -> str:
    """The language by `--lang` in `argv`, else by VAE_LAB_LANG, else by the locale, else English."""
    given = [value for option, value in zip(argv, argv[1:], strict=False) if option == "--lang"]
    given += [option.removeprefix("--lang=") for option in argv if option.startswith("--lang=")]
    if given and given[-1] in languages():
        return given[-1]
    variables = (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG")
    name = next((os.environ[key] for key in variables if os.environ.get(key)), SOURCE)
    return known(name) or SOURCE


def prepare_console() -> None:
    """Never fail on a character that the console can't show; use English if it can't show the language."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # replaced by a program, or closed
            stream.reconfigure(errors="backslashreplace")
    try:
        _("options").encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        set_language(SOURCE)
