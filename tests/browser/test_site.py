"""The documents' site: built strictly, read in a browser without a network, with each audience's pages."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import browser, open_page  # noqa: F401
from conftest import made_once

pytest.importorskip("zensical", reason="no Zensical: pip install -r requirements/docs.txt")

from apps.site import build  # noqa: E402
from apps.site.pages import PAGES, START  # noqa: E402
from vaelab.cli import LabError  # noqa: E402


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staff's site, and the students' in its folder students/."""

    def make(folder: Path) -> None:
        build.main(["--out", str(folder / "staff")])
        build.main(["--out", str(folder / "students"), "--students"])

    return made_once(tmp_path_factory, "site", make)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The address of a server that shows the site."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Targets(HTMLParser):
    """The links and pictures of a page, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.targets, self.anchors = [], set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values.get("id"), values.get("name")}
        if tag in ("a", "img", "script", "link"):
            self.targets += [value for key in ("href", "src") if (value := values.get(key))]


def parsed(path: Path) -> Targets:
    page = Targets()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.mark.parametrize("audience", ["staff", "students"])
def test_every_link_and_picture_of_the_built_pages_exists(site: Path, audience: str) -> None:
    pages = {path: parsed(path) for path in (site / audience).rglob("index.html")}
    assert len(pages) > 10
    checked = 0
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                assert url.scheme in ("http", "https", "mailto", "data")
                continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            file = file / "index.html" if file.is_dir() else file
            assert file.is_file(), f"{path.relative_to(site)} links to {target}"
            if url.fragment and file in pages and not url.fragment.startswith("__"):
                assert unquote(url.fragment) in pages[file].anchors, f"{path.relative_to(site)}: {target}"
            checked += 1
    assert checked > 500


def test_pages_for_staff_are_in_the_staff_site_only(site: Path) -> None:
    for page in PAGES:
        place = "" if page is START else page.name
        for language in ("", "zh"):
            assert (site / "staff" / language / place / "index.html").is_file()
            assert (site / "students" / language / place / "index.html").is_file() == (not page.staff)
    students = "".join(path.read_text(encoding="utf-8") for path in (site / "students").rglob("*.*ml"))
    students += "".join(
        path.read_text(encoding="utf-8") for path in (site / "students").rglob("search*.json")
    )
    assert "make_student_version" not in students
    assert "SOLUTION" not in students
    assert "--beyond" not in students, "a part between <!-- staff --> and <!-- end of staff -->"


@pytest.mark.parametrize(
    ("path", "title", "formulas"),
    [
        ("staff/handout/", "Lab: variational autoencoders", 150),
        ("students/zh/handout/", "实验", 150),
        ("students/code_tour/", "Read the code in an hour", 0),
    ],
)
def test_pages_in_a_browser(address: str, open_page, path: str, title: str, formulas: int) -> None:  # noqa: F811
    visit = open_page(color_scheme="dark")
    page = visit.page
    page.goto(f"{address}/{path}")
    assert title in page.locator("h1").first.inner_text()
    marked = page.locator(".arithmatex").count()
    assert marked >= formulas
    assert page.locator(".arithmatex .katex").count() == marked
    assert page.locator(".katex-error").count() == 0
    if formulas:  # the fonts of the formulas have been loaded
        assert page.evaluate("document.fonts.ready.then(() => document.fonts.check('16px KaTeX_Main'))")
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
    page.wait_for_function("[...document.images].every(i => i.complete)")
    assert page.evaluate(broken) == 0
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.hosts == {"127.0.0.1"}
    assert visit.errors == []


def test_the_switch_leads_to_the_same_page_and_back(address: str, open_page) -> None:  # noqa: F811
    page = open_page().page
    page.goto(f"{address}/students/answers/")
    page.locator("a.language-switch").first.click()
    page.wait_for_url("**/students/zh/answers/")
    assert page.locator("h1").first.inner_text().startswith("答题纸")
    page.locator("a.language-switch").first.click()
    page.wait_for_url("**/students/answers/")


@pytest.mark.parametrize(("language", "word"), [("", "reparameterization"), ("zh/", "散度")])
def test_the_search_finds_a_word(address: str, open_page, language: str, word: str) -> None:  # noqa: F811
    visit = open_page()
    page = visit.page
    page.goto(f"{address}/students/{language}", wait_until="networkidle")
    page.locator(".md-search__button").click()
    page.get_by_placeholder("Search").last.fill(word)
    page.get_by_text(re.compile(r"^[1-9]\d* results?$")).wait_for()
    assert visit.hosts == {"127.0.0.1"}


def test_a_broken_link_or_a_missing_picture_ends_the_build() -> None:
    source = build.REPO / "docs" / "handout.md"
    exists = functools.partial(link_of, source)
    assert build.convert("[a](handout.md#x)", source, exists) == "[a](handout.md#x)"
    assert build.convert("[code](../model.py)", source, lambda *_: None) == "code"
    with pytest.raises(LabError, match="not a picture"):
        build.convert("![a](../model.py)", source, lambda *_: None)
    fenced = "```\n[a](nowhere.md)\n```"
    assert build.convert(fenced, source, exists) == fenced
    text = "a <!-- staff -->b <!-- end of staff -->c"
    assert build.convert(text, source, exists) == "a b c"
    assert build.convert(text, source, exists, students=True) == "a c"


def link_of(source: Path, path: Path, fragment: str) -> str:
    assert path.parent == source.parent
    return re.sub("#$", "", f"{path.name}#{fragment}")


def test_only_a_folder_that_it_made_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(LabError, match="is not a site that this command made"):
        build.main(["--out", str(tmp_path / "mine")])
