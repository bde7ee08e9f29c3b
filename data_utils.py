"""The prepared 5:1:1 split and `MNISTDataset`.

    python data_utils.py                                       # prepare whatever can be had
    python data_utils.py --dataset mnist --data_dir FOLDER     # from the four idx files in FOLDER

prepares dataset/<name>/{train,valid,test}.npz (`images` uint8 [N, 28, 28], or [N, 3, 32, 32] of cifar10;
`labels` uint8 [N]) and prints a table. `data_sources.py` says where the images come from.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from common import LabError, Parser, lock, make_folder, reason, run, write_file
from data_sources import (
    CIFAR10_SIZE,
    IMAGE_SIZE,
    ROOT,
    SPLITS,
    TORCHVISION,
    Arrays,
    SourceUnavailableError,
    data_folder,
    download,
    embedded_digits,
    read_folder,
)

DATASETS = ("auto", "digits", *TORCHVISION)
DATA_DIR_VARIABLE = "VAE_LAB_DATA"
PIXELS = ("grey", "binarized", "threshold")  # see `as_pixels`
BINARIZE_SEED = 0  # of a validation or test set that is binarized once

# --- The prepared split -------------------------------------------------------------------------


def split_path(dataset: str, split: str) -> Path:
    """Where the prepared split lies."""
    return ROOT / dataset / f"{split}.npz"


def present_splits(dataset: str) -> list[str]:
    """The splits that are prepared."""
    return [split for split in SPLITS if split_path(dataset, split).is_file()]


def save_splits(dataset: str, arrays: dict[str, Arrays]) -> None:
    """Write the splits that are not there yet: all of them at once, or none.

    A split that is there stays: course staff may have put it there.
    """
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=ROOT) as temporary:
        folder = make_folder(Path(temporary, dataset))
        for split, (images, labels) in arrays.items():
            buffer = io.BytesIO()
            np.savez(buffer, images=images, labels=labels)
            write_file(folder / f"{split}.npz", buffer.getvalue())
        if not (ROOT / dataset).exists():
            folder.rename(ROOT / dataset)
            return
        for split in set(SPLITS) - set(present_splits(dataset)):
            (folder / f"{split}.npz").rename(split_path(dataset, split))


def load_split(dataset: str, split: str) -> Arrays:
    """Read one prepared split. Raises: LabError that names the file if it isn't whole."""
    path = split_path(dataset, split)
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except Exception as error:  # damaged bytes can raise anything
        raise LabError(
            f"{path} is damaged ({reason(error)}): delete {path.parent}/ to have it made again, "
            "or get the file again from where it came"
        ) from error
    expected = (3, CIFAR10_SIZE, CIFAR10_SIZE) if dataset == "cifar10" else (IMAGE_SIZE, IMAGE_SIZE)
    good = images.dtype == labels.dtype == np.uint8 and images.shape == (*labels.shape, *expected)
    if not good or labels.max(initial=0) > 9 or not len(images):
        raise LabError(
            f"{path} should hold images uint8 [N, {', '.join(map(str, expected))}] and labels uint8 [N] of 0 "
            "to 9; it holds "
            f"{images.dtype} {list(images.shape)} and {labels.dtype} {list(labels.shape)}"
            + (f" of up to {labels.max()}" if good and len(labels) else "")
        )
    return images, labels


def prepare(
    dataset: str = "auto", data_dir: str | Path | None = None, splits: Sequence[str] | None = None
) -> tuple[str, str]:
    """Make sure that `splits` are prepared. Returns: (the data's name, a line that says where it is from).

    The sources in order: the prepared split; the idx files in `data_dir` (default: what the variable
    VAE_LAB_DATA names) or in dataset/raw/; a download; and, for `auto` alone, scikit-learn's digits.
    Where some splits were handed out and there are no idx files, `splits` = None is content with those.
    Raises: LabError where `dataset` can't be had, or the idx files are not in order.
    """
    data_dir = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    data_dir = Path(data_dir) if data_dir else None
    if dataset not in DATASETS:
        raise LabError(f"unknown dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    if dataset != "auto":
        return dataset, _prepare(dataset, data_dir, splits)
    try:
        return "mnist", _prepare("mnist", data_dir, splits)
    except SourceUnavailableError as error:
        return "digits", f"{_prepare('digits', None, splits)}, because MNIST can't be had: {error}"


def _prepare(dataset: str, data_dir: Path | None, splits: Sequence[str] | None) -> str:
    folder = data_folder(dataset, data_dir) if dataset in TORCHVISION else None
    if splits is None:
        splits = (folder is None and present_splits(dataset)) or SPLITS
    prepared = f"{dataset}, from the prepared split in {ROOT / dataset}/"
    if set(splits) <= set(present_splits(dataset)):
        return prepared
    with lock(make_folder(ROOT), wait=True):
        for leftover in (*ROOT.glob(".download-*"), *ROOT.glob(".prepare-*")):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        present = present_splits(dataset)
        if set(splits) <= set(present):
            return prepared  # by the process that we waited for
        if dataset == "digits":
            arrays, source = embedded_digits(), "scikit-learn's embedded digits"
        elif folder is not None:
            arrays, source = read_folder(folder, dataset), f"the files in {folder}"
        elif present:
            # Splits are written together: whoever has only some was handed those, and others were kept back.
            missing = ", ".join(split for split in splits if split not in present)
            raise LabError(
                f"{ROOT / dataset}/ has {', '.join(present)} and no {missing} split: use one it has, "
                "or name the folder of the original files by --data_dir"
            )
        else:
            arrays, source = download(dataset), "torchvision's download"
        save_splits(dataset, arrays)
    return f"{dataset}, from {source}"


# --- The dataset --------------------------------------------------------------------------------


class Sample(NamedTuple):
    """One item: image float32 [28, 28] (or [3, 32, 32]) in [0, 1], label int64 []."""

    image: Tensor
    label: Tensor


class Batch(Sequence):
    """A batch fetched at once, which is also the sequence of its samples.

    A `DataLoader` collates samples into `(images, labels)`; for a `Batch` that is already done.
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


# PyTorch's documented way to teach the default collate function a type.
default_collate_fn_map[Sample] = _collate


class MNISTDataset(Dataset):
    """One split, held in memory as uint8. Items are `(image float32 [28, 28] in [0, 1], label int64)`.

    Its arguments are `prepare`'s; `name` says which data it holds. `DataLoader(dataset, batch_size=128)`
    fetches each batch with one index.
    """

    def __init__(
        self, split: str = "train", dataset: str = "auto", data_dir: str | Path | None = None
    ) -> None:
        if split not in SPLITS:
            raise LabError(f"unknown split '{split}': choose one of {', '.join(SPLITS)}")
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
        """Move the data to `device`; batches are made there from then on. Returns: itself."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self

    def keep_first(self, n: int) -> None:
        """Forget all but the first `n` images."""
        self.images, self.labels = self.images[:n], self.labels[:n]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index].float() / 255, self.labels[index])

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        indices = torch.as_tensor(indices, device=self.images.device)
        return Batch(self.images[indices].float() / 255, self.labels[indices])

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """All images in batches, by default in the order they are stored. The last one may be smaller."""
        order = torch.arange(len(self)) if order is None else order
        return (self.__getitems__(indices) for indices in order.to(self.images.device).split(batch_size))


