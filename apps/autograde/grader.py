"""The grade of one submission, none of whose code runs in this process.

Each step runs in a sandbox of its own. The first sees the images and returns codes. The second, which never
saw an image, gets those codes, rounded to float16 and in another order, and decodes them: what is scored is
what passed through the codes, and `latent_dim` is their width, whatever the submission says. A third gets
labels and generates. The grade is computed here, from plain arrays.

Among the images are probes: images twice, pure noise, inverted digits. They change no grade; what they show
that an honest model doesn't, is flagged, with its numbers, for people to look into.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.autograde.arrays import pack, unpack
from apps.autograde.limits import Limits, Outcome
from apps.autograde.sandbox import USERS, run_sandboxed
from vaelab.inference import BATCH
from vaelab.metrics.fid import GEN_PER_LABEL, fid
from vaelab.metrics.memorization import nearest_distance
from vaelab.metrics.reconstruction import reconstruction, to_float
from vaelab.metrics.score import PIXELS, score
from vaelab.tasks import TASKS

STATUSES = ("ok", "missing", "error", "timeout", "memory", "invalid")
# What of ours a submission has no reason to change.
PROTECTED = ("trainer.py", "train.py", "inference.py", "grade.py", "check.py", "data_utils.py")
REPO = Path(__file__).resolve().parents[2]
N_CANARIES = 100  # of each kind


class StepFailed(Exception):  # noqa: N818
    """A step that gave nothing to grade: its status and, as the text, the reason for the report."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


# --- A step -------------------------------------------------------------------------------------


@dataclass
class Steps:
    """Runs the steps of submissions in sandboxes."""

    lab: Path  # a folder with the modules of ours that a step imports
    image_shape: tuple[int, ...]
    limits: Limits
    sandboxed: bool = True

    def take(
        self, step: str, task: str, folder: Path, given: dict[str, np.ndarray], batches: list[int]
    ) -> np.ndarray:
        """The array that a step makes of those it is given, in batches of these sizes; checked.

        Raises: StepFailed.
        """
        n = len(next(iter(given.values())))
        item = 4 * PIXELS if step == "encode" else int(np.prod(self.image_shape))  # bytes, at most
        limits = replace(self.limits, output_bytes=n * item + 10_000)
        as_root = self.sandboxed and os.geteuid() == 0
        settings = {
            "step": step,
            "task": task,
            "seed": 0,  # as inference.py's
            "batches": batches,
            "image_shape": self.image_shape,
            "limits": asdict(limits),
            "uid": next(USERS) if as_root else None,
        }
        request = json.dumps(settings).encode() + b"\n" + pack(given)
        command = [sys.executable, "-I", "{lab}/apps/autograde/sandboxed_step.py", "{lab}", "{submission}"]
        folders = {"lab": self.lab, "submission": folder}
        outcome = run_sandboxed(command, folders, request, limits, self.sandboxed)
        made = result_of(outcome, limits)
        if step == "encode":
            expected = f"float32 [{n}, d] with d from 1 to {PIXELS}"
            good = made.dtype == np.float32 and made.ndim == 2 and len(made) == n
            good = good and 1 <= made.shape[1] <= PIXELS
        else:
            expected = f"uint8 {[n, *self.image_shape]}"
            good = made.dtype == np.uint8 and made.shape == (n, *self.image_shape)
        if not good:
            raise StepFailed("invalid", f"{step} gave {made.dtype} {list(made.shape)}, expected {expected}")
        return made


def result_of(outcome: Outcome, limits: Limits) -> np.ndarray:
    """The array in what a sandbox wrote. Raises: StepFailed."""
    reasons = {
        "timeout": ("timeout", f"it took longer than {limits.seconds:g} s"),
        "memory": ("memory", f"it used more than {limits.memory_mb} MB of memory"),
        "processes": ("error", f"it started more than {limits.processes} processes and threads"),
        "files": ("error", f"it made more than {limits.tmp_files} files"),
        "output": ("invalid", "it returned far more than was asked for"),
    }
    if outcome.status in reasons:
        raise StepFailed(*reasons[outcome.status])
    head, _, body = outcome.output.partition(b"\n")
    try:
        values = json.loads(head)
        if values["status"] == "ok":
            return unpack(body)["made"]
        status, why = values["status"], str(values["reason"])
    except (ValueError, TypeError, KeyError, RecursionError):
        said = (outcome.errors.strip().splitlines() or ["it printed nothing"])[-1]
        ended = f"the process ended by itself, with code {outcome.returncode} and no result ({said})"
        raise StepFailed("error", ended) from None
    raise StepFailed(status if status in ("error", "memory", "invalid") else "error", why)


