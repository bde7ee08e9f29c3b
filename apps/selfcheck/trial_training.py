"""The `--full` part of the self-check: train both models for a number of steps and estimate the grade.

The number of steps is fixed, so that the score doesn't depend on how busy the machine is. If a training takes
longer than the limit, the machine is too slow to judge the model: the text says so, and blames no layer.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from tqdm import tqdm

from data_utils import MNISTDataset
from trainer import Trainer
from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError, wrap
from vaelab.contract import build_model, from_submission
from vaelab.device import choose_device
from vaelab.inference import generate_all, reconstruct
from vaelab.language import N_, _
from vaelab.metrics.fid import fid
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import max_score, score
from vaelab.run import RunRequest, make_config
from vaelab.tasks import TASKS

SEED = 0
WIDTH = 96  # columns of a printed text

STEPS = 800  # of 128 images: two epochs of MNIST
# The scores that `--full` expects after `STEPS`. They are low enough for small layers of correct code. On
# MNIST the solved submission reaches 10.00 and 28.62, and the layers of DemoVAE 10.00 and 23.45.
EXPECTED = {"VAE0label": 8.0, "Genwithlabel": 16.0}
COMPARABLE = ("mnist", "digits")  # the data that they are for


@dataclass(frozen=True)
class TrialSettings:
    """The options of a trial training."""

    steps: int  # of each training
    seconds: float  # the limit of each training
    dataset: str
    data_dir: Path | None


@dataclass(frozen=True)
class Pace:
    """The steps of a training that were done, and the time they took."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class TrialResult:
    """The score of a trial training, on `valid`."""

    values: dict[str, float]  # ssim, mse, fid, score, score_uncapped
    pace: Pace
    dataset: str


def train_for(steps: int, limit: float, trainer: Trainer) -> Pace:
    """Train for a number of steps, lowering the learning rate to 0; stop after `limit` seconds."""
    config, data = trainer.config, trainer.train_set
    trainer.model.train()
    endless = (data.batches(config.batch_size, torch.randperm(len(data))) for _ in itertools.count())
    batches = itertools.islice(itertools.chain.from_iterable(endless), steps)
    start = time.monotonic()
    for step, batch in enumerate(batches):
        if time.monotonic() - start > limit:
            return Pace(step, time.monotonic() - start)
        warm_up = min(1.0, (step + 1) / config.warmup_steps)
        terms = trainer.train_step(batch, step / steps, config.lr * warm_up * (1 - step / steps))
        if not torch.isfinite(terms[0]):
            raise LabError(
                "the loss became {terms} at step {step}: train.py would stop here too",
                terms=terms[0].item(),
                step=step,
            )
    return Pace(steps, time.monotonic() - start)


def run_trial(task: str, submission: ModuleType, settings: TrialSettings, folder: Path) -> TrialResult | Pace:
    """Train a task's model and score it on `valid`. Returns: the pace alone if it was too slow to finish."""
    device = choose_device("auto")
    sets = [MNISTDataset(split, settings.dataset, settings.data_dir) for split in ("train", "valid")]
    config = make_config(RunRequest(task, folder), submission, sets[0].name, device, sets[0].image_shape)
    torch.manual_seed(SEED)
    model = build_model(submission, config)
    trainer = Trainer(model, from_submission(submission, "vae_loss"), config, *sets, folder, device)
    print(
        "     "
        + _(
            "{task}: {steps} steps of {batch_size} images on {source}",
            task=task,
            steps=settings.steps,
            batch_size=config.batch_size,
            source=sets[0].source,
        ),
        flush=True,
    )
    pace = train_for(settings.steps, settings.seconds, trainer)
    if pace.steps < settings.steps:
        return pace

    loaded = LoadedModel(task, folder, model.eval(), config, 0)
    valid = sets[1]
    images, labels = valid.images.cpu().numpy(), valid.labels.cpu().numpy()
    with tqdm(disable=True) as bar:
        values = reconstruction(reconstruct(loaded, valid, False, bar), images)
        if loaded.task.conditional:
            gen = generate_all(model, images.shape[1:], device, bar)
            values["fid"] = float(np.mean(fid(gen, images, labels)))
    return TrialResult(values | score(task, values, config.latent_dim), pace, valid.name)


def report_slow(task: str, pace: Pace, settings: TrialSettings) -> None:
    """Print that a training took too long to judge the model."""
    line = _(
        "{task}: too slow to judge: {done} of {steps} steps in {seconds:.0f} s on this machine",
        task=task,
        done=pace.steps,
        steps=settings.steps,
        seconds=pace.seconds,
    )
    status = "slow"
    print(f"{status} {'4':<6} {line}")
    advice = _("This says nothing about your code. Close other programs, or allow more time with --seconds.")
    print(wrap(advice, WIDTH, "     "))


def report_trial(task: str, result: TrialResult) -> bool:
    """Print the result of a trial training. Returns: whether it reached the expected score."""
    values = result.values
    minimum = EXPECTED.get(task) if result.dataset in COMPARABLE else None
    passed = minimum is None or values["score"] >= minimum
    text = N_("{task}: {score:.2f} of {most:.0f} on {dataset} ({metrics})")
    if minimum is not None:
        text = N_(
            "{task}: {score:.2f} of {most:.0f} on {dataset} ({metrics}); expected: at least {minimum:g}"
        )
    line = _(
        text,
        task=task,
        score=values["score"],
        most=max_score(task),
        dataset=result.dataset,
        metrics=", ".join(f"{key} {values[key]:.4f}" for key in ("ssim", "mse", "fid") if key in values),
        minimum=minimum,
    )
    print(f"{'ok  ' if passed else 'FAIL'} {'4':<6} {line}")
    print(
        "     "
        + _("speed: {steps} steps in {seconds:.0f} s", steps=result.pace.steps, seconds=result.pace.seconds)
    )
    return passed


def run_trials(submission: ModuleType, settings: TrialSettings, folder: Path) -> bool:
    """Train and score both tasks. Returns: False if one was scored and did not reach the expected score."""
    passed, slow = [], []
    for task in TASKS:
        result = run_trial(task, submission, settings, folder)
        if isinstance(result, Pace):
            report_slow(task, result, settings)
            slow.append(task)
        else:
            passed.append(report_trial(task, result))
    if not all(passed):
        advice = _(
            "All checks passed, but the trained model scores too low. The number of steps is fixed, so a "
            "busy machine is not the cause: change the layers, latent_dim or var."
        )
        print(wrap(advice, WIDTH, "     "))
    elif not slow:
        print(_("This is an estimate of your grade, on valid; a full training with train.py scores higher."))
    return all(passed)
