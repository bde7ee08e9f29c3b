"""Figures of latent spaces, likelihoods and comparisons of models, one command each.

    python explore.py plane                          # trains its models, and keeps them for the next time
    python explore.py likelihood --checkpoint_path outputs/VAE0label/best.pt
    python explore.py COMMAND --help                 # the options of one command

Each command writes outputs/explore/<command>.png and its numbers as .csv and .json, and prints the numbers.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vaelab.cli import Parser, add_device_option, number
from vaelab.config import ARCHITECTURES, MAX_LATENT_DIM
from vaelab.data.options import add_data_dir_option, add_dataset_option, add_split_option

ONE, SEVERAL = "one", "several"


@dataclass(frozen=True)
class FigureCommand:
    """A command that draws a figure: the function in apps/explore/<module>.py that has the command's name."""

    title: str  # in one sentence, for --help and the gallery
    module: str
    checkpoints: str | None = None  # how many checkpoints it accepts


# In the order of the gallery.
COMMANDS = {
    "line": FigureCommand(
        "A one-dimensional latent space decoded along [-3, 3], after the first epoch and after the last.",
        "latent_space",
        ONE,
    ),
    "plane": FigureCommand(
        "A two-dimensional latent space decoded on a square grid, and on a grid of normal quantiles.",
        "latent_space",
        ONE,
    ),
    "scatter": FigureCommand(
        "Codes of `valid` coloured by digit: directly at latent_dim 2, by PCA and t-SNE above.",
        "latent_space",
        SEVERAL,
    ),
    "balance": FigureCommand(
        "Three VAEs at latent_dim 2 with a very small, a very large and a usual var: codes and samples.",
        "latent_space",
    ),
    "walk": FigureCommand(
        "Interpolation between digits, in latent space and in pixels; and variation of one latent at a time.",
        "latent_space",
        ONE,
    ),
    "codes": FigureCommand(
        "An autoencoder and a VAE: samples of N(0, I), and interpolation between two codes.",
        "latent_space",
        ONE,
    ),
    "dims": FigureCommand(
        "Reconstruction and ELBO against latent_dim, for the MLP and the convolutional network.",
        "likelihoods",
    ),
    "likelihood": FigureCommand(
        "ELBO, importance-sampled log p(x) and MSE, in nats per image.", "likelihoods", SEVERAL
    ),
    "classes": FigureCommand(
        "Three ways to condition on a class: ten samples of each label, score and label accuracy.",
        "comparisons",
    ),
    "compare": FigureCommand(
        "The same images reconstructed by any number of checkpoints.", "comparisons", SEVERAL
    ),
    "colour": FigureCommand(
        "Four networks on images in colour: reconstructions, samples, ELBO and MSE.", "comparisons"
    ),
    "discrete": FigureCommand(
        "Discrete codes, VQ and FSQ, beside a Gaussian VAE: rate and distortion, reconstructions, usage of "
        "the codes, single indices, samples; with --dataset cifar10 also the sharpness.",
        "discrete",
    ),
}
PAGE_TITLE = "Write the finished figures and their numbers to one page, gallery.md."
SWEEP_TITLE = (
    "Write sweep.csv and two figures for each task; print the best configurations and the failed ones."
)


def add_special_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options that some commands have."""
    add = parser.add_argument
    if name in ("likelihood", "dims", "colour"):
        add(
            "--chunk",
            type=number(int, 1, 10**6),
            default=2000,
            help="number of codes decoded at once, which limits the memory (default: 2000)",
        )
    if name == "likelihood":
        add(
            "--k",
            type=number(int, 1, 10**6),
            default=500,
            help="number of codes for the log p(x) of each image (default: 500)",
        )
        add_split_option(parser, "test", "the images")
        add("--table", action="store_true", help="train the models of a published table, three seeds each")
    if name == "discrete":
        add(
            "--images",
            type=number(int, 128),
            help="train on the first images only, which is quicker (default: on all)",
        )
    if name == "dims":
        help_ = "network types (default: both)"
        add("--arch", nargs="+", choices=ARCHITECTURES, default=["mlp", "conv"], help=help_)
        add(
            "--latent_dims",
            type=number(int, 1, MAX_LATENT_DIM),
            nargs="+",
            default=[1, 2, 5, 10, 20, 40, 100],
            help="the values of latent_dim (default: 1 to 100)",
        )


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options of one command."""
    add, command = parser.add_argument, COMMANDS[name]
    if command.checkpoints:
        add(
            "--checkpoint_path",
            type=Path,
            nargs="+" if command.checkpoints == SEVERAL else 1,
            metavar="PATH",
            help="use these models instead of those that the command trains",
        )
    add_special_options(parser, name)
    add("--epochs", type=number(int, 1), help="epochs of each training (default: enough for the figure)")
    add("--seed", type=number(int, 0), default=0, help="seed of the trainings and samples (default: 0)")
    add("--overwrite", action="store_true", help="train again instead of using the models trained before")
    if name == "colour":
        parser.set_defaults(dataset="cifar10")
    else:
        add_dataset_option(parser)
    add_data_dir_option(parser)
    help_ = "the folder for the figure (default: outputs/explore)"
    add("--output_dir", type=Path, default=Path("outputs/explore"), help=help_)
    add_device_option(parser)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command and its options."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        add_options(commands.add_parser(name, help=command.title, description=command.title), name)
    page = commands.add_parser("page", help=PAGE_TITLE, description=PAGE_TITLE)
    page.add_argument(
        "--output_dir", type=Path, default=Path("outputs/explore"), help="the folder of the figures"
    )
    to_help = "the folder of gallery.md (default: docs)"
    page.add_argument("--to", type=Path, default=Path("docs"), help=to_help)
    sweep = commands.add_parser("sweep", help=SWEEP_TITLE, description=SWEEP_TITLE)
    sweep.add_argument("folder", type=Path, help="the OUTPUT_DIR of scripts/sweep.sh, as outputs/sweep")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    # Imported here: --help needs neither torch nor matplotlib.
    if args.command == "page":
        from apps.explore.gallery import write_gallery

        titles = {name: command.title for name, command in COMMANDS.items()}
        write_gallery(args.output_dir, args.to, titles)
    elif args.command == "sweep":
        from vaelab.sweep_results import summarise

        summarise(args.folder)
    else:
        from apps.explore.context import ExploreContext, ExploreSettings

        module = importlib.import_module(f"apps.explore.{COMMANDS[args.command].module}")
        getattr(module, args.command)(ExploreContext(ExploreSettings(**vars(args))))
