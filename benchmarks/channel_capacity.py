"""How much one sandboxed step can tell a later one, if both try, in bits a second.

    python benchmarks/channel_capacity.py

Sender and receiver run in sandboxes as steps do, one right after the other, without the seconds that a step
needs to import PyTorch in between: so each number is an upper bound of what is left in grading. `--system
disk` gives them the files on disk, as the sandbox had them before, for comparison.

The channel is a number for each bit that the receiver measures. A threshold is fitted on one half of the
bits; e is the share of errors on the other half. The capacity of a bit is then 1 - H(e), H the binary
entropy.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from helpers import machine

from apps.autograde.interpreter import Interpreter, private_folder, ram_folder
from apps.autograde.limits import Limits
from apps.autograde.sandbox import run_sandboxed
from vaelab.cli import LabError, Parser, markdown, number, run

COMMON = """
import glob, json, mmap, os, sys, sysconfig, time
bits = json.loads(sys.stdin.read())
packages = sysconfig.get_paths()["purelib"]
big = max(glob.glob(packages + "/torch/lib/*.so*"), key=os.path.getsize)
size, folder = os.path.getsize(big), packages + "/torch"
def timed(action):
    start = time.perf_counter_ns()
    action()
    return time.perf_counter_ns() - start
def name(i): return f"{folder}/no-{KEY}-{i}"
def look(i):
    try: os.stat(name(i))
    except OSError: pass
file = os.open(big, os.O_RDONLY)
def place(i): return (size // 2 + 262144 * i) % (size - 4096)
view = mmap.mmap(file, 0, prot=mmap.PROT_READ)
def touch(i): return view[4096 * 3 * i + 64 * (i % 64)]
"""
SENDERS = {  # what is done for a bit 1
    "names that were looked up": "look(i)",
    "parts of a file that were read": "os.pread(file, 4096, place(i))",
    "lines in the processor's cache": "[touch(i) for _ in range(50)]",
}
RECEIVERS = {
    "names that were looked up": "timed(lambda: look(i))",
    "parts of a file that were read": "timed(lambda: os.pread(file, 4096, place(i)))",
    "lines in the processor's cache": "timed(lambda: touch(i))",
}


def step(code: str, bits: list[int], mounts: dict[str, Path], key: str) -> bytes:
    """Run a program in a sandbox. Returns: what it printed. Raises: LabError if it failed."""
    command = [sys.executable, "-I", "-c", COMMON.replace("KEY", key) + code]
    outcome = run_sandboxed(
        [part.replace("{", "{{").replace("}", "}}") for part in command],
        mounts,
        {},
        json.dumps(bits).encode(),
        Limits(),
    )
    if outcome.returncode:
        raise LabError(f"a step failed: {outcome.errors}")
    return outcome.output


def entropy(e: float) -> float:
    """The entropy of a bit that is 1 with the probability e."""
    return 0.0 if e in (0, 1) else -e * math.log2(e) - (1 - e) * math.log2(1 - e)


def errors_of(bits: np.ndarray, values: np.ndarray) -> float:
    """The share of errors of the second half, with the threshold that is best for the first."""
    half = len(bits) // 2
    best, threshold, low_is_one = 1.0, 0.0, True
    for each in np.quantile(values[:half], np.linspace(0.02, 0.98, 97)):
        wrong = float(np.mean((values[:half] < each) != bits[:half]))
        for error, low in ((wrong, True), (1 - wrong, False)):
            if error < best:
                best, threshold, low_is_one = error, each, low
    return float(np.mean(((values[half:] < threshold) == low_is_one) != bits[half:]))


def measure(channel: str, mounts: dict[str, Path], n: int, rounds: int) -> tuple[float, float]:
    """The share of errors, and the bits that arrive in a second."""
    wrong, seconds, rng = [], 0.0, np.random.default_rng()
    for _ in range(rounds):
        bits, key = rng.integers(0, 2, n), f"{time.time_ns()}"
        start = time.perf_counter()
        step(f"\nfor i, bit in enumerate(bits):\n    if bit: {SENDERS[channel]}", bits.tolist(), mounts, key)
        code = f"\nprint(json.dumps([{RECEIVERS[channel]} for i in range(len(bits))]))"
        values = np.array(json.loads(step(code, [0] * n, mounts, key)), float)
        seconds += time.perf_counter() - start
        wrong.append(errors_of(bits.astype(bool), values))
    # With few bits, e is off 1/2 by chance; that is not information.
    e = statistics.mean(wrong)
    chance = 2 * math.sqrt(0.25 / (n / 2 * rounds))
    arrives = 0.0 if abs(e - 0.5) < chance else 1 - entropy(e)
    return e, arrives * n * rounds / seconds


def start_jitter(mounts: dict[str, Path], rounds: int) -> float:
    """The standard deviation of the seconds from a sender's last moment to a receiver's first."""
    gaps = []
    for _ in range(rounds):
        sent = float(step("\nprint(time.monotonic())", [], mounts, "0"))
        gaps.append(float(step("\nprint(time.monotonic())", [], mounts, "0")) - sent)
    return statistics.stdev(gaps)


def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--bits", type=number(int, 10), default=1000, help="in a round (default: 1000)")
    add("--rounds", type=number(int, 2), default=10, help="of each channel (default: 10)")
    add(
        "--system", choices=("memory", "disk"), default="memory", help="where the files are (default: memory)"
    )
    args = parser.parse_args()
    with private_folder(ram_folder() or Path()) as folder:
        mounts = Interpreter.copy(folder).mounts
        if args.system == "disk":
            mounts = {path: Path(path) for path in mounts if path != "/proc"}
        rows = []
        for channel in SENDERS:
            e, rate = measure(channel, mounts, args.bits, args.rounds)
            rows.append([channel, f"{e:.1%}", f"{rate:.1f}"])
        jitter, limit = start_jitter(mounts, 3 * args.rounds), Limits().seconds
        once = math.log2(limit / (jitter * math.sqrt(2 * math.pi * math.e)))
        rows.append(["when a step ends", f"jitter {1000 * jitter:.0f} ms", f"{once:.0f} bits in {limit:g} s"])
    print(f"{args.rounds} rounds of {args.bits} bits, files in {args.system}; {machine()}\n")
    print(markdown(["channel", "wrong bits", "bits a second"], rows))


if __name__ == "__main__":
    run(main)
