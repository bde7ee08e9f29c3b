"""Train one task's model.

    python train.py --task VAE0label          # the VAE
    python train.py --task Genwithlabel       # conditional generation

The best model is in outputs/<task>/best.pt; inference.py takes it from there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import submission
from checkpoint import (
    MODEL_CLASSES,
    build_model,
    choose_device,
    from_submission,
    load_checkpoint,
    resolve_model_args,
)
from common import TASKS, LabError, Parser, lock, make_folder, number, run, task_name
from data_utils import SPLITS, MNISTDataset, add_data_dir_option, add_dataset_option
from metrics import PIXELS
from model import ARCHITECTURES
from trainer import TrainConfig, Trainer

MODEL_OPTIONS = ("latent_dim", "arch", "hidden_dim")
# VAE0label is scored on reconstruction alone, which a small variance favours. Genwithlabel's FID also asks
# that N(0, I) be where the codes live, which a larger one brings about; its labels spare it some latents.
DEFAULT_LATENT_DIM = {"VAE0label": 20, "Genwithlabel": 16}
DEFAULT_VAR = {"VAE0label": 0.01, "Genwithlabel": 0.1}
DEFAULT_EPOCHS = 15
DIGITS_EPOCHS = 150  # scikit-learn's digits are 40 times fewer images: more epochs, still fewer steps


def add_model_options(add: Callable) -> None:
    """What the model is built with."""
    add(
        "--latent_dim",
        type=number(int, 1, PIXELS),
        help="size of the code z: smaller earns more bonus, larger reconstructs better (default: 20 for "
        "VAE0label; 16 for Genwithlabel, whose labels spare it some)",
    )
    add("--arch", choices=sorted(ARCHITECTURES), help="conv scores best, mlp trains fastest (default: conv)")
    add("--hidden_dim", type=number(int, 1, 16_384), help="width of the dense layers (default: 256)")


def add_training_options(add: Callable) -> None:
    """How the model is trained. Defaults are in `TrainConfig` and in the constants above."""
    add(
        "--var",
        type=number(float, 0, exclusive=True),
        help="variance of a pixel in the loss: smaller weighs reconstruction more, larger the KL (default: "
        "0.01 for VAE0label, which is scored on reconstruction alone; 0.1 for Genwithlabel, whose samples "
        "need codes that lie like N(0, I))",
    )
    add(
        "--epochs",
        type=number(int, 1),
        help=f"passes over the training images (default: {DEFAULT_EPOCHS}, after which little is gained; "
        f"{DIGITS_EPOCHS} on digits, which has 40 times fewer images)",
    )
    add("--batch_size", type=number(int, 1), help="images a step: 128 suits a CPU (default: 128)")
    add(
        "--lr",
        type=number(float, 0, exclusive=True),
        help="AdamW's highest learning rate, after a warm-up and before half a cosine down to zero "
        "(default: 0.003, about as high as stays stable)",
    )
    add("--weight_decay", type=number(float, 0), help="AdamW's decay (default: 0.01, PyTorch's own)")
    add(
        "--grad_clip",
        type=number(float, 0, exclusive=True),
        help="longest gradient allowed, in units of 1/(2 var), which the loss scales with: about the "
        "median, because steps of even length train faster here (default: 20)",
    )
    add("--seed", type=number(int, 0), help="first weights, order of images, noise (default: 0)")


def add_run_options(group: argparse._ArgumentGroup) -> None:
    """Where and how it runs: none of these changes the result."""
    add = group.add_argument
    add("--output_dir", default="outputs", help="the run goes to <output_dir>/<task>/ (default: outputs)")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="auto: the fastest there is")
    one_of = group.add_mutually_exclusive_group().add_argument
    one_of(
        "--test_run",
        action="store_true",
        default=False,
        help="one batch of everything, into <output_dir>/test_run/<task>/",
    )
    one_of(
        "--resume",
        action="store_true",
        default=False,
        help="go on from last.pt, with the options it was started with; start if there is none yet",
    )
    one_of("--overwrite", action="store_true", default=False, help="replace the run that is there")


def parse_args() -> argparse.Namespace:
    """The options. Those that decide the result are there only if given; the rest is filled in later."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument("--task", required=True, type=task_name, help=f"one of {', '.join(TASKS)}")

    add_model_options(parser.add_argument_group("model").add_argument)
    add_training_options(parser.add_argument_group("training").add_argument)
    group = parser.add_argument_group("data")
    add_dataset_option(group)
    add_data_dir_option(group)
    add_run_options(parser.add_argument_group("run"))
    return parser.parse_args()


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


def make_config(given: dict[str, Any], dataset: str) -> TrainConfig:
    """The configuration of a new run: what was given, and the defaults for the rest."""
    task = given["task"]
    options = {key: given[key] for key in MODEL_OPTIONS if key in given}
    model_args = resolve_model_args(submission, task, {"latent_dim": DEFAULT_LATENT_DIM[task]} | options)
    defaults = {"var": DEFAULT_VAR[task], "epochs": DIGITS_EPOCHS if dataset == "digits" else DEFAULT_EPOCHS}
    known = {key: given[key] for key in TrainConfig.__dataclass_fields__ if key in given}
    return TrainConfig(**defaults | known | {"dataset": dataset, "model_args": model_args})


def clear_run(folder: Path) -> None:
    """Delete what an earlier run left beside its `last.pt`, and the outputs that were made with its model."""
    for name in ("best.pt", "log.jsonl", "loss_curve.png"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    for outputs in (folder / split for split in SPLITS):
        if outputs.is_dir():
            with lock(outputs, wait=True):  # until an inference that writes there is done
                shutil.rmtree(outputs)


def train(args: argparse.Namespace, folder: Path) -> None:
    """Train into `folder`, which this process has locked."""
    given = vars(args)
    checkpoint = to_resume(args, folder)
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
        config = make_config(given, sets[0].name)
    if args.test_run:
        config.epochs = 1
        for part in sets:
            part.keep_first(config.batch_size)

    device = choose_device(args.device)
    torch.manual_seed(config.seed)  # the first weights
    model = build_model(submission, args.task, config.model_args)
    loss_fn = from_submission(submission, "vae_loss")
    trainer = Trainer(model, loss_fn, config, *sets, folder, device)
    if checkpoint:
        trainer.resume(checkpoint)
    else:
        # First of all: from here on there is something to resume, and a full disk costs no earlier run.
        trainer.save("last.pt")
        clear_run(folder)
    options = ", ".join(f"{key}={value}" for key, value in config.model_args.items())
    print(f"data: {sets[0].source}\nmodel: {MODEL_CLASSES[args.task]}({options}), on {device}")
    if checkpoint:
        print(f"resumed: {trainer.epoch} of {config.epochs} epochs are done")
    trainer.fit()
    print(f"done: the model, its curves and its samples are in {folder}/")


def main() -> None:
    """Parse the options and train."""
    args = parse_args()
    folder = Path(args.output_dir, "test_run" if args.test_run else "", args.task)
    args.overwrite |= args.test_run
    with lock(make_folder(folder)):
        try:
            train(args, folder)
        except KeyboardInterrupt:
            print("\nstopped: the same command with --resume goes on", file=sys.stderr)
            sys.exit(130)


if __name__ == "__main__":
    run(main)
