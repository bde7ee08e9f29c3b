"""What the commands of `explore.py` stand on: models, trained or loaded; data; figures and tables on disk."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import steps
import submission
from checkpoint import Subject, choose_device, load_checkpoint, make_subject
from common import LabError, image_grid, lock, make_folder, markdown, write_file, write_json
from data_utils import MNISTDataset, prepare
from runs import train

# What figures are drawn from, unless they say otherwise: a plain VAE that trains in seconds an epoch, and
# whose loss is the ELBO of the written material, with cross-entropy.
PLAIN = {
    "task": "VAE0label",
    "arch": "mlp",
    "hidden_layers": 2,
    "recon": "bce",
    "prior": "standard",
    "distort": 0.0,
}
DIGITS_FACTOR = 10  # times as many epochs on scikit-learn's digits, which are 40 times fewer images
COLOURS = 256  # of a figure's PNG file: a third of the bytes of full colour


class Workbench:
    """Models and data for one command, and the folder that it writes to."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, choose_device(args.device)
        self.root = make_folder(args.output_dir)
        paths = getattr(args, "checkpoint_path", None) or []
        checkpoints = [load_checkpoint(path) for path in paths]
        names = {checkpoint["config"]["dataset"] for checkpoint in checkpoints}
        if len(names) > 1:
            raise LabError(
                f"the checkpoints are of different data ({', '.join(sorted(names))}): name some of one"
            )
        dataset = names.pop() if names else args.dataset
        if args.dataset not in ("auto", dataset):
            raise LabError(f"the checkpoints are of {dataset}: leave --dataset {args.dataset} out")
        self.dataset, _ = prepare(dataset, args.data_dir)
        # A folder is what tells runs apart: their files have the same names.
        self.given = [
            self._load(path, f"{path.parent.parent.name}/{path.parent.name}", checkpoint)
            for path, checkpoint in zip(paths, checkpoints, strict=True)
        ]
        torch.manual_seed(args.seed)

    # --- Models ---

    def trained(self, name: str, epochs: int, seed: int | None = None, **options: Any) -> Subject:
        """A VAE of `PLAIN` and `options`: the one trained before, else trained now, by the Trainer."""
        seed = self.args.seed if seed is None else seed
        epochs = self.args.epochs or epochs * (DIGITS_FACTOR if self.dataset == "digits" else 1)
        folder = make_folder(self.root / "models" / f"{self.dataset}-{name}-epochs{epochs}-seed{seed}")
        args = argparse.Namespace(**PLAIN | options, epochs=epochs, seed=seed, keep_epochs=(1,))
        args.dataset, args.data_dir, args.device = self.dataset, self.args.data_dir, self.args.device
        args.resume, args.overwrite, args.test_run = not self.args.overwrite, self.args.overwrite, False
        with lock(folder):
            train(args, folder)
        subject = self._load(folder / "last.pt", name, load_checkpoint(folder / "last.pt"))
        torch.manual_seed(self.args.seed)  # what follows is the same whether it was trained now or before
        return subject

    def given_or(self, name: str, epochs: int, **options: Any) -> Subject:
        """The checkpoint that `--checkpoint_path` names, or else `trained`."""
        if len(self.given) > 1:
            raise LabError(f"expected one checkpoint, got {len(self.given)}: compare takes several")
        return self.given[0] if self.given else self.trained(name, epochs, **options)

    def given_or_two(self) -> list[Subject]:
        """The checkpoints that `--checkpoint_path` names, or else a small code and a larger one."""
        return self.given or [self.trained("d2", 20, latent_dim=2), self.trained("d20", 10, latent_dim=20)]

    def after_epoch(self, subject: Subject, epoch: int) -> Subject | None:
        """The same model as it was after an epoch, if that was kept."""
        path = subject.path.with_name(f"epoch_{epoch:03d}.pt")
        return self._load(path, subject.name, load_checkpoint(path)) if path.exists() else None

    def _load(self, path: Path, name: str, checkpoint: dict[str, Any]) -> Subject:
        return make_subject(submission, checkpoint, path, name, self.device)

    # --- Data and codes ---

    def data(self, split: str) -> MNISTDataset:
        """A split of the data, on the device."""
        return MNISTDataset(split, self.dataset, self.args.data_dir).to(self.device)

    @torch.no_grad()
    def posterior(self, subject: Subject, dataset: MNISTDataset) -> tuple[Tensor, Tensor]:
        """mu and logvar of all images: [N, d] each."""
        parts = [
            subject.model.encode(batch.images, subject.labels(batch.labels))
            for batch in dataset.batches(steps.BATCH)
        ]
        return tuple(torch.cat(values).float() for values in zip(*parts, strict=True))

    @torch.no_grad()
    def decode(self, subject: Subject, z: Tensor, labels: Tensor | None = None) -> np.ndarray:
        """Codes [N, d], of `labels` if the model is given any, to uint8 images [N, H, W] or [N, C, H, W]."""
        shape = subject.config["model_args"].get("image_shape", (1, 28, 28))
        shape = shape[1:] if shape[0] == 1 else shape
        labels = None if labels is None else subject.labels(labels)
        parts = [
            steps.decode(
                subject.model,
                z[i : i + steps.BATCH],
                None if labels is None else labels[i:][: steps.BATCH],
                shape,
            )
            for i in range(0, len(z), steps.BATCH)
        ]
        return np.concatenate(parts)

    # --- Files ---

    def save(
        self,
        figure: Figure,
        rows: list[dict[str, Any]],
        summary: list[dict[str, Any]] | None = None,
        option: str = "",
        **about: Any,
    ) -> None:
        """Write <command>.png, .csv (`rows`) and .json (`summary`, default `rows`, and what it is of).

        option: one of the command that makes it another, with a name of its own.
        """
        command, summary = self.args.command, rows if summary is None else summary
        path = self.root / "_".join([command, *option.replace("-", "").split()])
        write_file(path.with_suffix(".png"), figure_png(figure))
        write_file(path.with_suffix(".csv"), as_csv(rows))
        about = {"data": self.dataset, "seed": self.args.seed, **about}
        command = f"{command} {option}".strip()
        write_json(path.with_suffix(".json"), {"command": command, **about, "rows": summary})
        print(as_table(summary))
        print(f"wrote {path}.png, {path}.csv, {path}.json")


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV, with a column for each key that one of them has."""
    buffer = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_table(rows: list[dict[str, Any]]) -> str:
    """Rows of one kind as a Markdown table, numbers to four digits."""

    def short(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return markdown(list(rows[0]), [[short(value) for value in row.values()] for row in rows])


# --- Figures ------------------------------------------------------------------------------------


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches of 100 pixels."""
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def show_images(
    axes: Axes, images: np.ndarray, columns: int, title: str = "", extent: tuple | None = None, gap: int = 1
) -> None:
    """Images, uint8 [N, H, W] or [N, C, H, W], row by row; with axes only where `extent` gives a scale."""
    grid = image_grid(images, columns, gap=gap, scale=1)
    axes.imshow(
        grid,
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="lanczos",
        extent=extent,
        aspect="equal" if extent is None else "auto",
    )
    axes.set_title(title, fontsize=10)
    if extent is None:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)


def show_codes(axes: Axes, z: np.ndarray, labels: np.ndarray, title: str = "") -> None:
    """Codes [N, 2] coloured by label; each class also has its digit at its median, to be read in grey."""
    axes.scatter(z[:, 0], z[:, 1], c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=3, linewidths=0, alpha=0.7)
    for label in np.unique(labels):
        x, y = np.median(z[labels == label], axis=0)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": f"C{label}", "alpha": 0.85}
        axes.text(x, y, str(label), ha="center", va="center", fontsize=9, fontweight="bold", bbox=box)
    axes.set_title(title, fontsize=10)


def figure_png(figure: Figure) -> bytes:
    """The figure as the bytes of a small PNG file."""
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB")
    # Maximum coverage: a palette by frequency would be greys alone, and leave none for the points of a plot.
    image = image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()
