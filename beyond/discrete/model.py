"""A VAE with discrete codes, with the interface of the lab's models.

The encoder and the decoder are the convolutions of `model.py`, without its dense layers: the code keeps the
grid of patches, 7 x 7 on MNIST, and has one index for each patch. What the lab calls the code of an image,
z or mu, is here its n = 49 indices, as float32.

Trained in two stages. In the first, encoder, quantizer and decoder learn to reconstruct. In the second, they
are fixed, and the prior learns the distribution of the indices. In both, `training_loss` is a bound on
-log p(x) in nats per image (up to the constant of the Gaussian, and plus the quantizer's own loss): q(s|x)
gives all its probability to one grid s, so its KL from the prior is -log p(s). While the prior is uniform,
that is the constant n log K; once it is learned, it is the prior's negative log-likelihood.

Paper: van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning (2017).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from beyond.discrete.fsq import LEVELS, FiniteScalarQuantizer
from beyond.discrete.prior import CodePrior
from beyond.discrete.quantizer import Quantized, Quantizer
from beyond.discrete.vq import VectorQuantizer
from model import MNIST_SHAPE, PATCH, ConvDecoder, ConvEncoder, Shape, to_images

QUANTIZERS = ("vq", "fsq")
MAX_CODES = 65_536
AUTOENCODER, PRIOR = 0, 1  # the stages of training


class GridEncoder(nn.Module):
    """Images to a vector of `code_dim` numbers for each patch."""

    def __init__(self, code_dim: int, image_shape: Shape, channels: int, activation: str) -> None:
        super().__init__()
        whole = ConvEncoder(1, image_shape, hidden_layers=0, activation=activation, channels=channels)
        self.conv, self.pad = whole.conv, nn.ZeroPad2d(whole.padding)  # its dense layers are not kept
        self.image_shape = image_shape
        # Normalised, so that from the first step on the vectors are as far apart as the codes are.
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, code_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pad(x.reshape(-1, *self.image_shape))  # [B, C, H, W]
        h = self.conv(x).movedim(1, -1)  # [B, H / 4, W / 4, channels]
        return self.head(h).float()  # [B, H / 4, W / 4, D]


class GridDecoder(nn.Module):
    """A vector of `code_dim` numbers for each patch to images in [0, 1]."""

    def __init__(self, code_dim: int, image_shape: Shape, channels: int, activation: str) -> None:
        super().__init__()
        whole = ConvDecoder(1, image_shape, hidden_layers=0, activation=activation, channels=channels)
        self.conv, self.grid = whole.conv, whole.grid[1:]  # its dense layers are not kept
        self.image_shape = image_shape
        self.head = nn.Linear(code_dim, channels)
        if image_shape[0] == 1:
            # Grey images are mostly black. If all pixels start at 1/2, training first saturates the sigmoid:
            # its gradient vanishes before the codes are informative. sigmoid(-2) = 0.12 is near the mean.
            nn.init.constant_(self.conv[-2].bias, -2.0)

    def forward(self, codes: Tensor) -> Tensor:
        h = self.head(codes).movedim(-1, 1)  # [B, channels, H / 4, W / 4]
        _, height, width = self.image_shape
        logits = self.conv(h)[..., :height, :width].float()  # [B, C, H, W]
        return to_images(logits.sigmoid(), self.image_shape)  # [B, H, W] or [B, C, H, W]


def grid_size(image_shape: Shape) -> int:
    """The number of patches of an image."""
    return math.prod(-(-side // PATCH) for side in image_shape[1:])


def make_quantizer(name: str, num_codes: int, levels: str = "", restart_below: float = 0.1) -> Quantizer:
    """A quantizer by its name. levels: of fsq, as in "8,5,5,5", instead of num_codes.

    Raises: ValueError for an unknown name, or a number of codes or levels that it can't have.
    """
    if name == "vq":
        if levels:
            raise ValueError("levels are an option of fsq: give vq num_codes")
        return VectorQuantizer(num_codes, restart_below=restart_below)
    if name != "fsq":
        raise ValueError(f"quantizer must be one of {', '.join(QUANTIZERS)}, got {name}")
    if levels:
        return FiniteScalarQuantizer(parse_levels(levels))
    if num_codes not in LEVELS:
        raise ValueError(f"num_codes of fsq must be one of {', '.join(map(str, LEVELS))}, got {num_codes}")
    return FiniteScalarQuantizer(LEVELS[num_codes])


def parse_levels(text: str) -> tuple[int, ...]:
    """Levels written as "8,5,5,5". Raises: ValueError if they are not numbers, or give too many codes."""
    try:
        levels = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"levels must be numbers with commas, as in 8,5,5,5, got {text}") from error
    if math.prod(levels) > MAX_CODES:
        raise ValueError(f"levels must give at most {MAX_CODES} codes, their product, got {text}")
    return levels


class DiscreteVAE(nn.Module):
    """Encoder, quantizer (`vq` or `fsq`), decoder, and a prior over the indices.

    latent_dim: must be the number of patches, n. num_codes: K (for fsq, the key of `fsq.LEVELS`).
    levels: of fsq, as in "8,5,5,5", instead of num_codes.
    num_classes: 10 for a prior that is conditioned on the label, 1 for one that is not; encoder and decoder
    do not see the label in either case. prior_share: the share of the training that the second stage takes.
    temperature: of the prior in `generate`. restart_below: of vq, see `VectorQuantizer`.
    """

    def __init__(
        self,
        latent_dim: int = 49,
        quantizer: str = "vq",
        num_codes: int = 512,
        levels: str = "",
        channels: int = 64,
        activation: str = "silu",
        image_shape: Shape = MNIST_SHAPE,
        num_classes: int = 1,
        prior_width: int = 64,
        prior_layers: int = 2,
        prior_share: float = 0.4,
        temperature: float = 1.0,
        restart_below: float = 0.1,
    ) -> None:
        super().__init__()
        self.quantizer = make_quantizer(quantizer, num_codes, levels, restart_below)
        networks = (self.quantizer.code_dim, image_shape, channels, activation)
        self.encoder, self.decoder = GridEncoder(*networks), GridDecoder(*networks)
        self.latent_dim = math.prod(self.decoder.grid)  # n
        if latent_dim != self.latent_dim:
            raise ValueError(
                f"latent_dim must be {self.latent_dim}, an index for each patch of an image, got {latent_dim}"
            )
        if not 0 < prior_share < 1:
            raise ValueError(f"prior_share must be between 0 and 1, got {prior_share}")
        self.num_classes, self.temperature = num_classes, temperature
        self.prior = CodePrior(
            self.quantizer.num_codes, self.latent_dim, num_classes, prior_width, prior_layers
        )
        self.stage_shares = (1 - prior_share, prior_share)  # of the training's steps
        self.stage = AUTOENCODER  # set by the trainer, from the step alone

    # --- The lab's interface ---

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images [B, 28, 28] to (indices, logvar), float32 [B, n] each. No noise: logvar is -inf."""
        indices = self.indices(x).float()  # [B, n]; float32 is exact up to 2^24
        return indices, torch.full_like(indices, -torch.inf)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Indices [B, n] of any number type, rounded and clamped to [0, K), to images [B, 28, 28]."""
        indices = z.round().long().clamp(0, self.quantizer.num_codes - 1)  # [B, n]
        codes = self.quantizer.codes(indices.reshape(-1, *self.decoder.grid))  # [B, 7, 7, D]
        return self.decoder(codes)  # [B, 28, 28]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 28, 28] to (recon [B, 28, 28], indices [B, n], logvar [B, n])."""
        recon, quantized = self.reconstruct(x)
        indices = quantized.indices.flatten(1).float()  # [B, n]
        return recon, indices, torch.full_like(indices, -torch.inf)

    def generate(self, labels: Tensor) -> Tensor:
        """One new image for each label, [B]: indices drawn from the prior, decoded. [B, 28, 28]."""
        indices = self.prior.sample(self.classes(labels, len(labels)), self.temperature)  # [B, n]
        return self.decode(indices)  # [B, 28, 28]

    def training_loss(self, x: Tensor, labels: Tensor | None, var: float) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, recon_term, kl_term), in nats per image: sum over pixels and grid, mean over the batch.

        recon_term = ||x - recon||^2 / (2 var), as in `vae_loss`; kl_term = -log p(s), of the uniform prior in
        the first stage and of the learned one in the second. loss adds the quantizer's own.
        """
        if self.stage == PRIOR:
            return self.prior_loss(x, labels, var)
        recon, quantized = self.reconstruct(x)
        recon_term = (x - recon).square().flatten(1).sum(dim=1).mean() / (2 * var)  # []
        kl_term = recon_term.new_tensor(self.latent_dim * math.log(self.quantizer.num_codes))  # []
        return recon_term + kl_term + quantized.loss, recon_term, kl_term

    # --- Reconstruction, indices, the prior's loss ---

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Quantized]:
        """Images [B, 28, 28] to (recon [B, 28, 28], the output of the quantizer)."""
        quantized = self.quantizer(self.encoder(x))  # codes [B, 7, 7, D]
        return self.decoder(quantized.codes), quantized

    def indices(self, x: Tensor) -> Tensor:
        """The indices of images [B, 28, 28], without updating the quantizer. Returns: int64 [B, n]."""
        return self.quantizer.nearest(self.encoder(x)).flatten(1)

    def prior_loss(self, x: Tensor, labels: Tensor | None, var: float) -> tuple[Tensor, Tensor, Tensor]:
        """`training_loss` of the second stage: the gradient reaches the prior only."""
        with torch.no_grad():
            indices = self.indices(x)  # [B, n]
            recon = self.decode(indices)  # [B, 28, 28]
            recon_term = (x - recon).square().flatten(1).sum(dim=1).mean() / (2 * var)
        kl_term = -self.prior.log_prob(indices, self.classes(labels, len(x))).mean()
        return recon_term + kl_term, recon_term, kl_term

    def classes(self, labels: Tensor | None, batch: int) -> Tensor:
        """The class of each image for the prior: its label, or 0 where there is one class. [B]."""
        if self.num_classes > 1:
            return labels
        return torch.zeros(batch, dtype=torch.long, device=self.prior.places.weight.device)
