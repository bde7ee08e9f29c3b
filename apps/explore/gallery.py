"""The page with all figures of `explore.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vaelab.cli import LabError
from vaelab.files import make_folder, read_json, write_file
from vaelab.language import _
from vaelab.plotting import to_table

HEADER = """\
# Gallery

Every figure of `explore.py`, and its numbers. `bash scripts/gallery.sh` draws them and writes this page.
"""
TABLE_TITLE = "The published table, and ours: means over three seeds."


def write_gallery(figures: Path, to: Path, titles: Mapping[str, str]) -> None:
    """Copy the finished figures to `to`/gallery/, and write `to`/gallery.md.

    titles: the title of each command, in the order of the page. Raises: LabError if there is no figure.
    """
    titles = add_table_title(titles)
    finished = [name for name in titles if (figures / f"{name}.json").exists()]
    if not finished:
        raise LabError("{figures} contains no figures: python explore.py COMMAND draws one", figures=figures)
    pictures = make_folder(to / "gallery")
    sections = [HEADER]
    for name in finished:
        write_file(pictures / f"{name}.png", (figures / f"{name}.png").read_bytes())
        sections.append(section(name, titles[name], figures / f"{name}.json"))
    write_file(to / "gallery.md", "\n".join(sections))
    print(_("wrote {path}: {finished}", path=to / "gallery.md", finished=", ".join(finished)))


def add_table_title(titles: Mapping[str, str]) -> dict[str, str]:
    """The titles, with that of `likelihood --table` after that of `likelihood`."""
    added: dict[str, str] = {}
    for name, title in titles.items():
        added[name] = title
        if name == "likelihood":
            added["likelihood_table"] = TABLE_TITLE
    return added


def section(name: str, title: str, path: Path) -> str:
    """A figure's section of the page. path: its JSON file."""
    about = read_json(path)
    command, rows = about.pop("command"), about.pop("rows")
    details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items())
    return (
        f"## {command.replace('--', '')}\n\n{title} `python explore.py {command}`; {details}.\n\n"
        f"![{title}](gallery/{name}.png)\n\n{to_table(rows)}\n"
    )
