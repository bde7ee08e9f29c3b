"""`--prior`, `--recon`, `--refine`, `--sharpen`, `--beyond`: on the command line, and in checkpoints."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPO, copy_lab, fail, rows, run_command, succeed

from trainer import Trainer
from vaelab.checkpoint import load_checkpoint

SMALL = ("--dataset", "digits", "--arch", "mlp", "--hidden_dim", 32)
GEN = ("train.py", "--task", "Genwithlabel", *SMALL)
BEST = "outputs/Genwithlabel/best.pt"
BEYOND = {"prior": "learned", "recon": "ssim_mse", "refine": 10, "sharpen": 1.25}  # of --beyond


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def with_data(main_job: Path, tmp_path: Path) -> Path:
    """An empty working folder with prepared data."""
    (tmp_path / "dataset").symlink_to(main_job / "dataset")
    return tmp_path


# --- Checkpoints --------------------------------------------------------------------------------

LOAD = """
import sys, torch
sys.path.insert(0, ".")
import submission
for path in sys.argv[1:]:
    checkpoint = torch.load(path, weights_only=True)
    model_class = submission.VAE if checkpoint["task"] == "VAE0label" else submission.GenModel
    model = model_class(**checkpoint["config"]["model_args"])
    model.load_state_dict(checkpoint["model"])
    recon, mu, _ = model.eval()(torch.rand(2, 28, 28), torch.tensor([1, 2]))
    assert recon.shape == (2, 28, 28) and mu.shape == (2, 12)
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("vaelab", "beyond", "apps", "trainer"))
assert ours == [], ours
"""


def test_a_checkpoint_loads_with_submission_and_model_alone(
    main_job: Path, beyond_job: Path, tmp_path: Path
) -> None:
    """That is what a student hands in. With additions, the submission's own weights load all the same."""
    for module in ("submission.py", "model.py"):
        shutil.copy(REPO / module, tmp_path)
    paths = [path for job in (main_job, beyond_job) for path in sorted(job.glob("outputs/*/best.pt"))]
    assert len(paths) == 4
    command = [sys.executable, "-I", "-c", LOAD, *map(str, paths)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_what_a_checkpoint_holds(main_job: Path, beyond_job: Path) -> None:
    plain, beyond = (torch.load(job / BEST, weights_only=True) for job in (main_job, beyond_job))
    assert plain.keys() == {"task", "config", "epoch", "best_loss", "model"}
    assert beyond.keys() == plain.keys() | {"beyond"}
    assert plain["model"].keys() == beyond["model"].keys()  # no prefix: the submission's own names
    assert "beyond" not in plain["config"]
    assert beyond["beyond"]["options"] == BEYOND
    assert set(beyond["beyond"]["weights"]) & set(beyond["model"]) == set()
    assert {"classes.weight", "code.weight"} <= beyond["beyond"]["weights"].keys()


def test_options_of_beyond_are_recorded_and_rebuilt(beyond_job: Path, main_job: Path) -> None:
    for task in ("VAE0label", "Genwithlabel"):
        config = json.loads((beyond_job / f"outputs/{task}/config.json").read_text())
        assert config["beyond"] == BEYOND
        assert (config["var"], config["augment"]) == (0.002, 1.0)
        assert config["model_args"]["channels"] == 64
        assert "beyond" not in json.loads((main_job / f"outputs/{task}/config.json").read_text())


def test_old_names_and_single_options_on_the_command_line(with_data: Path) -> None:
    def config_of(*options: object) -> dict:
        out = succeed(*GEN, "--test_run", *options, cwd=with_data)
        config = json.loads((with_data / "outputs/test_run/Genwithlabel/config.json").read_text())
        assert all(f"{key}={value}" in out for key, value in config.get("beyond", {}).items())
        return config

    off = {"prior": "standard", "recon": "mse", "refine": 0, "sharpen": 1.0}
    assert "beyond" not in config_of()
    assert "beyond" not in config_of("--prior", "standard", "--recon", "mse", "--refine", 0)
    assert config_of("--prior", "learned")["beyond"] == off | {"prior": "learned"}
    assert config_of("--recon", "bce")["beyond"] == off | {"recon": "bce"}
    assert config_of("--refine", 2)["beyond"] == off | {"refine": 2}
    assert config_of("--sharpen", 2)["beyond"] == off | {"sharpen": 2.0}
    assert config_of("--beyond", "--refine", 0)["beyond"] == BEYOND | {"refine": 0}
    assert config_of("--distort", 0.5)["augment"] == config_of("--augment", 0.5)["augment"] == 0.5


def test_resuming_with_beyond_is_bit_exact(with_data: Path) -> None:
    both = (*GEN, "--beyond", "--output_dir")
    succeed(*both, "whole", "--epochs", 4, cwd=with_data)
    # It stops in the third of four epochs, as a killed run does.
    half = with_data / "half/Genwithlabel"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "draw_samples", stop_in_epoch(3))
        result = run_command(*both, "half", "--epochs", 4, cwd=with_data)
    assert (result.returncode, "stopped by the test" in result.stderr) == (1, True)
    assert load_checkpoint(half / "last.pt").epoch == 2
    assert "resumed: 2 of 4" in succeed(*both, "half", "--resume", cwd=with_data)
    for name in ("last.pt", "best.pt", "samples/epoch_004.png"):
        assert digest(half / name) == digest(with_data / "whole/Genwithlabel" / name)
    line = fail(*GEN, "--output_dir", "half", "--resume", "--recon", "bce", cwd=with_data)
    assert "the run to resume has recon ssim_mse, not bce: leave --recon out" in line


