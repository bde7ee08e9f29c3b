"""HTML from jinja2 templates."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaelab.language import _, language

if TYPE_CHECKING:
    import jinja2


def template_environment(folder: Path) -> jinja2.Environment:
    """The jinja2 environment of the templates in `folder`, which are compiled once for each language.

    Every value is escaped, and a name that was not passed to a template is an error. `_` translates a
    message, which may contain tags; its values are escaped as well.
    """
    return new_environment(folder, language())


@functools.cache
def new_environment(folder: Path, name: str) -> jinja2.Environment:
    """The environment of a language."""
    import jinja2  # here: a grade can be computed without jinja2, only its pages need it
    from markupsafe import Markup

    def translated(text: str, /, **values: Any) -> Markup:
        return Markup(_(text)).format(**values) if values else Markup(_(text))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"_": translated, "language": name}
    return environment
