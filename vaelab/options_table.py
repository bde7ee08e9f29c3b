"""The table of options in docs/options.md; `python -m tests.unit.test_docs` writes it there."""

from __future__ import annotations

from vaelab.cli import markdown
from vaelab.config import TRAINING_OPTIONS, Option, default_text, model_options


def options_table(sections: dict[str, dict[str, tuple[Option, str]]] | None = None) -> str:
    """The options of `train.py` that decide its result, as a Markdown table."""
    rows = []
    for name, entry in model_options().items():
        rows.append(("model", f"`--{name}`", entry.default, limits(entry.about), entry.about.help))
    for name, about in TRAINING_OPTIONS.items():
        rows.append(("training", f"`--{name}`", default_text(name), limits(about), about.help))
    for section, options in (sections or {}).items():
        rows += [
            (section, f"`--{name}`", default, limits(about), about.help)
            for name, (about, default) in options.items()
        ]
    return markdown(("group", "option", "default", "values", "meaning"), rows)


def limits(about: Option) -> str:
    """The values that an option accepts, as text."""
    if about.choices:
        return ", ".join(about.choices)
    if about.kind not in (int, float):
        return "true, false" if about.kind is bool else "text"
    start = f"above {about.minimum:g}" if about.exclusive else f"from {about.minimum:g}"
    return start if about.maximum == 2**31 - 1 else f"{start} to {about.maximum:g}"
