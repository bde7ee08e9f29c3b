"""Run a program that may be hostile: with bubblewrap, without a network, within limits; bytes in, bytes out.

The program sees a read-only file system that holds the Python interpreter, its packages and the folders it is
given; an empty /tmp; no other process. It reads its input from stdin and writes its output to stdout, and
when it ends, or reaches a limit, everything that it started is killed with it.

Arrays cross as a line of JSON (their names, dtypes, shapes) and their bytes: nothing is unpickled, and
nothing larger than the reader asked for is kept.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.autograde.limits import STOP, Limits, Outcome, usage
from apps.autograde.syscall_filter import ARCHITECTURES, program

INSIDE = 65534  # the user in the sandbox: nobody
# Run by root, every sandbox gets a user of its own, so that none shares what the kernel keeps for a user.
USERS = itertools.cycle(range(50_000, 60_000))
POLL_S = 0.05


# --- bubblewrap ---------------------------------------------------------------------------------


def why_no_sandbox() -> str | None:
    """Why bubblewrap can't be used here, and what to do; None if it can."""
    if shutil.which("bwrap") is None:
        return (
            "bubblewrap is not installed: on Debian or Ubuntu, apt install bubblewrap "
            "(it needs Linux; elsewhere, run this in a Linux virtual machine)"
        )
    trial = subprocess.run(
        bubblewrap([sys.executable, "-I", "-c", "print(1)"], {}, Limits()),
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode == 0:
        return None
    return (
        f"bubblewrap can't make a sandbox here ({trial.stderr.strip()}): allow user namespaces, by sysctl "
        "kernel.unprivileged_userns_clone=1 or, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0"
    )


def interpreter_folders() -> list[Path]:
    """The folders and files that Python and its packages need, and no more of the system than that."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    folders = [Path(name) for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")]
    for prefix in sorted(prefixes):
        if prefix in (Path("/usr"), Path("/usr/local")):
            folders += [prefix / "lib", Path(sys.executable).resolve()]
        else:
            folders.append(prefix)
    return [folder for folder in folders if folder.exists()]


def hidden_folders() -> list[Path]:
    """Data that comes with the packages: the digits that the lab falls back on are among it."""
    spec = importlib.util.find_spec("sklearn")
    places = [Path(place, "datasets", "data") for place in (spec and spec.submodule_search_locations) or ()]
    return [place for place in places if place.is_dir()]


def bubblewrap(
    command: list[str], folders: Mapping[str, Path], limits: Limits, call_filter: int | None = None
) -> list[str]:
    """The command line that runs `command` in a sandbox, where each path of `folders` shows that folder.

    call_filter: an open file that holds the program of `seccomp.py`.
    """
    root = os.geteuid() == 0
    line = ["bwrap", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if root:  # `limit_self` becomes another user
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", str(INSIDE), "--gid", str(INSIDE), "--disable-userns"]
    # Writable by whichever user it becomes; first, since what is shown may lie below the real /tmp.
    line += ["--perms", "1777", "--size", str(limits.tmp_mb << 20), "--tmpfs", "/tmp"]
    shown = {str(folder): folder for folder in interpreter_folders()} | folders
    # bubblewrap would make what lies above them itself, closed to other users.
    for above in sorted({str(parent) for path in shown for parent in list(Path(path).parents)[:-1]}):
        line += ["--dir", above]
    for path, folder in shown.items():
        # /lib -> usr/lib stays a link; of a .venv that is one, what it links to is shown.
        if folder.is_symlink() and folder.parent == Path("/"):
            line += ["--symlink", str(folder.readlink()), path]
        else:
            line += ["--ro-bind", str(folder), path]
    line += ["--proc", "/proc", "--dir", "/dev"]
    for device in ("/dev/null", "/dev/random", "/dev/urandom"):  # of /dev/zero, memory can be had uncounted
        line += ["--dev-bind", device, device]
    for folder in hidden_folders():
        line += ["--tmpfs", str(folder), "--remount-ro", str(folder)]
    if call_filter is not None and platform.machine() in ARCHITECTURES:
        line += ["--seccomp", str(call_filter)]
    line += ["--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in environment(limits).items():
        line += ["--setenv", name, value]
    return [*line, "--", *command]


def environment(limits: Limits) -> dict[str, str]:
    """The environment of a sandboxed program."""
    threads = str(limits.threads)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_sandboxed(
    command: list[str], folders: Mapping[str, Path], data: bytes, limits: Limits, sandbox: bool = True
) -> Outcome:
    """Run `command` on `data` until it ends or reaches a limit.

    command: `{name}` in it stands for where the folder `name` of `folders` lies. sandbox: without it, nothing
    but the limits protects this machine.
    """
    places = {name: f"/{name}" if sandbox else str(folder) for name, folder in folders.items()}
    command = [part.format(**places) for part in command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    start = time.monotonic()
    with tempfile.TemporaryFile() as call_filter:
        options: dict[str, Any] = {"env": environment(limits)}
        if sandbox:
            call_filter.write(program() or b"")
            call_filter.seek(0)
            shown = {places[name]: folder for name, folder in folders.items()}
            command = bubblewrap(command, shown, limits, call_filter.fileno())
            options = {"pass_fds": [call_filter.fileno()]}
        process = subprocess.Popen(command, start_new_session=True, **pipes, **options)
    return _watch(process, data, limits, start)


def _watch(process: subprocess.Popen, data: bytes, limits: Limits, start: float) -> Outcome:
    """Feed a process, collect what it writes, and kill it at a limit."""
    output, errors = bytearray(), bytearray()

    def feed() -> None:
        with contextlib.suppress(OSError), process.stdin as pipe:  # it may end without reading
            pipe.write(data)

    def collect(pipe, into: bytearray, most: int) -> None:
        while chunk := pipe.read1(1 << 16):
            into += chunk
            if into is errors:
                del into[:-most]
            elif len(into) > most:
                return  # the loop below sees it

    threads = [
        threading.Thread(target=feed, daemon=True),
        threading.Thread(target=collect, args=(process.stdout, output, limits.output_bytes), daemon=True),
        threading.Thread(target=collect, args=(process.stderr, errors, 1 << 14), daemon=True),
    ]
    for thread in threads:
        thread.start()
    status = "ok"
    try:
        while status == "ok" and process.poll() is None:
            if STOP.is_set():
                raise KeyboardInterrupt
            used, cpu_s = usage(process.pid), limits.seconds * (limits.threads + 1)
            if time.monotonic() - start > limits.seconds or used.cpu_s > cpu_s:
                status = "timeout"
            elif used.memory > limits.memory_mb << 20:
                status = "memory"
            elif used.threads > limits.processes:
                status = "processes"
            elif used.tmp_files > limits.tmp_files:
                status = "files"
            elif len(output) > limits.output_bytes:
                status = "output"
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
    finally:
        # Its whole session, for the run without a sandbox; bubblewrap's death takes the sandbox with it.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, 9)
        process.wait()
    for thread in threads:
        thread.join(timeout=5)  # without a sandbox, a process that got away may hold the pipe
    if len(output) > limits.output_bytes:
        status = "output"
    text = bytes(errors).decode(errors="replace")
    return Outcome(status, process.returncode, bytes(output), text)
