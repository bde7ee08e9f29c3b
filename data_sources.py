"""Where raw images come from: files that are there, a download, scikit-learn's embedded digits.

Each source gives the whole split as arrays. MNIST keeps its official order: train = the first 50,000
training images, valid = the last 10,000, test = the official 10,000. CIFAR-10 does too: valid is the last
fifth of the training images.
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
# The names that torchvision gives. All but CIFAR-10 lie in four idx files.
TORCHVISION = {"mnist": "MNIST", "fashion": "FashionMNIST", "kmnist": "KMNIST", "cifar10": "CIFAR10"}
ROOT = Path("dataset")  # in the folder that the command runs in, like outputs/

IMAGE_SIZE = 28
CIFAR10_SIZE = 32
CIFAR10_FOLDER = "cifar-10-batches-py"  # what torchvision unpacks
CIFAR10_KEYS = ("train_images", "train_labels", "test_images", "test_labels")  # of an .npz with a part of it
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

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, 28, 28] or [N, 3, 32, 32], labels uint8 [N]


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


# --- CIFAR-10 -----------------------------------------------------------------------------------


def read_cifar10(folder: Path) -> dict[str, Arrays]:
    """CIFAR-10 from a file cifar10*.npz, which may hold a part of it, or as torchvision unpacks it.

    The .npz holds train_images, train_labels, test_images and test_labels, images as uint8 [N, 32, 32, 3].
    Raises: LabError that names what is wrong.
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
        raise LabError(f"can't read CIFAR-10 from {path} ({reason(error)}): fetch it again") from error
    splits = {}
    for name, images, labels in (("train", train, train_labels), ("test", test, test_labels)):
        labels = np.asarray(labels)
        expected = (len(labels), CIFAR10_SIZE, CIFAR10_SIZE, 3)
        if images.dtype != np.uint8 or images.shape != expected or len(images) < 5 or labels.max() > 9:
            raise LabError(
                f"{path} should hold {name} images uint8 {list(expected)} and as many labels of 0 to 9, "
                f"got {images.dtype} {list(images.shape)} and labels of up to {labels.max(initial=0)}"
            )
        splits[name] = np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.uint8)
    images, labels = splits["train"]
    fifth = len(images) // 5
    return {
        "train": (images[:-fifth], labels[:-fifth]),
        "valid": (images[-fifth:], labels[-fifth:]),
        "test": splits["test"],
    }


# --- Sources ------------------------------------------------------------------------------------


def read_folder(folder: Path, dataset: str) -> dict[str, Arrays]:
    """The splits of `dataset` from a folder that `holds` it."""
    return read_cifar10(folder) if dataset == "cifar10" else read_idx_folder(folder, dataset)


def holds(folder: Path, dataset: str) -> bool:
    """Whether files of `dataset` lie in a folder."""
    if dataset == "cifar10":
        return (folder / CIFAR10_FOLDER).is_dir() or any(folder.glob("cifar10*.npz"))
    return any(find_idx(folder, f"{prefix}-images-idx3-ubyte") for prefix in IDX_PREFIXES)


def layout(dataset: str) -> Path:
    """Where torchvision puts the files of `dataset`, below the folder that it is given."""
    return Path(TORCHVISION[dataset], "" if dataset == "cifar10" else "raw")


def raw_folders(dataset: str) -> list[Path]:
    """The folders of the lab itself in which files are looked for."""
    inside = ROOT / "raw" / layout(dataset)
    # Only MNIST may lie in dataset/raw/ itself: the other data sets' idx files have the same names.
    return [ROOT / "raw", inside] if dataset == "mnist" else [inside]


def data_folder(dataset: str, data_dir: Path | None) -> Path | None:
    """The folder that holds the files of `dataset`, if there is one.

    A `data_dir` that the user names must hold them, itself or as torchvision lays them out
    (`MNIST/raw/`). Raises: LabError if it doesn't.
    """
    inside = layout(dataset)
    folders = raw_folders(dataset)
    if data_dir is not None:
        try:
            names = sorted(path.name for path in data_dir.iterdir())
        except OSError as error:
            raise LabError(f"can't read the data folder {data_dir}: {error.strerror}") from error
        folders = [data_dir, data_dir / inside]
    for folder in folders:
        if holds(folder, dataset):
            return folder
    if data_dir is not None:
        found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "nothing"
        files = (
            f"{CIFAR10_FOLDER}/ or cifar10*.npz" if dataset == "cifar10" else "train-images-idx3-ubyte[.gz]"
        )
        raise LabError(f"{data_dir} holds no {files} and no {inside}/ with it (found: {found})")
    return None


def torchvision_class(dataset: str) -> type:
    """torchvision's class for `dataset`. Raises: SourceUnavailableError if torchvision can't be loaded."""
    try:
        # Only here: torchvision's binary can't be loaded beside every build of torch.
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError) as error:
        instead = f"put the four idx files into {raw_folders(dataset)[0]}/ instead"
        if dataset == "cifar10":
            instead = (
                f"install both from one source, or put {' and '.join(CIFAR10_KEYS[::2])} into a cifar10.npz"
            )
        raise SourceUnavailableError(
            f"torchvision, which downloads {dataset}, can't be loaded beside torch {torch.__version__} "
            f"({str(error).splitlines()[0]}): {instead}"
        ) from error
    return getattr(datasets, TORCHVISION[dataset])


def download(dataset: str) -> dict[str, Arrays]:
    """Fetch `dataset` with torchvision, which knows its mirrors and checksums.

    Everything lands in a temporary folder of `ROOT`, which must exist: a download that breaks leaves nothing.
    Raises: SourceUnavailableError if torchvision can't be loaded, or nothing has come for `STALL_SECONDS`.
    """
    dataset_class = torchvision_class(dataset)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=ROOT, ignore_cleanup_errors=True) as temporary:
        # torchvision makes a folder of its own for the idx files alone.
        root = Path(temporary, TORCHVISION[dataset] if dataset == "cifar10" else "")
        _fetch(dataset_class, root, dataset)
        return read_folder(Path(temporary, layout(dataset)), dataset)


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
