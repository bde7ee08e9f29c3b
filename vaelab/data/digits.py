"""scikit-learn's embedded digits: the data that is always available."""

from __future__ import annotations

import numpy as np

from vaelab.data.idx import IMAGE_SIZE, Arrays
from vaelab.data.options import SPLITS


def embedded_digits() -> dict[str, Arrays]:
    """scikit-learn's 1,797 real handwritten digits, 8x8 resized to 28x28, split 5:1:1 with a fixed seed."""
    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits  # imported here, since it takes a second

    digits = load_digits()
    small = torch.from_numpy(digits.images)[:, None] / 16  # [N, 1, 8, 8] in [0, 1]
    large = F.interpolate(small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[:, 0]
    images = (large * 255).round().to(torch.uint8).numpy()
    order = np.random.RandomState(0).permutation(len(images))
    seventh = round(len(images) / 7)
    parts = np.split(order, [len(order) - 2 * seventh, len(order) - seventh])
    labels = digits.target.astype(np.uint8)
    return {split: (images[part], labels[part]) for split, part in zip(SPLITS, parts, strict=True)}
