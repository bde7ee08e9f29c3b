"""See the latent space: figures and likelihoods, one command each.

    python explore.py plane                          # trains what it needs, and keeps it for the next time
    python explore.py likelihood --checkpoint_path outputs/VAE0label/best.pt
    python explore.py COMMAND --help                 # the options of one command

Each command writes outputs/explore/<command>.png, the numbers beside it as .csv and .json, and prints them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from apps.explore.comparisons import DIMS, classes, colour, compare, dims, likelihood, likelihood_table
from apps.explore.latent_space import balance, codes, plane, scatter, walk
from apps.explore.latent_space import line as draw_line
from apps.explore.models import Experiment
from vaelab.cli import LabError, Parser, number
from vaelab.data.options import SPLITS, add_data_dir_option, add_dataset_option
from vaelab.files import make_folder, read_json, write_file
from vaelab.metrics.score import PIXELS
from vaelab.plotting import to_table
from vaelab.sweep_results import summarise

# In the order of the gallery. Those of ONE take one checkpoint, those of SEVERAL any number, the rest none.
COMMANDS: dict[str, Callable[[Experiment], None]] = {
    "line": draw_line,
    "plane": plane,
    "scatter": scatter,
    "balance": balance,
    "walk": walk,
    "codes": codes,
    "dims": dims,
    "likelihood": likelihood,
    "classes": classes,
    "compare": compare,
    "colour": colour,
}
ONE = ("line", "plane", "walk", "codes")
SEVERAL = ("scatter", "likelihood", "compare")


def first_line(function: Callable) -> str:
    """What a command shows."""
    return function.__doc__.splitlines()[0]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command that is named."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        line = first_line(function)
        add_options(commands.add_parser(name, help=line, description=line), name)
    line = first_line(page)
    sub = commands.add_parser("page", help=line, description=line)
    sub.add_argument("--output_dir", type=Path, default=Path("outputs/explore"), help="where the figures are")
    sub.add_argument("--to", type=Path, default=Path("docs"), help="where gallery.md goes (default: docs)")
    line = first_line(summarise)
    sub = commands.add_parser("sweep", help=line, description=line)
    sub.add_argument("folder", type=Path, help="the OUTPUT_DIR of scripts/sweep.sh, as outputs/sweep")
    return parser.parse_args(argv)


def add_options(parser: Parser, name: str) -> None:
    """The options of one command."""
    add = parser.add_argument
    if name in ONE + SEVERAL:
        add(
            "--checkpoint_path",
            type=Path,
            nargs="+" if name in SEVERAL else 1,
            metavar="PATH",
            help="what to look at instead of the models that the command trains",
        )
    if name in ("likelihood", "dims", "colour"):
        add(
            "--chunk",
            type=number(int, 1, 10**6),
            default=2000,
            help="codes decoded at once: bounds the memory (default: 2000)",
        )
    if name == "likelihood":
        add(
            "--k",
            type=number(int, 1, 10**6),
            default=500,
            help="codes for each image's log p(x) (default: 500)",
        )
        add("--split", choices=SPLITS, default="test", help="the images (default: test)")
        add("--table", action="store_true", help="train the models of a published table, three seeds each")
    if name == "dims":
        add("--arch", nargs="+", choices=("mlp", "conv"), default=("mlp", "conv"), help="(default: both)")
        add(
            "--latent_dims",
            type=number(int, 1, PIXELS),
            nargs="+",
            default=DIMS,
            help="(default: 1 to 100)",
        )
    add("--epochs", type=number(int, 1), help="of each training (default: enough for the figure)")
    add("--seed", type=number(int, 0), default=0, help="of trainings and of what is drawn (default: 0)")
    add("--overwrite", action="store_true", help="train anew what was trained before")
    if name == "colour":
        parser.set_defaults(dataset="cifar10")
    else:
        add_dataset_option(parser)
    add_data_dir_option(parser)
    add("--output_dir", type=Path, default=Path("outputs/explore"), help="(default: outputs/explore)")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="auto: the fastest there is")


def page(args: argparse.Namespace) -> None:
    """Put the figures that were made, and their numbers, on one page: gallery.md."""
    names = [*COMMANDS, "likelihood_table"]
    names.sort(key=lambda name: list(COMMANDS).index(name.split("_")[0]))
    made = [name for name in names if (args.output_dir / f"{name}.json").exists()]
    if not made:
        raise LabError(f"{args.output_dir} holds no figure yet: python explore.py COMMAND makes one")
    pictures = make_folder(args.to / "gallery")
    parts = [
        "# Gallery\n\nEvery figure of `explore.py`, and its numbers. `bash scripts/gallery.sh` makes them "
        "all, and this page.\n"
    ]
    for name in made:
        about = read_json(args.output_dir / f"{name}.json")
        command, rows = about.pop("command"), about.pop("rows")
        title = first_line(likelihood_table if name == "likelihood_table" else COMMANDS[name])
        details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items())
        write_file(pictures / f"{name}.png", (args.output_dir / f"{name}.png").read_bytes())
        parts.append(
            f"## {command.replace('--', '')}\n\n{title} `python explore.py {command}`; {details}.\n\n"
            f"![{title}](gallery/{name}.png)\n\n{to_table(rows)}\n"
        )
    write_file(args.to / "gallery.md", "\n".join(parts))
    print(f"wrote {args.to / 'gallery.md'}: {', '.join(made)}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    if args.command == "page":
        page(args)
    elif args.command == "sweep":
        summarise(args.folder)
    else:
        COMMANDS[args.command](Experiment(args))
