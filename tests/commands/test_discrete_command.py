"""`--model vq` and `--model fsq` on the command line: stages, checkpoints, resuming, grading, refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import copy_lab, fail, made_once, rows, run_command, succeed
from test_beyond_command import stop_in_epoch

from trainer import Trainer
from vaelab.checkpoint import load_checkpoint

SMALL = ("--dataset", "digits", "--channels", 8, "--num_codes", 16, "--prior_width", 16, "--prior_layers", 1)
TRAIN = {"vq": ("train.py", "--task", "Genwithlabel"), "fsq": ("train.py", "--task", "VAE0label")}
FOLDER = {"vq": "outputs/Genwithlabel", "fsq": "outputs/VAE0label"}
MODELS = tuple(TRAIN)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def discrete_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both discrete models were trained, each for one task, run and graded."""

    def make(cwd: Path) -> None:
        for model in MODELS:
            succeed(*TRAIN[model], "--model", model, *SMALL, "--epochs", 5, cwd=cwd)
            succeed("inference.py", "--checkpoint_path", f"{FOLDER[model]}/best.pt", cwd=cwd)
        succeed("grade.py", cwd=cwd)

    return made_once(tmp_path_factory, "discrete_job", make)


@pytest.mark.parametrize("model", MODELS)
def test_two_stages_leave_what_inference_and_grading_need(discrete_job: Path, model: str) -> None:
    folder = discrete_job / FOLDER[model]
    log = rows(folder)
    uniform = 49 * np.log(16 if model == "vq" else 15)  # fsq has 5 * 3 codes
    kl = [row["valid_kl_term"] for row in log]
    assert kl[:3] == pytest.approx([uniform] * 3)  # 60% of five epochs: the prior is still uniform
    assert kl[4] < kl[3] < uniform
    recon = [row["valid_recon_term"] for row in log]
    assert recon[2] < recon[1] < recon[0]
    assert recon[2:] == pytest.approx([recon[2]] * 3, rel=1e-5)  # all but the prior is fixed
    assert load_checkpoint(folder / "best.pt").epoch == 5
    grade = json.loads((discrete_job / "outputs/grade_result.json").read_text())[folder.name]
    assert grade["latent_dim"] == 49  # an index is a number like any other
    assert grade["bonus"] == pytest.approx(0.2 + 1 - 49 / 784)
    assert grade["mse"] == pytest.approx(log[-1]["valid_mse"], rel=1e-2)
    assert np.load(folder / "valid/gen.npy").shape == (10, 1000, 28, 28)
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == model
    assert config["model_args"]["num_codes"] == 16


@pytest.mark.parametrize("model", MODELS)
def test_an_interrupted_run_is_resumed_bit_for_bit(discrete_job: Path, tmp_path: Path, model: str) -> None:
    """Stopped in the second epoch, of the first stage, and in the fifth, of the second stage."""
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    folder, command = tmp_path / FOLDER[model], (*TRAIN[model], "--model", model, *SMALL, "--epochs", 5)
    for epoch in (2, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "draw_samples", stop_in_epoch(epoch))
            assert run_command(*command, "--resume", cwd=tmp_path).returncode == 1
        assert load_checkpoint(folder / "last.pt").epoch == epoch - 1
    assert "resumed: 4 of 5" in succeed(
        *TRAIN[model], "--resume", cwd=tmp_path
    )  # the checkpoint says the rest
    for name in ("last.pt", "best.pt", "samples/epoch_005.png", "config.json"):
        assert digest(folder / name) == digest(discrete_job / FOLDER[model] / name)
    line = fail(*command, "--resume", "--num_codes", 64, cwd=tmp_path)
    assert "the run to resume has num_codes 16, not 64" in line
    line = fail(*TRAIN[model], "--model", "submission", "--resume", cwd=tmp_path)
    assert f"the run to resume has model {model}, not submission: leave --model out" in line


def test_a_model_of_the_submission_is_not_resumed_as_another(main_job: Path, change) -> None:
    line = fail(*TRAIN["vq"], "--model", "vq", "--resume", cwd=change(main_job))
    assert "the run to resume has model submission, not vq" in line


