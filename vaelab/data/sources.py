"""Chooses where raw images come from: existing files, a download, scikit-learn's embedded digits.

Each source gives the whole 5:1:1 split as arrays.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from vaelab.cli import LabError, os_reason
from vaelab.data.cifar10 import CIFAR10_FOLDER, read_cifar10
from vaelab.data.download import download
from vaelab.data.idx import IDX_PREFIXES, Arrays, find_idx, read_idx_folder
from vaelab.data.options import ROOT
from vaelab.data.torchvision_sets import layout, raw_folders
from vaelab.language import Message


def download_splits(dataset: str) -> dict[str, Arrays]:
    """Download `dataset` and read its splits. `ROOT` must exist; a failed download leaves no files in it.

    Raises: SourceUnavailableError if it can't be downloaded.
    """
    with tempfile.TemporaryDirectory(prefix=".download-", dir=ROOT, ignore_cleanup_errors=True) as folder:
        return read_folder(download(dataset, Path(folder)), dataset)


def read_folder(folder: Path, dataset: str) -> dict[str, Arrays]:
    """The splits of `dataset` from a folder that `contains` it."""
    return read_cifar10(folder) if dataset == "cifar10" else read_idx_folder(folder, dataset)


def contains(folder: Path, dataset: str) -> bool:
    """Whether a folder has files of `dataset`."""
    if dataset == "cifar10":
        return (folder / CIFAR10_FOLDER).is_dir() or any(folder.glob("cifar10*.npz"))
    return any(find_idx(folder, f"{prefix}-images-idx3-ubyte") for prefix in IDX_PREFIXES)


def data_folder(dataset: str, data_dir: Path | None) -> Path | None:
    """The folder that contains the files of `dataset`; None if there is none.

    data_dir: the folder that the user has named, or None. Raises: LabError if it does not contain the files,
    neither directly nor in torchvision's layout (`MNIST/raw/`).
    """
    inside = layout(dataset)
    folders = raw_folders(dataset)
    if data_dir is not None:
        try:
            names = sorted(path.name for path in data_dir.iterdir())
        except OSError as error:
            raise LabError(
                "can't read the data folder {data_dir}: {reason}", data_dir=data_dir, reason=os_reason(error)
            ) from error
        folders = [data_dir, data_dir / inside]
    for folder in folders:
        if contains(folder, dataset):
            return folder
    if data_dir is not None:
        found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        files = "train-images-idx3-ubyte[.gz]"
        if dataset == "cifar10":
            files = Message("{folder}/ or cifar10*.npz", folder=CIFAR10_FOLDER)
        raise LabError(
            "{data_dir} has no {files} and no {inside}/ with it (found: {found})",
            data_dir=data_dir,
            files=files,
            inside=inside,
            found=found or Message("nothing"),
        )
    return None
