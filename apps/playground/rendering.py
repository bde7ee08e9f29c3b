"""The HTML fragments of the playground's page: pictures, errors, codes as bars.

Pictures are `data:` URIs, which need no file and no second request.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apps.playground.cache import ModelCache
from apps.playground.drawing import decode_drawing, normalize_drawing
from apps.playground.session import ModelSession, Reconstruction
from vaelab.cli import LabError
from vaelab.images import data_uri, image_grid, png_bytes
from vaelab.language import N_, Message, _
from vaelab.templates import template_environment

MAX_BARS = 20  # latents of a code
MAX_SAMPLES = 100  # generated images
MAX_MODELS = 6  # in a comparison
INTERPOLATION_STEPS = 11
BEST = N_("best fit")  # the choice of a label: the one whose reconstruction has the lowest error


class Picture(NamedTuple):
    """A grid of images with a caption."""

    uri: str
    width: int  # pixels on the page
    caption: str


class Bar(NamedTuple):
    """A latent of a code, drawn from 0 to its value on the scale of its slider."""

    name: str
    value: float
    left: float  # percent of the scale
    width: float


class ComparedModel(NamedTuple):
    """The part of the comparison about one model."""

    title: str
    pictures: list[Picture]


# --- Parts of the page --------------------------------------------------------------------------


def make_picture(images: np.ndarray, caption: str, columns: int = 1, scale: int = 5) -> Picture:
    """The picture of some images, uint8 [n, H, W]. scale: pixels on the page for a pixel of an image."""
    grid = image_grid(images, columns, gap=0 if len(images) == 1 else 1, scale=1)
    return Picture(data_uri(png_bytes(grid)), scale * grid.shape[1], caption)


def code_bars(session: ModelSession, code: np.ndarray) -> list[Bar]:
    """The bars of a code, [d]; the latents with the largest mean KL divergence first."""
    bars = []
    for i in session.latent_order[:MAX_BARS]:
        low, high = min(session.slider_min[i], code[i], 0), max(session.slider_max[i], code[i], 0)
        left, right = (100 * (value - low) / ((high - low) or 1) for value in sorted((0, code[i])))
        bars.append(Bar(f"z{i + 1}", code[i], left, right - left))
    return bars


def error_text(reconstruction: Reconstruction) -> str:
    """The error of a reconstruction in words."""
    return f"mse {reconstruction.mse:.4f}, ssim {reconstruction.ssim:.3f}"


def reconstruct_drawing(session: ModelSession, drawing: str | None, label: int | None) -> Reconstruction:
    """The reconstruction of a drawing, which is a `data:` URI. Raises: LabError if it is empty or damaged."""
    if not drawing:
        raise LabError("draw a digit in the black square")
    image = normalize_drawing(decode_drawing(drawing), session.digit_size, session.images.shape[1:])
    return session.reconstruct(image, label)


# --- The user's input ---------------------------------------------------------------------------


def check_number(value: Any, name: str, low: float, high: float) -> float:
    """The number that a user gave. Raises: LabError if it is not one from `low` to `high`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        got = Message("nothing") if value in (None, "") else str(value)[:40]
        raise LabError(
            "{name}: expected a number from {low:g} to {high:g}, got {got}",
            name=Message(name),
            low=low,
            high=high,
            got=got,
        )
    return value


def check_integer(value: Any, name: str, low: int, high: int) -> int:
    """The whole number that a user gave. Raises: LabError if it is not one from `low` to `high`."""
    if int(check_number(value, name, low, high)) != value:
        raise LabError(
            "{name}: expected a whole number from {low} to {high}, got {value:g}",
            name=Message(name),
            low=low,
            high=high,
            value=value,
        )
    return int(value)


# --- The page -----------------------------------------------------------------------------------


