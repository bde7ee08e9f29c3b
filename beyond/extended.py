"""A submission's model with additions: a learned prior, another loss, refined codes, sharper images.

Each of the four is independent of the others and works with any submission. For an addition that is off, the
submission's own `generate`, `vae_loss` or `mu` is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from beyond.losses import recon_error
from beyond.options import Additions
from beyond.priors import PRIORS, sobol_normal
from beyond.refinement import refine
from beyond.sharpening import sharpen
from vaelab.cli import LabError
from vaelab.config import TrainConfig
from vaelab.tasks import TASKS

Loss = Callable[..., tuple[Tensor, Tensor, Tensor]]


class Extended(nn.Module):
    """A submission's model, `model`, with additions. It keeps the contract of a submission's models.

    vae_loss: the submission's. num_classes: the number of classes that the prior distinguishes.
    """

    def __init__(
        self, model: nn.Module, vae_loss: Loss, additions: Additions, latent_dim: int, num_classes: int
    ) -> None:
        super().__init__()
        self.model, self.vae_loss, self.additions = model, vae_loss, additions
        self.prior = PRIORS[additions.prior](latent_dim, num_classes)
        self.num_classes = num_classes
        if additions.refine:
            self.compress = self.refined_codes
        elif hasattr(model, "compress"):
            self.compress = model.compress

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The submission's `encode`."""
        return self.model.encode(x, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The submission's `decode`."""
        return self.model.decode(z, labels)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The submission's `forward`."""
        return self.model(x, labels)

    def generate(self, labels: Tensor) -> Tensor:
        """One new image for each label. Returns: [B, 28, 28]."""
        if self.additions.prior == "standard":
            images = self.model.generate(labels)  # [B, 28, 28]
        else:
            eps = sobol_normal(labels, self.prior.latent_dim)  # [B, d], more evenly distributed than randn
            z = self.prior.sample(eps, self.classes(labels, len(labels)))  # [B, d]
            images = self.model.decode(z, labels)  # [B, 28, 28]
        return images if self.additions.sharpen == 1 else sharpen(images, self.additions.sharpen)

    def classes(self, labels: Tensor | None, n: int) -> Tensor:
        """The class of each of n images for the prior: [n], all 0 for a model without labels."""
        device = next(self.model.parameters()).device
        return labels if self.num_classes > 1 else torch.zeros(n, dtype=torch.long, device=device)

    def training_loss(self, x: Tensor, labels: Tensor | None, var: float) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, recon_term, kl_term), in nats per image; means over the batch.

        As `vae_loss`, with the chosen reconstruction error and the KL to the prior's mean. The loss includes
        the term that trains the prior. With `bce` and var = 1/2 it is the negative ELBO of binary pixels.
        """
        if hasattr(self.model, "training_loss"):
            return self.model.training_loss(x, labels, var)
        recon, mu, logvar = (value.float() for value in self.model(x, labels))  # [B, 28, 28], 2 x [B, d]
        y = self.classes(labels, len(x))  # [B]
        _, recon_term, kl_term = self.vae_loss(recon, x, mu - self.prior.mean(y), logvar, var)  # [], []
        if self.additions.recon != "mse":
            error = recon_error(self.additions.recon, recon, x)  # [B], a mean over the pixels
            recon_term = x[0].numel() / (2 * var) * error.mean()  # []
        return recon_term + kl_term + self.prior.loss(mu, logvar, y), recon_term, kl_term

    def refined_codes(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The codes to store, [B, d]: mu, improved by `additions.refine` steps of gradient descent."""
        mu, _ = self.model.encode(x, labels)  # [B, d]

        def error_of(z: Tensor) -> Tensor:
            return recon_error(self.additions.recon, self.model.decode(z, labels), x)  # [B]

        return refine(mu, error_of, self.additions.refine)

    # --- Checkpoints: the submission's weights are stored separately from those of the additions ---

    def checkpoint_entries(self) -> dict[str, Any]:
        """The fields `model` and `beyond` of a checkpoint."""
        return {"model": self.model.state_dict(), "beyond": self.prior.state_dict()}

    def load_checkpoint_entries(self, model: dict[str, Tensor], beyond: dict[str, Tensor]) -> None:
        """Load the result of `checkpoint_entries`. Raises: RuntimeError if the weights don't fit."""
        self.model.load_state_dict(model)
        self.prior.load_state_dict(beyond)


def extend(model: nn.Module, vae_loss: Loss, config: TrainConfig) -> Extended:
    """A submission's model with the additions of a configuration.

    Raises: LabError for additions that the task or the submission does not support.
    """
    additions = Additions.from_dict(config.beyond)
    name = type(model).__name__
    if additions.prior == "class_mean" and not TASKS[config.task].conditional:
        raise LabError(
            "--prior class_mean needs labels, which {task} does not use: choose another prior",
            task=config.task,
        )
    if hasattr(model, "training_loss") and (additions.recon, additions.prior) != ("mse", "standard"):
        raise LabError(
            "{name} has its own training_loss: leave --recon and --prior out, or remove it", name=name
        )
    if hasattr(model, "compress") and additions.refine:
        raise LabError("{name} has its own compress: leave --refine out, or remove the method", name=name)
    num_classes = 10 if TASKS[config.task].conditional else 1
    return Extended(model, vae_loss, additions, config.latent_dim, num_classes)
