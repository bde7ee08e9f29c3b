"""A sweep, a training and a class's grades on a real SLURM cluster of two nodes."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from cluster import make_cluster  # noqa: F401 the fixture
from conftest import LAB_PACKAGES, REPO, rows, run_command, succeed
from hostile import honest, write_class
from test_sweep import SMALL, sweep

from apps.autograde.sandbox import sandbox_problem
from vaelab.data.splits import load_split

# With the grader's own tests, which look at whether a sandbox is left on this machine.
pytestmark = pytest.mark.xdist_group("autograde")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder of the lab, from which jobs are submitted."""
    for path in (*REPO.glob("*.py"), *(REPO / name for name in (*LAB_PACKAGES, "scripts", ".venv"))):
        if path.exists():
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_a_sweep_as_an_array_of_which_a_task_is_killed(cluster, lab: Path) -> None:
    grid = SMALL | {"EPOCHS": "3"}
    job = cluster.submit("--array=0-1", "scripts/sweep.sh", cwd=lab, **grid)
    root = lab / "outputs" / "sweep"
    while not list(root.glob("*seed=2*/VAE0label/log.jsonl")):
        assert set(cluster.states(job).values()) <= {"PENDING", "CONFIGURING", "RUNNING"}
        time.sleep(0.1)
    node = cluster.run("squeue", "--noheader", f"--jobs={job}_1", "--format=%N").strip()
    # Kills what runs there, which starts again elsewhere when its credentials have expired.
    cluster.run("scontrol", "update", f"node={node}", "state=down", "reason=test")
    cluster.wait(job)
    printed = {path.name: path.read_text() for path in lab.glob("slurm-*.out")}
    # The second task has started twice: it was killed, put back into the queue, and went on elsewhere.
    assert sorted(text.count(" of them done") for text in printed.values()) == [1, 2], printed
    result = sweep(lab, **grid, OUTPUT_DIR="outputs/local", JOBS="2")
    assert result.returncode == 0, result.stderr
    assert (root / "sweep.csv").read_bytes() == (lab / "outputs/local/sweep.csv").read_bytes()


def test_a_training_over_two_nodes(cluster, lab: Path) -> None:
    options = (
        "--task",
        "VAE0label",
        "--dataset",
        "digits",
        "--arch",
        "mlp",
        "--epochs",
        2,
        "--precision",
        "fp32",
    )
    cluster.wait(cluster.submit("--nodes=2", "scripts/train.sbatch", *options, cwd=lab))
    (output,) = lab.glob("slurm-*.out")
    text = output.read_text()
    assert "on cpu, 1 thread, in fp32, 2 processes" in text, text
    succeed("train.py", *options, "--output_dir", "one", cwd=lab)
    one, two = rows(lab / "one/VAE0label"), rows(lab / "outputs/VAE0label")
    assert [row["valid_loss"] for row in two] == pytest.approx([row["valid_loss"] for row in one], rel=1e-4)


@pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))
def test_a_class_is_graded_in_shares_and_merged_by_the_same_command(
    cluster, lab: Path, main_job: Path
) -> None:
    shutil.copytree(main_job / "dataset", lab / "dataset")
    os.chdir(lab)
    train, _ = load_split("digits", "train")
    write_class(lab / "class", train, {f"student {i}": honest() for i in range(3)}, {})
    how = ("class", "--dataset", "digits", "--split", "test", "--salt", "x")
    cluster.wait(cluster.submit("--array=1-2", "scripts/autograde.sbatch", *how, cwd=lab))
    assert not (lab / "grades" / "grades.csv").exists()
    out = succeed("autograde.py", *how, cwd=lab)
    assert "3 submissions, 0 to grade" in out
    assert not list((lab / "grades").glob(".share-*"))
    succeed("autograde.py", *how, "--output_dir", "alone", cwd=lab)

    def grades(name: str) -> list[dict[str, str]]:
        with (lab / name / "grades.csv").open(newline="") as file:
            return [
                {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
            ]

    assert grades("grades") == grades("alone")
    assert (lab / "grades/leaderboard.md").read_text() == (lab / "alone/leaderboard.md").read_text()
    line = run_command("autograde.py", *how, "--share", "4/3", cwd=lab).stderr
    assert "expected K/N with K from 1 to N, as 3/10, got '4/3'" in line


def process_of_share(lab: Path, share: str) -> int | None:
    """The number of the process that grades a share in `lab`; None if there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "autograde.py" in words and share in words and (process / "cwd").resolve() == lab:
                return int(process.name)
        except OSError:  # it has ended
            continue
    return None


@pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))
def test_a_share_that_is_killed_is_taken_up_again(cluster, lab: Path, main_job: Path) -> None:
    shutil.copytree(main_job / "dataset", lab / "dataset")
    os.chdir(lab)
    write_class(
        lab / "class", load_split("digits", "train")[0], {f"student {i}": honest() for i in range(4)}, {}
    )
    how = ("class", "--dataset", "digits", "--split", "test")
    job = cluster.submit("--array=1-2", "scripts/autograde.sbatch", *how, cwd=lab)
    log = lab / "grades/log.txt"
    end = time.monotonic() + 240
    while not (log.exists() and "student 0" in log.read_text()):  # the first one of the first share
        assert time.monotonic() < end, cluster.states(job)
        time.sleep(0.1)
    os.kill(process_of_share(lab, "1/2"), signal.SIGKILL)
    while set(cluster.states(job).values()) != {"FAILED", "COMPLETED"}:
        assert time.monotonic() < end, cluster.states(job)
        time.sleep(0.2)
    out = succeed("autograde.py", *how, cwd=lab)
    assert "4 submissions, 1 to grade" in out, out
    assert "ok 4" in out
    assert not list((lab / "grades").glob(".share-*"))
