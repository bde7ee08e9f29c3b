"""Train, reconstruct, generate and grade every configuration of a grid, several at once.

    LATENT_DIM="8 16 24" VAR="0.01 0.1" SEED="1 2 3" EPOCHS=5 JOBS=2 bash scripts/sweep.sh

The grid is in variables, named as the options of train.py. Each configuration has a folder of its own in
OUTPUT_DIR (default: outputs/sweep), and there a result.json once it is done: it is not done again. One that
broke off goes on where it was; one that failed is recorded with its reason, and tried again the next time.

In a SLURM job array each task takes its share of the configurations. Nobody hands them out: whoever holds the
lock of a configuration's folder works on it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from apps.sweep.grid import SETTINGS, Configuration, own_share, read_grid
from apps.sweep.worker import start
from vaelab.cli import LabError, Parser, number
from vaelab.files import lock, make_folder, read_json, write_json
from vaelab.sweep_results import RESULT, summarise

REPO = Path(__file__).resolve().parent
INTERRUPTED = 130  # what a command that Ctrl-C stops exits with


# --- One configuration --------------------------------------------------------------------------


def is_done(folder: Path, sweep: str = "") -> bool:
    """Whether a configuration has its result, or has failed in this very sweep."""
    try:
        result = read_json(folder / RESULT)
        return result["status"] == "done" or result["sweep"] == sweep
    except (LabError, KeyError):
        return False


def commands(configuration: Configuration, folder: Path, settings: Mapping[str, Any]) -> list[list[str]]:
    """What is run, one after the other."""
    task, root = configuration.task, ["--output_dir", str(folder)]
    data = ["--data_dir", settings["DATA_DIR"]] if settings["DATA_DIR"] else []
    device = ["--device", settings["DEVICE"]] if settings["DEVICE"] else []
    given = [f"--{key}={value}" for key, value in configuration.options.items()]
    # A folder without last.pt holds nothing, or what is left of a configuration whose result was lost.
    how = "--resume" if (folder / task / "last.pt").exists() else "--overwrite"
    best = ["--checkpoint_path", str(folder / task / "best.pt")]
    return [
        ["train.py", "--task", task, how, *given, *root, *data, *device],
        ["inference.py", *best, *root, *data, *device],
        ["grade.py", *root, *data],
    ]


def work_on(configuration: Configuration, folder: Path, settings: Mapping[str, Any]) -> str:
    """Run a configuration's commands and record how it ended. Returns: that, in one line."""
    result = {"task": configuration.task, "options": configuration.options, "status": "done", "reason": ""}
    result["sweep"] = settings["SWEEP"]
    out, errors = folder / "output.txt", folder / "errors.txt"
    for command in commands(configuration, folder, settings):
        errors.unlink(missing_ok=True)
        pid = start([str(REPO / command[0]), *command[1:]], out, errors)
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGINT)
            os.waitpid(pid, 0)
            raise
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0:
            said = (errors.read_text(errors="replace").strip().splitlines() or [""])[-1]
            ended = f"ended by signal {-code}" if code < 0 else said.removeprefix("error: ")
            result |= {"status": "failed", "reason": f"{command[0]}: {ended}"}
            break
    else:
        grade = read_json(folder / "grade_result.json")[configuration.task]
        result |= {key: value for key, value in grade.items() if not isinstance(value, (list, dict))}
    write_json(folder / RESULT, result)
    if result["status"] == "failed":
        return f"failed: {result['reason']}"
    tidy(folder, configuration.task)
    return f"score {result['score_uncapped']:.2f}"


def tidy(folder: Path, task: str) -> None:
    """Delete what is large and can be made again: of a configuration 80 MB are left 16."""
    outputs = folder / task / "valid"
    for path in (
        outputs / "hyperparams.json",
        outputs / "recon.npy",
        outputs / "gen.npy",
        folder / task / "last.pt",
    ):
        path.unlink(missing_ok=True)


# --- Many ---------------------------------------------------------------------------------------


def work(todo: list[Configuration], root: Path, settings: Mapping[str, Any], say: Callable) -> None:
    """Go through the configurations; then wait for those that another process was busy with.

    say: is told of each that is done here.
    """
    for wait in (False, True):
        left = []
        for configuration in todo:
            folder = make_folder(root / configuration.name)
            with ExitStack() as stack:
                try:
                    stack.enter_context(lock(folder, wait))
                except LabError:
                    left.append(configuration)
                    continue
                if not is_done(folder, settings["SWEEP"]) and os.getppid() == settings["PARENT"]:
                    say(f"{configuration.name}: {work_on(configuration, folder, settings)}")
        todo = left


def start_worker(todo: list[Configuration], root: Path, settings: Mapping[str, Any], pipe: int) -> int:
    """Fork a process that works, and writes a line into `pipe` for each configuration. Returns: its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        work(todo, root, settings, lambda line: os.write(pipe, f"{line}\n".encode()))
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # whoever started this is gone
        pass
    except (LabError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def work_together(todo: list[Configuration], root: Path, settings: dict[str, Any]) -> int:
    """Work with JOBS processes, and show how far they are. Returns: how many of them broke off."""
    done = sum(is_done(root / configuration.name) for configuration in todo)
    print(
        f"{len(todo)} configurations, {done} of them done, {settings['JOBS']} at once, in {root}/", flush=True
    )
    settings |= {"PARENT": os.getpid(), "SWEEP": f"{os.getpid()} {time.time()}"}
    ours, theirs = os.pipe()
    jobs = min(settings["JOBS"], len(todo) - done)
    workers = [start_worker(todo, root, settings, theirs) for _ in range(jobs)]
    os.close(theirs)  # so that the pipe ends when all of them have
    try:
        with os.fdopen(ours) as lines, tqdm(total=len(todo), initial=done, disable=None, unit="run") as bar:
            for n, line in enumerate(lines, start=done + 1):
                bar.write(f"{n}/{len(todo)} {line.rstrip()}")
                sys.stdout.flush()
                bar.update()
        return sum(os.waitpid(worker, 0)[1] != 0 for worker in workers)
    except KeyboardInterrupt:
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        for worker in workers:
            os.waitpid(worker, 0)
        print("\nstopped: the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the grid, work on it, and say what came out."""
    Parser(description=__doc__).parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings: dict[str, Any] = {name: os.environ.get(name, "") for name in SETTINGS}
    try:
        settings["JOBS"] = number(int, 1, 1024)(settings["JOBS"] or "1")
    except argparse.ArgumentTypeError as error:
        raise LabError(f"JOBS: {error}") from error
    todo = own_share(read_grid(os.environ), os.environ)
    if not todo:
        print("nothing to do: the array has more tasks than the grid has configurations")
        return
    root = make_folder(Path(settings["OUTPUT_DIR"] or "outputs/sweep"))
    broken = work_together(todo, root, settings)
    summarise(root)
    if broken:
        raise LabError(f"{broken} of the processes broke off: the same command goes on")
