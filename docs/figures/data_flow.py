"""Draw docs/figures/data_flow.png, the way of the data through the files: python docs/figures/data_flow.py"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

CODE, DATA = "#dbe9f6", "#fde6cd"


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 2.5) -> None:
    """A rounded box with its centre at (x, y)."""
    style = "round,pad=0.02,rounding_size=0.1"
    corner = (x - width / 2, y - 0.42)
    axes.add_patch(FancyBboxPatch(corner, width, 0.84, boxstyle=style, facecolor=colour, edgecolor="0.3"))
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5, linespacing=1.35)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """An arrow, with a text beside it."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.25"))
    if text:
        axes.text(
            (start[0] + end[0]) / 2 + 0.1,
            (start[1] + end[1]) / 2,
            text,
            fontsize=8.5,
            va="center",
            color="0.3",
        )


def main() -> None:
    """Draw the figure."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(-1.5, 13.5)
    axes.set_ylim(-1.0, 6.0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    box(axes, 0, 5, "dataset/mnist/\ntrain.npz, valid.npz", DATA)
    box(axes, 0, 2.6, "1  data_utils.py\nMNISTDataset", CODE)
    box(axes, 4, 5, "2  model.py\nencoders, decoders", CODE)
    box(axes, 4, 2.6, "3  submission.py\nVAE, GenModel, vae_loss", CODE, 2.9)
    box(axes, 4, 0.2, "4  trainer.py, train.py\nforward, loss, step", CODE, 2.9)
    box(axes, 8, 0.2, "outputs/TASK/\nbest.pt, log.jsonl", DATA)
    box(axes, 8, 2.6, "5  inference.py\nencode, decode, generate", CODE, 2.9)
    box(axes, 8, 5, "valid/recon.npy,\nvalid/gen.npy", DATA)
    box(axes, 12, 5, "5  grade.py\nMSE, SSIM, FID, score", CODE)
    box(axes, 12, 2.6, "grade_result.json,\nreport.html", DATA)
    box(axes, 12, 0.2, "6  check.py\ntests each blank", CODE)
    arrow(axes, (0, 4.55), (0, 3.05), "uint8 [N, 28, 28]")
    arrow(axes, (0.3, 2.15), (2.5, 0.4), "x [B, 28, 28]")
    arrow(axes, (4, 4.55), (4, 3.05), "layers")
    arrow(axes, (4, 2.15), (4, 0.65), "model, loss")
    arrow(axes, (5.5, 0.2), (6.7, 0.2))
    arrow(axes, (8, 0.65), (8, 2.15), "weights")
    arrow(axes, (5.5, 2.6), (6.5, 2.6))
    arrow(axes, (8, 3.05), (8, 4.55), "uint8 arrays")
    arrow(axes, (9.3, 5), (10.7, 5))
    arrow(axes, (12, 4.55), (12, 3.05))
    axes.text(
        -1.4, -0.75, "blue: code, with the number of its stop on this page; orange: files of data", fontsize=9
    )
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
