"""The options that decide the result of a training: of `train.py`, and of the grid of a sweep."""

from __future__ import annotations

from collections.abc import Callable

import data_utils
import metrics
from common import number
from model import ACTIVATIONS, ARCHITECTURES
from runs import DEFAULT_EPOCHS, DEFAULT_LATENT_DIM, DIGITS_EPOCHS


def add_model_options(add: Callable) -> None:
    """What the model is built with."""
    add(
        "--latent_dim",
        type=number(int, 1, metrics.PIXELS),
        help="size of the code z: smaller earns more bonus, larger reconstructs better; in between lies the "
        f"highest score (default: {DEFAULT_LATENT_DIM})",
    )
    add("--arch", choices=sorted(ARCHITECTURES), help="conv scores best, mlp trains fastest (default: conv)")
    add("--hidden_dim", type=number(int, 1, 16_384), help="width of the dense layers (default: 512)")
    add(
        "--hidden_layers",
        type=number(int, 1, 16),
        help="dense layers in the encoder and in the decoder: more brought no higher score (default: 1)",
    )
    add(
        "--activation",
        choices=sorted(ACTIVATIONS),
        help="between the layers: smooth ones reconstruct a little better than relu (default: silu)",
    )
    add(
        "--recon",
        choices=("mse", "ssim_mse", "bce"),
        help="what reconstruction minimises: the handout's squared error; SSIM as well, weighted as in the "
        "score; or cross-entropy, which likelihoods are compared in (default: ssim_mse)",
    )
    add(
        "--prior",
        choices=("class_mean", "learned", "standard"),
        help="where generation draws its codes from: N(0, I); N(m_y, I), a mean learned for each class; or a "
        "flow learned for each class, which leaves the codes free to reconstruct best (default: learned)",
    )


def add_training_options(add: Callable) -> None:
    """How the model is trained. Defaults are in `trainer.TrainConfig` and in `runs.py`."""
    add(
        "--var",
        type=number(float, 0, exclusive=True),
        help="variance of a pixel in the loss: smaller weighs reconstruction more, larger the KL (default: "
        "0.002 with a learned prior, which goes where the codes are; with another 0.01 for VAE0label, scored "
        "on reconstruction alone, and for Genwithlabel 0.2, or 0.1 with --recon mse; 0.5 with --recon bce, "
        "which is then the ELBO)",
    )
    add(
        "--epochs",
        type=number(int, 1),
        help="passes over the training images: few give most of the score, more the rest (default: "
        + ", ".join(f"{epochs} for {task}" for task, epochs in DEFAULT_EPOCHS.items())
        + f"; {DIGITS_EPOCHS} on digits, which has 40 times fewer images)",
    )
    add("--batch_size", type=number(int, 1), help="images a step: 128 suits a CPU (default: 128)")
    add(
        "--lr",
        type=number(float, 0, exclusive=True),
        help="AdamW's highest learning rate, after a warm-up and before half a cosine down to zero "
        "(default: 0.003, about as high as stays stable)",
    )
    add("--weight_decay", type=number(float, 0), help="AdamW's decay (default: 0.01, PyTorch's own)")
    add(
        "--grad_clip",
        type=number(float, 0, exclusive=True),
        help="longest gradient allowed, in units of 1/(2 var), which the loss scales with: about the "
        "median, because steps of even length train faster here (default: 20)",
    )
    add(
        "--distort",
        type=number(float, 0, 1),
        help="share of the training images that are bent and turned a little, at first; it falls to none at "
        "the end. Without it a long training learns the images by heart (default: 1)",
    )
    add(
        "--pixels",
        choices=data_utils.PIXELS,
        help="what the loss sees: grey values; binarized, drawn anew each time with the grey value as the "
        "probability of 1; or 1 above a threshold of 1/2. The score is taken on grey ones (default: grey)",
    )
    add(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        help="what the layers multiply in. auto: bf16 where the device has it, which is faster, else fp32 "
        "(default: auto)",
    )
    add("--seed", type=number(int, 0), help="first weights, order of images, noise (default: 0)")
