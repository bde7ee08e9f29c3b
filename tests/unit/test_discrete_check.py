"""The checks of part 6: the solution passes, each planted mistake is named, students get them on request."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPO, run_command, succeed

from apps.student_version import build
from apps.student_version.blanks import DISCRETE_BLANKS, without_solutions
from vaelab.checks.checks import run_checks
from vaelab.checks.discrete_checks import DISCRETE_CHECKS
from vaelab.checks.explanation import explain

SOLVED = (REPO / "beyond/discrete/discrete.py").read_text(encoding="utf-8")


def module(text: str) -> ModuleType:
    planted = ModuleType("discrete")
    exec(compile(text, "discrete.py", "exec"), planted.__dict__)
    return planted


def failure(*changes: tuple[str, str]) -> tuple[str, str]:
    """The part of the check that fails, and the name of the mistake."""
    text = SOLVED
    for good, bad in changes:
        assert text.count(good) == 1, good
        text = text.replace(good, bad)
    *_, (check, error) = run_checks(module(text), DISCRETE_CHECKS)
    assert error is not None, "every check passed"
    return check.part, explain(error, REPO)[0]


def test_the_solution_passes_every_check() -> None:
    results = list(run_checks(module(SOLVED), DISCRETE_CHECKS))
    assert [(check.title, error) for check, error in results if error] == []
    assert len(results) == len(DISCRETE_CHECKS)


# Another way to write each blank.
OTHER = [
    (
        "return distances.argmin(dim=1).reshape(z.shape[:-1])",
        "return torch.cdist(z, codebook.expand(*z.shape[:-2], -1, -1)).argmin(dim=-1)",
    ),
    ("return z + (codes - z).detach()", "return codes.detach() + z - z.detach()"),
    ("bounded = (levels - 1) / 2 * z.tanh()", "bounded = (levels // 2) * torch.tanh(z)"),
]


def test_other_right_answers_pass() -> None:
    text = SOLVED
    for ours, theirs in OTHER:
        assert text.count(ours) == 1, ours
        text = text.replace(ours, theirs)
    assert [error for _, error in run_checks(module(text), DISCRETE_CHECKS) if error] == []


NEAREST = "return distances.argmin(dim=1).reshape(z.shape[:-1])"
DISTANCES = "distances = squares - 2 * products"
THROUGH = "return z + (codes - z).detach()"
BOOK = "(z.detach() - codes).square()"
COMMITMENT = "(z - codes.detach()).square()"
ROUND = "return straight_through(bounded, bounded.round())"
BOUNDED = "bounded = (levels - 1) / 2 * z.tanh()"

MISTAKES = [
    (((NEAREST, "return distances.argmin(dim=0)"),), "6.1", "argmin over the wrong dimension"),
    (((NEAREST, "return distances.argmin(dim=1)"),), "6.1", "nearest_code: wrong shape"),
    (((NEAREST, NEAREST + ".int()"),), "6.1", "nearest_code: wrong dtype"),
    (((DISTANCES, "distances = squares"),), "6.1", "the distance lacks the cross term"),
    (((DISTANCES, "distances = squares + 2 * products"),), "6.1", "the cross term has the wrong sign"),
    (((DISTANCES, "distances = squares - products"),), "6.1", "the cross term lacks its factor 2"),
    (((DISTANCES, "distances = -products"),), "6.1", "the largest product z e is not the nearest"),
    (((NEAREST, NEAREST.replace("argmin", "argmax")),), "6.1", "the farthest code is chosen"),
    (((DISTANCES, "distances = squares.sqrt() - products"),), "6.1", "the chosen codes are not the nearest"),
    (((THROUGH, "return codes"),), "6.2", "the gradient is not passed on to z"),
    (((THROUGH, "return codes.detach()"),), "6.2", "no gradient reaches z"),
    (((THROUGH, "return codes + (z - codes).detach()"),), "6.2", "its value is z, not the code vectors"),
    (((THROUGH, "return z"),), "6.2", "its value is z, not the code vectors"),
    (((THROUGH, "return z + (codes - z.detach())"),), "6.2", "the gradient reaches the code vectors as well"),
    (((THROUGH, "return z + (codes - z)"),), "6.2", "the gradient is not passed on to z"),
    (((THROUGH, "return 2 * z + (codes - 2 * z).detach()"),), "6.2", "the gradient of z is not that"),
    (((THROUGH, "return codes - z"),), "6.2", "its value is not that of the code vectors"),
    (((BOOK, "(z - codes).square()"),), "6.3", "stop-gradient missing"),
    (((COMMITMENT, "(z - codes).square()"),), "6.3", "stop-gradient missing"),
    (((BOOK, COMMITMENT + " "), (COMMITMENT + ".flatten", BOOK + ".flatten")), "6.3", "exchanged"),
    (((BOOK, COMMITMENT + " "),), "6.3", "on the same side"),
    (((BOOK, "(z - codes).detach().square()"),), "6.3", "a loss without gradient"),
    (
        (("return codebook_loss, commitment_loss\n    # END", "return codebook_loss\n    # END"),),
        "6.3",
        "must return a tuple of 2 losses",
    ),
    (
        (
            (
                "return codebook_loss, commitment_loss\n    # END",
                "return codebook_loss, commitment_loss / 4\n#",
            ),
        ),
        "6.3",
        "commitment_loss: times beta",
    ),
    (
        ((BOOK + ".flatten(1).sum(dim=1).mean()", BOOK + ".mean()"),),
        "6.3",
        "codebook_loss: a mean over all numbers",
    ),
    (
        ((BOOK + ".flatten(1).sum(dim=1).mean()", BOOK + ".sum()"),),
        "6.3",
        "codebook_loss: a sum over the batch",
    ),
    (
        ((BOOK + ".flatten(1).sum(dim=1).mean()", BOOK + ".flatten(1).sum(dim=1)"),),
        "6.3",
        "one number for each image",
    ),
    (((ROUND, "return bounded"),), "6.4", "not rounded"),
    (((ROUND, "return bounded.round()"),), "6.4", "the gradient is not passed through the rounding"),
    (((ROUND, "return straight_through(z, bounded.round())"),), "6.4", "the gradient passes tanh as well"),
    (((BOUNDED, "bounded = z.clamp(-(levels - 1) / 2, (levels - 1) / 2)"),), "6.4", "clamped, not bounded"),
    (((BOUNDED, "bounded = levels * z.tanh()"),), "6.4", "wrong number of levels"),
    (((BOUNDED, "bounded = (levels - 1) / 2 * (2 * z).tanh()"),), "6.4", "wrong values"),
]


@pytest.mark.parametrize(("changes", "part", "name"), MISTAKES, ids=[name for _, _, name in MISTAKES])
def test_a_mistake_is_named(changes: tuple, part: str, name: str) -> None:
    found = failure(*changes)
    assert found[0] == part
    assert name in found[1]


def test_each_blank_is_named_while_it_is_empty() -> None:
    empty = without_solutions(SOLVED, DISCRETE_BLANKS, "discrete.py")
    *_, (check, error) = run_checks(module(empty), DISCRETE_CHECKS)
    assert check.part == "6.1"
    assert "not filled in yet: 6.1 nearest_code: see part 6.6 of docs/discrete.md" in explain(error, REPO)[0]


# --- The students' version ----------------------------------------------------------------------


@pytest.mark.parametrize("with_discrete", [False, True])
def test_part_6_is_shipped_only_on_request(tmp_path: Path, with_discrete: bool) -> None:
    n = build.build(tmp_path, None, with_discrete)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == n
    part_6 = {"discrete.py", *build.DISCRETE}
    assert files & part_6 == (part_6 if with_discrete else set())
    manifest = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert "discrete.py" not in manifest  # the student changes it
    assert (build.DISCRETE[0] in manifest) == with_discrete
    for name in ("discrete.md", "discrete.zh.md"):  # no link to a page that is not there
        handout = (tmp_path / "docs" / name.replace("discrete", "handout")).read_text(encoding="utf-8")
        assert (f"]({name})" in handout) == with_discrete
    assert ("--discrete" in succeed("check.py", "--help", cwd=tmp_path, repo=tmp_path)) == with_discrete


def test_a_student_checks_part_6(tmp_path: Path) -> None:
    build.build(tmp_path, None, True)
    result = run_command("check.py", "--discrete", cwd=tmp_path, repo=tmp_path)
    assert result.returncode == 1
    assert "FAIL 6.1    nearest_code: an index for each vector" in result.stdout
    assert "0 of 8 checks passed. Fix this one, then run python check.py --discrete again." in result.stdout
    (tmp_path / "discrete.py").write_text(SOLVED)
    assert "8 of 8 checks passed" in succeed("check.py", "--discrete", cwd=tmp_path, repo=tmp_path)