class PageRenderer:
    """The HTML of every part of the page. It depends on the arguments alone: visitors share no state.

    Arguments: name, of a checkpoint; index, of an image in its data; label, a digit; drawing, a `data:` URI
    of a PNG file. All methods raise LabError for invalid ones.
    """

    def __init__(self, cache: ModelCache) -> None:
        self.cache = cache
        self.fragments = template_environment(Path(__file__).parent).get_template("fragments.html").module

    def fragment(self, name: str, *values: Any) -> str:
        """The HTML of a macro of fragments.html."""
        return str(getattr(self.fragments, name)(*values))

    def image(self, name: str, index: Any) -> tuple[ModelSession, int]:
        """The session of a checkpoint, and the checked index of an image."""
        session = self.cache.session(name)
        return session, check_integer(index, N_("image"), 0, len(session.images) - 1)

    def about(self, name: str) -> str:
        """A line about a model."""
        session = self.cache.session(name)
        loaded, last = session.loaded, len(session.images) - 1
        text = N_("{task}, epoch {epoch}, latent_dim {latent_dim}; images 0 to {last} of {data}.")
        if not session.conditional:
            text = N_(
                "{task}, epoch {epoch}, latent_dim {latent_dim}; images 0 to {last} of {data}. The model is "
                "not conditional: no digit can be chosen."
            )
        values = {"task": loaded.task.name, "epoch": loaded.epoch, "latent_dim": loaded.latent_dim}
        return self.fragment("paragraph", _(text, **values, last=last, data=session.data_name))

    def generate(self, name: str, label: int, count: Any) -> str:
        """New images of a label."""
        session, count = self.cache.session(name), check_integer(count, N_("samples"), 1, MAX_SAMPLES)
        images = session.generate(check_integer(label, N_("digit"), 0, 9), count)
        text = (
            N_("{count} generated, label {label}")
            if session.conditional
            else N_("{count} generated, no label")
        )
        caption = _(text, count=count, label=label)
        return self.fragment("figures", [make_picture(images, caption, columns=min(10, count), scale=2)])

    def decode(self, name: str, index: Any, label: int, *values: Any) -> str:
        """The code of an image, decoded, with its first latents in `latent_order` replaced by `values`."""
        session, i = self.image(name, index)
        code, label = session.codes[i].copy(), check_integer(label, N_("digit"), 0, 9)
        for latent, value in zip(session.latent_order, values, strict=False):
            code[latent] = check_number(value, f"z{latent + 1}", -1e6, 1e6)
        codes, labels = np.stack([code, session.codes[i]]), np.array([label, session.labels[i]])
        changed, recon = session.decode(codes, labels)
        pictures = [
            make_picture(changed[None], _("the sliders' code, decoded"), scale=9),
            make_picture(recon[None], _("the image's code, decoded"), scale=4),
            make_picture(
                session.images[i][None],
                _("image {index}, label {label}", index=i, label=session.labels[i]),
                scale=4,
            ),
        ]
        return self.fragment("figures", pictures)

    def reconstruct(self, name: str, drawing: str | None, label: int | str) -> str:
        """A drawing, its reconstruction, its error and its code. label: a digit or `BEST`."""
        session = self.cache.session(name)
        chosen = None if label == BEST else check_integer(label, N_("digit"), 0, 9)
        result = reconstruct_drawing(session, drawing, chosen)
        text = N_("reconstructed: {error}")
        if session.conditional and label == BEST:
            text = N_("reconstructed: {error}; best label {label}")
        caption = _(text, error=error_text(result), label=result.label)
        pictures = [
            make_picture(result.image[None], _("the model's input"), scale=8),
            make_picture(result.recon[None], caption, scale=8),
        ]
        return self.fragment("drawing", pictures, code_bars(session, result.code))

    def interpolate(self, name: str, weight: Any, *ends: Any) -> str:
        """Images between two ends. ends: index and drawing of the first, then of the second."""
        weight, results = check_number(weight, "position", 0, 1), []
        for index, drawing in (ends[:2], ends[2:]):
            session, i = self.image(name, 0 if drawing else index)
            if drawing:
                results.append(reconstruct_drawing(session, drawing, None))
            else:
                results.append(session.reconstruct(session.images[i], int(session.labels[i])))
        a, b = results
        weights = np.linspace(0, 1, INTERPOLATION_STEPS)
        path = session.interpolate(a, b, np.append(weights, weight))
        cross_fade = [((1 - w) * a.image + w * b.image).round().astype(np.uint8) for w in weights]
        caption = _("above: the interpolated codes, decoded; below: a cross-fade of the images")
        rows = np.concatenate([path[:-1], cross_fade])
        pictures = [
            make_picture(path[-1:], _("interpolated at {weight:.0%}", weight=weight), scale=8),
            make_picture(a.image[None], _("from"), scale=4),
            make_picture(b.image[None], _("to"), scale=4),
            make_picture(rows, caption, INTERPOLATION_STEPS, scale=2),
        ]
        return self.fragment("figures", pictures)

    def compare(self, names: Sequence[str], index: Any, label: int) -> str:
        """The same image, reconstructed by several models, and images of one label generated by each."""
        if not 1 <= len(names or ()) <= MAX_MODELS:
            raise LabError(
                "choose 1 to {most} checkpoints, got {count}",
                most=MAX_MODELS,
                count=len(names or ()),
            )
        label = check_integer(label, N_("digit"), 0, 9)
        session, i = self.image(names[0], index)
        image, image_label = session.images[i], int(session.labels[i])
        text = N_("image {index} of {data}, label {label}")
        caption = _(text, index=i, data=session.data_name, label=image_label)
        models = [self.compared_model(name, image, image_label, label) for name in names]
        return self.fragment("comparison", [make_picture(image[None], caption, scale=4)], models)

    def compared_model(self, name: str, image: np.ndarray, image_label: int, label: int) -> ComparedModel:
        """A model's part of the comparison."""
        session = self.cache.session(name)
        result = session.reconstruct(image, image_label)
        text = N_("generated, label {label}") if session.conditional else N_("generated, no label")
        caption = _(text, label=label)
        pictures = [
            make_picture(result.recon[None], _("reconstructed: {error}", error=error_text(result)), scale=4),
            make_picture(session.generate(label, 10), caption, columns=5, scale=2),
        ]
        return ComparedModel(f"{name}: latent_dim {session.loaded.latent_dim}", pictures)
