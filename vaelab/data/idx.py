"""The idx format of MNIST's files: readers, and the split of the four files.

MNIST keeps its official order: train = the first 50,000 training images, valid = the last 10,000, test = the
official 10,000.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from vaelab.cli import LabError, os_reason

IMAGE_SIZE = 28
IDX_PREFIXES = {"train": 60_000, "t10k": 10_000}  # the files' names, and their numbers of images
VALID_IMAGES = 10_000  # the last ones of the training file
# md5 of MNIST's uncompressed files (images, labels). Other data sets use the same file names and sizes, so
# the checksums distinguish MNIST from them, and complete files from damaged ones.
MNIST_MD5 = {
    "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    "t10k": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, 28, 28] or [N, 3, 32, 32], labels uint8 [N]


class SourceUnavailableError(LabError):
    """Data that is not available here: `--dataset auto` then tries its next source."""


# --- idx files ----------------------------------------------------------------------------------


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped if its name ends in `.gz`.

    The format (Y. LeCun's MNIST page): two zero bytes, 8 for unsigned bytes, the number of dimensions,
    each dimension as a big-endian 32-bit integer, then the bytes. Returns: uint8 with `ndim` dimensions.
    Raises: LabError that names the file and its fault.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except EOFError as error:
        raise LabError("{path} is a truncated gzip file: fetch it again", path=path) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise LabError(
            "{path} is not a whole gzip file ({error}): fetch it again", path=path, error=error
        ) from error
    except OSError as error:
        raise LabError("can't read {path}: {reason}", path=path, reason=os_reason(error)) from error
    header = 4 + 4 * ndim
    magic, expected = int.from_bytes(data[:4], "big"), 8 << 8 | ndim
    if len(data) < 4 or magic != expected:
        raise LabError(
            "{path} is not an idx file of {ndim} dimension(s): magic number {magic}, expected {expected}",
            path=path,
            ndim=ndim,
            magic=magic,
            expected=expected,
        )
    if len(data) < header:
        raise LabError(
            "{path} ends within its header: {count} bytes, the header alone has {header}",
            path=path,
            count=len(data),
            header=header,
        )
    shape = struct.unpack(f">{ndim}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise LabError(
            "{path} has the wrong size: {bytes:,} bytes of data, its header promises {shape} = {product:,}",
            path=path,
            bytes=len(data) - header,
            shape=" x ".join(map(str, shape)),
            product=math.prod(shape),
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
            raise LabError(
                "{folder} has no {prefix}-{name}[.gz]: all four idx files are needed",
                folder=folder,
                prefix=prefix,
                name=name,
            )
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise LabError(
            "{path} contains images of {height} x {width}, expected 28 x 28",
            path=image_path,
            height=images.shape[1],
            width=images.shape[2],
        )
    if len(images) != len(labels):
        raise LabError(
            "{image_path} contains {images:,} images, but {label_path} contains {labels:,} labels",
            image_path=image_path,
            images=len(images),
            label_path=label_path,
            labels=len(labels),
        )
    if labels.size and labels.max() > 9:
        raise LabError(
            "{path} contains the label {label}: labels are 0 to 9",
            path=label_path,
            label=labels.max(),
        )
    if len(images) != IDX_PREFIXES[prefix]:
        raise LabError(
            "{path} contains {count:,} images, expected {expected:,}",
            path=image_path,
            count=len(images),
            expected=IDX_PREFIXES[prefix],
        )
    if dataset == "mnist":
        for path, array, md5 in zip(
            (image_path, label_path), (images, labels), MNIST_MD5[prefix], strict=True
        ):
            if idx_md5(array) != md5:
                raise LabError(
                    "{path} is not MNIST's file (by its md5 checksum): fetch it again, or name its data set "
                    "by --dataset",
                    path=path,
                )
    elif idx_md5(images) == MNIST_MD5[prefix][0]:
        raise LabError(
            "{path} contains MNIST's images, not those of {dataset}: name another folder",
            path=image_path,
            dataset=dataset,
        )
    return images, labels


def idx_md5(array: np.ndarray) -> str:
    """The md5 checksum of the uncompressed idx file of `array`."""
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