REFUSED = [
    (("--prior", "learned"), "--model vq can't have --prior: these add to a model of submission.py"),
    (("--recon", "bce"), "--model vq can't have --recon"),
    (("--refine", 3), "--model vq can't have --refine"),
    (("--beyond",), "--model vq can't have --beyond"),
    (("--latent_dim", 20), "latent_dim must be 49, an index for each patch of an image, got 20"),
    (("--arch", "mlp"), "--model vq has no option --arch: it takes --latent_dim, --num_codes, --levels"),
    (("--levels", "8,8"), "levels are an option of fsq"),
    (("--levels", "8,8", "--num_codes", 64), "--levels decides the number of codes: leave --num_codes out"),
    (("--model", "fsq", "--num_codes", 100), "num_codes of fsq must be one of 16, 64"),
    (("--model", "fsq", "--levels", "8,x"), "levels must be numbers with commas, as in 8,5,5,5, got 8,x"),
    (("--model", "fsq", "--levels", "8,2"), "every number needs at least 3 levels"),
    (("--model", "fsq", "--levels", "99,99,99"), "levels must give at most 65536 codes"),
    (("--prior_width", 30), "the width of the prior must be a multiple of 4, got 30"),
    (("--num_codes", 1), "expected an integer from 2 to 65536, got '1'"),
    (("--temperature", 0), "expected a number above 0 to 100, got '0'"),
    (("--model", "pq"), "invalid choice: 'pq'"),
]


@pytest.mark.parametrize(("options", "says"), REFUSED, ids=[says[:30] for _, says in REFUSED])
def test_options_that_are_not_possible_are_refused(
    discrete_job: Path, tmp_path: Path, options: tuple, says: str
) -> None:
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    assert says in fail(*TRAIN["vq"], "--model", "vq", "--dataset", "digits", *options, cwd=tmp_path)
    assert not list(tmp_path.rglob("*.pt"))


def test_options_of_discrete_models_are_not_the_submissions(discrete_job: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    line = fail(*TRAIN["vq"], "--dataset", "digits", "--num_codes", 16, cwd=tmp_path)
    assert "GenModel in submission.py has no option num_codes" in line


def test_a_batch_of_everything(discrete_job: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    options = ("--model", "fsq", "--dataset", "digits", "--levels", "5,3,3", "--test_run")
    assert "fsq(latent_dim=49, num_codes=45, levels=5,3,3" in succeed(*TRAIN["fsq"], *options, cwd=tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_of_everything_in_bfloat16(discrete_job: Path, tmp_path: Path, model: str) -> None:
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    out = succeed(*TRAIN[model], "--model", model, *SMALL, "--precision", "bf16", "--test_run", cwd=tmp_path)
    assert "in bf16" in out
    assert load_checkpoint(next(tmp_path.rglob("last.pt"))).config.precision == "bf16"


# --- What else reads a checkpoint ---------------------------------------------------------------


def test_other_commands_name_the_model_and_refuse_it(discrete_job: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    path = discrete_job / FOLDER["fsq"] / "best.pt"
    line = fail("explore.py", "scatter", "--checkpoint_path", path, cwd=tmp_path)
    assert f"{path} is of --model fsq, but explore.py scatter needs a model of submission.py" in line


def test_a_copy_of_the_lab_without_beyond_says_so(discrete_job: Path, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    lab = {"repo": copy_lab(tmp_path / "lab"), "cwd": tmp_path}
    shutil.rmtree(tmp_path / "lab/beyond")
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    line = fail("inference.py", "--checkpoint_path", discrete_job / FOLDER["vq"] / "best.pt", **lab)
    assert "the model is of --model vq, for which this copy of the lab has no beyond/" in line


CHANGES = [
    ({"model": "os"}, "its model 'os' is unknown: known are submission, fsq, vq"),
    ({"model": "fsq"}, "the arguments of its model are not those of --model fsq"),
    (
        {"model_args": {"latent_dim": 49, "quantizer": "vq", "depth": 3}},
        "unexpected keyword argument 'depth'",
    ),
]


@pytest.mark.parametrize(("changes", "says"), CHANGES, ids=[says[:20] for _, says in CHANGES])
def test_a_checkpoint_names_no_builder_of_its_own(
    discrete_job: Path, tmp_path: Path, changes: dict, says: str
) -> None:
    (tmp_path / "dataset").symlink_to(discrete_job / "dataset")
    content = torch.load(discrete_job / FOLDER["vq"] / "best.pt", weights_only=True)
    content["config"] |= changes
    torch.save(content, tmp_path / "changed.pt")
    assert says in fail("inference.py", "--checkpoint_path", "changed.pt", cwd=tmp_path)
