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
    choose_precision,
    from_submission,
    load_checkpoint,
    resolve_model_args,
)
from common import TASKS, LabError, Parser, lock, make_folder, number, run, task_name
from data_utils import SPLITS, MNISTDataset, add_data_dir_option, add_dataset_option
from metrics import PIXELS
from model import ARCHITECTURES
from prior import PRIORS
from trainer import TrainConfig, Trainer

MODEL_OPTIONS = ("latent_dim", "arch", "hidden_dim", "recon", "prior")
DEFAULT_LATENT_DIM = 20
DEFAULT_EPOCHS = {"VAE0label": 18, "Genwithlabel": 36}
DIGITS_EPOCHS = 150  # scikit-learn's digits are 40 times fewer images: more epochs, still fewer steps


def default_var(task: str, model_args: dict[str, Any]) -> float:
    """The variance of a pixel that scored best on `valid`; a student's model may have neither option."""
    if model_args.get("prior") == "learned":
        return 0.002  # this prior goes wherever the codes are, so that the KL need not hold them
    if task == "VAE0label":
        return 0.01  # scored on reconstruction alone
    return 0.2 if model_args.get("recon") == "ssim_mse" else 0.1  # the codes must lie where the prior does


def add_model_options(add: Callable) -> None:
    """What the model is built with."""
    add(
        "--latent_dim",
        type=number(int, 1, PIXELS),
        help="size of the code z: smaller earns more bonus, larger reconstructs better; in between lies the "
        f"highest score (default: {DEFAULT_LATENT_DIM})",
    )
    add("--arch", choices=sorted(ARCHITECTURES), help="conv scores best, mlp trains fastest (default: conv)")
    add("--hidden_dim", type=number(int, 1, 16_384), help="width of the dense layers (default: 512)")
    add(
        "--recon",
        choices=("mse", "ssim_mse"),
        help="what reconstruction minimises: the handout's squared error, or SSIM as well, weighted as in "
        "the score (default: ssim_mse)",
    )
    add(
        "--prior",
        choices=sorted(PRIORS),
        help="where generation draws its codes from: N(0, I); N(m_y, I), a mean learned for each class; or a "
        "flow learned for each class, which leaves the codes free to reconstruct best (default: learned)",
    )


def add_training_options(add: Callable) -> None:
    """How the model is trained. Defaults are in `TrainConfig` and in the constants above."""
    add(
        "--var",
        type=number(float, 0, exclusive=True),
        help="variance of a pixel in the loss: smaller weighs reconstruction more, larger the KL (default: "
        "0.002 with a learned prior, which goes where the codes are; with another 0.01 for VAE0label, scored "
        "on reconstruction alone, and for Genwithlabel 0.2, or 0.1 with --recon mse)",
    )
    add(
        "--epochs",
        type=number(int, 1),
        help="passes over the training images: few give most of the score, more the rest (default: "
        + ", ".join(f"{epochs} for {task}" for task, epochs in DEFAULT_EPOCHS.items())
        + f"; {DIGITS_EPOCHS} on digits, which has 40 times fewer images)",
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
    add(
        "--distort",
        type=number(float, 0, 1),
        help="share of the training images that are bent and turned a little, at first; it falls to none at "
        "the end. Without it a long training learns the images by heart (default: 1)",
    )
    add(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        help="what the layers multiply in. auto: bf16 where the device has it, which is faster, else fp32 "
        "(default: auto)",
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


def make_config(given: dict[str, Any], dataset: str, device: torch.device) -> TrainConfig:
    """The configuration of a new run: what was given, and the defaults for the rest."""
    task = given["task"]
    options = {key: given[key] for key in MODEL_OPTIONS if key in given}
    if task == "VAE0label" and options.get("prior") == "class_mean":
        raise LabError("--prior class_mean needs labels, which VAE0label is not given: choose another prior")
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
    device = choose_device(args.device)
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
        config = make_config(given, sets[0].name, device)
    if args.test_run:
        config.epochs = 1
        for part in sets:
            part.keep_first(config.batch_size)

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
    print(f"data: {sets[0].source}")
    print(f"model: {MODEL_CLASSES[args.task]}({options}), on {device} in {config.precision}")
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
