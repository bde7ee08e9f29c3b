"""The grids of images on the report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaelab.images import data_uri, image_grid, png_bytes
from vaelab.language import N_, _
from vaelab.metrics.saved_images import mse
from vaelab.outputs import Outputs

RANKS = (
    (N_("best"), N_("lowest"), 0.0),
    (N_("median"), N_("median"), 0.5),
    (N_("worst"), N_("highest"), 1.0),
)


class Picture(NamedTuple):
    """An image embedded in the page; its size in pixels."""

    uri: str
    width: int
    height: int


class ReconstructionGrid(NamedTuple):
    """One image of each class above its reconstruction."""

    name: str  # best, median or worst
    picture: Picture
    alt: str
    columns: list[tuple[int, float]]  # label and MSE of each image


def embed(pixels: np.ndarray) -> Picture:
    """The picture of an array, uint8 [H, W] or [H, W, 3]."""
    return Picture(data_uri(png_bytes(pixels)), width=pixels.shape[1], height=pixels.shape[0])


def reconstruction_errors(outputs: Outputs, batch: int = 1000) -> np.ndarray:
    """The MSE of each reconstruction. Returns: [N]."""
    slices = [slice(start, start + batch) for start in range(0, len(outputs.images), batch)]
    return np.concatenate([mse(outputs.recon[part], outputs.images[part]) for part in slices])


def reconstruction_grids(outputs: Outputs, class_word: str) -> list[ReconstructionGrid]:
    """The reconstructions with the lowest, the median and the highest error of each class.

    class_word: what a class is called on the page.
    """
    errors = reconstruction_errors(outputs)
    labels = np.unique(outputs.labels)
    ranked = [np.flatnonzero(outputs.labels == label) for label in labels]
    ranked = [indices[np.argsort(errors[indices], kind="stable")] for indices in ranked]
    grids = []
    for name, error_name, quantile in RANKS:
        chosen = [indices[int(quantile * (len(indices) - 1))] for indices in ranked]
        pairs = np.concatenate([outputs.images[chosen], outputs.recon[chosen]])
        picture = embed(image_grid(pairs, columns=len(chosen), scale=1))
        alt = _(
            "{count} images, one of each {class_word}, each above its reconstruction: those with the {rank} "
            "error of their {class_word}",
            count=len(chosen),
            class_word=class_word,
            rank=_(error_name),
        )
        columns = [(int(label), float(errors[i])) for label, i in zip(labels, chosen, strict=True)]
        grids.append(ReconstructionGrid(_(name), picture, alt, columns))
    return grids


def generated_grid(gen: np.ndarray) -> Picture:
    """Ten evenly spaced generated images of each label, one row per label. gen: uint8 [10, 1000, ...]."""
    rows = gen[:, :: gen.shape[1] // 10]
    return embed(image_grid(np.concatenate(rows), columns=rows.shape[1], scale=1))