# --- A grade ------------------------------------------------------------------------------------


@dataclass
class Grader:
    """Grades submissions on one split."""

    steps: Steps
    images: np.ndarray  # uint8 [N, H, W]
    labels: np.ndarray  # uint8 [N]
    train: np.ndarray  # uint8 [M, H, W]: generated images may be copies of these
    compare_float32: bool = False

    def __post_init__(self) -> None:
        real = nearest_distance(to_float(self.images[:1000]), to_float(self.train))
        # As near to a training image as this comes one in 200 real images that are not in `train`.
        self.copy_distance = float(np.quantile(real.numpy(), 0.005))

    def grade(self, folder: Path, seed: int) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
        """The grades of a staged submission by task, and pictures by task: what came, at a glance.

        seed: decides the order of images and codes, and the probes; not to be known to the submission.
        A grade holds `status` and `reason`, `flags` (sentences), `seconds`, and where the status is ok
        `ssim`, `mse`, `fid`, `latent_dim`, `bonus`, `score` and `score_uncapped`.
        """
        # One step after the other: two of one submission that run at once might find a way to talk.
        results = {task: self.grade_task(task, folder, seed) for task in TASKS}
        pictures = {task: picture for task, (_, picture) in results.items() if picture is not None}
        return {task: grade for task, (grade, _) in results.items()}, pictures

    def grade_task(self, task: str, folder: Path, seed: int) -> tuple[dict[str, Any], np.ndarray | None]:
        """One task's grade, and its picture."""
        start, flags = time.monotonic(), changed_files(folder)
        grade: dict[str, Any] = {"status": "ok", "reason": "", "flags": flags}
        picture = None
        try:
            for name in ("submission.py", f"{task}.pt"):
                if not (folder / name).is_file():
                    raise StepFailed("missing", f"there is no {name}")
            values, recon = self.reconstruct(task, folder, seed, flags)
            rows = [self.images[:10], recon[:10]]
            if TASKS[task].conditional:
                gen = self.generate(task, folder)
                values["fid"] = float(np.mean(fid(gen, self.images, self.labels)))
                flags += self.copies(gen)
                rows += list(gen[:, :10])
            latent_dim = values.pop("latent_dim")
            grade |= values | {"latent_dim": latent_dim, **score(task, values, latent_dim)}
            picture = np.concatenate(rows)
        except StepFailed as failure:
            grade |= failed(failure.status, str(failure), flags)
        grade["seconds"] = round(time.monotonic() - start, 1)
        return grade, picture

    def reconstruct(
        self, task: str, folder: Path, seed: int, flags: list[str]
    ) -> tuple[dict[str, float], np.ndarray]:
        """`ssim`, `mse` and `latent_dim` of the split, and its reconstructions. Adds to `flags`."""
        rng = np.random.default_rng([seed, len(task)])
        n, shape = len(self.images), self.images.shape[1:]
        twice = rng.choice(n, N_CANARIES)
        noise = rng.integers(0, 256, (N_CANARIES, *shape), dtype=np.uint8)
        x = np.concatenate([self.images, noise, 255 - self.images[twice], self.images[twice]])
        labels = np.concatenate([self.labels, *[self.labels[twice]] * 3]).astype(np.int64)
        given_labels = {"labels": labels} if TASKS[task].conditional else {}
        # Those met twice come the second time in small batches: there it shows what depends on the others.
        full, rest = divmod(n + 2 * N_CANARIES, BATCH)
        batches = [BATCH] * full + [rest] * (rest > 0) + [N_CANARIES // 10] * 10

        def through(step: str, **given: np.ndarray) -> np.ndarray:
            """A step, its items in an order that only we know."""
            order = np.concatenate(
                [rng.permutation(len(x) - N_CANARIES), len(x) - 1 - rng.permutation(N_CANARIES)]
            )
            shuffled = {key: array[order] for key, array in given.items()}
            return self.steps.take(step, task, folder, shuffled, batches)[order.argsort()]

        z = through("encode", x=x, **given_labels)
        with np.errstate(over="ignore"):
            rounded = z.astype(np.float16)
        if not np.isfinite(rounded).all():
            raise StepFailed("invalid", "the codes hold nan, or numbers beyond float16's largest, 65504")
        sent = rounded.copy()
        sent[-N_CANARIES:] = rounded[twice]  # the same codes twice: they must decode alike
        recon = through("decode", z=sent, **given_labels)
        latent_dim = z.shape[1]
        values = reconstruction(recon[:n], self.images)
        flags += canary_flags(x, z, recon, twice, n)
        if self.compare_float32:
            exact = through("decode", z=z, **given_labels)[:n]
            flags += precision_flags(task, values, reconstruction(exact, self.images), latent_dim)
        return values | {"latent_dim": latent_dim}, recon[:n]

    def generate(self, task: str, folder: Path) -> np.ndarray:
        """`GEN_PER_LABEL` images of each label, uint8 [10, GEN_PER_LABEL, H, W]."""
        labels = np.arange(10).repeat(GEN_PER_LABEL)
        batches = [GEN_PER_LABEL] * 10
        made = self.steps.take("generate", task, folder, {"labels": labels}, batches)
        return made.reshape(10, GEN_PER_LABEL, *made.shape[1:])

    def copies(self, gen: np.ndarray) -> list[str]:
        """A flag if generated images are copies of training images."""
        some = gen[:, :100].reshape(-1, *gen.shape[2:])
        near = nearest_distance(to_float(some), to_float(self.train)) < self.copy_distance
        share = near.double().mean().item()
        if share <= 0.05:
            return []
        return [
            f"generated images may be copies: {share:.0%} lie nearer to a training image than 0.5% of new do"
        ]


def failed(status: str, why: str, flags: list[str] | None = None) -> dict[str, Any]:
    """The grade of what could not be graded."""
    return {"status": status, "reason": why, "flags": flags or [], "score": 0.0, "seconds": 0.0}


# --- Flags --------------------------------------------------------------------------------------


def canary_flags(x: np.ndarray, z: np.ndarray, recon: np.ndarray, twice: np.ndarray, n: int) -> list[str]:
    """What the probes show. x, z, recon: the n images of the split, then N_CANARIES each of noise, of images
    inverted, and of the same met for the second time, with their codes and reconstructions."""
    noise, inverted, again = (slice(n + i * N_CANARIES, n + (i + 1) * N_CANARIES) for i in range(3))
    flags, latent_dim = [], z.shape[1]

    def error(part: slice) -> float:
        return float(np.mean(np.square(recon[part] / 255.0 - x[part] / 255.0)))

    spread = np.linalg.norm(z[:n].std(axis=0)) or 1.0
    moved = float(np.median(np.linalg.norm(z[again] - z[twice], axis=1)) / spread)
    if moved > 0.05:
        flags.append(
            f"the code of an image depends on the images beside it: it moves by {moved:.0%} of the spread"
        )
    differs = float(np.abs(recon[again].astype(int) - recon[twice]).mean())
    if differs > 0.5:
        flags.append(f"equal codes decode differently, by {differs:.1f} of 255 grey levels on average")
    if latent_dim < PIXELS / 2:
        kept, most = 1 - error(noise) / np.var(x[noise] / 255.0), 2 * latent_dim / PIXELS + 0.05
        if kept > most:
            flags.append(
                f"pure noise passes suspiciously well: {kept:.0%} of its variance through {latent_dim} "
                f"numbers, where a linear map keeps {latent_dim / PIXELS:.0%}"
            )
        ratio = error(inverted) / max(error(slice(n)), 1e-9)
        if ratio < 2:
            flags.append(f"inverted digits reconstruct as well as digits: an MSE of {ratio:.1f} times theirs")
    return flags


def precision_flags(
    task: str, values: dict[str, float], exact: dict[str, float], latent_dim: int
) -> list[str]:
    """A flag if codes in float32 score otherwise than the same codes in float16."""
    no_fid = {"fid": 0.0} if TASKS[task].conditional else {}
    scores = [score(task, v | no_fid, latent_dim)["score_uncapped"] for v in (values, exact)]
    if abs(scores[1] - scores[0]) <= 0.01:
        return []
    return [
        f"with codes in float32 the score would change by {scores[1] - scores[0]:+.2f} "
        f"(ssim {exact['ssim']:.4f}, mse {exact['mse']:.5f}): their digits may hold more than one number"
    ]


def changed_files(folder: Path) -> list[str]:
    """A flag if files that a submission should leave alone came along, changed."""
    changed = [
        name
        for name in PROTECTED
        if (folder / name).is_file() and (folder / name).read_bytes() != (REPO / name).read_bytes()
    ]
    return [f"it brings its own {', '.join(changed)}, of which nothing was used"] if changed else []


def secret_seed(fingerprint: str, images: np.ndarray) -> int:
    """A number that a submission can't know, and that is the same whenever it is graded on these images."""
    checksum = hashlib.sha256(fingerprint.encode() + images.tobytes()).digest()
    return int.from_bytes(checksum[:8], "big")
