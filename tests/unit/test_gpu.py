"""On a GPU: data and model stay there, in bf16, and a training step never waits for the device.

The commands choose the GPU by themselves; the tests below skip where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import do_main_job, rows, succeed

import submission
from beyond import options as beyond_options
from data_utils import MNISTDataset
from trainer import Trainer
from vaelab.contract import build_model, from_submission
from vaelab.device import choose_device
from vaelab.run import RunRequest, make_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU")


def make_trainer(folder: Path, given: dict[str, object]) -> Trainer:
    """A Trainer of Genwithlabel on scikit-learn's digits, as train.py makes it."""
    device, task = choose_device("auto"), "Genwithlabel"
    request = RunRequest(
        task,
        folder,
        beyond=beyond_options.read_options(given),
        beyond_given=beyond_options.chosen_additions(given),
        defaults=beyond_options.changed_defaults(given, task),
    )
    config = make_config(request, submission, "digits", device)
    data = [MNISTDataset(split, "digits") for split in ("train", "valid")]
    loss = from_submission(submission, "vae_loss")
    return Trainer(build_model(submission, config), loss, config, *data, folder, device)


@pytest.fixture
def no_synchronization() -> Iterator[None]:
    """Where an operation waits for the GPU, torch raises an error."""
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("given", [{}, {"beyond": True}])
def test_a_step_does_not_wait_for_the_gpu(in_tmp: Path, given: dict, no_synchronization: None) -> None:
    trainer = make_trainer(in_tmp, given)
    assert trainer.device.type == "cuda"
    assert trainer.config.precision == "bf16"
    assert trainer.optimizer.defaults["fused"]
    assert trainer.train_set.images.is_cuda
    assert {weight.device.type for weight in trainer.model.parameters()} == {"cuda"}
    trainer.model.train()
    batches = trainer.train_set.batches(64, torch.randperm(len(trainer.train_set)))
    trainer.train_step(next(batches), 0.5, 1e-3)  # the first one allocates memory and the optimizer's state
    torch.cuda.set_sync_debug_mode("error")
    terms = [trainer.train_step(next(batches), 0.5, 1e-3) for _ in range(3)]
    torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(terms).isfinite().all()


def assert_trained_on_the_gpu(run: Path) -> None:
    """The run's record names the GPU, and its reconstruction error has fallen."""
    assert '"device": "cuda' in (run / "config.json").read_text()
    errors = [row["valid_mse"] for row in rows(run)]
    assert errors[-1] < errors[0]


@pytest.mark.parametrize("options", [(), ("--beyond",)])
def test_the_main_job_runs_on_the_gpu(in_tmp: Path, options: tuple[str, ...]) -> None:
    do_main_job(in_tmp, *options)
    assert_trained_on_the_gpu(in_tmp / "outputs" / "Genwithlabel")


@pytest.mark.parametrize("model", ["vq", "fsq"])
def test_discrete_models_run_on_the_gpu(in_tmp: Path, model: str) -> None:
    task = ("--task", "Genwithlabel", "--dataset", "digits")
    succeed("train.py", *task, "--model", model, "--channels", 16, "--epochs", 2, cwd=in_tmp)
    assert_trained_on_the_gpu(in_tmp / "outputs" / "Genwithlabel")
    succeed("inference.py", "--checkpoint_path", "outputs/Genwithlabel/best.pt", cwd=in_tmp)
