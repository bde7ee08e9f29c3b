"""Where raw images come from: the four idx files, a download, scikit-learn's embedded digits.

Each source gives the whole 5:1:1 split as arrays. MNIST keeps its official order: train = the first
50,000 training images, valid = the last 10,000, test = the official 10,000.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import socket
import struct
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from common import LabError, reason

SPLITS = ("train", "valid", "test")
# The names that torchvision gives to the data sets that lie in four idx files.
TORCHVISION = {"mnist": "MNIST", "fashion": "FashionMNIST", "kmnist": "KMNIST"}
ROOT = Path("dataset")  # in the folder that the command runs in, like outputs/

IMAGE_SIZE = 28
IDX_PREFIXES = {"train": 60_000, "t10k": 10_000}  # the files' names, and how many images each holds
VALID_IMAGES = 10_000  # the last ones of the training file
# md5 of MNIST's uncompressed files (images, labels). Other data sets use the same file names and sizes, so
# this is what tells MNIST from them, and whole files from damaged ones.
MNIST_MD5 = {
    "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    "t10k": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}

CONNECT_SECONDS = 5  # how long one mirror may keep silent
STALL_SECONDS = 12  # how long the whole download may stand still before we do without it

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, 28, 28], labels uint8 [N]


class SourceUnavailableError(LabError):
    """Data that can't be had here and now: `--dataset auto` goes on to its next source."""


