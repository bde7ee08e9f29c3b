"""Vector quantization with a learned codebook.

Each vector of the encoder's grid is replaced by the nearest of K code vectors (eq. 2). The encoder is
trained through the straight-through gradient and a commitment loss (the third term of eq. 3). The codebook
is trained by no gradient: each code vector is the moving average of the vectors that chose it (eq. 6 to 8),
which replaces the second term of eq. 3. Code vectors that are hardly ever chosen are restarted.

Papers: van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning (2017), whose numbers
the equations have; restarts after Dhariwal et al., Jukebox: A Generative Model for Music (2020).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from beyond.discrete.quantizer import Quantized, Quantizer, straight_through

CHUNK = 8192  # vectors compared with the codebook at once, which bounds the memory: CHUNK * K floats


class VectorQuantizer(Quantizer):
    """K code vectors of D numbers, and the running sums that they are computed from.

    num_codes: K; code_dim: D; commitment: beta of eq. 3; decay: gamma of eq. 6 and 7.
    restart_below: a code is restarted when its count falls below this share of the mean count; 0: never.
    """

    def __init__(
        self,
        num_codes: int = 512,
        code_dim: int = 16,
        commitment: float = 0.25,
        decay: float = 0.99,
        restart_below: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_codes, self.code_dim = num_codes, code_dim
        self.commitment, self.decay, self.restart_below = commitment, decay, restart_below
        # Buffers: no gradient, but part of the state_dict, so that a resumed training has the same averages.
        self.register_buffer("codebook", torch.empty(num_codes, code_dim).uniform_(-1, 1) / num_codes)  # e
        self.register_buffer("counts", torch.zeros(num_codes))  # N of eq. 6
        self.register_buffer("sums", torch.zeros(num_codes, code_dim))  # m of eq. 7

    def forward(self, z: Tensor) -> Quantized:
        """Quantize z, [B, ..., D]; in train mode the codebook is updated afterwards.

        The loss is beta ||z - sg[e]||^2, the third term of eq. 3: sum over the grid and over D, mean over
        the batch. sg, stop-gradient, is `detach`: the encoder is pulled towards the code, not the reverse.
        """
        z = z.float()  # [B, ..., D]
        indices = self.nearest(z)  # [B, ...]
        codes = self.codes(indices)  # [B, ..., D]
        loss = self.commitment * (z - codes.detach()).square().flatten(1).sum(dim=1).mean()  # []
        if self.training:
            self.update(z.detach().reshape(-1, self.code_dim), indices.flatten())
        return Quantized(straight_through(z, codes), indices, loss)

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """argmin_k ||z - e_k||^2 of z, [..., D] (eq. 1 and 2). Returns: int64 [...]."""
        flat = z.float().reshape(-1, self.code_dim)  # [N, D]
        squares = self.codebook.square().sum(dim=1)  # [K]
        # ||z - e||^2 = ||z||^2 - 2 z e + ||e||^2, and ||z||^2 is the same for all k. Never in bf16: the
        # differences between distances are small.
        with torch.autocast(z.device.type, enabled=False):
            indices = [
                torch.addmm(squares, part, self.codebook.T, alpha=-2).argmin(dim=1)  # [CHUNK, K] to [CHUNK]
                for part in flat.split(CHUNK)
            ]
        return torch.cat(indices).reshape(z.shape[:-1])  # [...]

    def codes(self, indices: Tensor) -> Tensor:
        """e_k of each index k, int64 [...]. Returns: float32 [..., D]."""
        return self.codebook[indices]

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """One step of the moving averages (eq. 6 to 8), then the restarts. z: [N, D]; indices: [N]."""
        n = torch.bincount(indices, minlength=self.num_codes).float()  # [K], n_i of eq. 6
        total = torch.zeros_like(self.sums).index_add_(0, indices, z)  # [K, D], the sum of eq. 7
        if dist.is_available() and dist.is_initialized():  # the batch is spread over several processes
            dist.all_reduce(n)
            dist.all_reduce(total)
        self.counts.lerp_(n, 1 - self.decay)  # eq. 6
        self.sums.lerp_(total, 1 - self.decay)  # eq. 7
        # Eq. 8. A code that was never chosen has no average, and stays where it is.
        chosen = self.counts > 1e-6  # [K]
        means = self.sums / self.counts.clamp(min=1e-6)[:, None]  # [K, D]
        self.codebook.copy_(torch.where(chosen[:, None], means, self.codebook))
        if self.restart_below:
            self.restart(z)

    def restart(self, z: Tensor) -> None:
        """Replace each code whose count is too low by a random vector of the batch z, [N, D].

        In the first step this also replaces all codes that no vector chose. There is no `if` on the counts,
        since it would wait for the GPU.
        """
        min_count = self.restart_below * self.counts.mean()  # []
        dead = self.counts < min_count  # [K]
        drawn = z[torch.randint(len(z), (self.num_codes,), device=z.device)]  # [K, D]
        if dist.is_available() and dist.is_initialized():  # the same code vectors in all processes
            dist.broadcast(drawn, src=0)
        self.codebook.copy_(torch.where(dead[:, None], drawn, self.codebook))
        self.sums.copy_(torch.where(dead[:, None], min_count * drawn, self.sums))
        self.counts.copy_(torch.where(dead, min_count, self.counts))
