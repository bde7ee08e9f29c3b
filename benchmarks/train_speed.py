"""The speed of training: the lab's Trainer, a plain PyTorch loop, and pythae, with the same networks.

    pip install -r requirements/benchmarks.txt
    python benchmarks/train_speed.py

In each round every program trains for one pass over the same images, one after the other. The table gives the
median and the range of images per second over the rounds. The time of the training pass is measured, with the
loading of its batches, and without validation, checkpoints and start-up.

- ours: `Trainer.train_epoch` without augmentation, as in the other programs.
- ours, augment: the same with `--augment 1`.
- plain loop: the code of a tutorial. A Dataset that converts PIL images to tensors, one by one; a DataLoader;
  float32; Adam; the same model, loss and batch size.
- pythae: its VAE and BaseTrainer with our encoder and decoder, and its own loss.

The last column has the share of the device's peak of matrix multiplication (measured on square matrices in
the precision of the run) that our training reaches, counting only the multiplications of the layers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from helpers import machine
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import submission
from beyond import options as beyond_options
from data_utils import MNISTDataset
from submission import vae_loss
from trainer import Trainer
from vaelab.cli import Parser, add_device_option, markdown, number, run
from vaelab.config import TrainConfig
from vaelab.contract import build_model
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.device import choose_device, choose_precision
from vaelab.run import RunRequest, make_config
from vaelab.tasks import TASKS

# The tasks and options of train.py: the handout's first network; the defaults of both tasks; and --beyond.
MLP = {"arch": "mlp", "activation": "relu", "hidden_dim": 400, "latent_dim": 20}
MODELS = {
    "MLP 784-400-20": ("VAE0label", MLP, {}),
    "VAE0label's default": ("VAE0label", {}, {}),
    "Genwithlabel's default": ("Genwithlabel", {}, {}),
    "Genwithlabel, --beyond": ("Genwithlabel", {}, {"beyond": True}),
}


# --- The programs -------------------------------------------------------------------------------


def config_of(name: str, dataset: str, device: torch.device) -> TrainConfig:
    """The configuration that `train.py` would use for an entry of `MODELS`."""
    task, model, given = MODELS[name]
    additions = {
        "beyond": beyond_options.read_options(given),
        "beyond_given": beyond_options.chosen_additions(given),
        "defaults": beyond_options.changed_defaults(given, task),
    }
    request = RunRequest(task, Path(), model=model, **additions)
    return make_config(request, submission, dataset, device)


def our_trainer(config: TrainConfig, train_set: MNISTDataset, folder: Path, device: torch.device) -> Trainer:
    """The Trainer that `train.py` would create."""
    model = build_model(submission, config)
    return Trainer(model, vae_loss, config, train_set, train_set, folder, device)


class TutorialDataset(Dataset):
    """Single images, each converted from a PIL image, as torchvision's MNIST with ToTensor does."""

    def __init__(self, train_set: MNISTDataset) -> None:
        self.images, self.labels = train_set.images.cpu().numpy(), train_set.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        return torch.from_numpy(np.array(image)).to(torch.float32).div(255), self.labels[index]


