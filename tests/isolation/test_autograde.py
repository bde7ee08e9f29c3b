"""The isolated grade: hostile submissions are contained, honest ones get their score, nothing is lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from conftest import REPO, fail, run_command, start_process, succeed
from hostile import CASES, LATENT_DIM, honest, source, write_class

from apps.autograde.arrays import pack, unpack
from apps.autograde.gradebook import one_line
from apps.autograde.interpreter import Interpreter
from apps.autograde.limits import Limits
from apps.autograde.sandbox import run_sandboxed, sandbox_problem
from vaelab.data.splits import load_split
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import score

pytestmark = pytest.mark.xdist_group("autograde")  # one worker: they share a graded class
HOW = ("--dataset", "digits", "--split", "test")

needs_sandbox = pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of `grades.csv` by name and task."""
    with (folder / "grades.csv").open(newline="") as file:
        return {(row["name"], row["task"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def data(digits_data: Path) -> Path:
    """A folder with dataset/digits/."""
    return digits_data


@pytest.fixture(scope="module")
def digits(data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The splits of scikit-learn's digits."""
    before = Path.cwd()
    os.chdir(data)
    try:
        return {split: load_split("digits", split) for split in ("train", "test")}
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def hostile_class(data: Path, digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a class of hostile submissions, and an honest one, were graded."""
    cwd = tmp_path_factory.mktemp("class")
    shutil.copytree(data / "dataset", cwd / "dataset")
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {
            "DATA": str(cwd / "dataset"),
            "NEIGHBOUR": str(cwd / "class" / "honest" / "submission.py"),
            "GRADES": str(cwd / "grades"),
            "PORT": str(server.getsockname()[1]),
        }
        write_class(cwd / "class", digits["train"][0], {"honest": honest()} | CASES, places)
        before = {path: path.lstat().st_mtime_ns for path in (cwd / "class").rglob("*")}
        limits = ("--time_limit", 40, "--memory_mb", 800)  # a step imports torch: many seconds on busy cores
        succeed("autograde.py", "class", *HOW, *limits, cwd=cwd)
    assert {path: path.lstat().st_mtime_ns for path in (cwd / "class").rglob("*")} == before
    return cwd


@needs_sandbox
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_submission_is_contained(hostile_class: Path, name: str) -> None:
    case = CASES[name]
    rows = rows_of(hostile_class / "grades")
    row, own = rows[one_line(name), "VAE0label"], rows["honest", "VAE0label"]
    assert re.fullmatch(case.status, row["status"]), row
    assert re.search(case.reason, row["reason"]), row
    assert len(row["reason"]) <= 501
    flags = row["flags"] + rows[row["name"], "Genwithlabel"]["flags"]
    assert re.search(case.flag, flags), row
    assert bool(case.flag) == bool(flags) or row["status"] != "ok" or name == "the identity", flags
    if case.honest_score:
        keys = ("ssim", "mse", "latent_dim", "score", "score_uncapped")
        assert {key: row[key] for key in keys} == {key: own[key] for key in keys}
    if row["status"] != "ok":
        assert float(row["score"]) == 0


@needs_sandbox
def test_what_passes_through_the_codes_is_what_counts(hostile_class: Path, digits) -> None:
    """The honest score by another way, and those of wide and of packed codes."""
    rows = rows_of(hostile_class / "grades")
    (train, _), (images, _) = digits["train"], digits["test"]
    x, mean = images.reshape(-1, 784) / 255, train.reshape(-1, 784).mean(axis=0) / 255

    def expected(latent_dim: int) -> dict[str, float]:
        axes = np.linalg.eigh(np.cov(train.reshape(-1, 784).T))[1][:, ::-1][:, :latent_dim]
        recon = np.clip(mean + (x - mean) @ axes @ axes.T, 0, 1)
        values = reconstruction((recon * 255).round().astype(np.uint8).reshape(images.shape), images)
        return values | score("VAE0label", values, latent_dim)

    for name, latent_dim in (("honest", LATENT_DIM), ("lies about latent_dim", 40)):
        row = rows[name, "VAE0label"]
        assert int(row["latent_dim"]) == latent_dim
        assert float(row["score_uncapped"]) == pytest.approx(expected(latent_dim)["score_uncapped"], abs=2e-3)
    identity = rows["the identity", "VAE0label"]
    assert float(identity["score_uncapped"]) == pytest.approx(10 * 0.2, abs=0.01)
    packed, own = rows["two numbers in one", "VAE0label"], rows["honest", "VAE0label"]
    assert int(packed["latent_dim"]) == LATENT_DIM / 2
    assert float(packed["score"]) < float(own["score"])


@needs_sandbox
def test_digits_that_float16_loses_are_flagged(digits, data: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").symlink_to(data / "dataset")
    cases = {name: CASES[name] for name in ("two numbers in one", "an honest zip file")}
    write_class(tmp_path / "class", digits["train"][0], cases, {})
    succeed("autograde.py", "class", *HOW, "--latent_precision", "float32", cwd=tmp_path)
    rows = rows_of(tmp_path / "grades")
    assert re.search(r"with codes in float32 .* \+", rows["two numbers in one", "VAE0label"]["flags"])
    assert rows["an honest zip file", "VAE0label"]["flags"] == ""


@needs_sandbox
def test_nothing_is_left_or_let_out(hostile_class: Path) -> None:
    assert not Path("/tmp/pickle-bomb-went-off").exists()
    assert not list(Path("/").glob("written-by-a-submission"))
    assert not (hostile_class / "outside.py").exists()
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sandboxed_step.py" not in table
    page = (hostile_class / "grades" / "markup%20in%20a%20message.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    for path in (hostile_class / "grades").glob("*.html"):
        assert "<b>ünï" not in path.read_text()


@needs_sandbox
def test_gradescope_reads_the_result(hostile_class: Path) -> None:
    result = json.loads((hostile_class / "grades" / "honest.json").read_text())
    row = rows_of(hostile_class / "grades")["honest", "VAE0label"]
    assert result["score"] >= float(row["score"])
    tests = {test["name"]: test for test in result["tests"]}
    assert tests["VAE0label"]["max_score"] == 10
    assert "there is no Genwithlabel.pt" in tests["Genwithlabel"]["output"]
    assert tests["vae_loss"]["score"] == 0  # it has none, and its result counts all the same
    assert result["leaderboard"][0]["value"] == pytest.approx(float(row["score_uncapped"]), abs=1e-3)
    (attempt,) = result["extra_data"]["attempts"]
    decided = ("split_sha256", "formula", "commit", "torch", "processor", "threads", "time_limit", "date")
    assert set(decided) <= attempt["decided"].keys()
    board = (hostile_class / "grades" / "leaderboard.md").read_text()
    assert "honest" not in board
    assert board.count("student-") == len(CASES) + 1


@needs_sandbox
def test_nothing_of_the_grader_is_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADERS_TOKEN", "a secret of the grader")
    code = """
        import json, os
        def opened(fd):
            try: return os.fstat(fd)
            except OSError: pass
        files = [fd for fd in range(256) if opened(fd)]
        print(json.dumps([dict(os.environ), os.listdir("/proc"), os.path.exists("/sys"), files]))
    """
    command = [sys.executable, "-I", "-c", dedent(code).replace("{", "{{").replace("}", "}}")]
    outcome = run_sandboxed(command, Interpreter.copy(tmp_path).mounts, {}, b"", Limits())
    variables, proc, sys_is_there, files = json.loads(outcome.output)
    assert "GRADERS_TOKEN" not in variables
    assert "PYTHONDONTWRITEBYTECODE" in variables
    assert proc == ["cpuinfo"]
    assert not sys_is_there
    assert files == [0, 1, 2]


# --- Honest submissions -------------------------------------------------------------------------


@pytest.fixture
def own_folder(main_job: Path, digits_data: Path, change) -> Path:
    """A student's folder, after both tasks were trained and graded on `test`."""
    cwd = change(main_job)
    shutil.copy(digits_data / "dataset/digits/classifier.pt", cwd / "dataset/digits")
    for name in ("submission.py", "model.py"):
        shutil.copy(REPO / name, cwd)
    return cwd


@needs_sandbox
def test_the_isolated_grade_is_that_of_grade_py(own_folder: Path) -> None:
    for task in ("VAE0label", "Genwithlabel"):
        infer = ("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", "--split", "test")
        succeed(*infer, cwd=own_folder)
    succeed("grade.py", "--split", "test", cwd=own_folder)
    own = json.loads((own_folder / "outputs/grade_result.json").read_text())
    out = succeed("autograde.py", ".", *HOW, cwd=own_folder)
    rows = rows_of(own_folder / "grades")
    for task, grade in own.items():
        row = rows[own_folder.name, task]
        assert row["status"] == "ok", row
        assert row["flags"] == ""
        for key in ("score", "score_uncapped"):
            assert float(row[key]) == pytest.approx(grade[key], abs=0.005)
        assert f"{task}: {grade['score']:.2f} of" in out
    assert re.search(r"1/1 \S+: VAE0label ok .*, Genwithlabel ok .*; 0 checks failed", out)
    (student,) = csv.DictReader((own_folder / "grades/students.csv").open(encoding="utf-8-sig"))
    blanks = ("2.2.1", "2.2.2", "2.2.3", "2.2.4", "2.3", "3.1", "3.2", "3.3")
    assert sum(float(student[part]) for part in blanks) == 50
    assert float(student["total"]) == pytest.approx(50 + sum(g["score"] for g in own.values()), abs=0.02)
    page = (own_folder / "grades" / f"{own_folder.name}.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2


@needs_sandbox
def test_a_killed_grader_goes_on_where_it_was(digits, data: Path, tmp_path: Path) -> None:
    """The same table as that of an uninterrupted run, but for the seconds that it took."""
    (tmp_path / "dataset").symlink_to(data / "dataset")
    names = [f"student {i}" for i in range(3)]
    write_class(tmp_path / "class", digits["train"][0], {name: honest() for name in names}, {})
    (tmp_path / "class" / "student 2" / "submission.py").write_text("broken(")
    command = ("autograde.py", "class", *HOW, "--salt", "s", "--jobs", 1)
    process = start_process(*command, "--output_dir", "killed", cwd=tmp_path, start_new_session=True)
    while not list(tmp_path.glob("killed/student*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/student*.json")}
    assert len(done) < 3
    for folder in ("killed", "whole"):
        succeed(*command, "--output_dir", folder, cwd=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in done} == done  # not done again
    tables = [rows_of(tmp_path / folder) for folder in ("killed", "whole")]
    for table in tables:
        assert len(table) == 6
        for row in table.values():
            row.pop("seconds")
    assert tables[0] == tables[1]
    boards = [(tmp_path / folder / "leaderboard.md").read_text() for folder in ("killed", "whole")]
    assert boards[0] == boards[1]


@needs_sandbox
def test_a_failed_regrade_keeps_the_grade(digits, data: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").symlink_to(data / "dataset")
    write_class(tmp_path / "class", digits["train"][0], {"ann": honest()}, {})
    grade = ("autograde.py", "class", *HOW)
    succeed(*grade, cwd=tmp_path)
    before = rows_of(tmp_path / "grades")["ann", "VAE0label"]
    (tmp_path / "class/ann/submission.py").write_text(source(encode="1 / 0"))
    succeed(*grade, cwd=tmp_path)
    row = rows_of(tmp_path / "grades")["ann", "VAE0label"]
    assert row["score"] == before["score"]
    assert row["status"] == "kept"
    assert "the grade of ann is kept" in row["reason"]
    assert "ZeroDivisionError" in row["reason"]
    assert "0 to grade" in succeed(*grade, cwd=tmp_path)  # not again and again
    # A better one replaces it; `--only` leaves the others as they are.
    write_class(tmp_path / "class", digits["train"][0], {"bob": honest()}, {})
    (tmp_path / "class/ann/submission.py").write_text(source())
    succeed(*grade, "--only", "ann", "--note", "repaired", cwd=tmp_path)
    rows = rows_of(tmp_path / "grades")
    assert rows["ann", "VAE0label"]["reason"] == ""
    assert ("bob", "VAE0label") not in rows


# --- Without a sandbox, and mistakes ------------------------------------------------------------


def test_without_bubblewrap_it_refuses(own_folder: Path) -> None:
    line = fail("autograde.py", ".", *HOW, cwd=own_folder, env={"PATH": "/nowhere"})
    assert "apt install bubblewrap" in line
    assert "--sandbox none" in line
    out = succeed("autograde.py", ".", *HOW, "--sandbox", "none", cwd=own_folder, env={"PATH": "/nowhere"})
    assert "warning: --sandbox none" in out
    assert rows_of(own_folder / "grades")[own_folder.name, "Genwithlabel"]["status"] == "ok"


@needs_sandbox
def test_mistakes_of_staff(own_folder: Path) -> None:
    assert "there is no nowhere" in fail("autograde.py", "nowhere", *HOW, cwd=own_folder)
    (own_folder / "none").mkdir()
    assert "contains no submissions" in fail("autograde.py", "none", *HOW, cwd=own_folder)
    assert "no submission 'eve'" in fail("autograde.py", ".", *HOW, "--only", "eve", cwd=own_folder)
    result = run_command("autograde.py", ".", "--time_limit", "no", cwd=own_folder)
    assert result.returncode == 2


def test_arrays_cross_as_bytes() -> None:
    arrays = {"x": np.arange(6, dtype=np.uint8).reshape(2, 3), "z": np.ones((0, 5), np.float16)}
    for name, array in unpack(pack(arrays)).items():
        np.testing.assert_array_equal(array, arrays[name])
    good = pack({"x": np.zeros((2, 3), np.float32)})
    for bad in (
        b"",
        b"{}x\n",
        good[:-1],
        good + b"x",
        good.replace(b"[2, 3]", b"[-2, -3]"),
        good.replace(b"[2, 3]", b"[99999999999, 99999999999]"),
        good.replace(b"float32", b"object"),
        b"[" * 100_000,
        b'{"x": ["uint8", ["9"]]}\n',
    ):
        with pytest.raises(ValueError, match="not a result|array"):
            unpack(bad)
