"""The three steps of inference: encode images, decode codes, generate images from labels.

`inference.py` runs them in one process, `autograde.py` in three isolated ones. Only the codes pass from one
to the next, so the score depends on the codes alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError
from vaelab.contract import check_output, generate
from vaelab.device import autocast, choose_precision
from vaelab.language import N_, Message
from vaelab.metrics.fid import GEN_PER_LABEL
from vaelab.metrics.reconstruction import to_uint8

BATCH = 1000  # images


def encode(model: nn.Module, x: Tensor, labels: Tensor | None, skip_compress: bool = False) -> Tensor:
    """The codes of images x, [B, H, W]: `compress(x, labels)` of a model that has it, else mu.

    Returns: float32 [B, d]. Raises: LabError if the model returns something else.
    """
    if hasattr(model, "compress") and not skip_compress:
        with autocast(choose_precision("auto", x.device), x.device):  # refinement needs no full precision
            z = model.compress(x, labels)
    else:
        output = model.encode(x, labels)
        if not isinstance(output, tuple) or len(output) != 2:
            raise LabError(
                "encode must return (mu, logvar), got {kind}: see submission.py", kind=type(output).__name__
            )
        z = output[0]
    width = z.shape[-1] if isinstance(z, Tensor) and z.ndim else 0
    check_output(N_("the code (mu)"), z, (len(x), width))
    return z.float()


def decode(model: nn.Module, z: Tensor, labels: Tensor | None, image_shape: tuple[int, ...]) -> np.ndarray:
    """The images of codes z, [B, d]: uint8 [B, *image_shape]. Raises: LabError; see `as_saved`."""
    return as_saved(N_("the output of decode"), model.decode(z, labels), (len(z), *image_shape))


def generate_images(model: nn.Module, labels: Tensor, image_shape: tuple[int, ...]) -> np.ndarray:
    """A new image for each label, [B]: uint8 [B, *image_shape]. Raises: LabError; see `as_saved`."""
    return as_saved(N_("the output of generate"), generate(model, labels), (len(labels), *image_shape))


def as_saved(name: str, images: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """A model's images, checked, as uint8. Raises: LabError if the shape is wrong or a pixel isn't finite."""
    check_output(name, images, shape)
    if not torch.isfinite(images).all():
        raise LabError(
            "{name} has nan or infinite pixels: the training failed, train again", name=Message(name)
        )
    return to_uint8(images).cpu().numpy()


# --- Whole sets ---------------------------------------------------------------------------------


@torch.no_grad()
def reconstruct(loaded: LoadedModel, dataset, skip_compress: bool, bar: tqdm) -> np.ndarray:
    """Encode and decode all images of an `MNISTDataset`. Returns: uint8, of the shape of its images."""
    recons = []
    for batch in dataset.batches(BATCH):
        labels = loaded.labels(batch.labels)
        z = encode(loaded.model, batch.images, labels, skip_compress)  # [B, d]
        check_output(N_("the code (mu)"), z, (len(batch), loaded.latent_dim))
        recons.append(decode(loaded.model, z, labels, batch.images.shape[1:]))
        bar.update(len(batch))
    return np.concatenate(recons)


@torch.no_grad()
def generate_all(
    model: nn.Module, image_shape: tuple[int, ...], device: torch.device, bar: tqdm
) -> np.ndarray:
    """Generate `GEN_PER_LABEL` images of each label. Returns: uint8 [10, GEN_PER_LABEL, ...]."""
    images = []
    for label in range(10):
        labels = torch.full((GEN_PER_LABEL,), label, device=device)
        images.append(generate_images(model, labels, image_shape))
        bar.update(GEN_PER_LABEL)
    return np.stack(images)
