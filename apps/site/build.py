"""Builds the site: copies the pages of an audience for each language, and runs Zensical on them.

    python -m apps.site.build                # the staff's site, into site/
    python -m apps.site.build --students     # without the pages for staff
    python -m apps.site.build --serve        # also show it on http://localhost:8000

The links of the documents are those of the repository. Those to a page of the site are kept; of others, only
the text is left. What is between `<!-- staff -->` and `<!-- end of staff -->` is left out of the students'
site. A broken link, a missing picture or a warning of Zensical ends the build.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from apps.site.pages import PAGES, SECTIONS, START, Page
from vaelab.cli import LabError, Parser, number, run
from vaelab.files import make_folder
from vaelab.language import _

REPO = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LANGUAGES = ("en", "zh")
COPIED = (".png", ".svg", ".tex")  # pictures and files to download
LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
SWITCH = re.compile(r"^\[(English|中文)\]\([^)]*\)\n\n?", re.MULTILINE)  # the site has a switch of its own
STAFF = re.compile(r"<!-- staff -->(.*?)<!-- end of staff -->\n?", re.DOTALL)  # of a page for students too
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def source_of(page: Page, language: str, students: bool) -> Path:
    """The file of a page: the version in this language, else the English one."""
    name = (
        {True: "scripts/student_readme", False: "README"}[students] if page is START else f"docs/{page.name}"
    )
    translated = REPO / f"{name}.{language}.md"
    return translated if translated.is_file() else REPO / f"{name}.md"


def pages_for(students: bool) -> list[Page]:
    """The pages of an audience."""
    return [page for page in PAGES if not (students and page.staff)]


def page_at(path: Path) -> Page | None:
    """The page that a file of the repository is, in any language."""
    name = re.sub(r"\.zh$", "", path.stem)
    if path.suffix != ".md" or path.parent not in (REPO, REPO / "docs"):
        return None
    wanted = START.name if path.parent == REPO and name == "README" else name
    return next((page for page in PAGES if page.name == wanted), None)


def convert(text: str, source: Path, link: Callable[[Path, str], str | None], students: bool = False) -> str:
    """A document as a page of the site. link: the new target of a file and a fragment; None: no page."""
    text = STAFF.sub("" if students else r"\1", text)
    base = REPO if source.parent == REPO / "scripts" else source.parent  # the students' README is at the top

    def replaced(match: re.Match) -> str:
        target, _, fragment = match["target"].partition("#")
        if "://" in target or not target:
            return match[0]
        new = link((base / target).resolve(), fragment)
        if new is not None:
            return f"{match['mark']}[{match['text']}]({new})"
        if match["mark"]:
            raise LabError("{file} shows {target}, which is not a picture", file=source.name, target=target)
        return match["text"]

    parts = FENCE.split(SWITCH.sub("", text))
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def write_pages(folder: Path, language: str, students: bool) -> None:
    """Write the Markdown files and pictures of one language. Raises: LabError if a linked file is missing."""
    pages = pages_for(students)
    for page in pages:
        source = source_of(page, language, students)

        def link(path: Path, fragment: str, source: Path = source) -> str | None:
            if not path.exists():
                raise LabError(
                    "{file} links to {target}, which does not exist", file=source.name, target=path
                )
            if path.suffix in COPIED:
                place = Path("pictures", path.relative_to(REPO))
                make_folder((folder / place).parent)
                shutil.copy(path, folder / place)
                return place.as_posix()
            target = page_at(path)
            if target is None or target not in pages:
                return None
            return f"{target.name}.md" + (f"#{fragment}" if fragment else "")

        if not source.is_file():
            raise LabError("there is no {path}, a page of the site", path=source.relative_to(REPO))
        (folder / f"{page.name}.md").write_text(
            convert(source.read_text(encoding="utf-8"), source, link, students), encoding="utf-8"
        )
    shutil.copytree(HERE / "assets", folder / "assets", ignore=shutil.ignore_patterns("README.md"))


def configuration(language: str, students: bool, out: Path) -> str:
    """The zensical.toml of one language."""
    pages, zh = pages_for(students), language == "zh"
    nav = {
        titles[zh]: [
            (page.title_zh if zh else page.title, f"{page.name}.md") for page in section if page in pages
        ]
        for titles, section in SECTIONS
    }
    environment = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, autoescape=False)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment.get_template("zensical.toml.jinja").render(
        name="VAE Lab" if students else ("VAE Lab（教师版）" if zh else "VAE Lab (staff)"),
        language=language,
        nav={title: entries for title, entries in nav.items() if entries},
        out=out,
        theme=HERE / "theme",
        dark="切换到深色" if zh else "Switch to dark mode",
        light="切换到浅色" if zh else "Switch to light mode",
        switch={"name": "English", "link": "../", "lang": "en"}
        if zh
        else {"name": "中文", "link": "zh/", "lang": "zh"},
    )


def build(out: Path, students: bool) -> None:
    """Build the site into `out`, which is replaced. Raises: LabError with Zensical's output if it fails."""
    with tempfile.TemporaryDirectory() as temporary:
        for language in LANGUAGES:
            work = make_folder(Path(temporary, language))
            write_pages(make_folder(work / "pages"), language, students)
            built = work / "site"
            (work / "zensical.toml").write_text(configuration(language, students, built), encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-m", "zensical", "build", "--strict"],
                cwd=work,
                capture_output=True,
                text=True,
                env=os.environ | {"NO_COLOR": "1"},
            )
            if done.returncode:
                raise LabError("Zensical stopped:\n{output}", output=done.stdout + done.stderr)
        new = Path(temporary, "en", "site")
        shutil.move(Path(temporary, "zh", "site"), new / "zh")
        if out.exists():
            shutil.rmtree(out)
        shutil.move(new, out)


def serve(folder: Path, port: int) -> None:
    """Show a folder on http://localhost:PORT until Ctrl-C."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(_("http://localhost:{port} (Ctrl-C ends it)", port=server.server_port), flush=True)
        server.serve_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Build, and serve if that was asked for."""
    parser = Parser(prog="python -m apps.site.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder to write (default: site)")
    parser.add_argument("--students", action="store_true", help="leave out the pages for staff")
    parser.add_argument("--serve", action="store_true", help="then show the site in a browser's reach")
    parser.add_argument("--port", type=number(int, 0, 65535), default=8000, help="of --serve (default: 8000)")
    args = parser.parse_args(argv)
    if args.out.exists() and not (args.out / "sitemap.xml").is_file():
        raise LabError(
            "{folder} is not a site that this command made: name another folder with --out", folder=args.out
        )
    build(args.out, args.students)
    print(_("wrote {path}", path=args.out / "index.html"))
    if args.serve:
        serve(args.out, args.port)


if __name__ == "__main__":
    run(main)
