"""Downloads by torchvision, which has lists of the mirrors and checksums of its data sets."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
import time
from pathlib import Path

from vaelab.cli import reason
from vaelab.data.idx import SourceUnavailableError
from vaelab.data.options import TORCHVISION
from vaelab.data.torchvision_sets import layout, torchvision_class

CONNECT_SECONDS = 5  # time limit for one mirror to answer
STALL_SECONDS = 12  # a download without progress for this time is stopped


def download(dataset: str, folder: Path) -> Path:
    """Download `dataset` into `folder`. Returns: the folder with the files.

    Raises: SourceUnavailableError if torchvision can't be loaded, the download fails, or it makes no progress
    for `STALL_SECONDS`.
    """
    dataset_class = torchvision_class(dataset)
    # torchvision makes a folder of its own only for idx files.
    _fetch(dataset_class, folder / TORCHVISION[dataset] if dataset == "cifar10" else folder, dataset)
    return folder / layout(dataset)


def _fetch(dataset_class: type, folder: Path, dataset: str) -> None:
    """Download into `folder` by torchvision; stop waiting if there is no progress for `STALL_SECONDS`.

    The download runs in a thread of its own, since a DNS look-up can hang, and has no time limit.
    """
    failures: list[Exception] = []

    def fetch() -> None:
        try:
            dataset_class(folder, download=True)
        except Exception as error:  # any error; it is reported below
            failures.append(error)

    def fetched_bytes() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    thread = threading.Thread(target=fetch, daemon=True)
    silence = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    timeout_before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        with silence:  # torchvision always draws progress bars
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
        raise SourceUnavailableError(
            "the download of {dataset} stood still for {seconds} s",
            dataset=dataset,
            seconds=STALL_SECONDS,
        )
    for error in failures:
        raise SourceUnavailableError(
            "{dataset} can't be downloaded ({reason})", dataset=dataset, reason=reason(error)
        ) from error
