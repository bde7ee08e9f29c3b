"""One training run, from the given options to the files in its folder.

`train.py` is the command line of this module; `explore.py` uses it to train the models of its figures. The
modules of the lab are arguments (`LabModules`), since `vaelab` does not import them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from vaelab.callbacks import CALLBACKS, REGISTERED
from vaelab.checkpoint import Checkpoint, load_checkpoint
from vaelab.cli import LabError
from vaelab.config import SUBMISSION_MODEL, TRAINING_OPTIONS, TrainConfig
from vaelab.contract import (
    build_model,
    from_submission,
    load_builder,
    model_parameters,
    resolve_model_args,
)
from vaelab.data.options import SPLITS
from vaelab.device import choose_device, choose_precision
from vaelab.distributed import World
from vaelab.files import lock
from vaelab.language import N_, Message, _, plural
from vaelab.model_arguments import used_arguments
from vaelab.model_summary import model_summary
from vaelab.tasks import TASKS
from vaelab.threads import SpinControl, available_processors, default_threads

MNIST_SHAPE = (1, 28, 28)


@dataclass(frozen=True)
class LabModules:
    """The lab's modules and classes that a run needs."""

    submission: ModuleType
    trainer: type  # trainer.Trainer
    dataset: type  # data_utils.MNISTDataset


@dataclass
class RunRequest:
    """The options of a run. Options that were not given are not in the dictionaries."""

    task: str
    folder: Path
    training: dict[str, Any] = field(default_factory=dict)  # options of TrainConfig
    model: dict[str, Any] = field(default_factory=dict)  # options of the model
    builder: str = SUBMISSION_MODEL  # whose model: one of `config.MODELS`
    beyond: dict[str, Any] = field(default_factory=dict)  # all additions to the submission, if any is on
    beyond_given: dict[str, Any] = field(default_factory=dict)  # the additions that were given as options
    defaults: dict[str, Any] = field(default_factory=dict)  # defaults that these additions change
    dataset: str = "auto"
    data_dir: Path | None = None
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    test_run: bool = False
    keep_epochs: Sequence[int] = ()
    callbacks: Sequence[str] = ()  # keys of `CALLBACKS`

    @property
    def given(self) -> dict[str, Any]:
        """All options that decide the result and were given."""
        return self.training | self.model | self.beyond_given


def find_resumable(request: RunRequest) -> Checkpoint | None:
    """The checkpoint to resume from, if any. Raises: LabError if its options differ from the request."""
    folder = request.folder
    if request.resume and (folder / "last.pt").exists():
        checkpoint = load_checkpoint(folder / "last.pt", request.task)
        check_same_run(request, checkpoint)
        return checkpoint
    present = [name for name in ("last.pt", "best.pt", "log.jsonl") if (folder / name).exists()]
    if present and request.resume:
        raise LabError(
            "{folder} contains {present} but no last.pt to resume: start again with --overwrite",
            folder=folder,
            present=", ".join(present),
        )
    if present and not request.overwrite:
        raise LabError(
            "{folder} already contains a run: continue it with --resume, or replace it with --overwrite",
            folder=folder,
        )
    if request.resume:
        print(_("{folder} contains no run to resume: starting from the beginning", folder=folder))
    return None


def check_same_run(request: RunRequest, checkpoint: Checkpoint) -> None:
    """Raise LabError if an option was given that differs from the run to resume, `epochs` excepted."""
    config = checkpoint.config
    off = {"prior": "standard", "recon": "mse", "refine": 0, "sharpen": 1.0, "model": SUBMISSION_MODEL}
    saved = off | config.to_dict() | config.model_args | config.beyond
    for key, value in request.given.items():
        if key != "epochs" and value not in ("auto", saved.get(key)):
            raise LabError(
                "the run to resume has {key} {saved}, not {value}: leave --{key} out, give the value of "
                "the run, or start again with --overwrite",
                key=key,
                saved=saved.get(key),
                value=value,
            )
    if request.dataset not in ("auto", config.dataset):
        raise LabError(
            "the run to resume has dataset {saved}, not {dataset}: leave --dataset out, or start "
            "again with --overwrite",
            saved=config.dataset,
            dataset=request.dataset,
        )
    if request.training.get("epochs", checkpoint.epoch) < checkpoint.epoch:
        epochs = request.training["epochs"]
        raise LabError(
            "{epoch} epochs are done: --epochs can't be {epochs}", epoch=checkpoint.epoch, epochs=epochs
        )


def make_config(
    request: RunRequest,
    submission: ModuleType,
    dataset: str,
    device: torch.device,
    image_shape: tuple[int, int, int] = MNIST_SHAPE,
) -> TrainConfig:
    """The configuration of a new run: the options that were given, and the defaults for the rest."""
    task = TASKS[request.task]
    defaults = {"var": task.var, "epochs": task.epochs}
    defaults |= {key: value for key, value in request.defaults.items() if key in TRAINING_OPTIONS}
    if dataset == "digits":
        defaults["epochs"] = task.digits_epochs
    values = defaults | request.training
    values.setdefault("threads", default_threads())
    values["precision"] = choose_precision(values.get("precision", "auto"), device)
    model_args = make_model_args(request, submission, image_shape)
    return TrainConfig(task.name, dataset, model_args, beyond=request.beyond, model=request.builder, **values)


