"""The log of a run, log.jsonl, and the loss curve drawn from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelab.files import write_file
from vaelab.language import N_

TERMS = ("loss", "recon_term", "kl_term")
QUALITY = ("mse", "ssim")
# A row of log.jsonl: train_loss, ..., valid_loss, ..., valid_mse, valid_ssim and these three.
LOG_KEYS = {f"train_{key}" for key in TERMS} | {f"valid_{key}" for key in (*TERMS, *QUALITY)}
LOG_KEYS |= {"epoch", "step", "seconds"}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl` up to the first damaged one; none if there is no file."""
    rows = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if set(row) != LOG_KEYS:
                break
            rows.append(row)
    except (FileNotFoundError, ValueError, TypeError):
        pass  # the curves are drawn from the rows read so far
    return rows


def draw_loss_curve(log: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a run's log into a PNG file: the loss and its two terms; MSE; SSIM."""
    from matplotlib.ticker import LogLocator, NullFormatter  # imported here, since it takes a second

    from vaelab.plotting import figure_png, figure_text, new_figure

    figure = new_figure(12, 3.4)
    loss_axes, mse_axes, ssim_axes = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in log]

    def plot(axes, key: str, style: str, color: str, label: str | None = None) -> None:
        marker = "." if len(epochs) <= 30 else None  # more markers would hide the line styles
        axes.plot(epochs, [row[key] for row in log], style, color=color, label=label, marker=marker)

    terms = (("loss", N_("loss"), "-"), ("recon_term", N_("recon"), "--"), ("kl_term", N_("KL"), ":"))
    for key, name, style in terms:
        for part, color in (("train", "tab:blue"), ("valid", "tab:orange")):
            label = figure_text("{part} {term}", part=part, term=figure_text(name))
            plot(loss_axes, f"{part}_{key}", style, color, label)
    plot(mse_axes, "valid_mse", "-", "tab:orange")
    plot(ssim_axes, "valid_ssim", "-", "tab:orange")
    loss_axes.set(ylabel=figure_text("nats per image (valid: at z = mu)"), yscale="log")
    loss_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss_axes.yaxis.set_major_formatter("{x:g}")
    loss_axes.yaxis.set_minor_formatter(NullFormatter())
    mse_axes.set(ylabel=figure_text("MSE (valid)"), ylim=(0, None))
    ssim_axes.set(ylabel=figure_text("SSIM (valid)"))
    figure.legend(loc="outside right upper", fontsize=8)
    for axes in (loss_axes, mse_axes, ssim_axes):
        axes.set_xlabel(figure_text("epoch"))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    write_file(path, figure_png(figure))
