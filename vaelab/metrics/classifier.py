"""A small CNN that classifies digits, for evaluating generated images.

It is trained on the real images of `train`, independently of any generative model. `grade.py --extended` uses
its labels for the label accuracy and its features for the classifier FID. It is trained once for each data
set, in about a minute, and kept in dataset/<name>/classifier.pt. Its accuracy on MNIST's `test` is at least
99.3%.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from vaelab.checkpoint import save_tensors
from vaelab.data.options import ROOT
from vaelab.device import autocast, choose_precision
from vaelab.files import lock
from vaelab.language import _
from vaelab.metrics.reconstruction import to_float

EPOCHS = 4
BATCH_SIZE = 128
LEARNING_RATE = 3e-3
MIN_STEPS = 300  # for data sets so small that EPOCHS passes are too few
SHIFT = 2  # maximum shift of a training image, in pixels
CHUNK = 1000  # images classified at once


class Classifier(nn.Module):
    """A CNN from images to 128 features, and a linear layer from these to the logits of ten classes."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()

        def block(in_channels: int, out_channels: int) -> list[nn.Module]:
            conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]

        self.channels = channels
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),  # [B, 4 * C, H / 2, W / 2]: four times faster than the full size
            *block(4 * channels, 32),
            *block(32, 32),
            nn.MaxPool2d(2),
            *block(32, 64),
            *block(64, 128),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, 10)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, H, W] or [B, C, H, W] in [0, 1] to features [B, 128], each at least 0."""
        return self.body(x.reshape(len(x), self.channels, *x.shape[-2:])).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).float()  # [B, 10]


def random_shift(x: Tensor) -> Tensor:
    """Each image shifted randomly by up to `SHIFT` pixels, padded with black. x: [B, ..., H, W]."""
    batch, (height, width) = len(x), x.shape[-2:]
    padded = F.pad(x.reshape(batch, -1, height, width), (SHIFT,) * 4)  # [B, C, H + 4, W + 4]
    rows, columns = (
        torch.randint(0, 2 * SHIFT + 1, (batch, 1)) + torch.arange(size) for size in (height, width)
    )
    image = torch.arange(batch)[:, None, None]
    moved = padded[image, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
    return moved.movedim(-1, 1).reshape(x.shape)


def train_classifier(train_set, seed: int = 0) -> Classifier:
    """Train a classifier on `train_set`, an `MNISTDataset`. Returns: the model in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(channels=1 if train_set.images.ndim == 3 else train_set.images.shape[1])
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05, fused=True)
        steps_per_epoch = math.ceil(len(train_set) / BATCH_SIZE)
        epochs = max(EPOCHS, MIN_STEPS // steps_per_epoch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * steps_per_epoch, pct_start=0.2
        )
        device = torch.device("cpu")
        precision = choose_precision("auto", device)
        with tqdm(total=epochs * steps_per_epoch, desc=_("classifier"), disable=None, unit=_("step")) as bar:
            for _epoch in range(epochs):
                for batch in train_set.batches(BATCH_SIZE, torch.randperm(len(train_set))):
                    with autocast(precision, device):
                        logits = model(random_shift(batch.images))
                    loss = F.cross_entropy(logits, batch.labels, label_smoothing=0.1)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def load_classifier(train_set) -> Classifier:
    """The classifier of `train_set`: loaded from its file, or trained and saved if there is none.

    A file that is damaged, or made from other images or by another version of this module, is replaced.
    """
    source = hashlib.md5(train_set.images.numpy().tobytes() + train_set.labels.numpy().tobytes())
    source.update(Path(__file__).read_bytes())
    path = ROOT / train_set.name / "classifier.pt"
    with lock(path.parent, wait=True), contextlib.suppress(Exception):  # damaged bytes can raise anything
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["source"] == source.hexdigest():
            model = Classifier(saved["channels"])
            model.load_state_dict(saved["model"])
            return model.eval()
    model = train_classifier(train_set)
    with lock(path.parent, wait=True):
        saved = {"source": source.hexdigest(), "channels": model.channels, "model": model.state_dict()}
        save_tensors(path, saved)
    return model


@torch.no_grad()
def classify(model: Classifier, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predicted labels [N] and the features [N, 128] of images, uint8 [N, (C,) H, W]."""
    features = [model.features(to_float(images[i : i + CHUNK])) for i in range(0, len(images), CHUNK)]
    features = torch.cat(features)
    return model.head(features).argmax(dim=1).numpy(), features.numpy()
