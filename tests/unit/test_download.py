"""Downloads: the real code of torchvision against a web server of this machine, which may misbehave."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import pickle
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NAMES, REPO, write_set

from vaelab.cli import LabError
from vaelab.data.download import CONNECT_SECONDS
from vaelab.data.splits import load_split, prepare


@pytest.fixture
def torchvision_datasets():
    """`torchvision.datasets`. Its import needs two operators that its binary can't bring here."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_datasets.library = library  # operators live as long as their library
    from torchvision import datasets

    return datasets


@pytest.fixture
def server(in_tmp: Path):
    """A web server of this machine: it serves the folder `www`, and can be told to misbehave."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        mode = "good"

        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(in_tmp / "www"), **kwargs)

        def log_message(self, *args) -> None:
            pass

        def do_GET(self) -> None:
            if Handler.mode == "silent":
                time.sleep(30)
            elif Handler.mode == "breaks" and "t10k" in self.path:
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"half")  # and the connection closes
            else:
                super().do_GET()

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.daemon_threads = True
    threading.Thread(target=http_server.serve_forever, daemon=True).start()
    yield Handler, f"http://127.0.0.1:{http_server.server_port}/"
    http_server.shutdown()


@pytest.fixture
def mirror(in_tmp, small_mnist, server, torchvision_datasets, monkeypatch):
    """torchvision's download pointed at the local server, which holds the small set."""
    handler, url = server
    write_set(in_tmp / "www", small_mnist, gz=True)
    resources = [
        (f"{name}.gz", hashlib.md5((in_tmp / f"www/{name}.gz").read_bytes()).hexdigest()) for name in NAMES
    ]
    monkeypatch.setattr(torchvision_datasets.MNIST, "mirrors", [url])
    monkeypatch.setattr(torchvision_datasets.MNIST, "resources", resources)
    return handler


def test_download(mirror, small_mnist) -> None:
    assert prepare("auto") == ("mnist", "mnist, from torchvision's download")
    np.testing.assert_array_equal(load_split("mnist", "test")[0], small_mnist[NAMES[2]])
    assert {path.name for path in Path("dataset").iterdir()} == {".lock", "mnist"}


@pytest.mark.parametrize("fault", ["breaks", "wrong checksum", "missing"])
def test_a_download_that_breaks_leaves_no_file(mirror, in_tmp, fault: str) -> None:
    if fault == "breaks":
        mirror.mode = "breaks"
    elif fault == "wrong checksum":
        (in_tmp / f"www/{NAMES[3]}.gz").write_bytes(gzip.compress(b"something else"))
    else:
        (in_tmp / f"www/{NAMES[3]}.gz").unlink()
    with pytest.raises(LabError, match="mnist can't be downloaded"):
        prepare("mnist")
    assert [path.name for path in Path("dataset").iterdir()] == [".lock"]
    name, source = prepare("auto")
    assert name == "digits"
    assert "MNIST is not available" in source


def test_a_silent_server_is_given_up_in_time(mirror, monkeypatch) -> None:
    monkeypatch.setattr("vaelab.data.download.STALL_SECONDS", 1)
    mirror.mode = "silent"
    start = time.monotonic()
    with pytest.raises(LabError, match="stood still for 1 s"):
        prepare("mnist")
    assert time.monotonic() - start < 4
    assert CONNECT_SECONDS < 15
    assert [path.name for path in Path("dataset").iterdir()] == [".lock"]


def test_no_other_module_imports_torchvision() -> None:
    code = "import train, inference, grade, sys; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0


def test_download_of_cifar10(in_tmp, server, torchvision_datasets, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    archive, pixels = io.BytesIO(), {}
    md5 = {}
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, count in (("data_batch_1", 30), ("test_batch", 20), ("batches.meta", 0)):
            pixels[name] = rng.integers(0, 256, (count, 3072), np.uint8)
            entry = {
                "data": pixels[name],
                "labels": [i % 10 for i in range(count)],
                "label_names": ["x"] * 10,
            }
            data = pickle.dumps(entry)
            md5[name] = hashlib.md5(data).hexdigest()
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (in_tmp / "www").mkdir()
    (in_tmp / "www/cifar.tar.gz").write_bytes(archive.getvalue())
    for attribute, value in {
        "url": server[1] + "cifar.tar.gz",
        "filename": "cifar.tar.gz",
        "tgz_md5": hashlib.md5(archive.getvalue()).hexdigest(),
        "train_list": [["data_batch_1", md5["data_batch_1"]]],
        "test_list": [["test_batch", md5["test_batch"]]],
        "meta": {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]},
    }.items():
        monkeypatch.setattr(torchvision_datasets.CIFAR10, attribute, value)
    assert prepare("cifar10") == ("cifar10", "cifar10, from torchvision's download")
    images, labels = load_split("cifar10", "train")
    np.testing.assert_array_equal(images.reshape(24, -1), pixels["data_batch_1"][:24])
    assert labels.tolist() == [i % 10 for i in range(24)]
    assert {path.name for path in Path("dataset").iterdir()} == {".lock", "cifar10"}
