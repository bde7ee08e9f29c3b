"""Data: the idx reader, the split, the dataset, CIFAR-10, and files that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NAMES, idx_bytes, small_cifar10, small_set, write_set
from torch.utils.data import ConcatDataset, DataLoader, Subset

from data_utils import MNISTDataset, table
from vaelab.cli import LabError
from vaelab.data import sources, splits
from vaelab.data.options import SPLITS
from vaelab.data.splits import load_split, prepare

# --- idx files and the split --------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
def test_split_keeps_the_official_order(in_tmp: Path, small_mnist: dict, gz: bool) -> None:
    write_set(in_tmp / "files", small_mnist, gz)
    assert prepare("mnist", in_tmp / "files") == (
        "mnist",
        f"mnist, from the files in {in_tmp / 'files'}",
    )
    for split, images, labels in (
        ("train", small_mnist[NAMES[0]][:50], small_mnist[NAMES[1]][:50]),
        ("valid", small_mnist[NAMES[0]][50:], small_mnist[NAMES[1]][50:]),
        ("test", small_mnist[NAMES[2]], small_mnist[NAMES[3]]),
    ):
        with np.load(f"dataset/mnist/{split}.npz", allow_pickle=False) as file:
            assert file["images"].dtype == file["labels"].dtype == np.uint8
            np.testing.assert_array_equal(file["images"], images)
            np.testing.assert_array_equal(file["labels"], labels)


@pytest.mark.parametrize("folder", ["dataset/raw", "dataset/raw/MNIST/raw", "data/MNIST/raw", "by_variable"])
def test_files_are_found_where_people_have_them(in_tmp, small_mnist, folder, monkeypatch) -> None:
    write_set(in_tmp / folder, small_mnist)
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("downloaded what is there"))
    if folder == "by_variable":
        monkeypatch.setenv("VAE_LAB_DATA", "by_variable")
    name, source = prepare("auto", "data" if folder.startswith("data/") else None)
    assert (name, source) == ("mnist", f"mnist, from the files in {folder}")


def corrupt(arrays: dict[str, np.ndarray], kind: str, folder: Path) -> str:
    """Write the set with one fault. Returns: the name of the file that an error should give."""
    write_set(folder, arrays, gz=True)
    images, labels = folder / f"{NAMES[0]}.gz", folder / f"{NAMES[1]}.gz"
    whole = idx_bytes(arrays[NAMES[0]])
    match kind:
        case "magic number":
            images.write_bytes(gzip.compress(b"\0\0\x0d\3" + whole[4:]))
        case "wrong size":
            images.write_bytes(gzip.compress(whole[:-1]))
        case "too long":
            images.write_bytes(gzip.compress(whole + b"\0"))
        case "truncated":
            images.write_bytes(images.read_bytes()[:-500])
        case "not gzip":
            images.write_bytes(whole)
        case "flipped bit":
            data = bytearray(images.read_bytes())
            data[len(data) // 2] ^= 1
            images.write_bytes(data)
        case "empty":
            images.write_bytes(gzip.compress(b""))
        case "header only":
            images.write_bytes(gzip.compress(whole[:9]))
        case "other shape":
            images.write_bytes(gzip.compress(idx_bytes(np.zeros((60, 32, 32), np.uint8))))
        case "label 10":
            labels.write_bytes(gzip.compress(idx_bytes(np.full(60, 10, np.uint8))))
            return labels.name
        case "lengths":
            labels.write_bytes(gzip.compress(idx_bytes(np.zeros(59, np.uint8))))
        case "fewer images":
            images.write_bytes(gzip.compress(idx_bytes(arrays[NAMES[0]][:50])))
            labels.write_bytes(gzip.compress(idx_bytes(arrays[NAMES[1]][:50])))
        case "other images":
            images.write_bytes(gzip.compress(idx_bytes(255 - arrays[NAMES[0]])))
        case "other labels":
            labels.write_bytes(gzip.compress(idx_bytes((arrays[NAMES[1]] + 1) % 10)))
            return labels.name
        case "missing labels":
            labels.unlink()
            return labels.name.removesuffix(".gz")
    return images.name


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("magic number", "magic number 3331, expected 2051"),
        ("wrong size", "47,039 bytes of data, its header promises 60 x 28 x 28 = 47,040"),
        ("too long", "47,041 bytes of data"),
        ("truncated", "truncated gzip"),
        ("not gzip", "not a whole gzip"),
        ("flipped bit", "not a whole gzip"),
        ("empty", "magic number"),
        ("header only", "ends within its header"),
        ("other shape", "32 x 32, expected 28 x 28"),
        ("label 10", "contains the label 10: labels are 0 to 9"),
        ("lengths", "60 images, but .* 59 labels"),
        ("fewer images", "contains 50 images, expected 60"),
        ("other images", "is not MNIST's file"),
        ("other labels", "is not MNIST's file"),
        ("missing labels", "all four idx files are needed"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault(in_tmp, small_mnist, kind: str, says: str) -> None:
    name = corrupt(small_mnist, kind, in_tmp / "files")
    with pytest.raises(LabError, match=says) as error:
        prepare("mnist", in_tmp / "files")
    assert name in str(error.value)
    assert not Path("dataset/mnist").exists()


def test_mnist_is_not_taken_for_another_set(in_tmp, small_mnist) -> None:
    write_set(in_tmp / "files", small_mnist)
    with pytest.raises(LabError, match="contains MNIST's images, not those of fashion"):
        prepare("fashion", in_tmp / "files")
    write_set(in_tmp / "other", small_set(seed=1))
    assert prepare("fashion", in_tmp / "other")[0] == "fashion"


def test_a_named_folder_without_files_is_an_error_whatever_else_is_there(in_tmp, small_mnist) -> None:
    write_set(in_tmp / "dataset/raw", small_mnist)
    prepare("mnist")
    (in_tmp / "empty").mkdir()
    for folder in ("empty", "missing", "dataset/mnist"):
        with pytest.raises(LabError, match=folder):
            prepare("auto", folder)


def test_two_splits_are_enough_where_the_third_is_kept(in_tmp, small_mnist, monkeypatch) -> None:
    write_set(in_tmp / "files", small_mnist)
    prepare("mnist", in_tmp / "files")
    Path("dataset/mnist/test.npz").unlink()
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("fetched what was kept back"))
    assert len(MNISTDataset("train")) == 50
    with pytest.raises(LabError, match="has train, valid and no test split"):
        MNISTDataset("test")
    assert prepare("auto")[0] == "mnist"  # the command shows what is there
    assert [line.split()[0] for line in table("mnist").splitlines()] == ["split", "train", "valid"]
    before = Path("dataset/mnist/train.npz").stat()
    prepare("mnist", in_tmp / "files")
    assert Path("dataset/mnist/test.npz").exists()
    assert Path("dataset/mnist/train.npz").stat() == before  # what staff put there stays


def test_splits_are_prepared_all_at_once_or_not_at_all(in_tmp, small_mnist, monkeypatch) -> None:
    write_set(in_tmp / "files", small_mnist)
    written = []

    def disk_full(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise LabError("the disk is full")
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(splits, "write_file", disk_full)
        with pytest.raises(LabError, match="the disk is full"):
            prepare("mnist", in_tmp / "files")
    (in_tmp / "dataset/.prepare-of-a-killed-process").mkdir()
    assert not Path("dataset/mnist").exists()
    prepare("mnist", in_tmp / "files")
    assert {path.name for path in Path("dataset").iterdir()} == {".lock", "mnist"}


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "float", "label", "empty", "keys"])
def test_a_damaged_split_is_named(in_tmp, damage: str) -> None:
    prepare("digits")
    path = Path("dataset/digits/train.npz")
    images, labels = load_split("digits", "train")
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-2000])
        case "text":
            path.write_text("not an archive")
        case "pickle":
            np.savez(path, images=np.array([{}], dtype=object), labels=labels)
        case "float":
            np.savez(path, images=images / 255, labels=labels)
        case "label":
            np.savez(path, images=images, labels=labels + 10)
        case "empty":
            np.savez(path, images=images[:0], labels=labels[:0])
        case "keys":
            np.savez(path, x=images, y=labels)
    with pytest.raises(LabError, match=r"digits.train\.npz"):
        MNISTDataset("train", "digits")


def test_digits_are_real_split_five_to_one_to_one_and_never_change(in_tmp) -> None:
    from sklearn.datasets import load_digits

    parts = {split: MNISTDataset(split, "digits") for split in SPLITS}
    assert [len(part) for part in parts.values()] == [1283, 257, 257]
    labels = torch.cat([part.labels for part in parts.values()])
    assert labels.bincount().tolist() == np.bincount(load_digits().target).tolist()
    images = torch.cat([part.images for part in parts.values()])
    assert len(images.flatten(1).unique(dim=0)) > 1790  # nothing is drawn twice
    # Shrunk again, they are scikit-learn's own images.
    shrunk = (
        torch.nn.functional.interpolate(images[:, None].double(), size=(8, 8), mode="area")[:, 0] / 255 * 16
    )
    originals = torch.from_numpy(load_digits().images)[np.random.RandomState(0).permutation(1797)]
    assert torch.corrcoef(torch.stack([shrunk.flatten(), originals.flatten()]))[0, 1] > 0.95
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16] == "64c52040fee4c952"


# --- The dataset --------------------------------------------------------------------------------


def test_items_are_what_the_contract_says(in_tmp) -> None:
    dataset = MNISTDataset("valid", "digits")
    image, label = dataset[3]
    assert image.dtype == torch.float32
    assert image.shape == (28, 28)
    assert 0 <= image.min() < image.max() <= 1
    assert label.dtype == torch.int64
    assert torch.equal((image * 255).round().to(torch.uint8), dataset.images[3])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_ordinary_loader_gets_whole_batches(in_tmp, workers: int, monkeypatch) -> None:
    dataset = MNISTDataset("valid", "digits")
    expected = torch.stack([dataset[i].image for i in range(len(dataset))])
    monkeypatch.setattr(MNISTDataset, "__getitem__", lambda *_: pytest.fail("fetched one image at a time"))
    batches = list(DataLoader(dataset, batch_size=100, num_workers=workers))
    assert [len(labels) for _, labels in batches] == [100, 100, 57]
    assert torch.equal(torch.cat([images for images, _ in batches]), expected)
    assert torch.equal(torch.cat([labels for _, labels in batches]), dataset.labels)


def test_shuffled_subset_and_joined_loaders_agree_with_single_items(in_tmp) -> None:
    dataset = MNISTDataset("valid", "digits")
    subset = Subset(dataset, [5, 2, 9])
    images, labels = next(iter(DataLoader(subset, batch_size=3)))
    assert torch.equal(images, torch.stack([dataset[i].image for i in (5, 2, 9)]))
    assert labels.tolist() == [int(dataset[i].label) for i in (5, 2, 9)]
    joined, _ = next(iter(DataLoader(ConcatDataset([subset, subset]), batch_size=6)))  # has no __getitems__
    assert torch.equal(joined, torch.cat([images, images]))
    shuffled = torch.cat([labels for _, labels in DataLoader(dataset, batch_size=64, shuffle=True)])
    assert shuffled.bincount().tolist() == dataset.labels.bincount().tolist()
    assert not torch.equal(shuffled, dataset.labels)


# --- CIFAR-10 -----------------------------------------------------------------------------------


def test_a_part_of_cifar10(in_tmp: Path) -> None:
    arrays = small_cifar10(in_tmp / "files")
    assert prepare("cifar10", in_tmp / "files")[0] == "cifar10"
    images, labels = load_split("cifar10", "valid")
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(images, arrays["train_images"][40:].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels, arrays["train_labels"][40:])
    dataset = MNISTDataset("train", "cifar10")
    assert dataset.image_shape == (3, 32, 32)
    assert dataset[5].image.shape == (3, 32, 32)
    assert len(dataset) == 40
    assert len(MNISTDataset("test", "cifar10")) == 20


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_images": np.zeros((50, 28, 28), np.uint8)}, "train images uint8 .50, 32, 32, 3. .* got"),
        ({"test_labels": np.arange(19) % 10}, "test images uint8 .19, 32, 32, 3."),
        ({"test_labels": np.arange(20)}, "labels of up to 19"),
        ({"test_images": np.array([{}] * 20)}, "can't read CIFAR-10 from"),
    ],
)
def test_a_part_of_cifar10_that_is_wrong(in_tmp: Path, changes: dict, says: str) -> None:
    small_cifar10(in_tmp / "files", **changes)
    with pytest.raises(LabError, match=says):
        prepare("cifar10", in_tmp / "files")
    assert not Path("dataset/cifar10").exists()
