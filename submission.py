"""The VAE, its loss and the conditional model: the file that students complete.

Parts 2 and 3 of the handout. The number of a blank is that of its section there. B is the number of images
in a batch, d = latent_dim. Images are float32 [B, 28, 28] in [0, 1], labels int64 [B].

Paper: Kingma & Welling, Auto-Encoding Variational Bayes (2014).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model import ARCHITECTURES, MNIST_SHAPE, Shape

# --- 2 The VAE ----------------------------------------------------------------------------------


class VAE(nn.Module):
    """An encoder q(z|x) = N(mu(x), diag(exp(logvar(x)))) and a decoder that returns the mean of p(x|z).

    `labels` is an argument so that both models are called in the same way; the VAE ignores it.
    """

    def __init__(
        self,
        latent_dim: int = 20,
        arch: str = "conv",
        hidden_dim: int = 256,
        hidden_layers: int = 1,
        channels: int = 32,
        activation: str = "silu",
        image_shape: Shape = MNIST_SHAPE,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        # BEGIN SOLUTION 2.2.1
        encoder, decoder = ARCHITECTURES[arch]
        layers = {"hidden_layers": hidden_layers, "channels": channels, "activation": activation}
        self.encoder = encoder(2 * latent_dim, image_shape, hidden_dim, **layers)
        self.decoder = decoder(latent_dim, image_shape, hidden_dim, **layers)
        # END SOLUTION 2.2.1

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images [B, 28, 28] to (mu, logvar), each [B, d], where logvar = log sigma^2."""
        # BEGIN SOLUTION 2.2.2
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # [B, d], [B, d]
        return mu, logvar
        # END SOLUTION 2.2.2

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latent codes [B, d] to images [B, 28, 28] in [0, 1]."""
        # BEGIN SOLUTION 2.2.3
        return self.decoder(z)  # [B, 28, 28]
        # END SOLUTION 2.2.3

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 28, 28] to (recon [B, 28, 28], mu [B, d], logvar [B, d]).

        In train mode z is drawn from q(z|x) so that the gradient reaches mu and logvar (the
        reparameterization trick); in eval mode z = mu.
        """
        # BEGIN SOLUTION 2.2.4
        mu, logvar = self.encode(x, labels)  # [B, d], [B, d]
        z = mu  # [B, d]
        if self.training:
            std = torch.exp(0.5 * logvar)  # [B, d]
            eps = torch.randn_like(std)  # [B, d]
            z = mu + std * eps  # [B, d]
        recon = self.decode(z, labels)  # [B, 28, 28]
        return recon, mu, logvar
        # END SOLUTION 2.2.4

    def generate(self, labels: Tensor) -> Tensor:
        """Decode a code from the prior N(0, I) for each label. labels: [B]. Returns: images [B, 28, 28]."""
        z = torch.randn(len(labels), self.latent_dim, device=labels.device)  # [B, d]
        return self.decode(z, labels)  # [B, 28, 28]


def vae_loss(
    recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, var: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, recon_term, kl_term): the negative ELBO for p(x|z) = N(recon, var I), up to a constant.

    Sum over pixels and latents, mean over the batch, in nats per image:
    loss = 1/(2 var) ||x - recon||^2 + sum_i 1/2 (sigma_i^2 + mu_i^2 - 1 - log sigma_i^2).
    recon, x: [B, 28, 28]; mu, logvar: [B, d]; var: the variance of a pixel, above 0.
    """
    # BEGIN SOLUTION 2.3
    recon_term = (x - recon).square().flatten(1).sum(dim=1).mean() / (2 * var)  # []
    kl_term = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(dim=1).mean()  # []
    return recon_term + kl_term, recon_term, kl_term
    # END SOLUTION 2.3


# --- 3 Conditional generation -------------------------------------------------------------------


class GenModel(VAE):
    """A conditional VAE, q(z|x, y) and p(x|z, y): both networks have an embedding of the label y as input.

    Paper: Sohn, Lee & Yan, Learning Structured Output Representation using Deep Conditional
    Generative Models (2015).
    """

    def __init__(
        self,
        latent_dim: int = 20,
        arch: str = "conv",
        hidden_dim: int = 256,
        hidden_layers: int = 1,
        channels: int = 32,
        activation: str = "silu",
        image_shape: Shape = MNIST_SHAPE,
        label_dim: int = 16,
    ) -> None:
        super().__init__(latent_dim, arch, hidden_dim, hidden_layers, channels, activation, image_shape)
        # BEGIN SOLUTION 3.1
        encoder, decoder = ARCHITECTURES[arch]
        layers = {"hidden_layers": hidden_layers, "channels": channels, "activation": activation}
        self.encoder = encoder(2 * latent_dim, image_shape, hidden_dim, cond_dim=label_dim, **layers)
        self.decoder = decoder(latent_dim, image_shape, hidden_dim, cond_dim=label_dim, **layers)
        self.encoder_labels = nn.Embedding(10, label_dim)
        self.decoder_labels = nn.Embedding(10, label_dim)
        # END SOLUTION 3.1

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images [B, 28, 28] with labels [B] to (mu, logvar), each [B, d]."""
        # BEGIN SOLUTION 3.2
        mu, logvar = self.encoder(x, self.encoder_labels(labels)).chunk(2, dim=1)  # [B, d], [B, d]
        return mu, logvar
        # END SOLUTION 3.2

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latent codes [B, d] with labels [B] to images [B, 28, 28] in [0, 1]."""
        # BEGIN SOLUTION 3.3
        return self.decoder(z, self.decoder_labels(labels))  # [B, 28, 28]
        # END SOLUTION 3.3
