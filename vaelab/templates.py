"""HTML from jinja2 templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def template_environment(folder: Path) -> jinja2.Environment:
    """The jinja2 environment of the templates in `folder`.

    Every value is escaped, and a name that was not passed to a template is an error.
    """
    import jinja2  # here: a grade can be computed without jinja2, only its pages need it

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
