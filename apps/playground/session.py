"""What `playground.py` shows, computed here, from arrays to arrays: generate, read, move, walk.

Images are uint8 [28, 28], codes float32 [d], d = latent_dim. A model needs the five calls of the contract.
Codes are the encoder's mu: what `compress` would make of them takes longer than a page may think.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import submission
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel, load_checkpoint, load_model
from vaelab.cli import LabError, reason
from vaelab.contract import check_output
from vaelab.inference import decode as decode_codes
from vaelab.inference import encode, generate_images
from vaelab.metrics.likelihood import kl_by_latent
from vaelab.metrics.reconstruction import mse as pixel_mse
from vaelab.metrics.reconstruction import reconstruction, to_float

IMAGES = 1000  # of the split: what a page chooses from, and whose codes say how far a slider reaches
KEPT = 8  # models in memory; one that was not used for longest is let go
FAINT = 32  # ink below this is no part of a drawing's outline
MAX_SIDE = 2000  # side of a drawing, in pixels
MOST = 100  # images at once
TAIL = 0.005  # share of the codes beyond either end of a slider


class Reading(NamedTuple):
    """What a model makes of one image."""

    image: np.ndarray  # uint8 [28, 28]
    label: int | None  # that the model was given
    code: np.ndarray  # float32 [d]
    recon: np.ndarray  # uint8 [28, 28]
    mse: float
    ssim: float


# --- One model ----------------------------------------------------------------------------------


class ModelSession:
    """A trained model, with images of its data to play with.

    `order`: its latents, [d], those with the largest mean KL(q(z_i|x) || N(0, 1)) first; `kl`: that mean, in
    nats, [d].
    `low`, `high`: between them lie the codes drawn from q(z|x), but for `TAIL` on either side, [d]. Where a
    model's codes lie is its own affair: those of a learned prior are far from N(0, I).
    Raises: LabError for a model that breaks the contract, and for images that are not grey.
    """

    def __init__(self, subject: LoadedModel, dataset: MNISTDataset, device: torch.device) -> None:
        if dataset.image_shape[0] != 1:
            raise LabError(f"its images are of {dataset.image_shape[0]} channels: the page is for grey ones")
        self.subject, self.device, self.data = subject, device, f"{dataset.name} {dataset.split}"
        dataset.keep_first(IMAGES)
        self.images, self.labels = dataset.images.numpy(), dataset.labels.numpy()  # [N, 28, 28], [N]
        mu, logvar = self._posterior(to_float(self.images).to(device), dataset.labels.to(device))
        if not (torch.isfinite(mu).all() and torch.isfinite(logvar).all()):
            raise LabError("its codes are nan or infinite: the training went wrong, train again")
        kl = kl_by_latent(mu, logvar).mean(dim=0)  # [d]
        noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
        z = mu + torch.exp(0.5 * logvar) * noise  # [N, d]
        self.codes, self.kl, self.order = mu.numpy(), kl.numpy(), kl.argsort(descending=True).tolist()
        self.low, self.high = np.quantile(z.numpy(), [TAIL, 1 - TAIL], axis=0)  # [d], [d]
        sides = [max(np.ptp(places) + 1 for places in np.nonzero(image >= FAINT)) for image in self.images]
        self.box = int(np.median(sides))  # how large the data's digits are: 20 in MNIST
        # First calls are slow: they are made here, and show whether the model keeps the contract.
        self.read(self.images[0], None)
        self.generate(0, 1)

    @property
    def has_labels(self) -> bool:
        """Whether the model is given labels."""
        return self.subject.task.conditional

    @torch.no_grad()
    def _posterior(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of images [N, 28, 28], on the CPU: [N, d] each."""
        output = self.subject.model.encode(x, self.subject.labels(labels))
        if not isinstance(output, tuple) or len(output) != 2:
            raise LabError(f"encode must return (mu, logvar), got {type(output).__name__}: see submission.py")
        for name, value in zip(("mu", "logvar"), output, strict=True):
            check_output(name, value, (len(x), self.subject.latent_dim))
        return output[0].float().cpu(), output[1].float().cpu()

    def _labels(self, label: int | None, n: int) -> Tensor | None:
        return self.subject.labels(torch.full((n,), label or 0, device=self.device))

    @torch.no_grad()
    def generate(self, label: int, n: int) -> np.ndarray:
        """`n` new images; of `label`, if the model is given labels. Returns: uint8 [n, 28, 28]."""
        labels = torch.full((n,), label, device=self.device)
        return generate_images(self.subject.model, labels, self.images.shape[1:])

    @torch.no_grad()
    def decode(self, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Codes [n, d], of labels [n] if the model is given any, to images: uint8 [n, 28, 28]."""
        z = torch.from_numpy(np.asarray(codes, np.float32)).to(self.device)
        if self.has_labels:
            labels = torch.from_numpy(np.asarray(labels, np.int64)).to(self.device)
        return decode_codes(self.subject.model, z, labels if self.has_labels else None, self.images.shape[1:])

    @torch.no_grad()
    def read(self, image: np.ndarray, label: int | None) -> Reading:
        """An image encoded and decoded. label: None for the one that reconstructs it best."""
        labels = np.arange(10) if self.has_labels and label is None else np.array([label or 0])
        images = np.repeat(image[None], len(labels), axis=0)  # [n, 28, 28]
        x, y = to_float(images).to(self.device), torch.from_numpy(labels).to(self.device)
        code = encode(self.subject.model, x, self.subject.labels(y), skip_compress=True).cpu().numpy()
        recon = self.decode(code, labels)
        best = int(pixel_mse(to_float(recon), to_float(images)).argmin())
        values = reconstruction(recon[best : best + 1], image[None])
        return Reading(
            image, int(labels[best]) if self.has_labels else None, code[best], recon[best], **values
        )

    def walk(self, a: Reading, b: Reading, shares: np.ndarray) -> np.ndarray:
        """The straight line from the code of `a` to that of `b`, decoded. shares: of b, [n].

        Returns: uint8 [n, 28, 28]. A label is one or the other: it changes half way.
        """
        codes = (1 - shares[:, None]) * a.code + shares[:, None] * b.code  # [n, d]
        return self.decode(codes, np.where(shares < 0.5, a.label or 0, b.label or 0))


# --- Drawings -----------------------------------------------------------------------------------


def fit(drawing: np.ndarray, box: int = 20, shape: tuple[int, int] = (28, 28)) -> np.ndarray:
    """A drawing, uint8 [H, W] with light ink, as the data has its images: scaled and centred, uint8 `shape`.

    As MNIST was made (LeCun, Bottou, Bengio & Haffner, Gradient-Based Learning Applied to Document
    Recognition, 1998): scaled to fit a box of 20 x 20 pixels, its proportions kept, and put where its centre
    of mass is in the middle. Raises: LabError for a drawing that is empty or too large.
    """
    if max(drawing.shape) > MAX_SIDE:
        height, width = drawing.shape
        raise LabError(f"the drawing is {width:,} x {height:,} pixels, expected at most {MAX_SIDE:,} a side")
    rows, columns = np.nonzero(drawing >= FAINT)
    if not len(rows):
        raise LabError("the drawing is empty: draw a digit")
    ink = Image.fromarray(drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    scale = box / max(ink.size)
    small = np.asarray(
        ink.resize([max(1, round(scale * side)) for side in ink.size], Image.Resampling.HAMMING)
    )
    place = []
    for axis, size in enumerate(shape):
        weights = small.sum(axis=1 - axis, dtype=float)
        centre = (weights * np.arange(len(weights))).sum() / max(weights.sum(), 1)
        place.append(int(np.clip(round(size / 2 - centre), 0, size - len(weights))))
    image = np.zeros(shape, np.uint8)
    image[place[0] : place[0] + small.shape[0], place[1] : place[1] + small.shape[1]] = small
    return image


def read_drawing(url: str) -> np.ndarray:
    """The drawing in a data: URI of a PNG file: uint8 [H, W]. Raises: LabError if it can't be had."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2], validate=True))) as image:
            if max(image.size) <= MAX_SIDE:
                return np.asarray(image.convert("L"))
            shape = image.size[::-1]
    except Exception as error:  # damaged bytes can raise anything
        raise LabError("the drawing can't be read: clear it and draw again") from error
    return fit(np.broadcast_to(np.uint8(0), shape))  # which says that it is too large


# --- All models ---------------------------------------------------------------------------------


def find_checkpoints(folder: Path) -> dict[str, Path]:
    """Every best.pt in `folder` and below it, by the name of the folder that it is in."""
    paths = sorted(folder.rglob("best.pt"))
    return {
        str(path.parent.relative_to(folder if path.parent != folder else folder.parent)): path
        for path in paths
    }


class ModelCache:
    """The checkpoints that were found, and the models of those used last.

    `names`: those that can be played, as far as is known; `refused`: name to reason, of the others.
    """

    def __init__(
        self, paths: dict[str, Path], split: str, data_dir: Path | None, device: torch.device
    ) -> None:
        self.paths, self.split, self.data_dir, self.device = paths, split, data_dir, device
        self.lock, self.players = threading.Lock(), OrderedDict()
        self.names, self.refused = [], {}
        for name in paths:
            try:
                self._subject(name)
                self.names.append(name)
            except Exception as error:  # a student's model can raise anything
                self.refuse(name, error)
        for name in list(self.names):  # the first that can be played is the one that a page opens with
            try:
                self.player(name)
                break
            except Exception as error:
                self.names.remove(name)
                self.refuse(name, error)

    def refuse(self, name: str, error: Exception) -> None:
        """Put a checkpoint among those that can't be played."""
        kind = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
        self.refused[name] = kind + reason(error)

    def _subject(self, name: str) -> LoadedModel:
        checkpoint = load_checkpoint(self.paths[name])
        if checkpoint.config.dataset == "cifar10":
            raise LabError("its images are in colour: the page is for grey ones")
        return load_model(submission, checkpoint, self.paths[name], name, self.device)

    def player(self, name: str) -> ModelSession:
        """The model of a checkpoint, ready to play. Raises: LabError if there is none of that name."""
        if name not in self.paths:
            raise LabError(f"there is no checkpoint '{name}': choose one of the list")
        with self.lock:
            if name not in self.players:
                subject = self._subject(name)
                dataset = MNISTDataset(self.split, subject.config.dataset, self.data_dir)
                self.players[name] = ModelSession(subject, dataset, self.device)
            self.players.move_to_end(name)
            while len(self.players) > KEPT:
                self.players.popitem(last=False)
            return self.players[name]
