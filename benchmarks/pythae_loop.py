"""A training pass of pythae's VAE and BaseTrainer, for train_speed.py. Needs requirements/benchmarks.txt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from data_utils import MNISTDataset
from vaelab.config import TrainConfig


class Encoder(BaseEncoder):
    """An encoder of the lab in pythae's interface."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> ModelOutput:
        mu, logvar = self.net(x).chunk(2, dim=1)  # [B, d], [B, d]
        return ModelOutput(embedding=mu, log_covariance=logvar)


class Decoder(BaseDecoder):
    """A decoder of the lab in pythae's interface."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


def make_loop(
    model: nn.Module, config: TrainConfig, train_set: MNISTDataset, folder: Path, device: torch.device
) -> Callable[[], object]:
    """A function that trains for one pass. model: a `submission.VAE`, whose networks are used."""
    shape = VAEConfig(input_dim=(28, 28), latent_dim=config.latent_dim)
    vae = VAE(shape, Encoder(model.encoder), Decoder(model.decoder))
    settings = BaseTrainerConfig(
        output_dir=str(folder),
        num_epochs=1,
        per_device_train_batch_size=config.batch_size,
        learning_rate=1e-3,
        no_cuda=device.type != "cuda",
    )
    logging.disable(logging.INFO)
    trainer = BaseTrainer(
        vae, BaseDataset(train_set.images.cpu().float() / 255, train_set.labels.cpu()), None, settings
    )
    trainer.prepare_training()

    def one_pass() -> None:
        trainer.callback_handler.on_epoch_begin(
            training_config=settings, epoch=1, train_loader=trainer.train_loader, eval_loader=None
        )
        trainer.train_step(1)

    return one_pass