# --- idx files ----------------------------------------------------------------------------------


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped if its name ends in `.gz`.

    The format (Y. LeCun's MNIST page): two zero bytes, 8 for unsigned bytes, the number of dimensions,
    each dimension as a big-endian 32-bit integer, then the bytes. Returns: uint8 with `ndim` dimensions.
    Raises: LabError that names the file and what is wrong with it.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except EOFError as error:
        raise LabError(f"{path} is a truncated gzip file: fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise LabError(f"{path} is not a whole gzip file ({error}): fetch it again") from error
    except OSError as error:
        raise LabError(f"can't read {path}: {error.strerror}") from error
    header = 4 + 4 * ndim
    magic, expected = int.from_bytes(data[:4], "big"), 8 << 8 | ndim
    if len(data) < 4 or magic != expected:
        raise LabError(
            f"{path} is not an idx file of {ndim} dimension(s): magic number {magic}, expected {expected}"
        )
    if len(data) < header:
        raise LabError(f"{path} ends within its header: {len(data)} bytes, the header alone has {header}")
    shape = struct.unpack(f">{ndim}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise LabError(
            f"{path} has the wrong size: {len(data) - header:,} bytes of data, "
            f"its header promises {' x '.join(map(str, shape))} = {math.prod(shape):,}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def find_idx(folder: Path, name: str) -> Path | None:
    """The idx file `name` in `folder`, plain or gzipped, if there is one."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_pair(folder: Path, prefix: str, dataset: str) -> Arrays:
    """The images and labels of `train` or `t10k`. Raises: LabError that names the file at fault."""
    image_path = find_idx(folder, f"{prefix}-images-idx3-ubyte")
    label_path = find_idx(folder, f"{prefix}-labels-idx1-ubyte")
    for path, name in ((image_path, "images-idx3-ubyte"), (label_path, "labels-idx1-ubyte")):
        if path is None:
            raise LabError(f"{folder} holds no {prefix}-{name}[.gz]: all four idx files are needed")
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise LabError(
            f"{image_path} holds images of {images.shape[1]} x {images.shape[2]}, expected 28 x 28"
        )
    if len(images) != len(labels):
        raise LabError(
            f"{image_path} holds {len(images):,} images, but {label_path} holds {len(labels):,} labels"
        )
    if labels.size and labels.max() > 9:
        raise LabError(f"{label_path} holds the label {labels.max()}: labels are 0 to 9")
    if len(images) != IDX_PREFIXES[prefix]:
        raise LabError(f"{image_path} holds {len(images):,} images, expected {IDX_PREFIXES[prefix]:,}")
    if dataset == "mnist":
        for path, array, md5 in zip(
            (image_path, label_path), (images, labels), MNIST_MD5[prefix], strict=True
        ):
            if idx_md5(array) != md5:
                raise LabError(
                    f"{path} is not MNIST's file (by its md5 checksum): fetch it again, "
                    "or say by --dataset what it is"
                )
    elif idx_md5(images) == MNIST_MD5[prefix][0]:
        raise LabError(f"{image_path} holds MNIST's images, not those of {dataset}: name another folder")
    return images, labels


def idx_md5(array: np.ndarray) -> str:
    """The md5 checksum of the uncompressed idx file that holds `array`."""
    header = struct.pack(f">{1 + array.ndim}I", 8 << 8 | array.ndim, *array.shape)
    return hashlib.md5(header + array.tobytes()).hexdigest()


def read_idx_folder(folder: Path, dataset: str) -> dict[str, Arrays]:
    """The four idx files in `folder` as the 5:1:1 split, in the official order."""
    images, labels = read_pair(folder, "train", dataset)
    return {
        "train": (images[:-VALID_IMAGES], labels[:-VALID_IMAGES]),
        "valid": (images[-VALID_IMAGES:], labels[-VALID_IMAGES:]),
        "test": read_pair(folder, "t10k", dataset),
    }


# --- Sources ------------------------------------------------------------------------------------


def raw_folders(dataset: str) -> list[Path]:
    """The folders of the lab itself in which idx files are looked for."""
    inside = ROOT / "raw" / TORCHVISION[dataset] / "raw"  # as torchvision lays them out
    # Only MNIST may lie in dataset/raw/ itself: the other data sets' files have the same names.
    return [ROOT / "raw", inside] if dataset == "mnist" else [inside]


def idx_folder(dataset: str, data_dir: Path | None) -> Path | None:
    """The folder that holds the idx files of `dataset`, if there is one.

    A `data_dir` that the user names must hold them, itself or as torchvision lays them out
    (`MNIST/raw/`). Raises: LabError if it doesn't.
    """
    inside = Path(TORCHVISION[dataset], "raw")
    folders = raw_folders(dataset)
    if data_dir is not None:
        try:
            names = sorted(path.name for path in data_dir.iterdir())
        except OSError as error:
            raise LabError(f"can't read the data folder {data_dir}: {error.strerror}") from error
        folders = [data_dir, data_dir / inside]
    for folder in folders:
        if any(find_idx(folder, f"{prefix}-images-idx3-ubyte") for prefix in IDX_PREFIXES):
            return folder
    if data_dir is not None:
        found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "nothing"
        raise LabError(
            f"{data_dir} holds no train-images-idx3-ubyte[.gz] and no {inside}/ with it (found: {found})"
        )
    return None


def download(dataset: str) -> dict[str, Arrays]:
    """Fetch `dataset` with torchvision, which knows its mirrors and checksums.

    Everything lands in a temporary folder of `ROOT`, which must exist: a download that breaks leaves nothing.
    Raises: SourceUnavailableError if torchvision can't be loaded, or nothing has come for `STALL_SECONDS`.
    """
    try:
        # Only here: torchvision's binary can't be loaded beside every build of torch.
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError) as error:
        raise SourceUnavailableError(
            f"torchvision, which downloads {dataset}, can't be loaded beside torch {torch.__version__} "
            f"({str(error).splitlines()[0]}): put the four idx files into {raw_folders(dataset)[0]}/ instead"
        ) from error
    folder = TORCHVISION[dataset]
    with tempfile.TemporaryDirectory(prefix=".download-", dir=ROOT, ignore_cleanup_errors=True) as temporary:
        _fetch(getattr(datasets, folder), Path(temporary), dataset)
        return read_idx_folder(Path(temporary, folder, "raw"), dataset)


def _fetch(dataset_class: type, folder: Path, dataset: str) -> None:
    """Let torchvision download into `folder`, and give up when it stands still.

    It runs in a thread of its own because no time limit reaches into a name look-up that hangs.
    """
    failures: list[Exception] = []

    def fetch() -> None:
        try:
            dataset_class(folder, download=True)
        except Exception as error:  # whatever it is, it is reported below
            failures.append(error)

    def fetched_bytes() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    thread = threading.Thread(target=fetch, daemon=True)
    silence = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    timeout_before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        with silence:  # torchvision draws progress bars, also where nobody looks
            thread.start()
            last_bytes, last_change = 0, time.monotonic()
            while thread.is_alive() and time.monotonic() - last_change < STALL_SECONDS:
                thread.join(timeout=0.2)
                with contextlib.suppress(OSError):  # a file that has just been renamed
                    if (now := fetched_bytes()) != last_bytes:
                        last_bytes, last_change = now, time.monotonic()
    finally:
        socket.setdefaulttimeout(timeout_before)
    if thread.is_alive():
        raise SourceUnavailableError(f"the download of {dataset} stood still for {STALL_SECONDS} s")
    for error in failures:
        raise SourceUnavailableError(f"{dataset} can't be downloaded ({reason(error)})") from error


def embedded_digits() -> dict[str, Arrays]:
    """scikit-learn's 1,797 real handwritten digits, 8x8 resized to 28x28, split 5:1:1 with a fixed seed."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images)[:, None] / 16  # [N, 1, 8, 8] in [0, 1]
    large = F.interpolate(small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[:, 0]
    images = (large * 255).round().to(torch.uint8).numpy()
    order = np.random.RandomState(0).permutation(len(images))
    seventh = round(len(images) / 7)
    parts = np.split(order, [len(order) - 2 * seventh, len(order) - seventh])
    labels = digits.target.astype(np.uint8)
    return {split: (images[part], labels[part]) for split, part in zip(SPLITS, parts, strict=True)}
