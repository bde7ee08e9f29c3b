"""The tables of options in docs/options.md and its translation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vaelab.cli import markdown
from vaelab.config import TRAINING_OPTIONS, Option, default_text, model_options
from vaelab.language import N_, _

HEADER = (N_("option"), N_("default"), N_("values"), N_("meaning"))


def options_table() -> str:
    """The options of `train.py` that decide its result, as a Markdown table in the user's language."""
    rows = [(N_("model"), name, entry.default, entry.about) for name, entry in model_options().items()]
    rows += [(N_("training"), name, default_text(name), about) for name, about in TRAINING_OPTIONS.items()]
    lines = [(_(group), *option_row(name, default, about)) for group, name, default, about in rows]
    return markdown((_("group"), *map(_, HEADER)), lines)


def additions_table(options: Iterable[tuple[str, Any, Option]]) -> str:
    """Further options as a Markdown table. options: (name, default, option)s."""
    return markdown([*map(_, HEADER)], [option_row(*option) for option in options])


def option_row(name: str, default: Any, about: Option) -> tuple[str, str, str, str]:
    """The name, the default, the values and the meaning of an option."""
    return f"`--{name}`", _(str(default)), limits(about), _(about.help)


def limits(about: Option) -> str:
    """The values that an option accepts, as text."""
    if about.choices:
        return ", ".join(about.choices)
    if about.kind not in (int, float):
        return "true, false" if about.kind is bool else _("text")
    texts = {
        (True, False): N_("from {minimum:g}"),
        (True, True): N_("above {minimum:g}"),
        (False, False): N_("from {minimum:g} to {maximum:g}"),
        (False, True): N_("above {minimum:g} to {maximum:g}"),
    }
    text = texts[about.maximum == 2**31 - 1, about.exclusive]
    return _(text, minimum=about.minimum, maximum=about.maximum)
