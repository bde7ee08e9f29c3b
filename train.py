"""Train one task's model.

    python train.py --task VAE0label          # the VAE
    python train.py --task Genwithlabel       # conditional generation
    torchrun --nproc_per_node 2 train.py --task VAE0label     # by two processes, or on two GPUs

The best model is in outputs/<task>/best.pt; inference.py takes it from there.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import data_utils
import distributed
from common import TASKS, Parser, lock, make_folder, number, run, task_name
from options import add_model_options, add_training_options
from runs import train


def add_run_options(group: argparse._ArgumentGroup) -> None:
    """Where and how it runs: none of these changes the result."""
    add = group.add_argument
    add("--output_dir", default="outputs", help="the run goes to <output_dir>/<task>/ (default: outputs)")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="auto: the fastest there is")
    add(
        "--keep_epochs",
        type=number(int, 1),
        nargs="+",
        metavar="EPOCH",
        help="keep the model of these epochs as well, as epoch_NNN.pt",
    )
    add(
        "--tensorboard",
        action="store_true",
        default=False,
        help="write log and samples for TensorBoard as well, into <output_dir>/<task>/tensorboard/",
    )
    add(
        "--live",
        action="store_true",
        default=False,
        help="in a notebook (%%run train.py ...): show the curves, drawn anew as training goes on",
    )
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
    data_utils.add_dataset_option(group)
    data_utils.add_data_dir_option(group)
    add_run_options(parser.add_argument_group("run"))
    return parser.parse_args()


def main() -> None:
    """Parse the options and train."""
    world = distributed.world()
    with world.one_voice():
        args = parse_args()
        folder = Path(args.output_dir, "test_run" if args.test_run else "", args.task)
        args.overwrite |= args.test_run
        if world.restarts:  # after a process has died, torchrun starts all of them anew
            args.resume, args.overwrite = True, False
        with lock(make_folder(folder)) if world.first else nullcontext():
            try:
                train(args, folder, world)
            except KeyboardInterrupt:
                print("\nstopped: the same command with --resume goes on", file=sys.stderr)
                sys.exit(130)


if __name__ == "__main__":
    run(main)
