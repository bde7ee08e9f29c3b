"""Training and inference beside other busy processes: three ways to use two or more threads.

    python benchmarks/neighbours_speed.py --data_dir FOLDER

Work: training steps of the handout's MLP and of the default network, reconstruction, refinement of codes.
Beside it: nothing, 1, 2 and 4 processes that only compute, and the same work a second time (as JOBS=2 does).
Three ways, alternating, in one process: `spinning` (libgomp as it is), `controlled` (`SpinControl`, as
train.py and inference.py use it), `one thread`. Prints batches per second, medians over the rounds, and the
ratio of `controlled` to the best of the three.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import submission  # noqa: E402
from beyond import options as beyond_options  # noqa: E402
from data_utils import MNISTDataset  # noqa: E402
from trainer import Trainer  # noqa: E402
from vaelab.cli import Parser, markdown, number, run  # noqa: E402
from vaelab.contract import build_model, from_submission  # noqa: E402
from vaelab.data.options import add_data_dir_option, add_dataset_option  # noqa: E402
from vaelab.run import RunRequest, make_config  # noqa: E402
from vaelab.threads import SpinControl, default_threads  # noqa: E402

WAYS = ("spinning", "controlled", "one thread")
LOADS = ("nothing", "1 process", "2 processes", "4 processes", "the same work")
MLP = {"arch": "mlp", "hidden_dim": 400, "activation": "relu"}  # the handout's: 784-400-20
SETTLE = 3.0  # seconds before each measurement: SpinControl measures for half a second, and 2 s for idleness
WORK = ("MLP training", "default training", "reconstruction", "refinement")


def make_work(name: str, args: argparse.Namespace, folder: Path) -> Callable[[], object]:
    """A function that does one batch of the work."""
    additions = {"refine": 10} if name == "refinement" else {}
    request = RunRequest(
        "VAE0label",
        folder,
        model=MLP if name == "MLP training" else {},
        beyond=beyond_options.read_options(additions),
    )
    data = MNISTDataset("train", args.dataset, args.data_dir)
    device = torch.device("cpu")
    config = make_config(request, submission, data.name, device)
    model = build_model(submission, config)
    trainer = Trainer(model, from_submission(submission, "vae_loss"), config, data, data, folder, device)
    if name.endswith("training"):
        batch = data.__getitems__(range(config.batch_size))
        model.train()
        return lambda: trainer.train_step(batch, 0.5, config.lr)
    batch = data.__getitems__(range(1000))
    model.eval()
    if name == "refinement":
        return lambda: model.compress(batch.images)
    return torch.no_grad()(lambda: model.decode(model.encode(batch.images)[0]))


@contextmanager
def load(name: str, work: str, way: str, args: argparse.Namespace) -> Iterator[None]:
    """A context in which other processes are busy."""
    command, count = [sys.executable, "-c", "while True: pass"], int(name[0]) if name[0].isdigit() else 0
    if name == "the same work":
        count, command = 1, [sys.executable, __file__, "--dataset", args.dataset, "--forever", work, way]
        command += ["--data_dir", str(args.data_dir)] if args.data_dir else []
    others = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(count)]
    try:
        if name == "the same work":
            time.sleep(6)  # it imports torch first
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def used(way: str, threads: int) -> Iterator[None]:
    """A context in which torch works in one of the three ways."""
    torch.set_num_threads(1 if way == "one thread" else threads)
    with SpinControl() if way == "controlled" else nullcontext():
        yield


def throughput(do: Callable[[], object], seconds: float) -> float:
    """Batches per second over a number of seconds, after a time to settle."""
    for limit in (SETTLE, seconds):
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < limit:
            do()
            count += 1
        rate = count / (time.perf_counter() - start)
    return rate


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add_dataset_option(parser)
    add_data_dir_option(parser)
    parser.add_argument("--rounds", type=number(int, 1), default=3, help="measurements of each (default: 3)")
    parser.add_argument("--seconds", type=number(float, 0), default=4, help="of each run (default: 4)")
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK, help="(default: all)")
    parser.add_argument("--forever", nargs=2, metavar=("WORK", "WAY"), help="do some work until killed")
    return parser.parse_args()


def main() -> None:
    """Measure, and print a table."""
    args, threads = parse_args(), default_threads()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if args.forever:
            name, way = args.forever
            do = make_work(name, args, folder)
            with used(way, threads):
                while True:
                    do()
        rows = []
        for name in args.work:
            do = make_work(name, args, folder)
            for beside in LOADS:
                rates: dict[str, list[float]] = {way: [] for way in WAYS}
                for _ in range(args.rounds):
                    for way in WAYS:
                        with load(beside, name, way, args), used(way, threads):
                            rates[way].append(throughput(do, args.seconds))
                medians = {way: statistics.median(rates[way]) for way in WAYS}
                ratio = medians["controlled"] / max(medians.values())
                rows.append([name, beside, *(f"{rate:.1f}" for rate in medians.values()), f"{ratio:.2f}"])
                print(rows[-1], flush=True, file=sys.stderr)
        print(markdown(("work", "beside it", *WAYS, "controlled / best"), rows))


if __name__ == "__main__":
    run(main)