def plain_loop(config: TrainConfig, train_set: MNISTDataset, device: torch.device) -> Callable[[], object]:
    """The plain loop, as a function that trains for one pass."""
    model = build_model(submission, config).to(device)
    loader = DataLoader(TutorialDataset(train_set), batch_size=config.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def one_pass() -> None:
        model.train()
        for x, labels in loader:
            x, labels = x.to(device), labels.to(device)
            if hasattr(model, "training_loss"):
                loss = model.training_loss(x, labels, config.var)[0]
            else:
                recon, mu, logvar = model(x, labels)
                loss = vae_loss(recon, x, mu, logvar, config.var)[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # as in tutorials, which sum it

    return one_pass


def pythae_loop(
    config: TrainConfig, train_set: MNISTDataset, folder: Path, device: torch.device
) -> Callable[[], object] | None:
    """Pythae's trainer, as a function that trains for one pass; None if it can't be compared.

    It must be installed, and has no conditional model and no loss like those of beyond/.
    """
    if TASKS[config.task].conditional or config.beyond:
        return None
    try:
        from pythae_loop import make_loop
    except ImportError:
        return None
    return make_loop(build_model(submission, config), config, train_set, folder, device)


# --- The measurement ----------------------------------------------------------------------------


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given. A CPU works while its caller waits."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def images_per_second(one_pass: Callable[[], object], images: int, device: torch.device) -> float:
    """The images per second of one pass."""
    synchronize(device)
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # pythae's progress bar
        one_pass()
    synchronize(device)
    return images / (time.perf_counter() - start)


def matmul_peak(precision: str, device: torch.device) -> float:
    """Floating-point operations per second of a matrix product, the best of ten (or of those in 5 s).

    2048 x 2048 on a CPU, 8192 x 8192 on a GPU, whose launch of a smaller one takes as long as the product.
    """
    n = 2048 if device.type == "cpu" else 8192
    a = torch.randn(n, n, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device)
    seconds = []
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        a @ a
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > 5:
            break
    return 2 * n**3 / min(seconds)


def step_operations(trainer: Trainer, config: TrainConfig) -> int:
    """The floating-point operations of the layers in one step, forward and backward."""
    batch = next(trainer.train_set.batches(config.batch_size))
    with FlopCounterMode(display=False) as counter:
        terms, _ = trainer.loss_terms(batch.images, trainer.labels_for_model(batch.labels))
        terms[0].backward()
    return counter.get_total_flops()


def measure(
    name: str,
    args: argparse.Namespace,
    train_set: MNISTDataset,
    peak: dict[str, float],
    device: torch.device,
) -> list[tuple[str, ...]]:
    """The rows of one network in the table."""
    config = config_of(name, train_set.name, device)
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as bar:
        trainers = {
            "ours": our_trainer(replace(config, augment=0.0), train_set, Path(folder), device),
            "ours, augment": our_trainer(replace(config, augment=1.0), train_set, Path(folder), device),
        }
        programs: dict[str, Callable[[], object] | None] = {
            **{key: partial(trainer.train_epoch, bar) for key, trainer in trainers.items()},
            "plain loop": plain_loop(config, train_set, device),
            "pythae": pythae_loop(config, train_set, Path(folder), device),
        }
        speeds: dict[str, list[float]] = {key: [] for key, one_pass in programs.items() if one_pass}
        for round_ in range(args.rounds + 1):
            for key, values in speeds.items():
                speed = images_per_second(programs[key], len(train_set), device)
                if round_ > 0:  # the first one warms up
                    values.append(speed)
        operations = step_operations(trainers["ours"], config)
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    rows = []
    for key, values in speeds.items():
        ratio, about = f"{medians['ours'] / medians[key]:.1f}", "fp32"
        if key in trainers:
            share = medians[key] / config.batch_size * operations / peak[config.precision]
            ratio, about = "", f"{config.precision}, {share:.2f} of the matmul peak"
        span = f"{min(values):,.0f} to {max(values):,.0f}"
        rows.append((name, key, f"{medians[key]:,.0f}", span, ratio, about))
    return rows


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument("--images", type=number(int, 256), default=12_800, help="a pass (default: 12,800)")
    parser.add_argument("--rounds", type=number(int, 1, 100), default=5, help="passes each (default: 5)")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    add_device_option(parser)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    train_set = MNISTDataset("train", args.dataset, args.data_dir)
    train_set.keep_first(args.images)
    device = choose_device(args.device)
    native = choose_precision("auto", device)  # bf16 is emulated, and slow, on other processors
    peak = {precision: matmul_peak(precision, device) for precision in dict.fromkeys((native, "fp32"))}
    rows = [row for name in MODELS for row in measure(name, args, train_set, peak, device)]
    on_gpu = f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""
    print(f"{on_gpu}{machine()}; {args.rounds} passes of {len(train_set):,} images each")
    print(", ".join(f"{key} matmul peak {value / 1e9:.0f} GFLOP/s" for key, value in peak.items()) + "\n")
    print(markdown(("network", "", "images/s, median", "range", "ours is faster by", "precision"), rows))


if __name__ == "__main__":
    run(main)
