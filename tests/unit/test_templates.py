"""HTML is written in jinja2 templates that escape every value, and nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from conftest import REPO

from vaelab.templates import template_environment

jinja2 = pytest.importorskip("jinja2")

TAG = re.compile(
    r"</?(html|head|body|title|meta|style|script|link|section|div|span|p|b|i|h[1-6]|ul|ol|li|table|tr|t[dh]|figure|"
    r"figcaption|img|canvas|button|input|label|svg|path|code|pre|small|br)\b[^<>]*>",
    re.IGNORECASE,
)


def test_no_python_string_has_an_html_tag() -> None:
    found = []
    for folder in ("vaelab", "beyond", "apps"):
        for path in (REPO / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if id(node) in docstrings:  # they name files such as recon_<i>.png
                    continue
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and TAG.search(node.value):
                    found.append(f"{path.relative_to(REPO)} line {node.lineno}: {TAG.search(node.value)[0]}")
    assert found == []
    assert TAG.search('<p class="message">')


def test_templates_escape_and_refuse_unknown_names(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "{{ name }}{% macro line(text) %}{{ text }}{% endmacro %}{{ line(name) }}"
    )
    template = template_environment(tmp_path).get_template("page.html")
    assert template.render(name="<b>'\"&") == 2 * "&lt;b&gt;&#39;&#34;&amp;"
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        template.render()


def test_no_template_marks_a_value_as_safe() -> None:
    templates = list((REPO / "apps").rglob("*.html"))
    assert len(templates) >= 2  # in the students' version too
    for path in templates:
        assert not re.search(r"\|\s*safe\b|autoescape", path.read_text(encoding="utf-8")), path
