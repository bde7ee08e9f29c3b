"""Runs an untrusted program with bubblewrap, without a network and within limits; bytes in, bytes out.

The program sees a read-only file system with the Python interpreter, its packages and the folders that are
passed to it; an empty /tmp; no other processes. It reads its input from stdin and writes its output to
stdout. When it ends, or exceeds a limit, all processes that it started are killed.

At most `Limits.output_bytes` of its output are kept. Nothing in it is unpickled: see `arrays.py`.
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
from typing import IO, Any

from apps.autograde.limits import STOP, Limits, Outcome, Usage, usage
from apps.autograde.syscall_filter import ARCHITECTURES, program

SANDBOX_USER = 65534  # nobody
# If root runs this, every sandbox gets a user of its own, since the kernel keeps some resources per user.
USER_IDS = itertools.cycle(range(50_000, 60_000))
POLL_S = 0.05


# --- bubblewrap ---------------------------------------------------------------------------------


def sandbox_problem() -> str | None:
    """The reason why bubblewrap can't be used here, and what to do; None if it can."""
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
    """The folders and files that Python and its packages need, and nothing else of the system."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    folders = [Path(name) for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")]
    for prefix in sorted(prefixes):
        if prefix in (Path("/usr"), Path("/usr/local")):
            folders += [prefix / "lib", Path(sys.executable).resolve()]
        else:
            folders.append(prefix)
    return [folder for folder in folders if folder.exists()]


def hidden_folders() -> list[Path]:
    """The folders of data in installed packages: scikit-learn's contain the digits that may be graded on."""
    spec = importlib.util.find_spec("sklearn")
    packages = (spec and spec.submodule_search_locations) or ()
    folders = [Path(package, "datasets", "data") for package in packages]
    return [folder for folder in folders if folder.is_dir()]


def bubblewrap(
    command: list[str], folders: Mapping[str, Path], limits: Limits, call_filter: int | None = None
) -> list[str]:
    """The command line that runs `command` in a sandbox.

    folders: path in the sandbox to the folder that is mounted there. call_filter: the descriptor of an open
    file with the program of `syscall_filter.py`.
    """
    root = os.geteuid() == 0
    line = ["bwrap", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if root:  # `apply_limits` changes the user
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", str(SANDBOX_USER), "--gid", str(SANDBOX_USER), "--disable-userns"]
    # Writable by any user. It comes first, since mounted folders may be below the real /tmp.
    line += ["--perms", "1777", "--size", str(limits.tmp_mb << 20), "--tmpfs", "/tmp"]
    mounts = {str(folder): folder for folder in interpreter_folders()} | folders
    # bubblewrap would create the parent folders itself, not readable for other users.
    for above in sorted({str(parent) for path in mounts for parent in list(Path(path).parents)[:-1]}):
        line += ["--dir", above]
    for path, folder in mounts.items():
        # /lib -> usr/lib stays a link; if .venv is a link, its target is mounted.
        if folder.is_symlink() and folder.parent == Path("/"):
            line += ["--symlink", str(folder.readlink()), path]
        else:
            line += ["--ro-bind", str(folder), path]
    line += ["--proc", "/proc", "--dir", "/dev"]
    for device in ("/dev/null", "/dev/random", "/dev/urandom"):  # not /dev/zero: it gives uncounted memory
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
    """Run `command` with `data` on stdin until it ends or exceeds a limit.

    command: `{name}` in it is replaced by the path of the folder `name` of `folders`. sandbox: if false, only
    the limits protect this machine.
    """
    paths = {name: f"/{name}" if sandbox else str(folder) for name, folder in folders.items()}
    command = [part.format(**paths) for part in command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    start = time.monotonic()
    with tempfile.TemporaryFile() as call_filter:
        # The grader's own never enters: inside, it could be read from the process of bubblewrap.
        options: dict[str, Any] = {"env": environment(limits)}
        if sandbox:
            call_filter.write(program() or b"")
            call_filter.seek(0)
            mounts = {paths[name]: folder for name, folder in folders.items()}
            command = bubblewrap(command, mounts, limits, call_filter.fileno())
            command[0] = shutil.which("bwrap") or "bwrap"
            options["pass_fds"] = [call_filter.fileno()]
        process = subprocess.Popen(command, start_new_session=True, **pipes, **options)
    return _supervise(process, data, limits, start)


def _supervise(process: subprocess.Popen, data: bytes, limits: Limits, start: float) -> Outcome:
    """Write `data` to a process, collect its output, and kill it when it ends or exceeds a limit."""
    output, errors = bytearray(), bytearray()
    threads = [
        threading.Thread(target=_feed, args=(process.stdin, data), daemon=True),
        threading.Thread(target=_collect, args=(process.stdout, output, limits.output_bytes), daemon=True),
        threading.Thread(target=_collect_end, args=(process.stderr, errors, 1 << 14), daemon=True),
    ]
    for thread in threads:
        thread.start()
    status = "ok"
    try:
        while status == "ok" and process.poll() is None:
            if STOP.is_set():
                raise KeyboardInterrupt
            status = _exceeded(usage(process.pid), time.monotonic() - start, len(output), limits)
            if status == "ok":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
    finally:
        # Ending bubblewrap ends the sandbox. Without a sandbox, this ends the whole process group.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, 9)
        process.wait()
    for thread in threads:
        thread.join(timeout=5)  # without a sandbox, an escaped process may keep the pipe open
    if len(output) > limits.output_bytes:
        status = "output"
    return Outcome(status, process.returncode, bytes(output), bytes(errors).decode(errors="replace"))


def _feed(pipe: IO[bytes], data: bytes) -> None:
    """Write `data` to a pipe."""
    with contextlib.suppress(OSError), pipe:  # the process may end without reading
        pipe.write(data)


def _collect(pipe: IO[bytes], output: bytearray, max_bytes: int) -> None:
    """Append the data of a pipe to `output`, until there are more than `max_bytes` bytes."""
    while len(output) <= max_bytes and (chunk := pipe.read1(1 << 16)):
        output += chunk


def _collect_end(pipe: IO[bytes], output: bytearray, max_bytes: int) -> None:
    """Append the data of a pipe to `output`, and keep only the last `max_bytes` bytes."""
    while chunk := pipe.read1(1 << 16):
        output += chunk
        del output[:-max_bytes]


def _exceeded(used: Usage, seconds: float, output_bytes: int, limits: Limits) -> str:
    """The first limit that is exceeded, as the status of an `Outcome`; `ok` if none is."""
    if seconds > limits.seconds or used.cpu_s > limits.seconds * (limits.threads + 1):
        return "timeout"
    if used.memory > limits.memory_mb << 20:
        return "memory"
    if used.threads > limits.processes:
        return "processes"
    if used.tmp_files > limits.tmp_files:
        return "files"
    return "output" if output_bytes > limits.output_bytes else "ok"
