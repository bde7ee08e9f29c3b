"""One run of training, from the options that are given to the folder that it leaves.

`train.py` is its command line; `explore.py` trains what its figures need through it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch

import submission
from checkpoint import (
    MODEL_CLASSES,
    build_model,
    choose_device,
    choose_precision,
    from_submission,
    load_checkpoint,
    resolve_model_args,
)
from common import LabError, lock
from data_utils import SPLITS, MNISTDataset
from distributed import World
from model import MNIST_SHAPE, Shape
from trainer import TrainConfig, Trainer
from watch import WATCHERS

MODEL_OPTIONS = ("latent_dim", "arch", "hidden_dim", "hidden_layers", "activation", "recon", "prior")
DEFAULT_LATENT_DIM = 20
DEFAULT_EPOCHS = {"VAE0label": 18, "Genwithlabel": 36}
DIGITS_EPOCHS = 150  # scikit-learn's digits are 40 times fewer images: more epochs, still fewer steps


def default_var(task: str, model_args: dict[str, Any]) -> float:
    """The variance of a pixel that scored best on `valid`; a student's model may have neither option."""
    if model_args.get("recon") == "bce":
        return 0.5  # 1 / (2 var) = 1: cross-entropy and KL as they stand in the ELBO
    if model_args.get("prior") == "learned":
        return 0.002  # this prior goes wherever the codes are, so that the KL need not hold them
    if task == "VAE0label":
        return 0.01  # scored on reconstruction alone
    return 0.2 if model_args.get("recon") == "ssim_mse" else 0.1  # the codes must lie where the prior does


def to_resume(args: argparse.Namespace, folder: Path) -> dict[str, Any] | None:
    """The checkpoint to go on from, if any. Raises: LabError if it isn't the run that the options ask for."""
    if args.resume and (folder / "last.pt").exists():
        checkpoint = load_checkpoint(folder / "last.pt", args.task)
        saved = checkpoint["config"] | checkpoint["config"]["model_args"]
        for key in (*MODEL_OPTIONS, *TrainConfig.__dataclass_fields__):
            given = vars(args).get(key, "auto")  # what decides the result is there only if given
            if key != "epochs" and given != "auto" and given != saved.get(key):
                raise LabError(
                    f"the run to resume has {key} {saved.get(key)}, not {given}: leave --{key} out, "
                    "or start again with --overwrite"
                )
        if vars(args).get("epochs", checkpoint["epoch"]) < checkpoint["epoch"]:
            raise LabError(f"{checkpoint['epoch']} epochs are done: --epochs can't be {args.epochs}")
        return checkpoint
    held = [name for name in ("last.pt", "best.pt", "log.jsonl") if (folder / name).exists()]
    if held and args.resume:
        raise LabError(
            f"{folder} holds {', '.join(held)} but no last.pt to resume: start again with --overwrite"
        )
    if held and not args.overwrite:
        raise LabError(f"{folder} already holds a run: go on with --resume, or replace it with --overwrite")
    if args.resume:
        print(f"{folder} holds nothing to resume: starting")
    return None


def make_config(
    given: dict[str, Any], dataset: str, device: torch.device, image_shape: Shape = MNIST_SHAPE
) -> TrainConfig:
    """The configuration of a new run: what was given, and the defaults for the rest."""
    task = given["task"]
    options = {key: given[key] for key in MODEL_OPTIONS if key in given}
    if task == "VAE0label" and options.get("prior") == "class_mean":
        raise LabError("--prior class_mean needs labels, which VAE0label is not given: choose another prior")
    if image_shape != MNIST_SHAPE:  # a student's model need not know of others
        options["image_shape"] = image_shape
    model_args = resolve_model_args(submission, task, {"latent_dim": DEFAULT_LATENT_DIM} | options)
    defaults = {
        "var": default_var(task, model_args),
        "epochs": DIGITS_EPOCHS if dataset == "digits" else DEFAULT_EPOCHS[task],
    }
    known = {key: given[key] for key in TrainConfig.__dataclass_fields__ if key in given}
    resolved = {
        "dataset": dataset,
        "model_args": model_args,
        "precision": choose_precision(given.get("precision", "auto"), device),
    }
    return TrainConfig(**defaults | known | resolved)


def clear_run(folder: Path) -> None:
    """Delete what an earlier run left beside its `last.pt`, and the outputs that were made with its model."""
    for path in (
        folder / "best.pt",
        folder / "log.jsonl",
        folder / "loss_curve.png",
        *folder.glob("epoch_*.pt"),
    ):
        path.unlink(missing_ok=True)
    for name in ("samples", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for outputs in (folder / split for split in SPLITS):
        if outputs.is_dir():
            with lock(outputs, wait=True):  # until an inference that writes there is done
                shutil.rmtree(outputs)


def train(args: argparse.Namespace, folder: Path, world: World = World()) -> None:  # noqa: B008
    """Train into `folder`, which this process has locked, or the first of the processes of `world`."""
    given = vars(args)
    watchers = [watcher() for option, watcher in WATCHERS.items() if given.get(option)]
    device = world.device(choose_device(args.device))
    with world.connected(device):
        checkpoint = world.from_first(lambda: to_resume(args, folder))
        dataset = checkpoint["config"]["dataset"] if checkpoint else args.dataset
        sets = [MNISTDataset(split, dataset, given.get("data_dir")) for split in ("train", "valid")]
        if checkpoint:
            saved = checkpoint["config"]
            if saved.keys() != TrainConfig.__dataclass_fields__.keys():
                raise LabError(
                    f"{folder / 'last.pt'} is of another version of the lab: start again with --overwrite"
                )
            config = TrainConfig(**saved | {"epochs": given.get("epochs", saved["epochs"])})
        else:
            config = make_config(given, sets[0].name, device, sets[0].image_shape)
        if args.test_run:
            config.epochs = 1
            for part in sets:
                part.keep_first(config.batch_size)

        torch.manual_seed(config.seed)  # the first weights
        model = build_model(submission, args.task, config.model_args)
        loss_fn = from_submission(submission, "vae_loss")
        keep_epochs = given.get("keep_epochs", ())
        trainer = Trainer(model, loss_fn, config, *sets, folder, device, keep_epochs, watchers, world)
        if checkpoint:
            trainer.resume(checkpoint)
        elif world.first:
            # First of all: from here on there is something to resume, and a full disk costs no earlier run.
            trainer.save("last.pt")
            clear_run(folder)
        together = f", {world.size} processes" if world.size > 1 else ""
        options = ", ".join(f"{key}={value}" for key, value in config.model_args.items())
        print(f"data: {sets[0].source}")
        print(f"model: {MODEL_CLASSES[args.task]}({options}), on {device} in {config.precision}{together}")
        if checkpoint:
            print(f"resumed: {trainer.epoch} of {config.epochs} epochs are done")
        trainer.fit()
        print(f"done: the model, its curves and its samples are in {folder}/")
