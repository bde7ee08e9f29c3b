"""Attacks on the grade, of each class: they fail, gain nothing, or are flagged with what was seen."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from attacks import ATTACKS, TRIES
from conftest import run_process, succeed
from hostile import write_class

from apps.autograde.gradebook import one_line
from apps.autograde.sandbox import sandbox_problem
from vaelab.data.digits import embedded_digits

pytestmark = [
    pytest.mark.xdist_group("autograde"),  # one worker: they share a graded class
    pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem())),
]
MAX_GAIN = 0.05  # points


@pytest.fixture(scope="module")
def graded(digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a class of all attacks, and an honest submission, were graded."""
    cwd = tmp_path_factory.mktemp("attacks")
    shutil.copytree(digits_data / "dataset", cwd / "dataset")
    write_class(cwd / "class", embedded_digits()["train"][0], ATTACKS, {"GRADES": str(cwd / "grades")})
    succeed("autograde.py", "class", "--dataset", "digits", "--split", "test", cwd=cwd)
    return cwd


@pytest.fixture(scope="module")
def rows(graded: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of grades.csv by name and task."""
    with (graded / "grades" / "grades.csv").open(newline="") as file:
        return {(row["name"], row["task"]): row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gains_nothing_unseen(rows, name: str) -> None:
    case, honest = ATTACKS[name], rows["an honest one", "VAE0label"]
    tasks = [rows[one_line(name), task] for task in ("VAE0label", "Genwithlabel")]
    (row,) = [row for row in tasks if row["status"] != "missing"]
    assert row["status"] == case.status, row
    assert re.search(case.reason, row["reason"])
    assert re.search(case.flag, row["flags"]), row
    if row["flags"]:
        assert re.search(r"\d", row["flags"])  # with its numbers
    elif case.status == "ok":
        assert float(row["score_uncapped"]) <= float(honest["score_uncapped"]) + MAX_GAIN


@pytest.mark.parametrize("name", TRIES)
def test_a_try_is_held_back(graded: Path, name: str) -> None:
    record = json.loads((graded / "grades" / "all%20tries.json").read_text())
    reason = record["extra_data"]["attempts"][0]["grades"]["VAE0label"]["reason"]
    assert "tried all" in reason
    assert name not in reason, reason


def test_grading_again_gives_the_same(graded: Path, tmp_path: Path) -> None:
    """To the last digit, with the same flags: the secret is kept. With another one the score is equal."""
    names = ("an honest one", "the test set, by its index")
    only = [word for name in names for word in ("--only", name)]
    shutil.copytree(graded, tmp_path / "again")

    def records(folder: Path) -> list[dict]:
        files = [folder / "grades" / f"{name.replace(' ', '%20').replace(',', '%2C')}.json" for name in names]
        found = [json.loads(file.read_text())["extra_data"]["attempts"][0]["grades"] for file in files]
        for grades in found:
            for grade in grades.values():
                grade.pop("seconds")
        return found

    before = records(graded)
    how = ("--dataset", "digits", "--split", "test", *only)
    succeed("autograde.py", "class", *how, cwd=tmp_path / "again")
    assert records(tmp_path / "again") == before
    (tmp_path / "again" / "grades" / ".secret").unlink()
    succeed("autograde.py", "class", *how, cwd=tmp_path / "again")
    after = records(tmp_path / "again")
    assert after != before
    assert [each["VAE0label"]["score"] for each in after] == [each["VAE0label"]["score"] for each in before]


def test_a_step_learns_nothing_from_what_an_earlier_one_read(tmp_path: Path) -> None:
    """A cooperative receiver guesses the bits of a sender: half of them are wrong."""
    result = run_process("benchmarks/channel_capacity.py", "--bits", 300, "--rounds", 2, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    wrong = {
        name: float(share) for name, share in re.findall(r"^\| ([^|]+?) \| ([\d.]+)% \|", result.stdout, re.M)
    }
    assert len(wrong) == 3, result.stdout
    assert all(30 < share < 70 for share in wrong.values()), wrong
