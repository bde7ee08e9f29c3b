"""The prior over grids of indices: a small autoregressive transformer.

The n indices s of an image, read row by row, have the probability

    p(s | y) = product over i of p(s_i | s_1, ..., s_(i-1), y),

y being the label. A causal transformer computes all n factors of a given grid at once, so the likelihood is
exact. To sample, it computes one factor after the other.

Papers: a prior learned for fixed codes: van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation
Learning (2017), section 3.3; a transformer for it: Esser, Rombach & Ommer, Taming Transformers for
High-Resolution Image Synthesis (2021); blocks: Radford et al., Language Models are Unsupervised Multitask
Learners (2019).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_BATCH = 1000  # grids sampled together, which bounds the memory of the caches


class KeyValueCache:
    """The keys and values of one layer for the positions sampled so far.

    With the cache, only the next position is computed in each step, not all positions before it again.
    """

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        self.keys = torch.empty(shape, device=device)  # [B, heads, n, width / heads]
        self.values = torch.empty(shape, device=device)  # [B, heads, n, width / heads]
        self.filled = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add the next place, [B, heads, 1, width / heads] each. Returns: keys and values of all so far."""
        self.keys[:, :, self.filled], self.values[:, :, self.filled] = k[:, :, 0], v[:, :, 0]
        self.filled += 1
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


class Block(nn.Module):
    """A pre-norm transformer block: causal self-attention, then an MLP, each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """h, [B, n, width], or with a cache the next place alone, [B, 1, width]. Returns: the same shape."""
        h = h + self.attend(self.attention_norm(h), cache)  # [B, n, width]
        return h + self.mlp(self.mlp_norm(h))  # [B, n, width]

    def attend(self, h: Tensor, cache: KeyValueCache | None) -> Tensor:
        """Causal attention: each position to itself and those before it. [B, n, width] to [B, n, width]."""
        batch, n, width = h.shape
        qkv = self.qkv(h).reshape(batch, n, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, n, width / heads] each
        if cache is not None:  # the cache has no later places, so no mask is needed
            k, v = cache.append(k, v)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.proj(out.transpose(1, 2).reshape(batch, n, width))  # [B, n, width]


class CodePrior(nn.Module):
    """p(s | y) of n = `length` indices in [0, num_codes), for labels y in [0, num_classes).

    A model without labels has one class: y = 0.
    """

    def __init__(
        self,
        num_codes: int,
        length: int,
        num_classes: int = 1,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the width of the prior must be a multiple of {heads}, got {width}")
        self.num_codes, self.length = num_codes, length
        self.cache_shape = (heads, length, width // heads)
        self.embed = nn.Embedding(num_codes + 1, width)  # the last row is the start token
        self.places = nn.Embedding(length, width)
        self.classes = nn.Embedding(num_classes, width)
        for table in (self.embed, self.places, self.classes):
            nn.init.normal_(table.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_codes)
        for weight in self.head.parameters():  # the training starts from the uniform prior
            nn.init.zeros_(weight)

    def inputs(self, previous: Tensor, y: Tensor, place: int = 0) -> Tensor:
        """The input of consecutive places, from `place` on. previous: [B, n], y: [B]. [B, n, width]."""
        places = self.places.weight[place : place + previous.shape[1]]  # [n, width]
        return self.embed(previous) + places + self.classes(y)[:, None]

    def logits(self, indices: Tensor, y: Tensor) -> Tensor:
        """The unnormalised log p(s_i | s_1, ..., s_(i-1), y) of every code at every place.

        indices: int64 [B, n]; y: int64 [B]. Returns: float32 [B, n, num_codes].
        """
        previous = F.pad(indices[:, :-1], (1, 0), value=self.num_codes)  # [B, n]
        h = self.inputs(previous, y)  # [B, n, width]
        for block in self.blocks:
            h = block(h)  # [B, n, width]
        return self.head(self.norm(h)).float()  # [B, n, num_codes]

    def log_prob(self, indices: Tensor, y: Tensor) -> Tensor:
        """log p(s | y), exact, in nats. indices: int64 [B, n]; y: int64 [B]. Returns: [B]."""
        logits = self.logits(indices, y)  # [B, n, num_codes]
        nll = F.cross_entropy(logits.flatten(0, 1), indices.flatten(), reduction="none")  # [B * n]
        return -nll.reshape(indices.shape).sum(dim=1)

    def bits(self, indices: Tensor, y: Tensor) -> Tensor:
        """-log2 p(s | y): the length in bits of an ideal entropy code of the grid. Returns: [B]."""
        return -self.log_prob(indices, y) / math.log(2)

    @torch.no_grad()
    def sample(self, y: Tensor, temperature: float = 1.0) -> Tensor:
        """A grid drawn for each label, int64 [B]. Returns: int64 [B, n].

        temperature: the logits are divided by it; below 1 likely grids become more likely, 1 samples p(s|y).
        Raises: ValueError if it is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"the temperature must be positive, got {temperature}")
        return torch.cat([self._sample(part, temperature) for part in y.split(SAMPLE_BATCH)])

    def _sample(self, y: Tensor, temperature: float) -> Tensor:
        caches = [KeyValueCache((len(y), *self.cache_shape), y.device) for _ in self.blocks]
        uniform = torch.rand(len(y), self.length, device=y.device)  # [B, n]
        indices = torch.empty(len(y), self.length, dtype=torch.long, device=y.device)  # [B, n]
        previous = torch.full((len(y), 1), self.num_codes, device=y.device)  # [B, 1]
        for place in range(self.length):
            h = self.inputs(previous, y, place)  # [B, 1, width]
            for block, cache in zip(self.blocks, caches, strict=True):
                h = block(h, cache)  # [B, 1, width]
            logits = self.head(self.norm(h[:, 0])).float()  # [B, num_codes]
            # Inverse transform sampling: one uniform number for each index.
            cdf = (logits / temperature).softmax(dim=1).cumsum(dim=1)  # [B, num_codes]
            below = uniform[:, place, None] * cdf[:, -1:]  # [B, 1]; the last entry is 1 up to rounding
            previous = torch.searchsorted(cdf, below, right=True).clamp(max=self.num_codes - 1)  # [B, 1]
            indices[:, place] = previous[:, 0]
        return indices
