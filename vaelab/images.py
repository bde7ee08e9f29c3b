"""PNG files and grids of images."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

# --- Pictures -----------------------------------------------------------------------------------


def channels_last(image: np.ndarray) -> np.ndarray:
    """An image as picture files have it. image: [H, W] or [C, H, W]. Returns: [H, W] or [H, W, C]."""
    return image if image.ndim == 2 else image.transpose(1, 2, 0)


def png_bytes(image: np.ndarray) -> bytes:
    """`image`, uint8 [H, W] or [H, W, 3], as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


def image_grid(images: np.ndarray, columns: int, gap: int = 2, scale: int = 2) -> np.ndarray:
    """Lay out images row by row, each pixel `scale` pixels wide, on a mid-grey ground.

    images: uint8 [N, H, W] or [N, C, H, W]. Returns: uint8 [rows * ., columns * .] or [., ., C]; the
    last row may be short.
    """
    if images.ndim == 3:
        images = images[:, None]
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    grid = np.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 96, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    grid = grid.repeat(scale, axis=1).repeat(scale, axis=2)
    return grid[0] if channels == 1 else channels_last(grid)