def make_model_args(
    request: RunRequest, submission: ModuleType, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """All arguments of a new run's model. Raises: LabError if it doesn't take an option that was given."""
    task = TASKS[request.task]
    if request.builder != SUBMISSION_MODEL:
        builder = load_builder("discrete", Message("--model {model} was given", model=request.builder))
        return builder.model_args(request.builder, task.name, request.model, image_shape)
    parameters = model_parameters(submission, task.name)
    own = {key: value for key, value in request.defaults.items() if key in parameters}
    options = {"latent_dim": task.latent_dim} | own | request.model
    if image_shape != MNIST_SHAPE:  # a student's model need not support others
        options["image_shape"] = image_shape
    return resolve_model_args(submission, task.name, options)


def clear_run(folder: Path) -> None:
    """Delete the files of an earlier run, except `last.pt`, and the outputs made with its model."""
    names = ("best.pt", "log.jsonl", "loss_curve.png")
    for path in (*(folder / name for name in names), *folder.glob("epoch_*.pt")):
        path.unlink(missing_ok=True)
    for name in ("samples", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for outputs in (folder / split for split in SPLITS):
        if outputs.is_dir():
            with lock(outputs, wait=True):  # until an inference that writes there has finished
                shutil.rmtree(outputs)


def describe(trainer: Any, config: TrainConfig, device: torch.device, world: World) -> str:
    """The model as it was built: class, options, size and device in a line, then a line for each part."""
    options = (used_arguments(config) | config.beyond).items()
    options = ", ".join(f"{key}={value}" for key, value in options)
    texts = {
        (True, False): N_(
            "{name}({options}), {parameters:,} parameters, on {device}, {threads}, in {precision}"
        ),
        (False, False): N_("{name}({options}), {parameters:,} parameters, on {device} in {precision}"),
        (True, True): N_(
            "{name}({options}), {parameters:,} parameters, on {device}, {threads}, in {precision}, "
            "{processes} processes"
        ),
        (False, True): N_(
            "{name}({options}), {parameters:,} parameters, on {device} in {precision}, {processes} processes"
        ),
    }
    first = _(
        texts[device.type == "cpu", world.size > 1],
        name=config.model_name,
        options=options,
        parameters=trainer.parameter_count,
        device=device,
        threads=plural("{n} thread", "{n} threads", config.threads),
        precision=config.precision,
        processes=world.size,
    )
    # A model with additions holds the submission's as its first part.
    built = getattr(trainer.model, "model", trainer.model) if config.beyond else trainer.model
    return "\n  ".join([first, *model_summary(built)])


def train(request: RunRequest, lab: LabModules, world: World = World()) -> None:  # noqa: B008
    """Train a model and write its files into `request.folder`, which the main process has locked."""
    callbacks = [*(CALLBACKS[name]() for name in request.callbacks), *REGISTERED]
    device = world.device(choose_device(request.device))
    with world.connected(device):
        checkpoint = world.from_main_process(lambda: find_resumable(request))
        dataset = checkpoint.config.dataset if checkpoint else request.dataset
        sets = [lab.dataset(split, dataset, request.data_dir) for split in ("train", "valid")]
        if checkpoint:
            epochs = request.training.get("epochs", checkpoint.config.epochs)
            config = replace(checkpoint.config, epochs=epochs)
        else:
            config = make_config(request, lab.submission, sets[0].name, device, sets[0].image_shape)
        if request.test_run:
            config.epochs = 1
            for part in sets:
                part.keep_first(config.batch_size)

        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)  # for the initial weights
        model = build_model(lab.submission, config)
        loss_fn = from_submission(lab.submission, "vae_loss")
        trainer = lab.trainer(
            model, loss_fn, config, *sets, request.folder, device, request.keep_epochs, callbacks, world
        )
        if checkpoint:
            trainer.resume(checkpoint)
        elif world.is_main_process:
            # Written first: the run can then be resumed, and if the disk is full, no earlier run is deleted.
            trainer.save("last.pt")
            clear_run(request.folder)
        print(_("data: {source}", source=sets[0].source))
        print(_("model: {model}", model=describe(trainer, config, device, world)))
        print(
            _(
                "training: {epochs}, var {var:g}, learning rate {lr:g}, seed {seed}",
                epochs=plural("{n} epoch", "{n} epochs", config.epochs),
                var=config.var,
                lr=config.lr,
                seed=config.seed,
            )
        )
        if checkpoint:
            print(
                _("resumed: {epoch} of {epochs} epochs are done", epoch=trainer.epoch, epochs=config.epochs)
            )
        if config.threads > available_processors():
            print(
                _(
                    "note: {threads} threads on {processors} processors: slower, same result",
                    threads=config.threads,
                    processors=available_processors(),
                )
            )
        with SpinControl():
            trainer.fit()
        print(_("done: the model, its curves and its samples are in {folder}/", folder=request.folder))
