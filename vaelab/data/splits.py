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
from vaelab.language import N_, Message, _


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
            "{path} is damaged ({reason}): delete {parent}/ to have it made again, or get the file again "
            "from where it came",
            path=path,
            reason=reason(error),
            parent=path.parent,
        ) from error
    expected = (3, CIFAR10_SIZE, CIFAR10_SIZE) if dataset == "cifar10" else (IMAGE_SIZE, IMAGE_SIZE)
    good = images.dtype == labels.dtype == np.uint8 and images.shape == (*labels.shape, *expected)
    if not good or labels.max(initial=0) > 9 or not len(images):
        text = N_(
            "{path} should contain images uint8 [N, {expected}] and labels uint8 [N] of 0 to 9; it contains "
            "{images} and {labels}"
        )
        if good and len(labels):
            text = N_(
                "{path} should contain images uint8 [N, {expected}] and labels uint8 [N] of 0 to 9; it "
                "contains {images} and {labels} of up to {label}"
            )
        raise LabError(
            text,
            path=path,
            expected=", ".join(map(str, expected)),
            images=f"{images.dtype} {list(images.shape)}",
            labels=f"{labels.dtype} {list(labels.shape)}",
            label=labels.max(initial=0),
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
        raise LabError(
            "unknown dataset '{dataset}': choose one of {datasets}",
            dataset=dataset,
            datasets=", ".join(DATASETS),
        )
    if dataset != "auto":
        return dataset, str(_prepare(dataset, data_dir, splits))
    try:
        return "mnist", str(_prepare("mnist", data_dir, splits))
    except SourceUnavailableError as error:
        source = _prepare("digits", None, splits)
        return "digits", _("{source}; MNIST is not available: {reason}", source=source, reason=error)


def _prepare(dataset: str, data_dir: Path | None, splits: Sequence[str] | None) -> Message:
    folder = data_folder(dataset, data_dir) if dataset in TORCHVISION else None
    if splits is None:
        splits = (folder is None and present_splits(dataset)) or SPLITS
    prepared = Message(
        "{dataset}, from the prepared split in {folder}/", dataset=dataset, folder=ROOT / dataset
    )
    if set(splits) <= set(present_splits(dataset)):
        return prepared
    with lock(make_folder(ROOT), wait=True):
        for leftover in (*ROOT.glob(".download-*"), *ROOT.glob(".prepare-*")):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        present = present_splits(dataset)
        if set(splits) <= set(present):
            return prepared  # by the process that we waited for
        if dataset == "digits":
            arrays = embedded_digits()
            source = Message("{dataset}, from scikit-learn's embedded digits", dataset=dataset)
        elif folder is not None:
            arrays = read_folder(folder, dataset)
            source = Message("{dataset}, from the files in {folder}", dataset=dataset, folder=folder)
        elif present:
            # Splits are written together: if only some exist, staff kept the others back.
            missing = ", ".join(split for split in splits if split not in present)
            raise LabError(
                "{folder}/ has {present} and no {missing} split: use one it has, or name the folder of the "
                "original files by --data_dir",
                folder=ROOT / dataset,
                present=", ".join(present),
                missing=missing,
            )
        else:
            arrays = download_splits(dataset)
            source = Message("{dataset}, from torchvision's download", dataset=dataset)
        save_splits(dataset, arrays)
    return source


# --- Command line -------------------------------------------------------------------------------
