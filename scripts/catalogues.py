"""Collect the messages of the programs, and compile their translations in locale/.

    python scripts/catalogues.py             # after a change of a message, or of a translation
    python scripts/catalogues.py --new ja    # begin a translation into another language
    python scripts/catalogues.py --check     # exit code 1 if a file in locale/ is not up to date

It needs the package Babel, which requirements/test.txt names. vaelab/language.py says how to mark a message.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from babel.messages.catalog import Catalog  # noqa: E402
from babel.messages.mofile import write_mo  # noqa: E402
from babel.messages.pofile import read_po, write_po  # noqa: E402
from jinja2.ext import babel_extract  # noqa: E402
from translated_notebook import SOURCE, notebook_messages, path_of, translated_notebook  # noqa: E402

from vaelab.cli import LabError, Parser, run  # noqa: E402
from vaelab.language import DOMAIN, LOCALE  # noqa: E402

# The functions with messages as arguments, and the places of these; `plural` has two forms of one message.
MARKED = {
    **dict.fromkeys(("_", "N_", "Message", "figure_text", "LabError", "SourceUnavailableError"), (0,)),
    **{"CheckFailed": (0, 1), "Check": (1,), "add_argument_group": (0, 1)},
}
OPTION_CALLS = {"Option", "option", "addition"}  # their help is translated in docs/options.zh.md
Entry = tuple[str, str | tuple[str, str]]  # file, message


def constant(node: ast.expr) -> str | None:
    """The text of a string constant; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def called_name(call: ast.Call) -> str:
    """The name of the function that is called, without what it is an attribute of."""
    function = call.func
    return getattr(function, "id", None) or getattr(function, "attr", "")


def python_messages(path: Path) -> Iterator[str | tuple[str, str]]:
    """The messages of a Python file, in their order."""
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        texts = [constant(arg) for arg in call.args]
        name = called_name(call)
        if name == "plural" and len(texts) >= 2:
            yield texts[0], texts[1]
        for i in MARKED.get(name, ()):
            if i < len(texts) and texts[i]:
                yield texts[i]
        if name in OPTION_CALLS:
            yield from (
                text for word in call.keywords if word.arg == "help" if (text := constant(word.value))
            )


def template_messages(path: Path) -> Iterator[str | tuple[str, str]]:
    """The messages of a jinja2 template."""
    with path.open("rb") as file:
        options = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
        for _line, _function, texts, _comments in babel_extract(file, ("_",), (), options):
            yield texts if isinstance(texts, str) else texts[0]


def messages() -> Iterator[Entry]:
    """All messages of the programs, with the file of each."""
    readers = {
        python_messages: ("*.py", "vaelab/**/*.py", "beyond/**/*.py", "apps/**/*.py"),
        template_messages: ("apps/**/*.html",),
    }
    for read, patterns in readers.items():
        for pattern in patterns:
            for path in sorted(REPO.glob(pattern)):
                for text in read(path):
                    yield path.relative_to(REPO).as_posix(), text
    for text in notebook_messages():
        yield SOURCE.relative_to(REPO).as_posix(), text


def template() -> Catalog:
    """A catalogue of all messages, without translations."""
    catalog = Catalog(domain=DOMAIN)
    for file, text in messages():
        flags = ["python-brace-format"] if re.search(r"\{\w+[^}]*\}", str(text)) else []
        catalog.add(text, locations=[(file, 0)], flags=flags)
        message = catalog.get(text if isinstance(text, str) else text[0])
        message.locations = list(dict.fromkeys(message.locations))
        message.flags.discard("python-format")
    return catalog


# --- The files ----------------------------------------------------------------------------------


def po_path(language: str) -> Path:
    """The translations of a language."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


class UndatedCatalog(Catalog):
    """A catalogue whose file has no date, so that equal messages are equal files."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """The lines of the header."""
        return [
            ("Language", self.locale_identifier),
            ("Plural-Forms", self.plural_forms),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
        ]


def updated(language: str, text: bytes) -> Catalog:
    """The messages of today, with their translations in `text`, which is a .po file."""
    old = read_po(io.BytesIO(text), locale=language, domain=DOMAIN)
    new = UndatedCatalog(language, domain=DOMAIN, fuzzy=False, header_comment=f"# VAE Lab in {language}.")
    for message in template():
        if message.id:
            known = old.get(message.id)
            translation = known.string if known else ""
            new.add(message.id, translation, locations=message.locations, flags=message.flags)
            new.get(message.id if isinstance(message.id, str) else message.id[0]).flags = set(message.flags)
    return new


def files(language: str, text: bytes) -> dict[Path, bytes]:
    """The files of a language: translations, compiled catalogue, notebook. text: its .po file so far."""
    catalog, po, mo = updated(language, text), io.BytesIO(), io.BytesIO()
    write_po(po, catalog, width=100, include_lineno=False, omit_header=False)
    write_mo(mo, catalog)
    path = po_path(language)
    return {
        path: po.getvalue(),
        path.with_suffix(".mo"): mo.getvalue(),
        path_of(language): translated_notebook(language, lambda text: catalog.get(text).string or text),
    }


def missing(language: str) -> list[str]:
    """The messages without a translation."""
    catalog = updated(language, po_path(language).read_bytes())
    return [str(message.id) for message in catalog if message.id and not all(forms(message.string))]


def forms(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The forms of a message or a translation: one, or one for each plural."""
    return (text,) if isinstance(text, str) else tuple(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Update or check all catalogues."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--new", metavar="LANGUAGE", help="begin a catalogue, named as locales are: ja, pt_BR"
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    if args.new and not po_path(args.new).exists():
        po_path(args.new).parent.mkdir(parents=True, exist_ok=True)
        po_path(args.new).write_bytes(b"")
    stale = []
    for path in sorted(LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.po")):
        language = path.parents[1].name
        for file, content in files(language, path.read_bytes()).items():
            if not args.check:
                file.write_bytes(content)
            elif not file.is_file() or file.read_bytes() != content:
                stale.append(file.relative_to(REPO).as_posix())
        if not args.check:
            untranslated = missing(language)
            count = len(updated(language, path.read_bytes())) - len(untranslated)
            print(f"{language}: {count} messages translated, {len(untranslated)} not translated")
    if stale:
        raise LabError("{files} not up to date: run python scripts/catalogues.py", files=", ".join(stale))


if __name__ == "__main__":
    run(main)
