"""CIFAR-10: 32 x 32 colour images. Validation images are the last fifth of the training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaelab.cli import LabError, reason
from vaelab.data.idx import Arrays
from vaelab.data.torchvision_sets import torchvision_class

CIFAR10_SIZE = 32
CIFAR10_FOLDER = "cifar-10-batches-py"  # the folder that torchvision unpacks
CIFAR10_KEYS = ("train_images", "train_labels", "test_images", "test_labels")  # the arrays in cifar10*.npz


def read_cifar10(folder: Path) -> dict[str, Arrays]:
    """The three splits of CIFAR-10, from a file cifar10*.npz or from torchvision's cifar-10-batches-py/.

    The .npz contains train_images, train_labels, test_images and test_labels, images as uint8 [N, 32, 32, 3],
    and may be a part of CIFAR-10. Raises: LabError if the data can't be read, or has other types or shapes.
    """
    files = sorted(folder.glob("cifar10*.npz"))
    path = files[0] if files else folder / CIFAR10_FOLDER
    try:
        if files:
            with np.load(path, allow_pickle=False) as file:
                train, train_labels, test, test_labels = (file[key] for key in CIFAR10_KEYS)
        else:
            parts = [torchvision_class("cifar10")(folder, train=train) for train in (True, False)]
            (train, train_labels), (test, test_labels) = ((part.data, part.targets) for part in parts)
    except LabError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise LabError(
            "can't read CIFAR-10 from {path} ({reason}): fetch it again", path=path, reason=reason(error)
        ) from error
    splits = {}
    for name, images, labels in (("train", train, train_labels), ("test", test, test_labels)):
        labels = np.asarray(labels)
        expected = (len(labels), CIFAR10_SIZE, CIFAR10_SIZE, 3)
        if images.dtype != np.uint8 or images.shape != expected or len(images) < 5 or labels.max() > 9:
            raise LabError(
                "{path} should contain {name} images uint8 {expected} and as many labels of 0 to 9, got "
                "{dtype} {shape} and labels of up to {label}",
                path=path,
                name=name,
                expected=list(expected),
                dtype=images.dtype,
                shape=list(images.shape),
                label=labels.max(initial=0),
            )
        splits[name] = np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.uint8)
    images, labels = splits["train"]
    fifth = len(images) // 5
    return {
        "train": (images[:-fifth], labels[:-fifth]),
        "valid": (images[-fifth:], labels[-fifth:]),
        "test": splits["test"],
    }
