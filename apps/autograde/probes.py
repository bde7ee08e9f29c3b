"""Probes: inputs that show whether what is graded is a function of the codes.

A submission can't tell probes from what is graded: they are sent together, in a random order. Some are
images that nobody has seen before (images of the split, a little deformed); others are codes that nobody
has encoded (codes moved a little, or between two codes). A decoder that looks images up, unpacks several
numbers from one, or was told the images on another way, treats these differently from the codes that it was
prepared for.

`measure` computes the statistics; `flags.py` says where a flag stands for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from vaelab.metrics.reconstruction import to_uint8
from vaelab.metrics.saved_images import mse, ssim
from vaelab.metrics.score import bonus
from vaelab.tasks import TASKS

N_PROBES = 500  # images that are deformed, and whose codes are moved
N_GENERATED = 300  # generated images that are encoded and decoded
N_SEGMENTS = 60  # between the codes of two similar images
INSIDE = 7  # codes on a segment, without its ends
LEVELS_CHANGED = 1  # of 255, at most, in the pixels of strokes, which are brighter than ...
STROKE = 32
PIXELS_MOVED = (0.2, 0.4, 0.6)  # root mean square
OUTLIER = 4  # times the MSE, after an image was deformed by the least of these ...
SMALL_MSE = 5e-4  # ... if it is above this
MAX_CODE = 65504  # of float16
MOVES = (0.02, 0.1, 0.5)  # in standard deviations of each number of the codes


def speckle(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images whose strokes differ from these by up to LEVELS_CHANGED grey levels: nobody sees it. uint8.

    The background stays as it is: SSIM is sensitive to noise on flat areas.
    """
    noise = rng.integers(-LEVELS_CHANGED, LEVELS_CHANGED + 1, images.shape)
    return np.where(images > STROKE, (images + noise).clip(0, 255), images).astype(np.uint8)


def deform(images: np.ndarray, rng: np.random.Generator, pixels: tuple[float, ...]) -> np.ndarray:
    """Images that look as these do and that nobody has seen: each is stretched smoothly, in a random way.

    images: uint8 [N, H, W] or [N, C, H, W]. Every point is moved by a smooth random field, by as many pixels
    (root mean square) as each of `pixels` says. Returns: [len(pixels), N, H, W].
    """
    n, (height, width) = len(images), images.shape[-2:]
    coarse = torch.from_numpy(rng.standard_normal((n, 2, 5, 5))).float()
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)  # [N, 2, H, W]
    field = field / field.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() / (max(height, width) / 2)
    identity = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), (n, 1, height, width), align_corners=False)
    x = torch.from_numpy(images).float().reshape(n, -1, height, width) / 255
    found = []
    for size in pixels:
        grid = identity + size * field.movedim(1, 3)
        moved = F.grid_sample(x, grid, mode="bicubic", align_corners=False)
        found.append(to_uint8(moved).reshape(images.shape).numpy())
    return np.stack(found)


