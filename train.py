"""Train the model of one task.

    python train.py --task VAE0label          # the VAE
    python train.py --task Genwithlabel       # conditional generation
    torchrun --nproc_per_node 2 train.py --task VAE0label     # in two processes, or on two GPUs

The best model is written to outputs/<task>/best.pt, which inference.py reads.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaelab.cli import Parser, add_device_option, number, run
from vaelab.config import TRAINING_OPTIONS, add_model_options, add_training_options, model_options
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.language import _
from vaelab.model_arguments import check_options, takes
from vaelab.tasks import TASKS, task_name

if importlib.util.find_spec("beyond"):  # not in the students' version
    from beyond import options as beyond_options
else:
    beyond_options = None

if TYPE_CHECKING:
    from vaelab.run import RunRequest


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that don't change the result."""
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--output_dir", default="outputs", help="the run goes to <output_dir>/<task>/ (default: outputs)")
    add_device_option(group)
    add(
        "--keep_epochs",
        type=number(int, 1),
        nargs="+",
        default=(),
        metavar="EPOCH",
        help="also keep the model of these epochs, as epoch_NNN.pt",
    )
    flag = {"action": "store_true", "default": False}
    add("--tensorboard", **flag, help="also write a TensorBoard log, to <output_dir>/<task>/tensorboard/")
    add("--live", **flag, help="in a notebook (%%run train.py ...): draw the loss curves during training")
    exclusive = group.add_mutually_exclusive_group().add_argument
    exclusive("--test_run", **flag, help="train one epoch of one batch, in <output_dir>/test_run/<task>/")
    exclusive(
        "--resume",
        **flag,
        help="continue from last.pt with the options of the earlier start; start if there is none",
    )
    exclusive("--overwrite", **flag, help="replace an earlier run in the folder")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options. Those that decide the result are present only if they were given."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    names = ", ".join(TASKS)
    parser.add_argument("--task", required=True, type=task_name, metavar="TASK", help=f"one of {names}")
    add_model_options(
        parser, {name: [task for task in TASKS if takes(task, name)] for name in model_options()}
    )
    add_training_options(parser)
    if beyond_options:
        beyond_options.add_options(parser, model_options())
    group = parser.add_argument_group("data")
    add_dataset_option(group)
    add_data_dir_option(group)
    add_run_options(parser)
    return parser.parse_args(argv)


def make_request(args: argparse.Namespace) -> RunRequest:
    """The options as a `RunRequest`."""
    from vaelab.run import RunRequest

    given = vars(args)
    check_options(args.task, [name for name in model_options() if name in given])

    def of(names: Any) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    beyond, of_models = {}, [*model_options()]
    if beyond_options:
        of_models += beyond_options.DISCRETE_OPTIONS
        beyond = {
            "builder": beyond_options.chosen_model(given),
            "beyond": beyond_options.read_options(given),
            "beyond_given": of(["model"]) | beyond_options.chosen_additions(given),
            "defaults": beyond_options.changed_defaults(given, args.task),
        }
    return RunRequest(
        task=args.task,
        folder=Path(args.output_dir, "test_run" if args.test_run else "", args.task),
        training=of(TRAINING_OPTIONS),
        model=of(of_models),
        **beyond,
        dataset=args.dataset,
        data_dir=given.get("data_dir"),
        device=args.device,
        resume=args.resume,
        overwrite=args.overwrite or args.test_run,
        test_run=args.test_run,
        keep_epochs=args.keep_epochs,
        callbacks=[name for name in ("tensorboard", "live") if given[name]],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and train."""
    # If torchrun starts several processes on a machine, only the first of them reports a wrong option.
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    with nullcontext() if first else redirect_stderr(None):
        args = parse_args(argv)
    # Imported here, so that --help and a wrong option don't have to wait for torch to load.
    import submission
    from data_utils import MNISTDataset
    from trainer import Trainer
    from vaelab.distributed import find_world
    from vaelab.files import lock, make_folder
    from vaelab.run import LabModules, train

    world = find_world()
    with world.rank_zero_output():
        request = make_request(args)
        if world.restarts:  # after a process has died, torchrun starts all of them again
            request.resume, request.overwrite = True, False
        with lock(make_folder(request.folder)) if world.is_main_process else nullcontext():
            try:
                train(request, LabModules(submission, Trainer, MNISTDataset), world)
            except KeyboardInterrupt:
                print("\n" + _("stopped: run the same command with --resume to continue"), file=sys.stderr)
                sys.exit(130)
        if world.is_main_process and not request.test_run:
            best = request.folder / "best.pt"
            print(_("next: {command}", command=f"python inference.py --checkpoint_path {best}"))


if __name__ == "__main__":
    run(main)
