"""Draw docs/figures/architecture.png, the networks of the VAE: python docs/figures/architecture.py"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon
from PIL import Image

BLUE, ORANGE, GREY = "#dbe9f6", "#fde6cd", "#f1f1f1"


def box(axes: Axes, x: float, y: float, text: str, width: float = 1.3, colour: str = GREY) -> None:
    """A rounded box with its centre at (x, y)."""
    style = "round,pad=0.02,rounding_size=0.12"
    corner = (x - width / 2, y - 0.42)
    axes.add_patch(FancyBboxPatch(corner, width, 0.84, boxstyle=style, facecolor=colour, edgecolor="black"))
    axes.text(x, y, text, ha="center", va="center", fontsize=12)


def network(axes: Axes, x: float, y: float, text: str, narrow: str, colour: str) -> None:
    """A network as a trapezium, centred at (x, y); `narrow`: its narrow side, left or right."""
    left, right = (0.45, 0.95) if narrow == "left" else (0.95, 0.45)
    corners = [(x - 0.85, y - left), (x - 0.85, y + left), (x + 0.85, y + right), (x + 0.85, y - right)]
    axes.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor="black"))
    axes.text(x, y, text, ha="center", va="center", fontsize=11.5, linespacing=1.5)


def arrow(axes: Axes, start: tuple, end: tuple, **style) -> None:
    """An arrow from one point to another."""
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0, **style)
    )


def training(axes: Axes, y: float) -> None:
    """The row of training: image, encoder, code, decoder, reconstruction, and the two terms of the loss."""
    axes.text(-0.75, y + 1.75, "Training", fontsize=13, fontweight="bold", va="center")
    box(axes, 0, y, "$x$")
    network(axes, 2.1, y, "Encoder\n" + r"$q_\phi(z\,|\,x)$", "right", BLUE)
    box(axes, 4.3, y, r"$\mu,\ \log\sigma^2$", 1.6)
    box(axes, 6.9, y, r"$z=\mu+\sigma\odot\epsilon$", 2.1)
    network(axes, 9.5, y, "Decoder\n" + r"$p_\theta(x\,|\,z)$", "left", ORANGE)
    box(axes, 11.6, y, r"$\hat x$")
    box(axes, 6.9, y + 1.55, r"$\epsilon\sim N(0,I)$", 1.8)
    for start, end in ((0.67, 1.25), (2.95, 3.48), (5.12, 5.83), (7.97, 8.65), (10.35, 10.93)):
        arrow(axes, (start, y), (end, y), color="black")
    arrow(axes, (6.9, y + 1.11), (6.9, y + 0.46), color="black")
    axes.plot([4.3, 4.3], [y - 1.1, y - 0.46], color="tab:blue", linestyle=":", linewidth=1.4)
    kl = r"KL term: $\mathrm{KL}(q_\phi(z\,|\,x)\,\|\,N(0,I))$"
    axes.text(4.3, y - 1.2, kl, ha="center", va="top", fontsize=11, color="tab:blue")
    for x in (0, 11.6):  # what the reconstruction term compares
        axes.plot([x, x], [y - 2.2, y - 0.46], color="tab:red", linestyle=":", linewidth=1.4)
    arrow(axes, (0, y - 2.2), (11.6, y - 2.2), color="tab:red")
    arrow(axes, (11.6, y - 2.2), (0, y - 2.2), color="tab:red")
    recon = r"reconstruction term: $\|x-\hat x\|^2\,/\,(2\,\mathrm{var})$"
    axes.text(5.8, y - 2.32, recon, ha="center", va="top", fontsize=11, color="tab:red")


def generation(axes: Axes, y: float) -> None:
    """The row of generation: a code from the prior, the decoder, an image."""
    axes.text(-0.75, y + 0.75, "Generation", fontsize=13, fontweight="bold", va="center")
    box(axes, 6.9, y, r"$z\sim p(z)=N(0,I)$", 2.4)
    network(axes, 9.5, y, "Decoder\n" + r"$p_\theta(x\,|\,z)$", "left", ORANGE)
    box(axes, 11.6, y, r"$\hat x$")
    arrow(axes, (8.12, y), (8.65, y), color="black")
    arrow(axes, (10.35, y), (10.93, y), color="black")


def main() -> None:
    """Draw both rows and save them as a PNG file of few colours."""
    figure = Figure(figsize=(11.4, 6.1), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.85, 12.4), ylim=(-5.1, 2.1), aspect="equal")
    axes.axis("off")
    training(axes, 0)
    generation(axes, -4.0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    image.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
