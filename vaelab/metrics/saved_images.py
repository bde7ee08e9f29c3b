"""MSE and SSIM of images as they are saved: uint8 arrays, computed with NumPy in float64.

They are what the score is made of, and `grade.py` computes them without waiting for torch to load. The same
metrics of tensors, which have gradients and run on a GPU, are in `reconstruction.py`. The tests compare both
with scikit-image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Images = TypeVar("Images", np.ndarray, "Tensor")

WINDOW = 7  # pixels, the side of the windows of SSIM
C1, C2 = 0.01**2, 0.03**2  # of SSIM, for pixels in [0, 1]


def mse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean over the pixels of (a / 255 - b / 255)^2, an image each. a, b: uint8 [B, ...]. Returns: [B].

    Raises: TypeError for other types.
    """
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise TypeError(f"mse expects uint8 images, got {a.dtype} and {b.dtype}")
    return np.square(a.astype(np.int32) - b).reshape(len(a), -1).mean(axis=1) / 255**2


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The structural similarity of each image. a, b: uint8 [B, H, W] or [B, C, H, W]. Returns: [B]."""

    def band(n: int) -> np.ndarray:
        """The matrix [n, n - 6] of window means: column i has 1/7 in rows i to i + 6."""
        ones = np.ones((n, n - WINDOW + 1))
        return (np.tril(ones) - np.tril(ones, -WINDOW)) / WINDOW

    rows, columns = (band(n) for n in a.shape[-2:])

    def window_means(images: list[np.ndarray]) -> list[np.ndarray]:  # as in reconstruction.py
        return [(x @ columns).swapaxes(-1, -2) @ rows for x in images]

    return similarity(a / 255, b / 255, window_means)


def similarity(x: Images, y: Images, window_means: Callable[[list[Images]], list[Images]]) -> Images:
    """The structural similarity of each image: its formula, for arrays and for tensors.

    x, y: [B, H, W] or [B, C, H, W] in [0, 1], H and W at least 7. window_means: the means of all windows of
    each of four such images. Returns: [B], 1 for equal images.

    Wang, Bovik, Sheikh & Simoncelli (2004), eq. 13, with scikit-image's defaults: a uniform 7x7 window,
    sample covariances (N - 1), and the mean over all windows inside the image.
    """
    # Four means are enough, since only the sum of the two variances is used.
    mean_x, mean_y, squares, product = window_means([x, y, x * x + y * y, x * y])
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    product_of_means, squares_of_means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    cov = unbiased * (product - product_of_means)
    var = unbiased * (squares - squares_of_means)  # of x plus of y
    values = (2 * product_of_means + C1) * (2 * cov + C2) / ((squares_of_means + C1) * (var + C2))
    return values.reshape(len(x), -1).mean(1)


def reconstruction(recon: np.ndarray, images: np.ndarray, chunk: int = 100) -> dict[str, float]:
    """`mse` and `ssim` of uint8 images [N, ...] against the originals, averaged over all.

    chunk: images computed at once. Few of them stay in the processor's cache, which is twice as fast.
    """
    sums = np.zeros(2)
    for i in range(0, len(images), chunk):
        pair = recon[i : i + chunk], images[i : i + chunk]
        sums += [mse(*pair).sum(), ssim(*pair).sum()]
    mean_mse, mean_ssim = (sums / len(images)).tolist()
    return {"mse": mean_mse, "ssim": mean_ssim}
