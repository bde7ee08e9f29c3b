"""The computations of the playground on one model: generate, decode, reconstruct, interpolate.

Images are uint8 [28, 28], codes float32 [d] with d = latent_dim. The code of an image is the encoder's mu: a
model's `compress` takes too long for an interactive page. A model needs the five calls of the contract only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from apps.playground.drawing import INK_THRESHOLD
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError
from vaelab.contract import check_output
from vaelab.inference import decode, encode, generate_images
from vaelab.metrics.latents import gaussian_kl
from vaelab.metrics.reconstruction import to_float
from vaelab.metrics.saved_images import mse as pixel_mse
from vaelab.metrics.saved_images import reconstruction

MAX_DATA = 1000  # images of the split: to choose from, and to compute the ranges of the sliders
TAIL = 0.005  # the fraction of sampled codes below the minimum of a slider, and above its maximum


class Reconstruction(NamedTuple):
    """An image, its code, and its reconstruction."""

    image: np.ndarray  # uint8 [28, 28]
    label: int | None  # given to the model; None if it is not conditional
    code: np.ndarray  # float32 [d]
    recon: np.ndarray  # uint8 [28, 28]
    mse: float
    ssim: float


class ModelSession:
    """A trained model with the first images of its data.

    Attributes: `kl`, the mean KL(q(z_i|x) || N(0, 1)) of each latent in nats, [d]; `latent_order`, the
    latents sorted by it, the largest first; `slider_min` and `slider_max`, quantiles of codes sampled from
    q(z|x), [d]. With a learned prior, the codes can be far from N(0, I).
    Raises: LabError for a model that breaks the contract, and for images that are not grey.
    """

    def __init__(self, loaded: LoadedModel, dataset: MNISTDataset, device: torch.device) -> None:
        if dataset.image_shape[0] != 1:
            raise LabError(
                "its images have {channels} channels: the playground shows grey ones only",
                channels=dataset.image_shape[0],
            )
        self.loaded, self.device, self.data_name = loaded, device, f"{dataset.name} {dataset.split}"
        dataset.keep_first(MAX_DATA)
        self.images, self.labels = dataset.images.numpy(), dataset.labels.numpy()  # [N, 28, 28], [N]
        mu, logvar = self._posterior(to_float(self.images).to(device), dataset.labels.to(device))
        sigma = logvar.exp().sqrt()  # [N, d]
        q, prior = Normal(mu, sigma), Normal(torch.zeros_like(mu), 1.0)
        kl = gaussian_kl(q, prior).mean(dim=0)  # [d]
        noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
        z = mu + sigma * noise  # [N, d]
        self.codes, self.kl, self.latent_order = mu.numpy(), kl.numpy(), kl.argsort(descending=True).tolist()
        self.slider_min, self.slider_max = np.quantile(z.numpy(), [TAIL, 1 - TAIL], axis=0)  # [d], [d]
        self.digit_size = typical_digit_size(self.images)
        # The first calls are slow and check the contract: make them before the page needs them.
        self.reconstruct(self.images[0], None)
        self.generate(0, 1)

    @property
    def conditional(self) -> bool:
        """True if the model is given labels."""
        return self.loaded.task.conditional

    @torch.no_grad()
    def _posterior(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of images [N, 28, 28], on the CPU: [N, d] each. Raises: LabError if one is wrong."""
        output = self.loaded.model.encode(x, self.loaded.labels(labels))
        if not isinstance(output, tuple) or len(output) != 2:
            raise LabError(
                "encode must return (mu, logvar), got {kind}: see submission.py", kind=type(output).__name__
            )
        for name, value in zip(("mu", "logvar"), output, strict=True):
            check_output(name, value, (len(x), self.loaded.latent_dim))
        mu, logvar = (value.float().cpu() for value in output)
        if not (torch.isfinite(mu).all() and torch.isfinite(logvar).all()):
            raise LabError("its codes are nan or infinite: the training failed, train again")
        return (mu, logvar)

    @torch.no_grad()
    def generate(self, label: int, n: int) -> np.ndarray:
        """`n` new images, of `label` if the model is conditional. Returns: uint8 [n, 28, 28]."""
        labels = torch.full((n,), label, device=self.device)
        return generate_images(self.loaded.model, labels, self.images.shape[1:])

    @torch.no_grad()
    def decode(self, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """The images of codes [n, d]. labels: [n], for a conditional model. Returns: uint8 [n, 28, 28]."""
        z = torch.from_numpy(np.asarray(codes, np.float32)).to(self.device)
        y = torch.from_numpy(np.asarray(labels, np.int64)).to(self.device) if self.conditional else None
        return decode(self.loaded.model, z, y, self.images.shape[1:])

    @torch.no_grad()
    def reconstruct(self, image: np.ndarray, label: int | None) -> Reconstruction:
        """The reconstruction of an image. label: None for the one whose reconstruction has the lowest MSE."""
        labels = np.arange(10) if self.conditional and label is None else np.array([label or 0])
        images = np.repeat(image[None], len(labels), axis=0)  # [n, 28, 28]
        x, y = to_float(images).to(self.device), torch.from_numpy(labels).to(self.device)
        codes = encode(self.loaded.model, x, self.loaded.labels(y), skip_compress=True).cpu().numpy()
        recons = self.decode(codes, labels)
        best = int(pixel_mse(recons, images).argmin())
        metrics = reconstruction(recons[best : best + 1], image[None])
        best_label = int(labels[best]) if self.conditional else None
        return Reconstruction(image, best_label, codes[best], recons[best], **metrics)

    def interpolate(self, a: Reconstruction, b: Reconstruction, weights: np.ndarray) -> np.ndarray:
        """The images of the codes (1 - w) a.code + w b.code. weights: w, [n]. Returns: uint8 [n, 28, 28].

        The label is that of `a` for w < 0.5, else that of `b`.
        """
        codes = (1 - weights[:, None]) * a.code + weights[:, None] * b.code  # [n, d]
        return self.decode(codes, np.where(weights < 0.5, a.label or 0, b.label or 0))


def typical_digit_size(images: np.ndarray) -> int:
    """The median of the longer side of a digit's bounding box, in pixels: 20 in MNIST. images: [N, H, W]."""
    sides = [max(np.ptp(index) + 1 for index in np.nonzero(image >= INK_THRESHOLD)) for image in images]
    return int(np.median(sides))
