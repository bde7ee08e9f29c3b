"""What a student writes: the VAE, its loss, and the conditional model.

Parts 2 and 3 of the handout: a VAE, its loss, and a conditional VAE. Its blanks are numbered as there.
B is the number of images in a batch, d = latent_dim. Images are float32 [B, 28, 28] in [0, 1], labels
int64 [B].

Paper: Kingma & Welling, Auto-Encoding Variational Bayes (2014).
"""

# BEGIN SOLUTION 4.1
# This is the solved version. What stands between two such markers is the answer to a blank: in the version
# that students are given, a TODO stands there. Part 4, of which this is the first piece, goes beyond the lab,
# to the best score that we know of; it can be read, or left out, on its own.
# END SOLUTION 4.1

from __future__ import annotations

import torch
from torch import Tensor, nn

# BEGIN SOLUTION 4.2
from metrics import cross_entropy, mse, ssim

# END SOLUTION 4.2
from model import ARCHITECTURES, MNIST_SHAPE, Shape

# BEGIN SOLUTION 4.3
from prior import PRIORS, even_noise

# END SOLUTION 4.3

# --- 2 The VAE ----------------------------------------------------------------------------------


class VAE(nn.Module):
    """An encoder q(z|x) = N(mu(x), diag(exp(logvar(x)))) and a decoder that gives the mean of p(x|z).

    `labels` is there so that both models are called alike; the VAE does not look at it.
    """

    def __init__(
        self,
        latent_dim: int = 20,
        arch: str = "conv",
        hidden_dim: int = 512,
        hidden_layers: int = 1,
        activation: str = "silu",
        image_shape: Shape = MNIST_SHAPE,
        # BEGIN SOLUTION 4.4
        recon: str = "ssim_mse",
        prior: str = "learned",
        # END SOLUTION 4.4
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        # BEGIN SOLUTION 4.5
        self.recon = recon
        self.prior = PRIORS[prior](latent_dim, self.num_classes)
        # END SOLUTION 4.5
        # BEGIN SOLUTION 2.2.1
        encoder, decoder = ARCHITECTURES[arch]
        layers = {"hidden_layers": hidden_layers, "activation": activation}
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

        In train mode z is drawn from q(z|x), written so that the gradient reaches mu and logvar
        (the reparameterization trick); in eval mode z = mu.
        """
        # BEGIN SOLUTION 2.2.4
        mu, logvar = self.encode(x, labels)  # [B, d], [B, d]
        z = mu
        if self.training:
            std = torch.exp(0.5 * logvar)  # [B, d]
            eps = torch.randn_like(std)  # [B, d]
            z = mu + std * eps  # [B, d]
        recon = self.decode(z, labels)  # [B, 28, 28]
        return recon, mu, logvar
        # END SOLUTION 2.2.4

    def generate(self, labels: Tensor) -> Tensor:
        """One new image for each label: a code drawn from the prior, decoded. Returns: [B, 28, 28]."""
        z = torch.randn(len(labels), self.latent_dim, device=labels.device)  # [B, d]
        # BEGIN SOLUTION 4.6
        eps = even_noise(labels, self.latent_dim)  # [B, d], in place of independent draws
        z = self.prior.carry(eps, self.classes(labels, len(labels)))  # [B, d]
        # END SOLUTION 4.6
        return self.decode(z, labels)  # [B, 28, 28]

    # BEGIN SOLUTION 4.7
    # Beyond the lab: a loss that asks for what is scored, a prior that is learned, codes that are improved.

    num_classes = 1  # that the prior tells apart

    def classes(self, labels: Tensor | None, n: int) -> Tensor:
        """The class of each of n images for the prior; all one, if the model looks at no labels. [n]."""
        device = next(self.parameters()).device
        return labels if self.num_classes > 1 else torch.zeros(n, dtype=torch.long, device=device)

    def recon_error(self, recon: Tensor, x: Tensor) -> Tensor:
        """What reconstruction minimises, a mean over the pixels: [B].

        `mse`: the squared error; `ssim_mse`: SSIM as well, weighted as in the score; `bce`: cross-entropy.
        """
        if self.recon == "bce":
            return cross_entropy(recon, x)
        error = mse(recon, x)
        return error if self.recon == "mse" else error + 0.1 * (1 - ssim(recon, x))

    def training_loss(self, x: Tensor, labels: Tensor | None, var: float) -> tuple[Tensor, Tensor, Tensor]:
        """What is minimised instead of `vae_loss`: (loss, recon_term, kl_term), in nats per image.

        As there, but for `recon_error` in place of the squared error and a KL that is measured from the
        mean of the prior; loss is the sum of the two and of the prior's own. With `bce` and var = 1/2 it
        is the negative ELBO of binary pixels.
        """
        recon, mu, logvar = self(x, labels)
        y = self.classes(labels, len(x))
        _, _, kl_term = vae_loss(recon, x, mu - self.prior.mean(y), logvar, var)
        recon_term = x[0].numel() / (2 * var) * self.recon_error(recon, x).mean()
        loss = recon_term + kl_term + self.prior.loss(mu, logvar, y)
        return loss, recon_term, kl_term

    def compress(self, x: Tensor, labels: Tensor | None = None, steps: int = 10) -> Tensor:
        """The codes to store, [B, d]: mu, improved for each image by descent on its `recon_error`.

        The encoder guesses at once where a search would find a little better: Kim et al., Semi-Amortized
        Variational Autoencoders (2018). Step lengths after Barzilai & Borwein, Two-Point Step Size Gradient
        Methods (1988); the best code met on the way is kept, so that no image is worse for it.
        """
        z, _ = self.encode(x, labels)
        best, least = z, torch.full((len(z), 1), torch.inf, device=z.device)  # [B, d], [B, 1]
        before = None
        for _ in range(steps + 1):
            error, slope = self.error_and_slope(z, x, labels)  # [B, 1], [B, d]
            best, least = torch.where(error < least, z, best), torch.minimum(error, least)
            if before is None:  # a tenth of the way to zero, were the error linear
                step = 0.1 * error / slope.square().sum(dim=1, keepdim=True).clamp(min=1e-12)  # [B, 1]
            else:
                moved, turned = z - before[0], slope - before[1]  # [B, d], [B, d]
                curvature = (moved * turned).sum(dim=1, keepdim=True).abs().clamp(min=1e-12)  # [B, 1]
                step = moved.square().sum(dim=1, keepdim=True) / curvature  # [B, 1]
            before = z, slope
            z = z - step * slope
        return best

    def error_and_slope(self, z: Tensor, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """`recon_error` of the decoded codes, [B, 1], and its gradient by z, [B, d]."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            error = self.recon_error(self.decode(z, labels), x)[:, None]
            (slope,) = torch.autograd.grad(error.sum(), z)
        return error.detach(), slope

    # END SOLUTION 4.7


def vae_loss(
    recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, var: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The negative ELBO for p(x|z) = N(recon, var I) without its constant: (loss, recon_term, kl_term).

    Sum over pixels and latents, mean over the batch, in nats per image:
    loss = 1/(2 var) ||x - recon||^2 + sum_i 1/2 (sigma_i^2 + mu_i^2 - 1 - log sigma_i^2).
    recon, x: [B, 28, 28]; mu, logvar: [B, d]; var: the variance of a pixel, above 0.
    """
    # BEGIN SOLUTION 2.3
    recon_term = (x - recon).square().flatten(1).sum(dim=1).mean() / (2 * var)
    kl_term = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(dim=1).mean()
    return recon_term + kl_term, recon_term, kl_term
    # END SOLUTION 2.3


# --- 3 Conditional generation -------------------------------------------------------------------


class GenModel(VAE):
    """A conditional VAE, q(z|x, y) and p(x|z, y): both networks see the label, as a learned vector.

    Paper: Sohn, Lee & Yan, Learning Structured Output Representation using Deep Conditional
    Generative Models (2015).
    """

    # BEGIN SOLUTION 4.8
    num_classes = 10

    # END SOLUTION 4.8
    def __init__(
        self,
        latent_dim: int = 20,
        arch: str = "conv",
        hidden_dim: int = 512,
        hidden_layers: int = 1,
        activation: str = "silu",
        image_shape: Shape = MNIST_SHAPE,
        # BEGIN SOLUTION 4.9
        recon: str = "ssim_mse",
        prior: str = "learned",
        # END SOLUTION 4.9
        label_dim: int = 16,
    ) -> None:
        super().__init__(
            latent_dim,
            arch,
            hidden_dim,
            hidden_layers,
            activation,
            image_shape,
            # BEGIN SOLUTION 4.10
            recon,
            prior,
            # END SOLUTION 4.10
        )
        # BEGIN SOLUTION 3.1
        encoder, decoder = ARCHITECTURES[arch]
        layers = {"hidden_layers": hidden_layers, "activation": activation, "cond_dim": label_dim}
        self.encoder = encoder(2 * latent_dim, image_shape, hidden_dim, **layers)
        self.decoder = decoder(latent_dim, image_shape, hidden_dim, **layers)
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
