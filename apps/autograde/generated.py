"""What the simplified FID can't see of generated images, and whether they are copies of images.

The simplified FID compares the mean and the variance of each pixel. Noise with these moments has an FID
near 0, and so have copies. Beside it stand: the correlation of neighbouring pixels, a Frechet distance on
the features of a classifier, and the share of images that the classifier reads as the label that was asked
for.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch

from data_utils import MNISTDataset
from vaelab.metrics.classifier import classify, load_classifier
from vaelab.metrics.fid import frechet_distance
from vaelab.metrics.memorization import aligned, nearest_distance
from vaelab.metrics.reconstruction import to_float
from vaelab.metrics.sharpness import neighbour_correlation

BESIDE_FID = ("neighbour_correlation", "classifier_fid", "read_as_asked")  # shown beside the simplified FID
PER_LABEL = 200  # images of each label for the classifier; 50 for copies
# A generated image is a possible copy if it is closer to an image than all but this share of unseen ones are.
COPY_QUANTILE = 0.005


def as_grey(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W] or [N, C, H, W] as float32 [N, H, W]: of colour images, the mean over the channels."""
    x = to_float(images)
    return x.mean(dim=1) if x.ndim == 4 else x


class RealImages:
    """The images that generated ones are compared with."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, train_set: MNISTDataset) -> None:
        """images, labels: of the split, uint8 [N, H, W] and [N]."""
        self.images, self.labels, self.train_set = images, labels, train_set
        self.lock, self.prepared = threading.Lock(), False

    def prepare(self) -> None:
        """Compute what `measure` needs, once for all submissions; a classifier may be trained."""
        with self.lock:
            if self.prepared:
                return
            images, labels, train = self.images, self.labels, self.train_set.images.numpy()
            self.classifier = load_classifier(self.train_set)
            some = np.concatenate([np.flatnonzero(labels == y)[:PER_LABEL] for y in range(10)])
            read, self.features = classify(self.classifier, images[some])
            self.read_as_asked = float(np.mean(read == labels[some]))
            self.correlation = neighbour_correlation([images[labels == y][:1000] for y in range(10)])
            self.train, self.split = as_grey(train), as_grey(images)
            self.train_aligned, self.split_aligned = aligned(self.train), aligned(self.split)
            unseen = self.split[:1000]
            self.limit = self.copy_limit(nearest_distance(unseen, self.train))
            self.limit_aligned = self.copy_limit(nearest_distance(aligned(unseen), self.train_aligned))
            self.prepared = True

    @staticmethod
    def copy_limit(distances: torch.Tensor) -> float:
        """The distance below which an image is a possible copy."""
        return float(np.quantile(distances.numpy(), COPY_QUANTILE))

    def measure(self, gen: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        """The statistics of generated images, uint8 [10, K, H, W]; `_real`: the same of real images."""
        self.prepare()
        chosen = rng.permutation(gen.shape[1])[:PER_LABEL]
        some = gen[:, chosen]
        read, features = classify(self.classifier, some.reshape(-1, *gen.shape[2:]))
        asked = np.arange(10).repeat(some.shape[1])
        return {
            "neighbour_correlation": neighbour_correlation(list(gen)),
            "neighbour_correlation_real": self.correlation,
            "classifier_fid": frechet_distance(features, self.features),
            "read_as_asked": float(np.mean(read == asked)),
            "read_as_asked_real": self.read_as_asked,
            **self.copies(some[:, :50].reshape(-1, *gen.shape[2:])),
        }

    def copies(self, gen: np.ndarray) -> dict[str, float]:
        """The shares of possible copies: of training images and the split's, as they are and moved a little.

        gen: uint8 [N, H, W].
        """
        x = as_grey(gen)
        moved = aligned(x)
        near = {
            "copies_of_train": nearest_distance(x, self.train) < self.limit,
            "copies_of_split": nearest_distance(x, self.split) < self.limit,
            "moved_copies_of_train": nearest_distance(moved, self.train_aligned) < self.limit_aligned,
            "moved_copies_of_split": nearest_distance(moved, self.split_aligned) < self.limit_aligned,
        }
        return {name: float(each.double().mean()) for name, each in near.items()}