def stop_in_epoch(epoch: int) -> Callable[[Trainer], None]:
    """A replacement of `Trainer.draw_samples` that stops the training before the epoch is written."""
    draw_samples = Trainer.draw_samples

    def stopping(trainer: Trainer) -> None:
        if trainer.epoch == epoch:
            raise RuntimeError("stopped by the test")
        draw_samples(trainer)

    return stopping


def test_the_prior_that_needs_labels_is_refused_without(with_data: Path) -> None:
    line = fail("train.py", "--task", "VAE0label", *SMALL, "--prior", "class_mean", cwd=with_data)
    assert "--prior class_mean needs labels, which VAE0label does not use: choose another prior" in line
    assert "invalid choice: 'flow'" in fail(*GEN, "--prior", "flow", cwd=with_data)
    assert "expected an integer from 0 to 1000, got '-1'" in fail(*GEN, "--refine", -1, cwd=with_data)


# --- Submissions with a loss or a search of their own -------------------------------------------

OWN_LOSS = """
    def training_loss(self, x, labels, var):
        return vae_loss(*self(x, labels)[:1], x, *self(x, labels)[1:], var)

    def compress(self, x, labels=None):
        return self.encode(x, labels)[0]

    def generate(self, labels: Tensor) -> Tensor:
"""


@pytest.fixture
def own_loss(main_job: Path, tmp_path: Path) -> dict:
    """A copy of the lab whose VAE defines `training_loss` and `compress`. Commands run in it."""
    copy_lab(tmp_path)
    text = (REPO / "submission.py").read_text()
    marker = "    def generate(self, labels: Tensor) -> Tensor:\n"
    assert text.count(marker) == 1
    (tmp_path / "submission.py").write_text(text.replace(marker, OWN_LOSS))
    shutil.copytree(main_job / "dataset", tmp_path / "dataset")
    return {"cwd": tmp_path, "repo": tmp_path}


def test_additions_beside_a_submissions_own_are_refused(own_loss: dict) -> None:
    train = ("train.py", "--task", "VAE0label", *SMALL, "--epochs", 1)
    for option in (("--recon", "ssim_mse"), ("--recon", "bce"), ("--prior", "learned"), ("--beyond",)):
        line = fail(*train, *option, **own_loss)
        assert "VAE has its own training_loss: leave --recon and --prior out, or remove it" in line
    line = fail(*train, "--refine", 3, **own_loss)
    assert "VAE has its own compress: leave --refine out, or remove the method" in line
    assert not list(own_loss["cwd"].rglob("*.pt"))
    succeed(*train, "--recon", "mse", "--prior", "standard", "--refine", 0, **own_loss)
    succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", **own_loss)


def test_a_copy_of_the_lab_without_beyond_says_so(beyond_job: Path, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    lab = {"repo": copy_lab(tmp_path / "lab"), "cwd": tmp_path}
    shutil.rmtree(tmp_path / "lab/beyond")
    (tmp_path / "dataset").symlink_to(beyond_job / "dataset")
    path = beyond_job / "outputs/VAE0label/best.pt"
    line = fail("inference.py", "--checkpoint_path", path, "--output_dir", "o", **lab)
    assert "for which this copy of the lab has no beyond/" in line
    assert "unrecognized arguments: --beyond" in fail(*GEN, "--beyond", **lab)
    assert "--prior" not in succeed("train.py", "--help", **lab)


def test_each_addition_alone_through_all_commands(with_data: Path) -> None:
    """Train, run and grade with one addition at a time; `--skip_compress` leaves the refinement out."""
    options = (("--prior", "class_mean"), ("--recon", "bce"), ("--sharpen", 2), ("--refine", 3))
    for option in (("--prior", "learned"), *options):
        succeed(*GEN, "--epochs", 2, *option, "--overwrite", cwd=with_data)
        assert len(rows(with_data / "outputs/Genwithlabel")) == 2
        succeed("inference.py", "--checkpoint_path", BEST, cwd=with_data)
        succeed("grade.py", cwd=with_data)
    refined = np.load(with_data / "outputs/Genwithlabel/valid/recon.npy")
    succeed("inference.py", "--checkpoint_path", BEST, "--skip_compress", cwd=with_data)
    assert not np.array_equal(refined, np.load(with_data / "outputs/Genwithlabel/valid/recon.npy"))
