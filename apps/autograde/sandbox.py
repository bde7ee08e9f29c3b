"""Runs an untrusted program with bubblewrap, without a network and within limits; bytes in, bytes out.

The program sees a read-only file system with copies of the Python interpreter, of its packages and of the
folders that are passed to it; an empty /tmp; no /proc, no /sys, no other processes. It may use the system
calls of `syscall_filter.py`. It reads its input from stdin and writes its output to stdout. When it ends,
or exceeds a limit, it is killed with all its threads.

At most `Limits.output_bytes` of its output are kept. Nothing in it is unpickled: see `arrays.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from apps.autograde.limits import STOP, Limits, Outcome, Usage, usage
from apps.autograde.syscall_filter import library_problem, program

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
    if problem := library_problem():
        return problem
    true = shutil.which("true") or "/bin/true"
    outcome = run_sandboxed([true], {"/": Path("/")}, {}, b"", Limits(seconds=20))
    if outcome.status == "ok" and outcome.returncode == 0:
        return None
    return (
        f"bubblewrap can't make a sandbox here ({outcome.errors.strip()}): allow user namespaces, by sysctl "
        "kernel.unprivileged_userns_clone=1 or, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0"
    )


def bubblewrap(command: list[str], mounts: Mapping[str, Path], limits: Limits, call_filter: int) -> list[str]:
    """The command line that runs `command` in a sandbox.

    mounts: path in the sandbox to the file or folder that is mounted there. call_filter: the descriptor of
    an open file with the program of `syscall_filter.py`.
    """
    line = ["bwrap", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:  # `apply_limits` changes the user
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", str(SANDBOX_USER), "--gid", str(SANDBOX_USER), "--disable-userns"]
    if "/" in mounts:
        line += ["--ro-bind", str(mounts["/"]), "/"]
    # Writable by any user. It comes first, since mounted folders may be below the real /tmp.
    line += ["--perms", "1777", "--size", str(limits.tmp_mb << 20), "--tmpfs", "/tmp"]
    below = sorted(path for path in mounts if path != "/")
    # bubblewrap would create the parent folders itself, not readable for other users.
    for above in sorted({str(parent) for path in below for parent in list(Path(path).parents)[:-1]}):
        line += ["--dir", above]
    for path in below:
        if not any(str(above) in mounts for above in Path(path).parents if above != Path("/")):
            line += ["--ro-bind", str(mounts[path]), path]
    line += ["--tmpfs", "/dev"]
    for device in ("/dev/null", "/dev/random", "/dev/urandom"):  # not /dev/zero: it gives uncounted memory
        line += ["--dev-bind", device, device]
    line += ["--seccomp", str(call_filter), "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
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
        # A thread that waits for others sleeps: beside other processes, a loop would take the time that the
        # others need (see vaelab/threads.py, whose measurements need /proc).
        "GOMP_SPINCOUNT": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_sandboxed(
    command: list[str],
    system: Mapping[str, Path] | None,
    folders: Mapping[str, Path],
    data: bytes,
    limits: Limits,
) -> Outcome:
    """Run `command` with `data` on stdin until it ends or exceeds a limit.

    command: `{name}` in it is replaced by the path of the folder `name` of `folders`. system: what the
    sandbox has besides, path in it to file or folder; None: no sandbox, only the limits protect this
    machine.
    """
    paths = {name: f"/{name}" if system is not None else str(folder) for name, folder in folders.items()}
    command = [part.format(**paths) for part in command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    start = time.monotonic()
    with tempfile.TemporaryFile() as call_filter:
        # The grader's own environment never enters: it could be read from the memory of bubblewrap's process.
        options: dict[str, Any] = {"env": environment(limits)}
        if system is not None:
            call_filter.write(program())
            call_filter.seek(0)
            mounts = dict(system) | {paths[name]: folder for name, folder in folders.items()}
            command = bubblewrap(command, mounts, limits, call_filter.fileno())
            command[0] = shutil.which("bwrap") or "bwrap"
            options["pass_fds"] = [call_filter.fileno()]
        process = subprocess.Popen(command, start_new_session=True, **pipes, **options)
    return _supervise(process, data, limits, start, system is None)


def _supervise(process: subprocess.Popen, data: bytes, limits: Limits, start: float, shared: bool) -> Outcome:
    """Write `data` to a process, collect its output, and kill it when it ends or exceeds a limit.

    shared: whether shared memory counts; in a sandbox it is that of the interpreter's files.
    """
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
            status = _exceeded(usage(process.pid, shared), time.monotonic() - start, len(output), limits)
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
