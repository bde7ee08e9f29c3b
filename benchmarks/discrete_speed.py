"""What an epoch of `--model vq` or `fsq` costs, compared with one of the VAE with the same convolutions.

    python benchmarks/discrete_speed.py --data_dir FOLDER

One epoch here is the training pass over a number of images, as train.py does it. Each measurement of a stage
of the discrete model is paired with one of the VAE, in alternating order; the ratio is that of such a pair.
Prints the median and the range of the ratios, for each stage and for a whole training, whose epochs are
shared by the stages. Expected: at most 1.3 for the first stage of `vq` on MNIST, which trains the networks of
the VAE. The other rows are information: the VAE has nothing that corresponds to the prior.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from helpers import machine
from tqdm import tqdm

import submission
from beyond import options as beyond_options
from data_utils import MNISTDataset
from trainer import Trainer
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.config import DISCRETE_MODELS, SUBMISSION_MODEL
from vaelab.contract import build_model, from_submission
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.device import choose_device
from vaelab.run import RunRequest, make_config

EXPECTED = 1.3
STAGES = ("encoder, quantizer and decoder", "prior")


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add_dataset_option(parser)
    add_data_dir_option(parser)
    add = parser.add_argument
    add("--model", choices=DISCRETE_MODELS, default="vq", help="(default: vq)")
    add("--channels", type=number(int, 1), default=64, help="of both models (default: 64)")
    add("--images", type=number(int, 128), default=6400, help="images of a pass (default: 6400)")
    add("--pairs", type=number(int, 1), default=5, help="pairs of measurements of each stage (default: 5)")
    return parser.parse_args()


def make_trainer(model: str, args: argparse.Namespace, data: MNISTDataset, folder: Path) -> Trainer:
    """A trainer of the VAE or of a discrete model, of the task without labels."""
    request = RunRequest(
        "VAE0label",
        folder,
        builder=model,
        model={"channels": args.channels},
        defaults=beyond_options.changed_defaults({"model": model}, "VAE0label"),
    )
    device = choose_device("auto")
    config = make_config(request, submission, data.name, device, data.image_shape)
    loss_fn = from_submission(submission, "vae_loss")
    return Trainer(build_model(submission, config), loss_fn, config, data, data, folder, device)


def make_pass(trainer: Trainer, stage: int) -> Callable[[], float]:
    """A function that trains one pass in a stage. Returns: its seconds."""
    trainer.epoch = trainer.config.epochs - 1 if stage else 0  # the first epoch, or the last

    def timed() -> float:
        with tqdm(disable=True) as bar:
            trainer.seed_epoch()
            start = time.perf_counter()
            trainer.train_epoch(bar)
            return time.perf_counter() - start

    return timed


def measure(args: argparse.Namespace, data: MNISTDataset, folder: Path) -> list[list[object]]:
    """The rows of the table: seconds and ratios of each stage, and of a whole training."""
    vae = make_pass(make_trainer(SUBMISSION_MODEL, args, data, folder), 0)
    ratios, rows = [], []
    for stage, name in enumerate(STAGES):
        ours = make_pass(make_trainer(args.model, args, data, folder), stage)
        vae(), ours()  # a first pass of each is not counted
        pairs = []
        for i in range(args.pairs):
            first, second = (vae, ours) if i % 2 == 0 else (ours, vae)
            seconds = {first: first(), second: second()}
            pairs.append((seconds[vae], seconds[ours]))
            print(f"{name}: {pairs[-1]}", file=sys.stderr, flush=True)
        ratios.append([own / theirs for theirs, own in pairs])
        medians = [f"{statistics.median(values):.2f}" for values in zip(*pairs, strict=True)]
        rows.append([args.model, name, *medians, *in_words(ratios[-1])])
    shares = make_trainer(args.model, args, data, folder).model.stage_shares
    whole = [
        sum(share * ratio for share, ratio in zip(shares, pair, strict=True))
        for pair in zip(*ratios, strict=True)
    ]
    return [*rows, [args.model, "whole training", "", "", *in_words(whole)]]


def in_words(ratios: list[float]) -> tuple[str, str]:
    """The median and the range of ratios."""
    return f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"


def main() -> None:
    """Measure and print. Raises: LabError if an epoch of the first stage costs more than expected."""
    args = parse_args()
    data = MNISTDataset("train", args.dataset, args.data_dir)
    data.keep_first(args.images)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, data, Path(folder))
    print(machine())
    print(f"{data.name}, passes over {len(data):,} images, {args.channels} channels, {args.pairs} pairs")
    header = ("model", "stage", "VAE, s", "discrete, s", "ratio, median", "range")
    print(markdown(header, rows))
    if float(rows[0][4]) > EXPECTED:
        raise LabError(
            f"an epoch of {STAGES[0]} costs {rows[0][4]} times one of the VAE: expected at most {EXPECTED}"
        )


if __name__ == "__main__":
    run(main)
