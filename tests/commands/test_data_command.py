"""`data_utils.py`, two at once, and the main job on data other than MNIST."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import MNIST_DIR, NAMES, fail, small_cifar10, start_process, succeed
from PIL import Image

from vaelab.data.options import SPLITS


def test_the_whole_main_job_in_colour(tmp_path: Path) -> None:
    small_cifar10(tmp_path / "files")
    train = ("train.py", "--task", "Genwithlabel", "--dataset", "cifar10", "--data_dir", "files")
    succeed(*train, "--arch", "conv", "--activation", "leaky_relu", "--test_run", cwd=tmp_path)
    succeed(*train, "--arch", "mlp", "--activation", "relu", "--epochs", 2, cwd=tmp_path)
    infer = ("inference.py", "--checkpoint_path", "outputs/Genwithlabel/best.pt", "--save_png")
    succeed(*infer, cwd=tmp_path)
    out = tmp_path / "outputs/Genwithlabel/valid"
    assert np.load(out / "gen.npy").shape == (10, 1000, 3, 32, 32)
    assert Image.open(out / "recon.png").mode == "RGB"
    grades = []
    for _ in range(2):
        text = succeed("grade.py", cwd=tmp_path)
        assert "This is cifar10, not MNIST: the score can't be compared" in text
        grades.append(json.loads((tmp_path / "outputs/grade_result.json").read_text()))
        for name in ("recon", "gen"):
            (out / f"{name}.npy").unlink(missing_ok=True)  # the second time from the PNG files
    assert grades[0] == grades[1]


def test_two_at_once_leave_whole_files(tmp_path: Path) -> None:
    both = [start_process("data_utils.py", "--dataset", "digits", cwd=tmp_path) for _ in range(2)]
    assert len({process.communicate()[0].split("\n", 1)[1] for process in both}) == 1
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "dataset/digits").iterdir()) == [
        "test.npz",
        "train.npz",
        "valid.npz",
    ]


def test_without_a_usable_torchvision_one_line_says_so(tmp_path: Path) -> None:
    # A torchvision that fails on import as the real one does beside a mismatched torch.
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    own = {"env": {"PYTHONPATH": str(tmp_path)}, "process": True}
    line = fail("data_utils.py", "--dataset", "kmnist", cwd=tmp_path, **own)
    assert "torchvision, which downloads kmnist, can't be loaded beside torch" in line
    out = succeed("data_utils.py", cwd=tmp_path, **own)
    assert out.startswith(
        "data: digits, from scikit-learn's embedded digits; MNIST is not available: torchvision"
    )


@pytest.mark.mnist
def test_the_real_mnist(tmp_path: Path) -> None:
    out = succeed("data_utils.py", "--dataset", "mnist", "--data_dir", MNIST_DIR, cwd=tmp_path)
    rows = {line.split()[0]: line.split() for line in out.splitlines()[2:]}
    assert [rows[split][1] for split in SPLITS] == ["50000", "10000", "10000"]
    assert rows["test"][2:12] == [
        "980",
        "1135",
        "1032",
        "1010",
        "982",
        "892",
        "958",
        "1028",
        "974",
        "1009",
    ]  # as published
    parts = [("train", 0, 50_000, 0), ("valid", 50_000, 10_000, 0), ("test", 0, 10_000, 2)]
    for split, offset, count, name in parts:
        raw = gzip.decompress((MNIST_DIR / f"{NAMES[name]}.gz").read_bytes())[16 + 784 * offset :][
            : 784 * count
        ]
        with np.load(tmp_path / f"dataset/mnist/{split}.npz") as file:
            assert file["images"].tobytes() == raw
    line = fail("data_utils.py", "--dataset", "kmnist", "--data_dir", MNIST_DIR, cwd=tmp_path)
    assert "contains MNIST's images, not those of kmnist" in line
