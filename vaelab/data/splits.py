"""The prepared 5:1:1 split: dataset/<name>/{train,valid,test}.npz."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaelab.cli import LabError, reason
from vaelab.data.cifar10 import CIFAR10_SIZE
from vaelab.data.digits import embedded_digits
from vaelab.data.idx import IMAGE_SIZE, Arrays, SourceUnavailableError
from vaelab.data.options import DATA_DIR_VARIABLE, DATASETS, ROOT, SPLITS, TORCHVISION
from vaelab.data.sources import data_folder, download_splits, read_folder
from vaelab.files import lock, make_folder, write_file


def split_path(dataset: str, split: str) -> Path:
    """The file of the prepared split."""
    return ROOT / dataset / f"{split}.npz"


def present_splits(dataset: str) -> list[str]:
    """The splits that are prepared."""
    return [split for split in SPLITS if split_path(dataset, split).is_file()]


def save_splits(dataset: str, arrays: dict[str, Arrays]) -> None:
    """Write the missing splits. If dataset/<name>/ does not exist, all three appear at once.

    An existing split is kept: course staff may have provided it.
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
    """The images and labels of a prepared split. Raises: LabError if its file is damaged or wrong."""
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
            f"{path} should contain images uint8 [N, {', '.join(map(str, expected))}] and labels uint8 [N] "
            "of 0 to 9; it contains "
            f"{images.dtype} {list(images.shape)} and {labels.dtype} {list(labels.shape)}"
            + (f" of up to {labels.max()}" if good and len(labels) else "")
        )
    return images, labels


def prepare(
    dataset: str = "auto", data_dir: str | Path | None = None, splits: Sequence[str] | None = None
) -> tuple[str, str]:
    """Prepare `splits` if they are missing. Returns: (name of the data set, a line that says its source).

    The sources in order: the prepared split; the idx files in `data_dir` (default: the folder in the variable
    VAE_LAB_DATA) or in dataset/raw/; a download; and, only for `auto`, scikit-learn's digits.
    splits: None for all three; or, if some are prepared and there are no idx files, for those that are.
    Raises: LabError if `dataset` is not available, or its idx files are invalid.
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
        return "digits", f"{_prepare('digits', None, splits)}; MNIST is not available: {error}"


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
            # Splits are written together: if only some exist, staff kept the others back.
            missing = ", ".join(split for split in splits if split not in present)
            raise LabError(
                f"{ROOT / dataset}/ has {', '.join(present)} and no {missing} split: use one it has, "
                "or name the folder of the original files by --data_dir"
            )
        else:
            arrays, source = download_splits(dataset), "torchvision's download"
        save_splits(dataset, arrays)
    return f"{dataset}, from {source}"


# --- Command line -------------------------------------------------------------------------------
