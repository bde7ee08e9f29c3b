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

[中文](gallery.zh.md)

Every figure of `explore.py`, and its numbers. `bash scripts/gallery.sh` draws them and writes this page.
"""
# Further figures of a command: the names of their files, and their titles.
MORE_FIGURES = {
    "likelihood": {"likelihood_table": "The published table, and ours: means over three seeds."},
    "discrete": {
        "discrete_rate": "Rate against distortion for discrete and Gaussian codes of several sizes.",
        "discrete_recon": "The same images by three models of about the same rate.",
        "discrete_usage": "How often each code is used, with and without restarts of unused codes.",
        "discrete_index": "What a code means: one grid of indices, decoded with a single index changed.",
        "discrete_samples": "Samples of each label by the priors.",
        "discrete_dataset_cifar10": "Discrete and Gaussian codes on CIFAR-10: reconstructions, samples and "
        "their sharpness, the power in high frequencies divided by that of real images.",
    },
}


def write_gallery(figures: Path, to: Path, titles: Mapping[str, str]) -> None:
    """Copy the finished figures and their numbers to `to`/gallery/, and write `to`/gallery.md.

    titles: the title of each command, in the order of the page. Raises: LabError if there is no figure.
    """
    titles = add_titles(titles)
    finished = [name for name in titles if (figures / f"{name}.json").exists()]
    if not finished:
        raise LabError("{figures} contains no figures: python explore.py COMMAND draws one", figures=figures)
    pictures = make_folder(to / "gallery")
    sections = [HEADER]
    for name in finished:
        for ending in ("png", "csv", "json"):
            write_file(pictures / f"{name}.{ending}", (figures / f"{name}.{ending}").read_bytes())
        sections.append(section(name, titles[name], figures / f"{name}.json"))
    write_file(to / "gallery.md", "\n".join(sections))
    print(_("wrote {path}: {finished}", path=to / "gallery.md", finished=", ".join(finished)))


def add_titles(titles: Mapping[str, str]) -> dict[str, str]:
    """The titles, with those of the further figures of a command after its own."""
    added: dict[str, str] = {}
    for name, title in titles.items():
        added |= {name: title} | MORE_FIGURES.get(name, {})
    return added


def section(name: str, title: str, path: Path) -> str:
    """A figure's section of the page. path: its JSON file."""
    about = read_json(path)
    command, rows = about.pop("command"), about.pop("rows")
    details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items())
    return (
        f"## {name.replace('_', ' ')}\n\n{title} `python explore.py {command}`; {details}.\n\n"
        f"![{title}](gallery/{name}.png)\n\n{to_table(rows)}\n\n"
        f"The numbers: [CSV](gallery/{name}.csv), [JSON](gallery/{name}.json).\n"
    )