def similar_pairs(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N_SEGMENTS pairs of indices: random images, each with the most similar one of its label among some."""
    some = rng.permutation(len(images))[:2000]
    flat = torch.from_numpy(images[some]).float().flatten(1)
    first = rng.choice(len(some), N_SEGMENTS)
    distance = torch.cdist(flat[first], flat)
    distance[torch.from_numpy(labels[some][first][:, None] != labels[some][None])] = torch.inf
    distance[torch.arange(N_SEGMENTS), torch.from_numpy(first)] = torch.inf
    return np.stack([some[first], some[distance.argmin(dim=1).numpy()]], axis=1)


@dataclass
class Probes:
    """The probes of one task of a submission. Indices are those of the split's images."""

    chosen: np.ndarray  # the images that are deformed, and whose codes are moved, [M]
    labels: np.ndarray  # of these, [M]
    changed: np.ndarray  # speckled, and deformed by each of PIXELS_MOVED, uint8 [4, M, H, W]
    generated: np.ndarray  # uint8 [G, H, W]
    generated_labels: np.ndarray  # [G]
    pairs: np.ndarray  # [N_SEGMENTS, 2]
    rng: np.random.Generator  # for the codes

    @classmethod
    def draw(
        cls, images: np.ndarray, labels: np.ndarray, gen: np.ndarray | None, rng: np.random.Generator
    ) -> Probes:
        """Probes for a split. images: uint8 [N, H, W]; labels: [N]; gen: generated images, [10, K, H, W]."""
        chosen = rng.permutation(len(images))[:N_PROBES]
        speckled = speckle(images[chosen], rng)
        changed = np.stack([speckled, *deform(images[chosen], rng, PIXELS_MOVED)])
        pairs = similar_pairs(images, labels, rng)
        flat = images[:0] if gen is None else gen.reshape(-1, *gen.shape[2:])
        some = rng.permutation(len(flat))[:N_GENERATED]
        asked = some // (len(flat) // 10) if len(flat) else some
        return cls(chosen, labels[chosen], changed, flat[some], asked, pairs, rng)

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """The images that are encoded beside the split, and their labels."""
        images = np.concatenate([*self.changed, self.generated])
        return images, np.concatenate([*[self.labels] * len(self.changed), self.generated_labels])

    def codes(self, z: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes that nobody encoded, float16 [., d], and their labels.

        z, labels: of the split, [N, d] and [N]. First those of the chosen images, moved by each of MOVES;
        then those between the pairs.
        """
        z = z.astype(np.float64)
        std, some = z.std(axis=0), z[self.chosen]
        moved = [some + size * std * self.rng.standard_normal(some.shape) for size in MOVES]
        a, b = z[self.pairs[:, 0], None], z[self.pairs[:, 1], None]
        between = a + (np.arange(INSIDE) + 1)[:, None] / (INSIDE + 1) * (b - a)
        codes = np.concatenate([*moved, between.reshape(-1, z.shape[1])]).clip(-MAX_CODE, MAX_CODE)
        return codes.astype(np.float16), np.concatenate(
            [*[self.labels] * len(MOVES), labels[self.pairs[:, 0]].repeat(INSIDE)]
        )


@dataclass
class Decoded:
    """What came back, uint8: of the split, the probes' images, the codes nobody encoded."""

    images: np.ndarray
    changed: np.ndarray  # [4, M, H, W]
    generated: np.ndarray
    moved: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, more: np.ndarray, invented: np.ndarray, probes: Probes) -> Decoded:
        """more: those of `Probes.inputs`; invented: those of `Probes.codes`."""
        shape = probes.changed.shape
        changed, generated = np.split(more, [shape[0] * shape[1]])
        parts = np.split(invented, [len(MOVES) * shape[1]])
        return cls(images, changed.reshape(shape), generated, *parts)


def points_lost(task: str, recon: np.ndarray, images: np.ndarray, latent_dim: int) -> np.ndarray:
    """The points that each image loses to a perfect reconstruction, as if it were the only one."""
    rules = TASKS[task]
    lost = rules.ssim_weight * (1 - ssim(recon, images)) + rules.mse_weight * mse(recon, images)
    return lost * bonus(latent_dim)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The root mean square difference of images, in grey levels: uint8 [S, K, H, W] to [S, K]."""
    flat = np.square(a.astype(np.float32) - b).reshape(*a.shape[:2], -1)
    return np.sqrt(flat.mean(axis=2))


def measure(
    task: str, probes: Probes, images: np.ndarray, decoded: Decoded, latent_dim: int
) -> dict[str, float]:
    """The statistics. images: uint8 [N, H, W], the split's."""
    x, recon = images[probes.chosen], decoded.images[probes.chosen]
    moved = decoded.moved.reshape(len(MOVES), *recon.shape)
    stored, after_move, speckled, *deformed = (
        points_lost(task, a, b, latent_dim)
        for a, b in ((recon, x), (moved[0], x), *zip(decoded.changed, probes.changed, strict=True))
    )
    error, least = mse(recon, x), mse(decoded.changed[1], probes.changed[1])
    # What a parabola through the three deformations gives for none.
    expected = 3 * deformed[0] - 3 * deformed[1] + deformed[2]
    change = np.square(distance(moved, np.broadcast_to(recon, moved.shape))).mean(axis=1)
    rules = TASKS[task]
    values = {
        "all_points": (rules.ssim_weight + rules.mse_weight * rules.mse_limit) * bonus(latent_dim),
        "lost_stored": float(stored.mean()),
        "lost_deformed": float(deformed[2].mean()),
        "jump_at_stored": float((expected - stored).mean()),
        "speckled_loss": float((speckled - stored).mean()),
        "speckled_error": float((speckled - stored).std() / len(stored) ** 0.5),
        "outliers": float((least + SMALL_MSE > OUTLIER * (error + SMALL_MSE)).mean()),
        "moved_loss": float((after_move - stored).mean()),
        "change": float(change[2]),
        "growth": float(change[2] / (change[1] + 0.1)),  # images are rounded
    } | measure_between(probes, decoded)
    if len(probes.generated):
        of_generated = mse(decoded.generated, probes.generated).mean()
        values["generated_error"] = float(of_generated / max(error.mean(), 1e-6))
    return values


def measure_between(probes: Probes, decoded: Decoded) -> dict[str, float]:
    """How images change on the way from one code to another."""
    ends = decoded.images[probes.pairs]  # [S, 2, H, W]
    inside = decoded.between.reshape(N_SEGMENTS, INSIDE, *ends.shape[2:])
    path = np.concatenate([ends[:, :1], inside, ends[:, 1:]], axis=1)
    steps = distance(path[:, 1:], path[:, :-1])  # [S, INSIDE + 1]
    straight = distance(ends[:, :1], ends[:, 1:])[:, 0]
    return {
        "jump": float((steps.max(axis=1) / np.maximum(steps.sum(axis=1), 1e-6)).mean()),
        "detour": float(np.median(steps.sum(axis=1) / np.maximum(straight, 1))),
    }
