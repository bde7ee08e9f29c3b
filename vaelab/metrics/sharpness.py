"""How sharp and how smooth images are: power in high frequencies, correlation of neighbouring pixels."""

from __future__ import annotations

import numpy as np

HIGH = 0.25  # cycles per pixel, half of the highest frequency that a row of pixels can have


def high_frequency_power(images: np.ndarray) -> float:
    """The mean power of the frequencies from 0.25 cycles per pixel on, for images of pixels in [0, 1].

    images: uint8 [N, H, W] or [N, C, H, W], of which the mean over the channels is taken. Blurred images have
    less than sharp ones of the same kind, noise has more: compare it with that of real images.
    """
    grey = images.astype(np.float64) / 255  # [N, H, W] or [N, C, H, W]
    grey = grey.mean(axis=1) if grey.ndim == 4 else grey  # [N, H, W]
    height, width = grey.shape[1:]
    # A Hann window: without it the jump from one border to the opposite one has power of its own.
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]  # [H, W]
    centred = grey - grey.mean(axis=(1, 2), keepdims=True)  # [N, H, W]
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / window.size  # [N, H, W]
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    return float(power[:, np.hypot(rows, columns) >= HIGH].sum(axis=1).mean() / np.square(window).sum())


def neighbour_correlation(groups: list[np.ndarray]) -> float:
    """The correlation of neighbouring pixels, of how they differ from the mean image of their group.

    groups: uint8 [N, H, W] or [N, C, H, W] each, such as the images of each label. Strokes give a high
    correlation, since a pixel of a stroke has others beside it. Pixels that were drawn independently have
    0, whatever their means and variances.
    """
    product, squares = 0.0, 0.0
    for group in groups:
        x = group.astype(np.float32) / 255
        x = x.mean(axis=1) if x.ndim == 4 else x  # of colour images, the mean over the channels
        x = x - x.mean(axis=0)
        for a, b in ((x[:, :, 1:], x[:, :, :-1]), (x[:, 1:], x[:, :-1])):
            product += float((a * b).sum(dtype=np.float64))
            squares += float(((a * a + b * b) / 2).sum(dtype=np.float64))
    return product / squares if squares else 0.0
