"""How time and memory grow with the images, latent_dim, the size of an image, and the batch size.

    python benchmarks/cost_growth.py --data_dir FOLDER_OF_MNIST

For each value, the default network of VAE0label trains for one epoch in a process of its own, and encodes and
decodes the same images in another; the other settings are those of `BASE`. Writes outputs/cost_growth.png and
.csv. The slope of a line is that of log(time) against log(value), by least squares: 1 is linear. Memory is
the peak of the process, of which about 250 MB are torch itself.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from helpers import REPO, machine
from tqdm import tqdm

import submission
from data_utils import MNISTDataset
from trainer import Trainer
from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError, Parser, markdown, run
from vaelab.contract import build_model, from_submission
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.files import make_folder, write_file
from vaelab.inference import reconstruct
from vaelab.plotting import figure_png, new_figure, to_csv
from vaelab.run import RunRequest, make_config

VALUES = {
    "images": (1_000, 4_000, 16_000, 60_000),
    "latent_dim": (2, 8, 32, 128, 256),
    "side": (28, 40, 52, 64),
    "batch_size": (16, 64, 256, 1024),
}
LABELS = {"images": "images", "latent_dim": "latent_dim", "side": "pixels", "batch_size": "batch size"}
WORK = ("epoch", "inference")


@dataclass(frozen=True)
class Setting:
    """What one process computes. side: height and width of an image, in pixels."""

    work: str = "epoch"
    images: int = 4_000
    latent_dim: int = 20
    side: int = 28
    batch_size: int = 128


def images_of(setting: Setting, args: argparse.Namespace) -> MNISTDataset:
    """The training images, repeated or cut to their number, and enlarged."""
    data = MNISTDataset("train", args.dataset, args.data_dir)
    indices = torch.arange(setting.images) % len(data)
    data.images, data.labels = data.images[indices], data.labels[indices]
    if setting.side != data.images.shape[-1]:
        parts = [
            F.interpolate(part[:, None].float(), size=(setting.side, setting.side), mode="bilinear")[:, 0]
            for part in data.images.split(1000)
        ]
        data.images = torch.cat([part.round().to(torch.uint8) for part in parts])
    return data


def measure_here(setting: Setting, args: argparse.Namespace) -> dict[str, float]:
    """Do the work in this process. Returns: its seconds, and the peak of the process's memory in MB."""
    data, device = images_of(setting, args), torch.device("cpu")
    model_args = {"latent_dim": setting.latent_dim}
    training = {"batch_size": setting.batch_size}
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as bar:
        request = RunRequest("VAE0label", Path(folder), model=model_args, training=training)
        config = make_config(request, submission, data.name, device, data.image_shape)
        model = build_model(submission, config)
        if setting.work == "epoch":
            loss = from_submission(submission, "vae_loss")
            trainer = Trainer(model, loss, config, data, data, Path(folder), device)
            start = time.perf_counter()
            trainer.train_epoch(bar)
        else:
            loaded = LoadedModel("", Path(), model.eval(), config, epoch=0)
            start = time.perf_counter()
            reconstruct(loaded, data, False, bar)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure(setting: Setting, args: argparse.Namespace) -> dict[str, float]:
    """`measure_here` in a process of its own. Raises: LabError if it fails."""
    command = [sys.executable, __file__, "--setting", json.dumps(asdict(setting)), "--dataset", args.dataset]
    command += ["--data_dir", str(args.data_dir)] if args.data_dir else []
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError("{setting} failed: {error}", setting=setting, error=result.stderr.strip())
    return json.loads(result.stdout)


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add_dataset_option(parser)
    add_data_dir_option(parser)
    parser.add_argument("--setting", type=json.loads, help="measure one setting, in this process; as JSON")
    return parser.parse_args()


def x_value(name: str, value: int) -> int:
    """The value that an axis shows: the pixels of an image for its side."""
    return value**2 if name == "side" else value


def slope(values: list[float], costs: list[float]) -> float:
    """The slope of log(cost) against log(value)."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def draw(rows: list[dict]) -> bytes:
    """A PNG file with time above memory, a column for each quantity."""
    figure = new_figure(13, 6)
    axes = figure.subplots(2, len(VALUES), sharey="row", squeeze=False)
    for column, name in enumerate(VALUES):
        for work in WORK:
            own = [row for row in rows if row["varied"] == name and row["work"] == work]
            values = [x_value(name, row[name]) for row in own]
            times, memory = ([row[key] for row in own] for key in ("seconds", "megabytes"))
            label = f"{work}: slope {slope(values, times):.2f}"
            axes[0, column].plot(values, times, "o-", label=label)
            axes[1, column].plot(values, memory, "o-", label=work)
        axes[0, column].set(xscale="log", yscale="log")
        axes[0, column].legend(fontsize=8)
        axes[1, column].set(xscale="log", xlabel=LABELS[name])
        for part in axes[:, column]:
            part.set_xticks(values, [f"{value:,}" for value in values], minor=False)
            part.set_xticks([], minor=True)
            part.grid(alpha=0.3)
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, MB")
    axes[1, 0].legend(fontsize=8)
    return figure_png(figure)


def main() -> None:
    """Measure, print the table, draw the figure."""
    args = parse_args()
    if args.setting:
        with contextlib.redirect_stdout(io.StringIO()):
            found = measure_here(Setting(**args.setting), args)
        print(json.dumps(found))
        return
    data = MNISTDataset("train", args.dataset, args.data_dir)  # prepared once, before the processes
    rows = []
    for name, values in VALUES.items():
        for value in values:
            for work in WORK:
                setting = replace(Setting(work), **{name: value})
                rows.append({"varied": name, **asdict(setting), **measure(setting, args)})
                print(f"{name} {value}, {work}: {rows[-1]['seconds']:.2f} s", file=sys.stderr)
    folder = make_folder(REPO / "outputs")
    write_file(folder / "cost_growth.png", draw(rows))
    write_file(folder / "cost_growth.csv", to_csv(rows))
    print(f"{machine()}; {data.name}\n")
    table = [
        (row["varied"], row[row["varied"]], row["work"], f"{row['seconds']:.2f} s", f"{row['megabytes']:.0f}")
        for row in rows
    ]
    print(markdown(("varied", "value", "work", "time", "peak memory, MB"), table))


if __name__ == "__main__":
    run(main)
