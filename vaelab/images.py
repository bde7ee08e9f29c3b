"""PNG files and grids of images."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = 96  # the grey value between the images of a grid
CAPTION_SIZE, CAPTION_GREY = 15, 235  # of the text below a grid: pixels, grey value


def channels_last(image: np.ndarray) -> np.ndarray:
    """The image with its channels last. image: [H, W] or [C, H, W]. Returns: [H, W] or [H, W, C]."""
    return image if image.ndim == 2 else image.transpose(1, 2, 0)


def png_bytes(image: np.ndarray) -> bytes:
    """The bytes of a PNG file. image: uint8 [H, W] or [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG file as a `data:` URI, which embeds it in an HTML page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def image_grid(images: np.ndarray, columns: int, gap: int = 2, scale: int = 2) -> np.ndarray:
    """A grid of images, filled row by row; the last row may be short.

    images: uint8 [N, H, W] or [N, C, H, W]; gap: pixels between two images, before scaling; scale: each
    pixel is repeated so many times in both directions. Returns: uint8 [H', W'] or, in colour, [H', W', C].
    """
    if images.ndim == 3:
        images = images[:, None]
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    size = (rows * (height + gap) + gap, columns * (width + gap) + gap)
    grid = np.full((channels, *size), BACKGROUND, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    grid = grid.repeat(scale, axis=1).repeat(scale, axis=2)
    return grid[0] if channels == 1 else channels_last(grid)


def with_caption(grid: np.ndarray, caption: str) -> np.ndarray:
    """A picture, uint8 [H, W] or [H, W, 3], with text below it, in lines as wide as the picture."""
    font = ImageFont.load_default(CAPTION_SIZE)
    width, lines = grid.shape[1], [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 8:
            lines.append(word)
        else:
            lines[-1] = longer
    strip = Image.new("L", (width, len(lines) * (CAPTION_SIZE + 4) + 6), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for i, line in enumerate(lines):
        draw.text((4, 2 + i * (CAPTION_SIZE + 4)), line, fill=CAPTION_GREY, font=font)
    text = np.asarray(strip)
    return np.concatenate([grid, text if grid.ndim == 2 else np.repeat(text[..., None], 3, axis=2)])
