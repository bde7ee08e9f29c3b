"""The submission under test, and a test double of its encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelab.checks.diagnosis import CheckFailed
from vaelab.contract import from_submission
from vaelab.data.digits import embedded_digits
from vaelab.metrics.reconstruction import to_float

D = 6  # latent_dim of the models under test; different from B, so that swapped axes are noticed
B = 5  # size of their batches
LABELS = torch.tensor([0, 3, 3, 9, 5])  # [B]


def sixteen_digits() -> Tensor:
    """Real handwritten digits from scikit-learn: [16, 28, 28] in [0, 1]."""
    return to_float(embedded_digits()["train"][0][:16])


@dataclass
class SubmissionUnderTest:
    """A submission, and images to test it with."""

    module: ModuleType
    x: Tensor = field(default_factory=sixteen_digits)  # [16, 28, 28]

    def model(self, name: str, latent_dim: int = D) -> nn.Module:
        """A new `VAE` or `GenModel`, always with the same initial weights."""
        torch.manual_seed(0)
        model = from_submission(self.module, name)(latent_dim=latent_dim)
        if not isinstance(model, nn.Module) or not list(model.parameters()):
            raise CheckFailed(
                "{name} has no registered weights",
                "PyTorch registers a layer when it is assigned to an attribute of the module, self.name = "
                "layer. Layers inside a plain list or dictionary are not registered, so the optimizer does "
                "not train them.",
                name=name,
            )
        return model

    def loss(self, recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, var: float) -> tuple:
        """The output of `vae_loss`, called as the trainer calls it."""
        return from_submission(self.module, "vae_loss")(recon, x, mu, logvar, var)

    def training_terms(self, model: nn.Module, x: Tensor, labels: Tensor | None) -> tuple:
        """The terms that `train.py` minimises: those of `vae_loss`, or of the model's own `training_loss`."""
        if hasattr(model, "training_loss"):
            return model.training_loss(x, labels, 0.01)
        recon, mu, logvar = model(x, labels)
        return self.loss(recon, x, mu, logvar, 0.01)


class ForwardTrace(NamedTuple):
    """The inputs and outputs of a `forward` whose encode and decode were replaced by test doubles."""

    z: Tensor  # [B, D], the argument of decode
    decoded: Tensor  # [B, 28, 28], the images that decode returned
    output: tuple  # what forward returned
    labels: tuple  # the labels that encode and decode were called with


def trace_forward(model: nn.Module, mu: Tensor, logvar: Tensor, labels: Tensor | None = None) -> ForwardTrace:
    """Run `forward` with an encoder that returns mu and logvar and a decoder that records z."""
    seen, posterior = {}, (mu, logvar)

    def encode(x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen["encode"] = labels
        return posterior

    def decode(z: Tensor, labels: Tensor | None = None) -> Tensor:
        seen["decode"], seen["z"] = labels, z
        seen["images"] = z.sum(dim=1)[:, None, None].expand(-1, 28, 28)
        return seen["images"]

    model.encode, model.decode = encode, decode
    output = model(torch.zeros(len(mu), 28, 28), labels)
    for name in ("encode", "decode"):
        if name not in seen:
            raise CheckFailed(
                "forward doesn't call self.{name}",
                "GenModel inherits forward and overrides encode and decode: a forward that uses the layers "
                "directly would never pass the labels to them.",
                name=name,
            )
    return ForwardTrace(seen["z"], seen["images"], output, (seen["encode"], seen["decode"]))
