"""The prepared 5:1:1 split and `MNISTDataset`.

    python data_utils.py                                       # prepare the available data
    python data_utils.py --dataset mnist --data_dir FOLDER     # from the four idx files in FOLDER

It writes dataset/<name>/{train,valid,test}.npz (`images` uint8 [N, 28, 28], or [N, 3, 32, 32] of cifar10;
`labels` uint8 [N]) and prints a table. The modules in `vaelab/data/` read or download the images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vaelab.cli import stop_without_package

try:
    import numpy as np
    import torch
    from torch import Tensor
    from torch.utils.data import Dataset
    from torch.utils.data._utils.collate import default_collate_fn_map
except ModuleNotFoundError as error:  # this is the first command of the handout
    stop_without_package(error)

from vaelab.cli import LabError, Parser, run
from vaelab.data.options import SPLITS, add_data_dir_option, add_dataset_option
from vaelab.data.splits import load_split, prepare, present_splits
from vaelab.language import _

# --- The dataset --------------------------------------------------------------------------------


class Sample(NamedTuple):
    """One item: image float32 [28, 28] (or [3, 32, 32]) in [0, 1], label int64 []."""

    image: Tensor
    label: Tensor


class Batch(Sequence):
    """The images and labels of a batch as two tensors; also the sequence of its samples.

    A `DataLoader` collates samples into `(images, labels)`. A `Batch` is collated already: see `_collate`.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels  # float32 [B, 28, 28], int64 [B]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.images[i], self.labels[i])


def _collate(samples: Sequence[Sample], *, collate_fn_map: dict | None = None) -> tuple[Tensor, Tensor]:
    if isinstance(samples, Batch):
        return samples.images, samples.labels
    images, labels = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(labels)


# PyTorch's documented way to add a type to the default collate function.
default_collate_fn_map[Sample] = _collate


class MNISTDataset(Dataset):
    """One split, in memory as uint8. Items are `(image float32 [28, 28] in [0, 1], label int64)`.

    dataset, data_dir: as in `vaelab.data.splits.prepare`. Attributes: `name`, the name of the data set, and
    `source`, a line that says where it is from. A `DataLoader` of this data set fetches a whole batch by one
    indexing operation. Raises: LabError if the split is unknown or not available.
    """

    def __init__(
        self, split: str = "train", dataset: str = "auto", data_dir: str | Path | None = None
    ) -> None:
        if split not in SPLITS:
            raise LabError(
                "unknown split '{split}': choose one of {splits}", split=split, splits=", ".join(SPLITS)
            )
        self.split = split
        self.name, self.source = prepare(dataset, data_dir, [split])
        images, labels = load_split(self.name, split)
        self.images = torch.from_numpy(images)  # uint8 [N, 28, 28]
        self.labels = torch.from_numpy(labels).long()  # [N]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return tuple(self.images[:, None].shape[1:] if self.images.ndim == 3 else self.images.shape[1:])

    def to(self, device: torch.device) -> MNISTDataset:
        """Move the data to `device`, where batches are then made. Returns: the data set itself."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self

    def keep_first(self, n: int) -> None:
        """Keep only the first `n` images."""
        self.images, self.labels = self.images[:n], self.labels[:n]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index].float() / 255, self.labels[index])

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        indices = torch.as_tensor(indices, device=self.images.device)
        return Batch(self.images[indices].float() / 255, self.labels[indices])

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """All images in batches. The last batch may be smaller.

        order: int64 [N], the indices of the images; default: the order in which they are stored.
        """
        order = torch.arange(len(self)) if order is None else order
        return (self.__getitems__(indices) for indices in order.to(self.images.device).split(batch_size))


def table(dataset: str) -> str:
    """The prepared splits of `dataset` as a text table: numbers of images in all and by class, checksum."""
    lines = [f"{'split':<6} {'images':>7}  {' '.join(f'{label:>5}' for label in range(10))}  sha256"]
    for split in present_splits(dataset):
        images, labels = load_split(dataset, split)
        counts = " ".join(f"{count:>5}" for count in np.bincount(labels, minlength=10))
        checksum = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]
        lines.append(f"{split:<6} {len(images):>7}  {counts}  {checksum}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare a data set's three splits and print a table of them."""
    parser = Parser(description=__doc__)
    add_dataset_option(parser)
    add_data_dir_option(parser)
    args = parser.parse_args(argv)
    name, source = prepare(args.dataset, args.data_dir)
    print(_("data: {source}\n{table}", source=source, table=table(name)))


if __name__ == "__main__":
    run(main)
