"""Drawings: from the browser's PNG file to an image like those of the data."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from vaelab.cli import LabError

INK_THRESHOLD = 32  # darker pixels do not count as part of a digit
MAX_SIDE = 2000  # pixels


def normalize_drawing(
    drawing: np.ndarray, digit_size: int = 20, shape: tuple[int, int] = (28, 28)
) -> np.ndarray:
    """The drawing, scaled and centred like the images of MNIST: uint8 `shape`.

    drawing: uint8 [H, W], light ink on black. As in MNIST (LeCun, Bottou, Bengio & Haffner, Gradient-Based
    Learning Applied to Document Recognition, 1998), the digit is scaled to fit a box of `digit_size` pixels
    with its proportions kept, and its centre of mass is moved to the centre of the image. Raises: LabError
    if the drawing is empty or too large.
    """
    check_size(drawing.shape)
    rows, columns = np.nonzero(drawing >= INK_THRESHOLD)
    if not len(rows):
        raise LabError("the drawing is empty: draw a digit")
    ink = Image.fromarray(drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    scale = digit_size / max(ink.size)
    size = [max(1, round(scale * side)) for side in ink.size]
    small = np.asarray(ink.resize(size, Image.Resampling.HAMMING))
    top, left = (centred_start(small.sum(axis=1 - axis, dtype=float), shape[axis]) for axis in (0, 1))
    image = np.zeros(shape, np.uint8)
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


def centred_start(mass: np.ndarray, size: int) -> int:
    """The start index that puts the centre of mass of `mass` at the middle of `size` pixels.

    mass: [n], the sum of the drawing's pixels in each row or column.
    """
    centre = (mass * np.arange(len(mass))).sum() / max(mass.sum(), 1)
    return int(np.clip(round(size / 2 - centre), 0, size - len(mass)))


def check_size(shape: tuple[int, int]) -> None:
    """Raise LabError if a drawing of this shape, (H, W), is too large."""
    if max(shape) > MAX_SIDE:
        height, width = shape
        raise LabError(
            "the drawing is {width:,} x {height:,} pixels, expected at most {most:,} a side",
            width=width,
            height=height,
            most=MAX_SIDE,
        )


def decode_drawing(url: str) -> np.ndarray:
    """The pixels of a PNG file in a `data:` URI, uint8 [H, W]. Raises: LabError if they can't be read."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2], validate=True))) as image:
            check_size(image.size[::-1])
            return np.asarray(image.convert("L"))
    except LabError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise LabError("the drawing can't be read: clear it and draw again") from error
