"""Draw the figures of four ideas of the handout: python docs/figures/ideas.py [LOG.jsonl ...]

kl.png, elbo_gap.png, bottleneck.png, rate_distortion.png. The last one shows the runs in rate_distortion.csv
(train.py --task VAE0label --dataset digits --arch mlp --epochs 60 --latent_dim 20 --var VAR, seed 0, valid);
each LOG.jsonl of a run of your own adds its path through the epochs, drawn to my_rate_distortion.png instead.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
BLUE, ORANGE, GREY, GREEN = "tab:blue", "tab:orange", "0.45", "tab:green"


def normal(x: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    """The density of a Gaussian."""
    return np.exp(-((x - mu) ** 2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2)


def save(figure: Figure, name: str) -> None:
    """Write a figure beside this file."""
    figure.savefig(HERE / name, dpi=110, bbox_inches="tight", facecolor="white")
    print(f"wrote {HERE / name}")


# --- The KL divergence ------------------------------------------------------------------------


def draw_kl(axes: Axes, direction: str) -> None:
    """Two Gaussians and the integrand of one direction of their KL divergence, whose area is the KL."""
    x = np.linspace(-5, 7, 2001)
    p, q = normal(x, 0, 0.8), normal(x, 1.5, 1.5)
    first, second = (p, q) if direction == "pq" else (q, p)
    integrand = first * np.log(first / second)
    axes.plot(x, p, color=BLUE, label="$p = N(0, 0.8^2)$")
    axes.plot(x, q, color=ORANGE, label="$q = N(1.5, 1.5^2)$")
    axes.fill_between(x, integrand, where=integrand > 0, color=GREEN, alpha=0.35, label="integrand, above 0")
    axes.fill_between(
        x, integrand, where=integrand < 0, color="tab:red", alpha=0.35, label="integrand, below 0"
    )
    names = ("p", "q") if direction == "pq" else ("q", "p")
    value = np.trapezoid(integrand, x)
    axes.set_title(rf"$\mathrm{{KL}}({names[0]} \Vert {names[1]})$ = {value:.2f} nats: green minus red area")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("$x$")
    axes.set_xlim(-5, 7)


def kl() -> None:
    """The KL divergence is an area, and not symmetric."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_kl(left, "pq")
    draw_kl(right, "qp")
    left.legend(fontsize=8.5)
    save(figure, "kl.png")


# --- The gap of the ELBO ----------------------------------------------------------------------


def elbo_gap() -> None:
    """log p(x) is constant in q; the ELBO is lower by the KL of q to the posterior, here for a Gaussian."""
    evidence, means = -2.0, np.linspace(-2.2, 3.8, 400)
    gap = (means - 0.8) ** 2 / (2 * 0.7**2)  # two Gaussians with the same standard deviation, 0.7
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axhline(evidence, color="black", label=r"$\log p_\theta(x)$")
    left.plot(means, evidence - gap, color=BLUE, label=r"$\mathrm{ELBO}(q, \theta)$")
    at = 2.2
    low = evidence - (at - 0.8) ** 2 / (2 * 0.7**2)
    left.annotate("", (at, evidence), (at, low), arrowprops={"arrowstyle": "<->", "color": ORANGE})
    left.text(
        at + 0.12, (low + evidence) / 2, r"$\mathrm{KL}(q \Vert p_\theta(z|x))$", color=ORANGE, va="center"
    )
    left.plot([0.8], [evidence], "o", color=GREEN)
    left.text(0.8, evidence + 0.35, "E step: $q$ = posterior, no gap", ha="center", color=GREEN, fontsize=9)
    left.set_ylim(-9, -1)
    left.set_xlabel("mean of $q$")
    left.set_ylabel("nats")
    left.legend(loc="lower left")
    z = np.linspace(-3, 5, 500)
    right.fill_between(z, normal(z, 0.8, 0.7), color=GREEN, alpha=0.3, label=r"posterior $p_\theta(z|x)$")
    right.plot(z, normal(z, at, 0.7), color=ORANGE, label="$q(z)$ at the arrow on the left")
    right.plot(z, normal(z, 0, 1), color=GREY, linestyle=":", label="prior $p(z)$")
    right.set_xlabel("$z$")
    right.legend(fontsize=9)
    save(figure, "elbo_gap.png")


# --- The bottleneck ---------------------------------------------------------------------------


def bottleneck() -> None:
    """The best linear codes of digits with d numbers: the images that are left, and the error."""
    from sklearn.datasets import load_digits

    images = load_digits().data / 16  # [1797, 64]
    mean = images.mean(axis=0)
    _, _, directions = np.linalg.svd(images - mean, full_matrices=False)
    sizes, chosen = (1, 2, 4, 8, 16, 32), [0, 3, 4, 7, 8]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(len(chosen), len(sizes) + 1)
    for row, i in enumerate(chosen):
        pictures = [images[i]]
        pictures += [mean + (images[i] - mean) @ directions[:d].T @ directions[:d] for d in sizes]
        for cell, picture in zip(axes[row], pictures, strict=True):
            cell.imshow(picture.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
            cell.set_axis_off()
    axes[0][0].set_title("original, 64 pixels", fontsize=9)
    for cell, d in zip(axes[0][1:], sizes, strict=True):
        kept = mean + (images - mean) @ directions[:d].T @ directions[:d]
        cell.set_title(f"d = {d}, MSE {((kept - images) ** 2).mean():.3f}", fontsize=9)
    save(figure, "bottleneck.png")


# --- Rate and distortion ----------------------------------------------------------------------


def read_runs() -> list[tuple[float, float, float]]:
    """(var, KL in nats, MSE) of the trainings in rate_distortion.csv."""
    with (HERE / "rate_distortion.csv").open(encoding="utf-8") as file:
        return [(float(row["var"]), float(row["kl"]), float(row["mse"])) for row in csv.DictReader(file)]


def rate_distortion(logs: list[Path]) -> None:
    """Runs with different var in the plane of KL and MSE; logs: runs of one's own."""
    runs = sorted(read_runs())
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [kl for _, kl, _ in runs],
        [mse for *_, mse in runs],
        "o-",
        color=BLUE,
        label="a training each (digits, MLP, d = 20)",
    )
    for var, kl, mse in runs:
        axes.annotate(f"var {var:g}", (kl, mse), (6, 6), textcoords="offset points", fontsize=9)
    for path in logs:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rate, error = ([row[key] for row in rows] for key in ("valid_kl_term", "valid_mse"))
        axes.plot(rate, error, ".-", linewidth=1, label=f"{path}, epoch by epoch")
        axes.plot(rate[-1:], error[-1:], "*", color="tab:red", markersize=14)
    axes.set_xlabel("rate: KL term, nats per image (valid)")
    axes.set_ylabel("distortion: MSE (valid)")
    axes.set_yscale("log")
    axes.set_title("A smaller var: a smaller error, and more information in the code", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=9)
    save(figure, "my_rate_distortion.png" if logs else "rate_distortion.png")


def main() -> None:
    """Draw the figures, or only the rate-distortion plane with some runs in it."""
    logs = [Path(argument) for argument in sys.argv[1:]]
    if not logs:
        kl()
        elbo_gap()
        bottleneck()
    rate_distortion(logs)


if __name__ == "__main__":
    main()
