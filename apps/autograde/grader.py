"""Grades one submission. None of its code runs in this process.

Each step runs in a sandbox of its own. The first gets the images and returns codes. The second never sees an
image: it gets those codes, rounded to float16 and in another order, and decodes them. So only information in
the codes is scored, and `latent_dim` is their width, not a number that the submission states. The third gets
labels and generates images. The grade is computed here, from plain arrays.

Canary inputs are mixed into the images: repeated images, pure noise, inverted digits. They don't change the
grade; results that an honest model would not give are flagged, with their numbers, for people to review.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.autograde.arrays import pack, unpack
from apps.autograde.canaries import CanaryInputs, canary_flags
from apps.autograde.limits import Limits, Outcome
from apps.autograde.request import StepRequest
from apps.autograde.sandbox import USER_IDS, run_sandboxed
from vaelab.metrics.fid import GEN_PER_LABEL, fid
from vaelab.metrics.memorization import nearest_distance
from vaelab.metrics.reconstruction import reconstruction, to_float
from vaelab.metrics.score import PIXELS, score
from vaelab.tasks import TASKS

STATUSES = ("ok", "missing", "error", "timeout", "memory", "invalid")
# Files of the lab that a submission has no reason to change.
PROTECTED = ("trainer.py", "train.py", "inference.py", "grade.py", "check.py", "data_utils.py")
REPO = Path(__file__).resolve().parents[2]
# A generated image is a possible copy if it is closer to a training image than all but this share of the real
# images that are not in `train`. More than MAX_COPIES of them are flagged.
COPY_QUANTILE, MAX_COPIES = 0.005, 0.05


class StepFailed(Exception):  # noqa: N818
    """A step has no valid result. `status`: the status of the grade; the text of the error: the reason."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


# --- A step -------------------------------------------------------------------------------------


@dataclass
class Steps:
    """Runs the steps of submissions in sandboxes."""

    lab: Path  # a folder with the modules of the lab that a step imports
    image_shape: tuple[int, ...]
    limits: Limits
    sandboxed: bool = True

    def run(
        self, step: str, task: str, folder: Path, arrays: dict[str, np.ndarray], batches: list[int]
    ) -> np.ndarray:
        """Run one step in a sandbox. Returns: the array that it computed from `arrays`.

        batches: the sizes of the batches. Raises: StepFailed if there is no result, or its dtype or shape is
        wrong.
        """
        n = len(next(iter(arrays.values())))
        item = 4 * PIXELS if step == "encode" else int(np.prod(self.image_shape))  # maximum bytes
        limits = replace(self.limits, output_bytes=n * item + 10_000)
        uid = next(USER_IDS) if self.sandboxed and os.geteuid() == 0 else None
        # Seed 0 is that of inference.py.
        request = StepRequest(step, task, 0, batches, self.image_shape, limits, uid)
        command = [sys.executable, "-I", "{lab}/apps/autograde/sandboxed_step.py", "{lab}", "{submission}"]
        folders = {"lab": self.lab, "submission": folder}
        outcome = run_sandboxed(command, folders, request.to_json() + pack(arrays), limits, self.sandboxed)
        result = read_result(outcome, step, limits)
        self.check_result(result, step, n)
        return result

    def check_result(self, result: np.ndarray, step: str, n: int) -> None:
        """Raise StepFailed if the result of a step for n items has the wrong dtype or shape."""
        if step == "encode":
            expected = f"float32 [{n}, d] with d from 1 to {PIXELS}"
            good = result.dtype == np.float32 and result.ndim == 2 and len(result) == n
            good = good and 1 <= result.shape[1] <= PIXELS
        else:
            expected = f"uint8 {[n, *self.image_shape]}"
            good = result.dtype == np.uint8 and result.shape == (n, *self.image_shape)
        if not good:
            got = f"{result.dtype} {list(result.shape)}"
            raise StepFailed("invalid", f"{step} returned {got}, expected {expected}")


def read_result(outcome: Outcome, step: str, limits: Limits) -> np.ndarray:
    """The array that a sandboxed step wrote. Raises: StepFailed."""
    reasons = {
        "timeout": ("timeout", f"{step} exceeded the time limit of {limits.seconds:g} s"),
        "memory": ("memory", f"{step} exceeded the memory limit of {limits.memory_mb} MB"),
        "processes": ("error", f"{step} exceeded the limit of {limits.processes} processes and threads"),
        "files": ("error", f"{step} exceeded the limit of {limits.tmp_files} files in /tmp"),
        "output": ("invalid", f"{step} returned more data than expected"),
    }
    if outcome.status in reasons:
        raise StepFailed(*reasons[outcome.status])
    head, _, body = outcome.output.partition(b"\n")
    try:
        values = json.loads(head)
        if values["status"] == "ok":
            return unpack(body)["result"]
        status, why = values["status"], str(values["reason"])
    except (ValueError, TypeError, KeyError, RecursionError):
        last_line = (outcome.errors.strip().splitlines() or ["it printed nothing"])[-1]
        why = f"{step}: the process ended with code {outcome.returncode} and without a result ({last_line})"
        raise StepFailed("error", why) from None
    raise StepFailed(status if status in ("error", "memory", "invalid") else "error", why)


# --- A grade ------------------------------------------------------------------------------------


