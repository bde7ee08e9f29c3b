"""Similar code, by compare50: it is called as a program of an environment of its own (scripts/staff.sh)."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPO

from apps.autograde import similarity
from apps.autograde.similarity import compare50_python, similar_code
from apps.student_version.blanks import without_solutions
from vaelab.cli import LabError

SOLVED = (REPO / "submission.py").read_text(encoding="utf-8")


def installed() -> bool:
    try:
        return compare50_python().exists()
    except LabError:
        return False


@pytest.mark.skipif(not installed(), reason="compare50 is not installed: bash scripts/staff.sh")
def test_the_copy_is_found_and_what_was_handed_out_is_ignored(tmp_path: Path) -> None:
    own = """\
        self.first = nn.Linear(784, 300)
        self.second = nn.Linear(300, 2 * latent_dim)
        self.third = nn.Sequential(nn.Linear(latent_dim, 300), nn.ReLU(), nn.Linear(300, 784), nn.Sigmoid())
"""
    start, end = SOLVED.index("        # BEGIN SOLUTION 2.2.1"), SOLVED.index("        # END SOLUTION 2.2.1")
    texts = {
        "ann": SOLVED,
        "a copy": SOLVED.replace("encoder_labels", "table_a").replace("decoder_labels", "table_b"),
        "own <work>": SOLVED[:start] + own + SOLVED[end:],
        "empty": without_solutions(SOLVED),
    }
    sources = {}
    for name, text in texts.items():
        sources[name] = tmp_path / str(len(sources))
        sources[name].mkdir()
        (sources[name] / "submission.py").write_text(text)
    handed_out = tmp_path / "student"
    handed_out.mkdir()
    (handed_out / "submission.py").write_text(texts["empty"])
    out = tmp_path / "grades" / "similarity" / "code"
    out.parent.mkdir(parents=True)
    pairs = {(pair.a, pair.b): pair for pair in similar_code(sources, handed_out, out)}
    copy = pairs["a copy", "ann"]
    assert copy.code == max(pair.code for pair in pairs.values()) == 10
    assert pairs["ann", "own <work>"].code < 10
    assert pairs.get(("ann", "empty")) is None or pairs["ann", "empty"].code < 2
    page = tmp_path / "grades" / copy.page
    assert page.is_file()
    assert "https://" not in (out / "index.html").read_text().partition("<body")[0].replace("w3.org", "")


def test_without_compare50_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "ENVIRONMENT", Path("nowhere"))
    with pytest.raises(LabError, match=r"bash scripts/staff\.sh installs it"):
        similar_code({"a": tmp_path, "b": tmp_path}, None, tmp_path / "out")
