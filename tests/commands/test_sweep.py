"""Sweeps as a user runs them: what is swept, skipped, resumed and recorded, and what was found."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from conftest import REPO, fail, finish, rows, run_process, start_process, succeed, without_data
from postgres import postgres_server

from apps.sweep.space import read_settings, read_space
from apps.sweep.study import MAX_STARTS, Claim, Sweep
from apps.sweep.trial import ReportScores, run_trial
from vaelab.files import write_json
from vaelab.sweep_results import importances

pytestmark = pytest.mark.xdist_group("sweep")  # one worker: they share a sweep
# As scripts/sweep.sh sets it: what a run gives depends on the number of threads.
GRID = {"DATASET": "digits", "ARCH": "mlp", "EPOCHS": "3", "OMP_NUM_THREADS": "1"}
SMALL = GRID | {"TASK": "VAE0label", "LATENT_DIM": "3 5", "SEED": "1 2"}


def sweep(cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """`sweep.py` with these variables."""
    return run_process("sweep.py", cwd=cwd, env=without_data() | variables)


def table(root: Path) -> list[dict[str, str]]:
    with (root / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which scripts/sweep.sh went through four configurations, two at once."""
    cwd = tmp_path_factory.mktemp("swept")
    result = subprocess.run(
        ["bash", str(REPO / "scripts" / "sweep.sh")],
        cwd=cwd,
        env=without_data() | SMALL | {"JOBS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 configurations, 0 of them done, 2 at once" in result.stdout
    assert "4/4 VAE0label-latent_dim=" in result.stdout
    assert result.stderr == ""
    return cwd


def test_a_sweep_leaves_a_table_a_plot_and_every_model(swept: Path) -> None:
    root = swept / "outputs" / "sweep"
    found = table(root)
    assert [(row["latent_dim"], row["seed"]) for row in found] == [
        ("3", "1"),
        ("3", "2"),
        ("5", "1"),
        ("5", "2"),
    ]
    for row in found:
        name = f"VAE0label-latent_dim={row['latent_dim']}-arch=mlp-epochs=3-seed={row['seed']}-dataset=digits"
        grade = json.loads((root / name / "grade_result.json").read_text())["VAE0label"]
        assert row["status"] == "done"
        for key in ("score", "score_uncapped", "ssim", "mse"):
            assert float(row[key]) == grade[key]
        assert len(rows(root / name / "VAE0label")) == 3
        assert (root / name / "VAE0label" / "best.pt").is_file()
        assert not list((root / name).rglob("*.npy"))
    for name in ("sweep_VAE0label.png", "sweep_VAE0label_search.png"):
        assert (root / name).read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again_and_what_was_lost_is(swept: Path, change) -> None:
    root = change(swept) / "outputs" / "sweep"
    before = (root / "sweep.csv").read_bytes()
    folders = sorted(path.parent for path in root.glob("*/result.json"))
    (folders[0] / "result.json").unlink()
    (folders[0] / "VAE0label" / "best.pt").unlink()
    (folders[1] / "result.json").write_text("{")
    stamp = (folders[2] / "result.json").stat().st_mtime_ns
    for leftover in ("log.jsonl", "last.pt"):  # the first has nothing to resume, and starts
        (folders[0] / "VAE0label" / leftover).unlink(missing_ok=True)
    result = sweep(root.parent.parent, **SMALL)
    assert "4 configurations, 2 of them done" in result.stdout, result.stdout + result.stderr
    assert (folders[2] / "result.json").stat().st_mtime_ns == stamp
    assert folders[1].name in result.stdout
    assert (root / "sweep.csv").read_bytes() == before


def test_a_failure_is_recorded_and_stops_nothing(tmp_path: Path) -> None:
    grid = GRID | {"TASK": "VAE0label Genwithlabel", "PRIOR": "class_mean"}
    result = sweep(tmp_path, **grid, JOBS="2")
    assert result.returncode == 0, result.stderr
    done, failed = table(tmp_path / "outputs" / "sweep")
    assert (done["task"], done["status"]) == ("Genwithlabel", "done")
    assert (failed["task"], failed["status"], failed["score"]) == ("VAE0label", "failed", "")
    assert "--prior class_mean needs labels" in failed["reason"]
    assert failed["reason"] in result.stdout
    again = sweep(tmp_path, **grid)
    assert "2 configurations, 1 of them done" in again.stdout
    assert again.stdout.count("2/2 VAE0label-arch=mlp-epochs=3-prior=class_mean") == 1  # tried again, once


def wait_for_a_trial_in_training(root: Path) -> None:
    """Wait until one configuration is finished, and another one has finished an epoch."""
    while True:
        done = {path.parent for path in root.glob("*/result.json")}
        if done and [path for path in root.glob("*/*/log.jsonl") if path.parent.parent not in done]:
            return
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_at_any_time_the_table_is_the_same(swept: Path, tmp_path: Path, how: int) -> None:
    run = start_process("sweep.py", cwd=tmp_path, env=without_data() | SMALL | {"JOBS": "2"})
    root = tmp_path / "outputs" / "sweep"
    wait_for_a_trial_in_training(root)
    os.kill(run.pid, how)
    result = finish(run)
    if how == signal.SIGKILL:
        assert result.returncode == -9
    else:
        assert result.returncode == 130
        assert result.stderr == "\nstopped: run the same command again to continue\n"
    again = sweep(tmp_path, **SMALL, JOBS="2")
    assert again.returncode == 0, again.stdout + again.stderr
    assert (root / "sweep.csv").read_bytes() == (swept / "outputs/sweep/sweep.csv").read_bytes()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_killed_workers_fail_no_trial(swept: Path, tmp_path: Path) -> None:
    run = start_process("sweep.py", cwd=tmp_path, env=without_data() | SMALL | {"JOBS": "2"})
    root = tmp_path / "outputs" / "sweep"
    wait_for_a_trial_in_training(root)
    for worker in (grandchild for child in children(run.pid) for grandchild in children(child)):
        os.kill(worker, signal.SIGKILL)
    result = finish(run)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("a worker process ended by signal 9: replaced") == 2
    assert result.stdout.count(": score ") == 4
    assert any("resumed: " in path.read_text() for path in root.glob("*/output.txt"))
    assert (root / "sweep.csv").read_bytes() == (swept / "outputs/sweep/sweep.csv").read_bytes()


def test_two_sweeps_at_once_share_the_work(swept: Path, tmp_path: Path) -> None:
    runs = [start_process("sweep.py", cwd=tmp_path, env=without_data() | SMALL) for _ in range(2)]
    results = [finish(run) for run in runs]
    assert [result.returncode for result in results] == [0, 0]
    trained = "".join(result.stdout for result in results).count(": score ")
    assert trained == 4
    found = (tmp_path / "outputs/sweep/sweep.csv").read_bytes()
    assert found == (swept / "outputs/sweep/sweep.csv").read_bytes()


def test_explore_shows_a_sweep_at_any_time(swept: Path, change) -> None:
    cwd = change(swept)
    root = cwd / "outputs" / "sweep"
    before = (root / "sweep.csv").read_bytes()
    (root / "sweep.csv").unlink()
    out = succeed("explore.py", "sweep", "outputs/sweep", cwd=cwd)
    assert "| latent_dim | seed | score_uncapped | ssim | mse |" in out
    assert (root / "sweep.csv").read_bytes() == before
    scores = [float(row["score_uncapped"]) for row in table(root)]
    assert f"{max(scores):.4g}" in out.splitlines()[5]
    assert "contains no results of a sweep" in fail("explore.py", "sweep", "outputs", cwd=cwd)


# --- Studies, whose trials train nothing ----------------------------------------------------------


def open_sweep(root: Path, **variables: str) -> Sweep:
    variables = {"TASK": "VAE0label", "OUTPUT_DIR": str(root)} | variables
    space = read_space(variables)
    sweep = Sweep(space, read_settings(variables, space))
    sweep.enqueue_grid()
    return sweep


def finish_trial(sweep: Sweep, claim: Claim) -> str:
    options = claim.configuration.options
    result = {"task": claim.configuration.task, "options": options, "status": "done", "reason": ""}
    result["score_uncapped"] = float(options["latent_dim"])
    write_json(claim.folder / "result.json", result)
    sweep.finish(claim, result)
    claim.locks.close()
    return claim.configuration.name


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[str]:
    with postgres_server() if request.param == "postgresql" else nullcontext(request.param) as where:
        yield where


def test_machines_share_one_study_and_take_up_lost_trials(tmp_path: Path, storage: str) -> None:
    first, second = (open_sweep(tmp_path, LATENT_DIM="4 8 16", STORAGE=storage) for _ in range(2))
    lost, kept = first.take(), first.take()
    assert finish_trial(second, second.take()) == "VAE0label-latent_dim=16"
    assert second.take() is None  # both others are running
    assert second.is_running()
    lost.locks.close()  # as the system does when a process ends
    assert finish_trial(second, second.take()) == lost.configuration.name
    finish_trial(first, kept)
    assert (first.take(), second.take(), second.is_running()) == (None, None, False)
    trials = second.studies["VAE0label"].get_trials()
    assert [(trial.state.name, trial.value) for trial in trials] == [("COMPLETE", n) for n in (4, 8, 16)]
    assert open_sweep(tmp_path, LATENT_DIM="4 8 16 24", STORAGE=storage).counts() == (4, 3)


def test_a_search_draws_the_same_values_after_an_interruption(tmp_path: Path) -> None:
    variables = {"LATENT_DIM": "8..40:2", "LR": "1e-4..1e-2:log", "ARCH": "mlp conv", "TRIALS": "14"}
    variables["STORAGE"] = "journal"
    names = []
    for root in (tmp_path / "whole", tmp_path / "interrupted"):
        sweep, found = open_sweep(root, **variables), []
        while claim := sweep.take():
            if root.name == "interrupted" and len(found) in (3, 12):
                claim.locks.close()
                sweep = open_sweep(root, **variables)
                claim = sweep.take()
            found.append(finish_trial(sweep, claim))
        names.append(found)
        assert sweep.counts() == (14, 14)
    assert names[0] == names[1]
    options = [trial.params for trial in sweep.studies["VAE0label"].get_trials()]
    assert all(8 <= each["latent_dim"] <= 40 and each["latent_dim"] % 2 == 0 for each in options)
    assert all(1e-4 <= each["lr"] <= 1e-2 for each in options)
    assert {each["arch"] for each in options} == {"mlp", "conv"}
    other = open_sweep(tmp_path / "other", **variables, SAMPLER_SEED="1")
    assert other.take().configuration.name != names[0][0]


def test_a_trial_below_the_median_is_pruned(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path, LATENT_DIM="8..40", TRIALS="6", STORAGE="journal")
    for ssim in (0.9, 0.9, 0.9, 0.9, 0.9, 0.5):
        claim = sweep.take()
        config = SimpleNamespace(task="VAE0label", latent_dim=20, epochs=2)
        log = [{"epoch": 1, "valid_ssim": ssim, "valid_mse": 0.08}]
        trainer, report = SimpleNamespace(config=config, epoch=1, log=log), ReportScores(claim, prune=True)
        if ssim == 0.9:
            report(trainer)
            finish_trial(sweep, claim)
    with pytest.raises(optuna.TrialPruned, match="pruned after epoch 1 of 2"):
        report(trainer)
    sweep.finish(claim, {"status": "pruned"})
    trials = sweep.studies["VAE0label"].get_trials()
    bonus = 1.2 - 20 / 784
    assert trials[0].intermediate_values == {1: pytest.approx((5 * 0.9 + 50 * 0.02) * bonus)}
    assert (trials[5].state.name, trials[5].value) == ("PRUNED", pytest.approx((5 * 0.5 + 50 * 0.02) * bonus))


def test_the_importance_of_a_variable_is_its_effect_on_the_score() -> None:
    rows = [{"lr": i / 40, "arch": "mlp" if i % 2 else "conv", "score_uncapped": i / 10} for i in range(40)]
    shares = importances(rows, ["lr", "arch"])
    assert shares["lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_a_trial_that_ends_its_processes_fails_at_last(tmp_path: Path) -> None:
    for start in range(1, MAX_STARTS + 2):
        sweep = open_sweep(tmp_path, LATENT_DIM="4")
        claim = sweep.take()
        assert claim.count_start() == start
        claim.locks.close()
    claim = open_sweep(tmp_path, LATENT_DIM="4").take()
    result = run_trial(claim, sweep.settings)
    assert result["status"] == "failed"
    assert "its process was killed 5 times at the same epoch" in result["reason"]


def test_a_storage_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    def error(**variables: str) -> str:
        return fail("sweep.py", cwd=tmp_path, env={"LATENT_DIM": "8"} | variables)

    line = error(STORAGE="postgresql://me:secret@127.0.0.1:1/studies", OUTPUT_DIR="a")
    assert "the storage postgresql://me:***@127.0.0.1:1/studies can't be used: connection failed" in line
    assert "expected sqlite, journal or postgresql://..., got 'mongo'" in error(STORAGE="mongo")
    open_sweep(tmp_path / "b", LATENT_DIM="8")
    assert "is in the storage sqlite, got 'journal'" in error(STORAGE="journal", OUTPUT_DIR="b")
    (tmp_path / "b" / "study.db").write_bytes(b"no database" * 1000)
    assert "can't be used: file is not a database" in error(OUTPUT_DIR="b")
    (tmp_path / "b" / "study.json").write_text('{"version": 0}')
    assert "b has a study of another version of the lab: name another OUTPUT_DIR" in error(OUTPUT_DIR="b")


def test_a_full_disk_ends_the_sweep_in_one_line(tmp_path: Path) -> None:
    script = "ulimit -f 600; exec {} {}".format(sys.executable, REPO / "sweep.py")  # 600 KiB in a file
    env = without_data() | SMALL | {"STORAGE": "journal"}
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert re.fullmatch(r"error: train.py: can't write .*: File too large.*: make room, .*\n", result.stderr)
    assert not list(tmp_path.glob("outputs/sweep/*/result.json"))


MISTAKES = [
    ({}, "the grid is empty: set a variable, for example LATENT_DIM="),
    (
        {"LATENTDIM": "8 16", "SEED": "1"},
        "a sweep has no variable LATENTDIM: did you mean LATENT_DIM?",
    ),
    ({"LATENT": "8 16", "SEED": "1"}, "did you mean LATENT_DIM?"),
    ({"seed": "1 2"}, "did you mean SEED?"),
    ({"SEED": ""}, "SEED is set, but empty"),
    ({"LATENT_DIM": "8 x"}, "LATENT_DIM: expected an integer from 1 to 784, got 'x'"),
    ({"VAR": "0.1 -1"}, "VAR: expected a number above 0"),
    ({"ARCH": "mlp cnn"}, "ARCH: expected values of conv, mlp, got 'cnn'"),
    ({"TASK": "VAE1label"}, "TASK: unknown task 'VAE1label'"),
    ({"SEED": "1", "JOBS": "two"}, "JOBS: expected an integer from 1 to 1024, got 'two'"),
    ({"LATENT_DIM": "8..40"}, "a range makes this a search: say how many trials, as TRIALS=40"),
    ({"LATENT_DIM": "8 16", "TRIALS": "4"}, "TRIALS is for a search: give an option a range"),
    ({"LATENT_DIM": "8 16", "PRUNER": "median"}, "PRUNER is for a search"),
    ({"LATENT_DIM": "40..8"}, "LATENT_DIM: expected a range that ends above its start, got '40..8'"),
    ({"WEIGHT_DECAY": "0..1:log"}, "WEIGHT_DECAY: expected a range that starts above 0 and ends above its"),
    ({"LATENT_DIM": "8..4000"}, "LATENT_DIM: expected an integer from 1 to 784, got '4000'"),
    ({"ARCH": "mlp..conv"}, "ARCH: expected a list of values, since only numbers have ranges"),
    ({"LATENT_DIM": "8..40", "TRIALS": "4", "SAMPLER": "grid"}, "SAMPLER: expected one of tpe, gp, random"),
]


@pytest.mark.parametrize(("variables", "message"), MISTAKES)
def test_mistakes_are_told_before_anything_runs(tmp_path: Path, variables: dict, message: str) -> None:
    assert message in fail("sweep.py", cwd=tmp_path, env=variables)
    assert not list(tmp_path.iterdir())
