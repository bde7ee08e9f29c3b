"""torchvision's data sets: their classes, and where they put their files."""

from __future__ import annotations

from pathlib import Path

from vaelab.data.idx import SourceUnavailableError
from vaelab.data.options import ROOT, TORCHVISION
from vaelab.language import Message


def layout(dataset: str) -> Path:
    """The subfolder in which torchvision stores the files of `dataset`."""
    return Path(TORCHVISION[dataset], "" if dataset == "cifar10" else "raw")


def raw_folders(dataset: str) -> list[Path]:
    """The folders in dataset/raw/ that are searched for the files of `dataset`."""
    inside = ROOT / "raw" / layout(dataset)
    # Only MNIST may be in dataset/raw/ itself: the other data sets' idx files have the same names.
    return [ROOT / "raw", inside] if dataset == "mnist" else [inside]


def torchvision_class(dataset: str) -> type:
    """torchvision's class for `dataset`. Raises: SourceUnavailableError if torchvision can't be loaded."""
    try:
        # Imported only when needed: torchvision's binary is not compatible with every build of torch.
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError) as error:
        instead = Message("put the four idx files into {folder}/ instead", folder=raw_folders(dataset)[0])
        if dataset == "cifar10":
            instead = Message(
                "install both from one source, or put train_images and test_images into a cifar10.npz"
            )
        import torch

        raise SourceUnavailableError(
            "torchvision, which downloads {dataset}, can't be loaded beside torch {version} "
            "({reason}): {instead}",
            dataset=dataset,
            version=torch.__version__,
            reason=str(error).splitlines()[0],
            instead=instead,
        ) from error
    return getattr(datasets, TORCHVISION[dataset])
