"""`explore.py discrete --dataset cifar10`: a Gaussian VAE, VQ and FSQ on images in colour, and their blur."""

from __future__ import annotations

import math

import numpy as np
import torch

from apps.explore.comparisons import show_rows
from apps.explore.context import ExploreContext
from vaelab.checkpoint import LoadedModel
from vaelab.config import SUBMISSION_MODEL
from vaelab.inference import BATCH
from vaelab.metrics.likelihood import kl_by_latent
from vaelab.metrics.reconstruction import mse, to_uint8
from vaelab.metrics.sharpness import high_frequency_power
from vaelab.plotting import new_figure

EPOCHS = 50  # on a part of CIFAR-10; fewer are enough on the whole
CHANNELS = 32
# The convolutional VAE of the published text: LeakyReLU, latent_dim 100, MSE.
VAE = {"arch": "conv", "activation": "leaky_relu", "hidden_dim": 512, "hidden_layers": 1, "latent_dim": 100}
MODELS = {
    "VAE": VAE | {"recon": "mse", "var": 0.01},
    "VQ": {"model": "vq", "prior_width": 32},
    "FSQ": {"model": "fsq", "prior_width": 32},
}
SHOWN = 12


@torch.no_grad()
def draw_colour(context: ExploreContext) -> None:
    """Draw reconstructions and samples of the three models, with rate, MSE and sharpness."""
    test = context.data("test")
    real = test.images.cpu().numpy()
    chosen = np.linspace(0, len(test) - 2, SHOWN).astype(int)
    recons, samples, rows = [real[chosen]], [real[chosen + 1]], []
    sharp = high_frequency_power(real)
    rows.append({"model": "real images", "bits": "", "mse": 0.0, "sharpness": 1.0, "of samples": ""})
    for name, options in MODELS.items():
        with torch.enable_grad():
            model = context.trained(
                f"discrete-colour-{name.lower()}", EPOCHS, **options, channels=CHANNELS, augment=1.0
            )
        recon, bits, error = reconstruct_all(model, test)
        torch.manual_seed(context.settings.seed)
        labels = torch.zeros(len(test), dtype=torch.long, device=context.device)
        gen = to_uint8(model.model.generate(labels)).cpu().numpy()
        rows.append(
            {
                "model": name,
                "bits": bits,
                "mse": error,
                "sharpness": high_frequency_power(recon) / sharp,
                "of samples": high_frequency_power(gen) / sharp,
            }
        )
        recons.append(recon[chosen])
        samples.append(gen[:SHOWN])
    figure = new_figure(13, 2.2)
    left, right = figure.subplots(1, 2)
    names = [
        f"{row['model']}\n{row['bits']:.0f} bits, MSE {row['mse']:.4f}\nsharpness {row['sharpness']:.2f}"
        for row in rows[1:]
    ]
    show_rows(left, recons, ["original", *names], "test images, reconstructed")
    names = [f"sharpness {row['of samples']:.2f}" for row in rows[1:]]
    show_rows(right, samples, ["original", *names], "other test images, samples")
    about = {"training_images": context.train_size(), "epochs": model.epoch}
    context.save(figure, rows, option="--dataset cifar10", split="test", **about)


@torch.no_grad()
def reconstruct_all(model: LoadedModel, data) -> tuple[np.ndarray, float, float]:
    """Reconstructions uint8 [N, C, H, W], of mu for the VAE as in the published text; bits; MSE."""
    recons, bits, errors = [], [], []
    for batch in data.batches(BATCH):
        x = batch.images
        mu, logvar = model.model.encode(x)
        if model.config.model == SUBMISSION_MODEL:
            bits.append(kl_by_latent(mu, logvar).sum(dim=1).mean().item() / math.log(2))
        else:
            bits.append(model.model.prior.bits(mu.long(), model.model.classes(None, len(x))).mean().item())
        recon = to_uint8(model.model.decode(mu))  # [B, C, H, W]
        errors.append(mse(recon, to_uint8(x)).mean().item())
        recons.append(recon.cpu().numpy())
    return np.concatenate(recons), float(np.mean(bits)), float(np.mean(errors))