@dataclass
class Grader:
    """Grades submissions on one split."""

    steps: Steps
    images: np.ndarray  # uint8 [N, H, W]
    labels: np.ndarray  # uint8 [N]
    train: np.ndarray  # uint8 [M, H, W]: generated images are compared with these
    compare_float32: bool = False

    def __post_init__(self) -> None:
        real = nearest_distance(to_float(self.images[:1000]), to_float(self.train))
        self.copy_distance = float(np.quantile(real.numpy(), COPY_QUANTILE))

    def grade(self, folder: Path, seed: int) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
        """The grades of a submission in `folder` by task, and a picture of its images by task.

        seed: determines the order of images and codes, and the canary inputs; secret to the submission.
        A grade has the keys `status` and `reason`, `flags` (sentences), `seconds`, and where the status is ok
        `ssim`, `mse`, `fid`, `latent_dim`, `bonus`, `score` and `score_uncapped`.
        """
        # One step after the other: two steps that run at the same time could perhaps communicate.
        results = {task: self.grade_task(task, folder, seed) for task in TASKS}
        pictures = {task: picture for task, (_, picture) in results.items() if picture is not None}
        return {task: grade for task, (grade, _) in results.items()}, pictures

    def grade_task(self, task: str, folder: Path, seed: int) -> tuple[dict[str, Any], np.ndarray | None]:
        """One task's grade, and its picture."""
        start, flags = time.monotonic(), changed_file_flags(folder)
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
                flags += self.copy_flags(gen)
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
        inputs = CanaryInputs.draw(self.images, self.labels, np.random.default_rng([seed, len(task)]))
        n, labels = inputs.n, {"labels": inputs.labels} if TASKS[task].conditional else {}

        def run_shuffled(step: str, **arrays: np.ndarray) -> np.ndarray:
            """The result of a step, whose items are sent in a secret order."""
            order = inputs.secret_order()
            shuffled = {key: array[order] for key, array in arrays.items()}
            return self.steps.run(step, task, folder, shuffled, inputs.batches())[order.argsort()]

        z = run_shuffled("encode", x=inputs.x, **labels)
        with np.errstate(over="ignore"):
            rounded = z.astype(np.float16)
        if not np.isfinite(rounded).all():
            raise StepFailed("invalid", "the codes contain nan, or numbers above float16's maximum, 65504")
        sent = rounded.copy()
        sent[inputs.again] = rounded[inputs.repeated]  # the same codes twice: both must decode alike
        recon = run_shuffled("decode", z=sent, **labels)
        latent_dim = z.shape[1]
        values = reconstruction(recon[:n], self.images)
        flags += canary_flags(inputs, z, recon)
        if self.compare_float32:
            exact = run_shuffled("decode", z=z, **labels)[:n]
            flags += precision_flags(task, values, reconstruction(exact, self.images), latent_dim)
        return values | {"latent_dim": latent_dim}, recon[:n]

    def generate(self, task: str, folder: Path) -> np.ndarray:
        """`GEN_PER_LABEL` images of each label, uint8 [10, GEN_PER_LABEL, H, W]."""
        labels = np.arange(10).repeat(GEN_PER_LABEL)
        batches = [GEN_PER_LABEL] * 10
        images = self.steps.run("generate", task, folder, {"labels": labels}, batches)
        return images.reshape(10, GEN_PER_LABEL, *images.shape[1:])

    def copy_flags(self, gen: np.ndarray) -> list[str]:
        """A flag if generated images may be copies of training images."""
        some = gen[:, :100].reshape(-1, *gen.shape[2:])
        near = nearest_distance(to_float(some), to_float(self.train)) < self.copy_distance
        share = near.double().mean().item()
        if share <= MAX_COPIES:
            return []
        return [
            f"possible copies of training images: {share:.0%} of the generated images are closer to a "
            f"training image than {1 - COPY_QUANTILE:.1%} of unseen real images are"
        ]


def failed(status: str, why: str, flags: list[str] | None = None) -> dict[str, Any]:
    """The grade of a task that could not be graded."""
    return {"status": status, "reason": why, "flags": flags or [], "score": 0.0, "seconds": 0.0}


# --- Flags --------------------------------------------------------------------------------------


def precision_flags(
    task: str, values: dict[str, float], exact: dict[str, float], latent_dim: int
) -> list[str]:
    """A flag if codes in float32 score differently from the same codes in float16."""
    no_fid = {"fid": 0.0} if TASKS[task].conditional else {}
    scores = [score(task, v | no_fid, latent_dim)["score_uncapped"] for v in (values, exact)]
    if abs(scores[1] - scores[0]) <= 0.01:
        return []
    return [
        f"with codes in float32 the score would change by {scores[1] - scores[0]:+.2f} "
        f"(ssim {exact['ssim']:.4f}, mse {exact['mse']:.5f}): a code may pack several numbers into one"
    ]


def changed_file_flags(folder: Path) -> list[str]:
    """A flag if the submission contains changed versions of the lab's files."""
    changed = [
        name
        for name in PROTECTED
        if (folder / name).is_file() and (folder / name).read_bytes() != (REPO / name).read_bytes()
    ]
    return [f"the submission contains a changed {', '.join(changed)}, which was not used"] if changed else []


def secret_seed(fingerprint: str, images: np.ndarray) -> int:
    """A seed that a submission can't know, and that is always the same for it and these images."""
    checksum = hashlib.sha256(fingerprint.encode() + images.tobytes()).digest()
    return int.from_bytes(checksum[:8], "big")
