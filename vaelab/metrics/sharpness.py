"""How sharp images are: the power in their high spatial frequencies."""

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
