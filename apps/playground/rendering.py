"""What is asked on the page of `playground.py`, answered in HTML: pictures, errors, codes as bars.

Pictures are data: URIs: they need no file, no second request, and nothing to clear away.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from apps.playground.session import MOST, ModelCache, ModelSession, Reading, fit
from apps.playground.session import read_drawing as decode_drawing
from vaelab.cli import LabError
from vaelab.images import image_grid, png_bytes

BARS = 20  # of a code that is shown
STEPS = 11  # images of a walk
MODELS = 6  # compared at once
BEST = "best fit"

CSS = """
.play figure { display: inline-block; margin: 0 16px 12px 0; vertical-align: top; max-width: 100%; }
.play img { image-rendering: pixelated; max-width: 100%; height: auto; border-radius: 4px; display: block; }
.play figcaption { font-size: 14px; margin-top: 4px; color: var(--body-text-color); }
.play .message { border-left: 4px solid var(--color-accent); padding: 4px 12px; margin: 4px 0; }
.play .bars { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 2px 24px; }
.play .bar { display: flex; align-items: center; gap: 8px; font-size: 13px; }
.play .bar span { width: 30px; }
.play .bar b { width: 44px; text-align: right; font-weight: normal; }
.play .bar div { position: relative; flex: 1; height: 10px; background: var(--border-color-primary); }
.play .bar i { position: absolute; top: 0; bottom: 0; background: var(--color-accent); }
.drawing canvas { width: 100%; max-width: 280px; aspect-ratio: 1; border-radius: 4px; display: block;
  cursor: crosshair; touch-action: none; }
.drawing button { margin-top: 8px; padding: 4px 16px; border: 1px solid var(--border-color-primary);
  font-size: 14px; border-radius: 4px; color: var(--body-text-color);
  background: var(--button-secondary-background-fill); }
