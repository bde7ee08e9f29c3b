"""Canary inputs, mixed into the images that a submission encodes, and the flags for suspicious results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vaelab.inference import BATCH
from vaelab.metrics.saved_images import mse
from vaelab.metrics.score import PIXELS

N_CANARIES = 100  # of each kind


@dataclass
class CanaryInputs:
    """The images of a split; others, `more`; N_CANARIES each of noise, inverted images, repeated images."""

    x: np.ndarray  # uint8 [n + m + 3 N_CANARIES, H, W]
    labels: np.ndarray  # int64 [n + m + 3 N_CANARIES]
    n: int  # images of the split
    repeated: np.ndarray  # the indices of the images that are inverted and repeated, [N_CANARIES]

    @classmethod
    def draw(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        more: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
    ) -> CanaryInputs:
        """Add canary inputs to images, uint8 [n, H, W], their labels, [n], and to others and theirs, [m]."""
        repeated = rng.choice(len(images), N_CANARIES)
        noise = rng.integers(0, 256, (N_CANARIES, *images.shape[1:]), dtype=np.uint8)
        x = np.concatenate([images, more[0], noise, 255 - images[repeated], images[repeated]])
        all_labels = np.concatenate([labels, more[1], *[labels[repeated]] * 3]).astype(np.int64)
        return cls(x, all_labels, len(images), repeated)

    @property
    def more(self) -> slice:
        """The slice of `x` with the other images."""
        return slice(self.n, self.noise.start)

    @property
    def noise(self) -> slice:
        """The slice of `x` with the noise."""
        return slice(len(self.x) - 3 * N_CANARIES, len(self.x) - 2 * N_CANARIES)

    @property
    def inverted(self) -> slice:
        """The slice of `x` with the inverted images."""
        return slice(self.noise.stop, self.noise.stop + N_CANARIES)

    @property
    def again(self) -> slice:
        """The slice of `x` with the repeated images; the originals are at the indices `repeated`."""
        return slice(self.inverted.stop, len(self.x))


def sizes_of_batches(n: int) -> list[int]:
    """The sizes of the batches of n items. Repeated ones come last, in small batches."""
    full, rest = divmod(n - N_CANARIES, BATCH)
    return [BATCH] * full + [rest] * (rest > 0) + [N_CANARIES // 10] * 10


def random_order(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of n items, in which the N_CANARIES last ones, the repeated ones, come last."""
    return np.concatenate([rng.permutation(n - N_CANARIES), n - 1 - rng.permutation(N_CANARIES)])


def canary_flags(inputs: CanaryInputs, z: np.ndarray, recon: np.ndarray) -> list[str]:
    """Flags for results of canary inputs that an honest model would not give. z, recon: of all inputs."""
    x, again, repeated, latent_dim = inputs.x, inputs.again, inputs.repeated, z.shape[1]
    flags = []

    def error(part: slice) -> float:
        return float(mse(recon[part], x[part]).mean())

    spread = np.linalg.norm(z[: inputs.n].std(axis=0)) or 1.0
    change = float(np.median(np.linalg.norm(z[again] - z[repeated], axis=1)) / spread)
    if change > 0.05:
        flags.append(
            f"the code of an image depends on the other images of its batch: it changes by {change:.0%} of "
            "the standard deviation of the codes"
        )
    difference = float(np.abs(recon[again].astype(int) - recon[repeated]).mean())
    if difference > 0.5:
        flags.append(
            f"equal codes decode to different images: {difference:.1f} of 255 grey levels on average"
        )
    if latent_dim < PIXELS / 2:
        kept = 1 - error(inputs.noise) / np.var(x[inputs.noise] / 255.0)
        if kept > 2 * latent_dim / PIXELS + 0.05:
            flags.append(
                f"pure noise is reconstructed too well: {kept:.0%} of its variance is kept by {latent_dim} "
                f"numbers; a linear map would keep {latent_dim / PIXELS:.0%}"
            )
        ratio = error(inputs.inverted) / max(error(slice(inputs.n)), 1e-9)
        if ratio < 2:
            flags.append(
                f"inverted digits are reconstructed almost as well as digits: {ratio:.1f} times the MSE"
            )
    return flags
