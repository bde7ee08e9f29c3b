"""Honest models of many kinds, trained for a short time: what the probes of the autograder are measured on.

Both tasks; MLP and convolutions; all priors and losses of `beyond/`; refined codes; autoencoders whose
codes are large, so that float16 matters; discrete codes; PCA. `false_flags.py` trains and measures them.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from helpers import REPO  # noqa: F401 it puts the repository's folder on the path
from torch import Tensor, nn

import submission
from beyond.discrete.build import build_from, model_args
from beyond.extended import extend
from beyond.options import Additions
from model import MNIST_SHAPE
from vaelab.config import TrainConfig
from vaelab.tasks import TASKS


@dataclass(frozen=True)
class Setting:
    """An honest model."""

    kind: str  # vae, autoencoder, beyond, discrete or pca
    dataset: str
    task: str
    seed: int
    latent_dim: int = 20
    arch: str = "mlp"
    var: float = 0.02
    epochs: float = 4  # passes over the training images
    hidden_layers: int = 1
    hidden_dim: int = 256
    channels: int = 8
    activation: str = "silu"
    prior: str = "standard"
    recon: str = "mse"
    refine: int = 0
    quantizer: str = ""

    @property
    def name(self) -> str:
        """A name for a file."""
        return "-".join(str(value) for value in asdict(self).values())


def settings() -> list[Setting]:
    """All settings, in an order in which each part of the list has all kinds."""
    rng, found = random.Random(0), []
    tasks = tuple(TASKS)
    for seed in range(16):
        task = tasks[seed % 2]
        found.append(
            Setting(
                "vae",
                "mnist",
                task,
                seed,
                latent_dim=rng.choice((4, 8, 16, 20, 32, 64)),
                var=rng.choice((0.005, 0.01, 0.02, 0.05, 0.1)),
                epochs=rng.choice((0.5, 1, 2)),
                hidden_layers=rng.choice((1, 2)),
                hidden_dim=rng.choice((128, 256)),
                activation=rng.choice(("silu", "relu", "relu")),
            )
        )
    for seed in range(6):
        latent_dim, var = rng.choice((8, 20, 32)), rng.choice((0.005, 0.02, 0.05))
        channels, epochs = 8, rng.choice((0.25, 0.5))
        common = {"latent_dim": latent_dim, "var": var, "channels": channels, "epochs": epochs}
        found.append(Setting("vae", "mnist", tasks[seed % 2], 100 + seed, arch="conv", **common))
    for seed in range(4):  # codes without a constraint: large, and of any scale
        found.append(
            Setting(
                "autoencoder", "mnist", tasks[seed % 2], 200 + seed, (8, 20, 40)[seed % 3], var=1e-5, epochs=1
            )
        )
    additions = [
        (p, r, n) for p in ("standard", "class_mean", "learned") for r in ("mse", "ssim_mse") for n in (0, 8)
    ]
    for seed, (prior, recon, refine) in enumerate(additions):
        task = tasks[1] if prior == "class_mean" else tasks[seed % 2]
        var = 0.002 if prior == "learned" else 0.02
        about = {"prior": prior, "recon": recon, "refine": refine, "var": var}
        found.append(Setting("beyond", "mnist", task, 300 + seed, 16, epochs=1, **about))
    for seed in range(4):
        found.append(
            Setting(
                "discrete",
                "mnist",
                tasks[seed % 2],
                400 + seed,
                quantizer=("vq", "fsq")[seed // 2],
                epochs=0.25,
            )
        )
    for seed in range(24):
        about = {"latent_dim": rng.choice((4, 10, 20)), "epochs": 40 if seed % 2 else 25}
        about["var"] = rng.choice((0.005, 0.02, 0.1))
        arch = ("mlp", "conv")[seed % 2]
        found.append(Setting("vae", "digits", tasks[seed // 2 % 2], 500 + seed, arch=arch, **about))
    for seed, latent_dim in enumerate((2, 4, 8, 20, 40, 100, 300)):
        for dataset in ("digits", "mnist"):
            found.append(Setting("pca", dataset, tasks[seed % 2], 600 + seed, latent_dim))
    rng.shuffle(found)
    return found


class PCA(nn.Module):
    """The principal axes of the training images, as an encoder and a decoder without training."""

    def __init__(self, x: Tensor, latent_dim: int) -> None:
        """x: float32 [N, 28, 28]."""
        super().__init__()
        flat = x.flatten(1)
        values, axes = torch.linalg.eigh(torch.cov(flat.T.double()))
        self.mean, self.axes = flat.mean(dim=0), axes.flip(1)[:, :latent_dim].float()
        self.std = values.flip(0)[:latent_dim].sqrt().float()

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The coordinates."""
        mu = (x.flatten(1) - self.mean) @ self.axes
        return mu, torch.zeros_like(mu)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images."""
        return (self.mean + z @ self.axes.T).clamp(0, 1).view(-1, 28, 28)

    def generate(self, labels: Tensor) -> Tensor:
        """Images of normal codes."""
        return self.decode(self.std * torch.randn(len(labels), len(self.std)))


def new_model(setting: Setting, x: Tensor) -> nn.Module:
    """An untrained model. x: the training images, float32."""
    torch.manual_seed(setting.seed)
    task = setting.task
    if setting.kind == "pca":
        return PCA(x, setting.latent_dim)
    if setting.kind == "discrete":
        return build_from(model_args(setting.quantizer, task, {"num_codes": 64, "channels": 8}, MNIST_SHAPE))
    names = ("latent_dim", "arch", "hidden_dim", "hidden_layers", "channels", "activation")
    args = {name: getattr(setting, name) for name in names}
    model = getattr(submission, "GenModel" if TASKS[task].conditional else "VAE")(**args)
    if setting.kind == "beyond":
        additions = asdict(Additions(setting.prior, setting.recon, setting.refine))
        config = TrainConfig(task, setting.dataset, args, var=setting.var, epochs=1, beyond=additions)
        model = extend(model, submission.vae_loss, config)
    return model


def train(setting: Setting, images: np.ndarray, labels: np.ndarray) -> nn.Module:
    """A trained model, in eval mode. images: uint8 [N, 28, 28]; labels: [N]."""
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()
    model = new_model(setting, x)
    if setting.kind == "pca":
        return model.eval()
    conditional, batch = TASKS[setting.task].conditional, min(256, len(x) // 8)
    steps = int(setting.epochs * len(x) / batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(len(x), (batch,))
        some = y[chosen] if conditional else None
        if hasattr(model, "training_loss"):
            loss = model.training_loss(x[chosen], some, setting.var)[0]
        else:
            loss = submission.vae_loss(*model_output(model, x[chosen], some), setting.var)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def model_output(model: nn.Module, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """recon, x, mu, logvar."""
    recon, mu, logvar = model(x, labels)
    return recon, x, mu, logvar


def trained(setting: Setting, folder: Path, images: np.ndarray, labels: np.ndarray) -> nn.Module:
    """The model of a setting: from its file in `folder`, or trained and stored there."""
    path = folder / f"{setting.name}.pt"
    model = (
        new_model(setting, torch.from_numpy(images[:2000]).float() / 255) if setting.kind != "pca" else None
    )
    if model is None:
        return train(setting, images, labels)
    if not path.exists():
        model = train(setting, images, labels)
        torch.save(model.state_dict(), path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()
