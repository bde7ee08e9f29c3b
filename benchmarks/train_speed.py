"""Training speed: our Trainer against a plain PyTorch loop and against pythae, on the same networks.

    pip install -r requirements/benchmarks.txt
    python benchmarks/train_speed.py

A round trains every contender for one pass over the same images, one after the other; the rounds alternate
them, and the table gives the median and the range of images per second. What is timed is the training pass
alone: no validation, no checkpoint, no start-up, except that every contender fetches its own batches.

- ours: `Trainer.train_epoch` on the images as they are, which is what the others do.
- ours, distorting: the same as `train.py` runs it, with the distortions of its default `--distort`.
- plain: what a tutorial writes. A Dataset that makes a PIL image and turns it into a tensor, one by one; a
  DataLoader; float32; Adam; the same model, loss and batch size.
- pythae: its VAE and BaseTrainer, with our encoder and decoder as its networks, and its own loss.

The last column holds the share of the machine's matrix multiplication peak (measured on 2048 x 2048 in the
run's own precision) that a step of ours reaches: the multiplications of layers alone are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench import machine
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import submission
from data_utils import MNISTDataset
from submission import vae_loss
from trainer import Trainer
from vaelab.cli import Parser, markdown, number, run
from vaelab.config import TrainConfig, make_config
from vaelab.contract import build_model
from vaelab.data.options import add_data_dir_option, add_dataset_option

# What train.py is given: the lab's first network and the default one, with the lab's plain loss, which is
# also pythae's; then the defaults of both tasks.
PLAIN = {"task": "VAE0label", "recon": "mse", "prior": "standard"}
MODELS = {
    "MLP 784-400-20": {**PLAIN, "arch": "mlp", "activation": "relu", "hidden_dim": 400, "latent_dim": 20},
    "conv, plain loss": PLAIN,
    "VAE0label's default": {"task": "VAE0label"},
    "Genwithlabel's default": {"task": "Genwithlabel"},
}


# --- The contenders -----------------------------------------------------------------------------


def our_trainer(config: TrainConfig, train_set: MNISTDataset, folder: Path) -> Trainer:
    """The Trainer that `train.py` would make."""
    model = build_model(submission, config.task, config.model_args)
    return Trainer(model, vae_loss, config, train_set, train_set, folder, torch.device("cpu"))


class TutorialDataset(Dataset):
    """Images one by one, each by way of PIL: what torchvision's MNIST with ToTensor does."""

    def __init__(self, train_set: MNISTDataset) -> None:
        self.images, self.labels = train_set.images.numpy(), train_set.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        return torch.from_numpy(np.array(image)).to(torch.float32).div(255), self.labels[index]


def plain_loop(config: TrainConfig, train_set: MNISTDataset) -> Callable[[], object]:
    """A pass of the plain loop. Returns: a function that trains for one."""
    model = build_model(submission, config.task, config.model_args)
    loader = DataLoader(TutorialDataset(train_set), batch_size=config.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def one_pass() -> None:
        model.train()
        for x, labels in loader:
            loss = model.training_loss(x, labels, config.var)[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # a tutorial adds it up

    return one_pass


def pythae_loop(config: TrainConfig, train_set: MNISTDataset, folder: Path) -> Callable[[], object] | None:
    """A pass of pythae's trainer; None where it isn't installed, or for a loss that it doesn't have."""
    try:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
    except ImportError:
        return None
    if config.model_args["prior"] != "standard":
        return None
    ours = build_model(submission, config.task, config.model_args)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = ours.encoder

        def forward(self, x: Tensor) -> ModelOutput:
            mu, logvar = self.net(x).chunk(2, dim=1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = ours.decoder

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z))

    model = VAE(
        VAEConfig(input_dim=(28, 28), latent_dim=config.model_args["latent_dim"]), Encoder(), Decoder()
    )
    data = BaseDataset(train_set.images.float() / 255, train_set.labels)
    settings = BaseTrainerConfig(
        output_dir=str(folder),
        num_epochs=1,
        per_device_train_batch_size=config.batch_size,
        learning_rate=1e-3,
        no_cuda=True,
    )
    logging.disable(logging.INFO)
    trainer = BaseTrainer(model, data, None, settings)
    trainer.prepare_training()

    def one_pass() -> None:
        trainer.callback_handler.on_epoch_begin(
            training_config=settings, epoch=1, train_loader=trainer.train_loader, eval_loader=None
        )
        trainer.train_step(1)

    return one_pass


# --- The measurement ----------------------------------------------------------------------------


def images_per_second(one_pass: Callable[[], object], images: int) -> float:
    """The speed of one pass."""
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # pythae's progress bar
        one_pass()
    return images / (time.perf_counter() - start)


def matmul_peak(precision: str) -> float:
    """Floating-point operations per second of a 2048 x 2048 product: the best of ten."""
    n = 2048
    a = torch.randn(n, n, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / min(seconds)


def step_operations(trainer: Trainer, config: TrainConfig) -> int:
    """Floating-point operations of the layers in one step, forward and backward."""
    batch = next(trainer.train_set.batches(config.batch_size))
    with FlopCounterMode(display=False) as counter:
        terms, _ = trainer.loss_terms(batch.images, trainer.labels_for_model(batch.labels))
        terms[0].backward()
    return counter.get_total_flops()


def measure(
    name: str, args: argparse.Namespace, train_set: MNISTDataset, peak: dict[str, float]
) -> list[tuple[str, ...]]:
    """The rows of one network."""
    device = torch.device("cpu")
    config = make_config(dict(MODELS[name]), train_set.name, device)
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as bar:
        trainers = {
            "ours": our_trainer(replace(config, distort=0.0), train_set, Path(folder)),
            "ours, distorting": our_trainer(config, train_set, Path(folder)),
        }
        contenders: dict[str, Callable[[], object] | None] = {
            **{key: partial(trainer.train_epoch, bar) for key, trainer in trainers.items()},
            "plain loop": plain_loop(config, train_set),
            "pythae": pythae_loop(config, train_set, Path(folder)),
        }
        speeds: dict[str, list[float]] = {key: [] for key, one_pass in contenders.items() if one_pass}
        for round_ in range(args.rounds + 1):
            for key, values in speeds.items():
                speed = images_per_second(contenders[key], len(train_set))
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
    parser.add_argument("--images", type=number(int, 1280), default=12_800, help="a pass (default: 12,800)")
    parser.add_argument("--rounds", type=number(int, 1, 100), default=5, help="passes each (default: 5)")
    add_dataset_option(parser)
    add_data_dir_option(parser)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    train_set = MNISTDataset("train", args.dataset, args.data_dir)
    train_set.keep_first(args.images)
    peak = {precision: matmul_peak(precision) for precision in ("bf16", "fp32")}
    rows = [row for name in MODELS for row in measure(name, args, train_set, peak)]
    print(f"{machine()}; {args.rounds} passes of {len(train_set):,} images each")
    print(", ".join(f"{key} matmul peak {value / 1e9:.0f} GFLOP/s" for key, value in peak.items()) + "\n")
    print(markdown(("network", "", "images/s, median", "range", "ours is faster by", "precision"), rows))


if __name__ == "__main__":
    run(main)
