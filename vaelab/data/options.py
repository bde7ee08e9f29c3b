"""Names of data sets and splits, their folder, and the command-line options that choose them."""

from __future__ import annotations

import argparse
from pathlib import Path

SPLITS = ("train", "valid", "test")
# Our names and torchvision's. All but CIFAR-10 are stored in four idx files.
TORCHVISION = {"mnist": "MNIST", "fashion": "FashionMNIST", "kmnist": "KMNIST", "cifar10": "CIFAR10"}
DATASETS = ("auto", "digits", *TORCHVISION)
DATA_DIR_VARIABLE = "VAE_LAB_DATA"
ROOT = Path("dataset")  # in the working folder, like outputs/


def add_dataset_option(parser: argparse._ActionsContainer) -> None:
    """Add `--dataset`, for commands that choose the data."""
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default="auto",
        help="auto: MNIST if it is available, else scikit-learn's digits; any other name must be available "
        "(default: auto)",
    )


def add_data_dir_option(parser: argparse._ActionsContainer) -> None:
    """Add `--data_dir`, for commands that read data."""
    parser.add_argument(
        "--data_dir",
        metavar="FOLDER",
        type=Path,
        default=None,
        help="the folder of the four idx files, gzipped or not; for cifar10 that of cifar-10-batches-py/ or "
        f"cifar10*.npz (default: ${DATA_DIR_VARIABLE}, then {ROOT / 'raw'}/, then a download)",
    )


def add_split_option(parser: argparse._ActionsContainer, default: str, help: str) -> None:
    """Add `--split`."""
    parser.add_argument("--split", choices=SPLITS, default=default, help=f"{help} (default: {default})")
