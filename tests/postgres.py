"""A PostgreSQL server on a free port of the loopback interface, for the tests of shared studies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find_binaries() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian does not put on the PATH; None if there is none."""
    found = [
        *Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        *map(Path, filter(None, [shutil.which("initdb")])),
    ]
    return found[0].parent if found else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """A server with an empty database. Yields: its URL. It refuses to run as root: then it is `nobody`'s."""
    binaries = find_binaries()
    if not binaries:
        pytest.skip("needs Debian's postgresql: bash scripts/debian_packages.sh")
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        if user:
            shutil.chown(folder, user["user"])
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
        data = f"{folder}/data"
        command = [
            binaries / "initdb",
            "-D",
            data,
            "--auth=trust",
            "--username=lab",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(command, check=True, **quiet)
        options = ["-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        server = subprocess.Popen([binaries / "postgres", *options], **quiet)
        try:
            ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, check=False, **quiet).returncode:
                assert server.poll() is None, "postgres has ended"
            yield f"postgresql://lab:secret@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # end its clients too
            server.wait()
