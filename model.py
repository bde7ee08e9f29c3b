"""Building blocks: encoders and decoders, MLP and convolutional, for images of any shape.

An encoder maps each image to a vector, a decoder maps a vector to an image in [0, 1]. They don't depend
on the VAE: submission.py decides which entries of a vector are `mu`, `logvar` or `z`. Grey images have no
channel axis, [B, H, W]; images of several channels are [B, C, H, W]. Both take an optional second input
`cond`, [B, cond_dim], such as an embedded label. Their outputs are float32, even if the layers compute in
bfloat16: means, variances and losses need that precision.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]  # C, H, W
MNIST_SHAPE: Shape = (1, 28, 28)
PATCH = 4  # side of the patches, in pixels, that the convolutional networks work on
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def with_cond(h: Tensor, cond: Tensor | None) -> Tensor:
    """Concatenate h, [B, D], and the condition, [B, cond_dim], if there is one. [B, D + cond_dim]."""
    return h if cond is None else torch.cat([h, cond], dim=1)  # [B, D + cond_dim]


def to_images(x: Tensor, image_shape: Shape) -> Tensor:
    """Reshape values, [B, ...], to images: [B, H, W] if they are grey, else [B, C, H, W]."""
    return x.reshape(-1, *(image_shape[1:] if image_shape[0] == 1 else image_shape))


def dense(in_dim: int, hidden_dim: int, out_dim: int, hidden_layers: int, activation: str) -> nn.Sequential:
    """An MLP, [B, in_dim] to [B, out_dim], with `hidden_layers` hidden layers of width `hidden_dim`."""
    widths = [in_dim] + [hidden_dim] * hidden_layers
    layers = [
        layer
        for width, next_width in zip(widths, widths[1:], strict=False)
        for layer in (nn.Linear(width, next_width), ACTIVATIONS[activation]())
    ]
    return nn.Sequential(*layers, nn.Linear(widths[-1], out_dim))


# --- MLP ----------------------------------------------------------------------------------------


class MLPEncoder(nn.Module):
    """An MLP from images to vectors [B, out_dim]. `channels` is unused: it is an option of `ConvEncoder`."""

    def __init__(
        self,
        out_dim: int,
        image_shape: Shape = MNIST_SHAPE,
        hidden_dim: int = 400,
        cond_dim: int = 0,
        hidden_layers: int = 1,
        activation: str = "relu",
        channels: int = 0,
    ) -> None:
        super().__init__()
        self.net = dense(math.prod(image_shape) + cond_dim, hidden_dim, out_dim, hidden_layers, activation)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h = x.flatten(start_dim=1)  # [B, C * H * W]
        return self.net(with_cond(h, cond)).float()  # [B, out_dim]


class MLPDecoder(nn.Module):
    """An MLP from vectors [B, in_dim] to images. `channels` is unused: it is an option of `ConvDecoder`."""

    def __init__(
        self,
        in_dim: int,
        image_shape: Shape = MNIST_SHAPE,
        hidden_dim: int = 400,
        cond_dim: int = 0,
        hidden_layers: int = 1,
        activation: str = "relu",
        channels: int = 0,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.net = dense(in_dim + cond_dim, hidden_dim, math.prod(image_shape), hidden_layers, activation)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        pixels = self.net(with_cond(z, cond)).float().sigmoid()  # [B, C * H * W]
        return to_images(pixels, self.image_shape)  # [B, H, W] or [B, C, H, W]


# --- Convolutional ------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """Two convolutions with a skip connection: He et al., Deep Residual Learning (2016)."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.net = nn.Sequential(
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.net(h)  # [B, channels, H / 4, W / 4]


class ConvEncoder(nn.Module):
    """A convolutional network from images to vectors [B, out_dim].

    The image is first divided into patches of 4 x 4 pixels (7 x 7 patches of a 28 x 28 image). A convolution
    on this grid has a sixteenth of the positions of one on the pixels, and so a sixteenth of its cost.
    """

    def __init__(
        self,
        out_dim: int,
        image_shape: Shape = MNIST_SHAPE,
        hidden_dim: int = 512,
        cond_dim: int = 0,
        hidden_layers: int = 1,
        activation: str = "silu",
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        in_channels, height, width = image_shape
        rows, columns = -(-height // PATCH), -(-width // PATCH)  # rounded up: `forward` pads the image
        self.padding = (0, columns * PATCH - width, 0, rows * PATCH - height)
        self.conv = nn.Sequential(
            nn.PixelUnshuffle(PATCH),
            nn.Conv2d(in_channels * PATCH**2, channels, kernel_size=3, padding=1),
            ResidualBlock(channels, activation),
            ACTIVATIONS[activation](),
        )
        self.net = dense(channels * rows * columns + cond_dim, hidden_dim, out_dim, hidden_layers, activation)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = F.pad(x.reshape(-1, *self.image_shape), self.padding)  # [B, C, H, W]
        h = self.conv(x).flatten(start_dim=1)  # [B, channels * H / 4 * W / 4]
        return self.net(with_cond(h, cond)).float()  # [B, out_dim]


class ConvDecoder(nn.Module):
    """A convolutional network from vectors [B, in_dim] to images: `ConvEncoder` in reverse order."""

    def __init__(
        self,
        in_dim: int,
        image_shape: Shape = MNIST_SHAPE,
        hidden_dim: int = 512,
        cond_dim: int = 0,
        hidden_layers: int = 1,
        activation: str = "silu",
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        out_channels, height, width = image_shape
        # Rounded up: `forward` cuts the image to its size.
        self.grid = (channels, -(-height // PATCH), -(-width // PATCH))
        self.net = dense(in_dim + cond_dim, hidden_dim, math.prod(self.grid), hidden_layers, activation)
        self.conv = nn.Sequential(
            ResidualBlock(channels, activation),
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, out_channels * PATCH**2, kernel_size=3, padding=1),
            nn.PixelShuffle(PATCH),
        )

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.net(with_cond(z, cond)).reshape(-1, *self.grid)  # [B, channels, H / 4, W / 4]
        _, height, width = self.image_shape
        logits = self.conv(h)[..., :height, :width].float()  # [B, C, H, W]
        return to_images(logits.sigmoid(), self.image_shape)  # [B, H, W] or [B, C, H, W]


ARCHITECTURES = {"mlp": (MLPEncoder, MLPDecoder), "conv": (ConvEncoder, ConvDecoder)}


# --- The demo -----------------------------------------------------------------------------------


class DemoVAE(nn.Module):
    """The layers that the handout suggests as a start: an encoder 784-400-2d and a decoder d-400-784.

    The encoder's output is `mu` and `logvar`, concatenated. There are no methods: writing them is the lab.
    """

    def __init__(self, latent_dim: int = 20, image_shape: Shape = MNIST_SHAPE) -> None:
        super().__init__()
        self.encoder = MLPEncoder(2 * latent_dim, image_shape=image_shape)  # [B, H, W] -> [B, 2 * latent_dim]
        self.decoder = MLPDecoder(latent_dim, image_shape=image_shape)  # [B, latent_dim] -> [B, H, W]