# --- What a loss sees -------------------------------------------------------------------------------


def distort(x: Tensor, share: float) -> Tensor:
    """About `share` of the images turned, sheared, stretched and bent a little, as handwriting varies.

    New variants of the training images keep a large model from learning those by heart. The bending is that
    of Simard, Steinkraus & Platt, Best Practices for Convolutional Neural Networks (2003): a smooth field of
    random shifts. x: [B, H, W] or [B, C, H, W]. Returns: the same shape.
    """
    if share == 0:
        return x
    images = x[:, None] if x.ndim == 3 else x  # [B, C, H, W]
    batch, device = len(images), x.device
    angle, shear = 0.08 * torch.randn(batch, 2, device=device).T  # radians; [B]
    stretch = 1 + 0.05 * torch.randn(batch, 2, device=device).T  # [2, B]
    affine = torch.zeros(batch, 2, 3, device=device)
    affine[:, 0, 0], affine[:, 0, 1] = stretch[0] * angle.cos(), shear - angle.sin()
    affine[:, 1, 0], affine[:, 1, 1] = angle.sin(), stretch[1] * angle.cos()
    grid = F.affine_grid(affine, images.shape, align_corners=False)  # [B, H, W, 2], the image being [-1, 1]^2
    shifts = 0.06 * torch.randn(batch, 2, 4, 4, device=device)
    shifts = F.interpolate(shifts, images.shape[2:], mode="bicubic", align_corners=True)  # [B, 2, H, W]
    bent = F.grid_sample(images, grid + shifts.movedim(1, -1), align_corners=False).reshape(x.shape)
    chosen = torch.rand(batch, device=device) < share
    return torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), bent, x)


def as_pixels(x: Tensor, pixels: str, generator: torch.Generator | None = None) -> Tensor:
    """Images in [0, 1] as a loss sees them. Returns: the same shape.

    `grey`: as they are; `binarized`: each pixel 1 with the probability that is its grey value, else 0;
    `threshold`: 1 where the grey value is above 1/2. generator: what `binarized` draws from.
    """
    if pixels == "binarized":
        return (torch.rand(x.shape, generator=generator, device=x.device) < x).float()
    return (x > 0.5).float() if pixels == "threshold" else x


# --- Command line -------------------------------------------------------------------------------


def add_dataset_option(parser: Parser) -> None:
    """`--dataset`, of the commands that choose the data."""
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default="auto",
        help="auto: MNIST if it can be had, else scikit-learn's digits; any other insists (default: auto)",
    )


def add_data_dir_option(parser: Parser) -> None:
    """`--data_dir`, of every command that reads data."""
    parser.add_argument(
        "--data_dir",
        metavar="FOLDER",
        type=Path,
        help="the folder of the four idx files, gzipped or not, or for cifar10 of cifar-10-batches-py/ or a "
        f"cifar10*.npz (default: what {DATA_DIR_VARIABLE} names, then {ROOT / 'raw'}/, then a download)",
    )


def table(dataset: str) -> str:
    """The prepared splits of `dataset`: images, images of each class, checksum."""
    lines = [f"{'split':<6} {'images':>7}  {' '.join(f'{label:>5}' for label in range(10))}  sha256"]
    for split in present_splits(dataset):
        images, labels = load_split(dataset, split)
        counts = " ".join(f"{count:>5}" for count in np.bincount(labels, minlength=10))
        checksum = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]
        lines.append(f"{split:<6} {len(images):>7}  {counts}  {checksum}")
    return "\n".join(lines)


def main() -> None:
    """Prepare a data set's three splits and describe them."""
    parser = Parser(description=__doc__)
    add_dataset_option(parser)
    add_data_dir_option(parser)
    args = parser.parse_args()
    name, source = prepare(args.dataset, args.data_dir)
    print(f"data: {source}\n{table(name)}")


if __name__ == "__main__":
    run(main)