@media (max-width: 640px) {
  /* The image stays in sight while its sliders are moved. */
  .column:has(> #moved) { order: -1; position: sticky; top: 0; z-index: 5; }
  #moved { background: var(--body-background-fill); }
  #moved figure { margin-right: 8px; max-width: 76px; }
  #moved figure:first-child { max-width: 128px; }
  #moved figcaption { font-size: 12px; }
}
"""

# --- Pieces of HTML -----------------------------------------------------------------------------


def picture(images: np.ndarray, caption: str, columns: int = 1, scale: int = 5) -> str:
    """Images, uint8 [n, H, W], as one picture with a caption, which holds no markup."""
    grid = image_grid(images, columns, gap=0 if len(images) == 1 else 1, scale=1)
    source = "data:image/png;base64," + base64.b64encode(png_bytes(grid)).decode()
    caption = escape(caption)
    width = scale * grid.shape[1]
    image = f'<img src="{source}" width="{width}" alt="{caption}">'
    return f'<figure style="width: {max(width, 120)}px">{image}<figcaption>{caption}</figcaption></figure>'


def message(text: str) -> str:
    """A line that says what is wrong, or what to do."""
    return f'<p class="message" role="status">{escape(text)}</p>'


def bars(player: ModelSession, code: np.ndarray) -> str:
    """A code as bars from 0, each on the scale of its slider; the latents that matter most first."""
    rows = []
    for i in player.order[:BARS]:
        low, high = min(player.low[i], code[i], 0), max(player.high[i], code[i], 0)
        left, right = (100 * (value - low) / ((high - low) or 1) for value in sorted((0, code[i])))
        bar = f'<div><i style="left:{left:.1f}%;width:{right - left:.1f}%"></i></div>'
        rows.append(f'<div class="bar"><span>z{i + 1}</span>{bar}<b>{code[i]:.2f}</b></div>')
    return f'<div class="bars">{"".join(rows)}</div>'


def error_of(reading: Reading) -> str:
    """The error of a reconstruction, in words."""
    return f"mse {reading.mse:.4f}, ssim {reading.ssim:.3f}"


# --- What the page answers ----------------------------------------------------------------------


def within(value: Any, name: str, low: float, high: float) -> float:
    """A number that a user gave. Raises: LabError that says which are expected."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        came = "nothing" if value in (None, "") else str(value)[:40]
        raise LabError(f"{name}: expected a number from {low:g} to {high:g}, got {came}")
    return value


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number that a user gave. Raises: LabError that says which are expected."""
    if int(within(value, name, low, high)) != value:
        raise LabError(f"{name}: expected a whole number from {low} to {high}, got {value:g}")
    return int(value)


class Answers:
    """The answers to what is asked. They depend on the question alone: two sessions share nothing.

    name: of a checkpoint; place: of an image among those of its data; label: a digit. All raise LabError for
    what can't be answered.
    """

    def __init__(self, shelf: ModelCache) -> None:
        self.shelf = shelf

    def image(self, name: str, place: Any) -> tuple[ModelSession, int]:
        """A model, and the place of an image, checked."""
        player = self.shelf.player(name)
        return player, whole(place, "image", 0, len(player.images) - 1)

    def about(self, name: str) -> str:
        """A line about a model."""
        player = self.shelf.player(name)
        subject, last = player.subject, len(player.images) - 1
        line = (
            f"{subject.task}, epoch {subject.epoch}, latent_dim {subject.latent_dim}; images 0 to {last} of "
        )
        line += f"{player.data}."
        if not player.has_labels:
            line += " It is given no labels, and can't be asked for a digit."
        return f"<p>{escape(line)}</p>"

    def generate(self, name: str, label: int, count: Any) -> str:
        """New images of a label."""
        player, count = self.shelf.player(name), whole(count, "samples", 1, MOST)
        images = player.generate(whole(label, "digit", 0, 9), count)
        asked = f"label {label}" if player.has_labels else "no label"
        return picture(images, f"{count} generated, {asked}", columns=min(10, count), scale=2)

    def move(self, name: str, place: Any, label: int, *values: Any) -> str:
        """The code of an image with the latents that matter most changed to `values`, decoded."""
        player, i = self.image(name, place)
        code, label = player.codes[i].copy(), whole(label, "digit", 0, 9)
        for latent, value in zip(player.order, values, strict=False):
            code[latent] = within(value, f"z{latent + 1}", -1e6, 1e6)
        moved, recon = player.decode(np.stack([code, player.codes[i]]), np.array([label, player.labels[i]]))
        return (
            picture(moved[None], "the code of the sliders, decoded", scale=9)
            + picture(recon[None], "its own code, decoded", scale=4)
            + picture(player.images[i][None], f"image {i}, a {player.labels[i]}", scale=4)
        )

    def read(self, name: str, drawing: str | None, label: int | str) -> str:
        """A drawing, its reconstruction, its error and its code."""
        player = self.shelf.player(name)
        reading = read_drawing(player, drawing, None if label == BEST else whole(label, "digit", 0, 9))
        given = f"; read as a {reading.label}" if player.has_labels and label == BEST else ""
        return (
            picture(reading.image[None], "as the model sees it", scale=8)
            + picture(reading.recon[None], f"reconstructed: {error_of(reading)}{given}", scale=8)
            + f"<p>Its code, the latents that matter most first:</p>{bars(player, reading.code)}"
        )

    def walk(self, name: str, share: Any, *ends: Any) -> str:
        """From one end to the other. ends: place and drawing of the first, then of the second."""
        share, readings = within(share, "the place on the way", 0, 1), []
        for place, drawing in (ends[:2], ends[2:]):
            player, i = self.image(name, 0 if drawing else place)
            reading = read_drawing(player, drawing, None) if drawing else None
            readings.append(reading or player.read(player.images[i], int(player.labels[i])))
        a, b = readings
        shares = np.linspace(0, 1, STEPS)
        path = player.walk(a, b, np.append(shares, share))
        fade = [((1 - t) * a.image + t * b.image).round().astype(np.uint8) for t in shares]
        return (
            picture(path[-1:], f"{share:.0%} of the way", scale=8)
            + picture(a.image[None], "from", scale=4)
            + picture(b.image[None], "to", scale=4)
            + picture(
                np.concatenate([path[:-1], fade]),
                "above: the line between the codes, decoded; below: cross-faded",
                STEPS,
                scale=2,
            )
        )

    def compare(self, names: Sequence[str], place: Any, label: int) -> str:
        """The same image by several models, and images of one label."""
        if not 1 <= len(names or ()) <= MODELS:
            raise LabError(f"choose 1 to {MODELS} checkpoints, not {len(names or ())}")
        player, i = self.image(names[0], place)
        image, true = player.images[i], int(player.labels[i])
        parts = [picture(image[None], f"image {i} of {player.data}, a {true}", scale=4)]
        for name in names:
            player = self.shelf.player(name)
            reading = player.read(image, true)
            asked = f"generated, label {label}" if player.has_labels else "generated, no label"
            pictures = picture(reading.recon[None], f"reconstructed: {error_of(reading)}", scale=4)
            pictures += picture(player.generate(whole(label, "digit", 0, 9), 10), asked, 5, scale=2)
            about = f"{name}: latent_dim {player.subject.latent_dim}"
            parts.append(f"<section><h4>{escape(about)}</h4>{pictures}</section>")
        return "".join(parts)


def read_drawing(player: ModelSession, drawing: str | None, label: int | None) -> Reading:
    """A drawing as the browser sends it, read by a model. Raises: LabError if it is empty, or no drawing."""
    if not drawing:
        raise LabError("draw a digit in the black square")
    return player.read(fit(decode_drawing(drawing), player.box, player.images.shape[1:]), label)
