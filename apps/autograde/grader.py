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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.autograde.canaries import CanaryInputs, canary_flags, random_order
from apps.autograde.record import failed
from apps.autograde.secret import SubmissionSecret
from apps.autograde.steps import StepFailed, Steps
from apps.autograde.verdicts import CheckInputs, Results, all_failed, judge
from vaelab.metrics.fid import GEN_PER_LABEL, fid
from vaelab.metrics.memorization import nearest_distance
from vaelab.metrics.reconstruction import reconstruction, to_float
from vaelab.metrics.score import score
from vaelab.tasks import TASKS

# Files of the lab that a submission has no reason to change.
PROTECTED = ("trainer.py", "train.py", "inference.py", "grade.py", "check.py", "data_utils.py")
REPO = Path(__file__).resolve().parents[2]
# A generated image is a possible copy if it is closer to a training image than all but this share of the real
# images that are not in `train`. More than MAX_COPIES of them are flagged.
COPY_QUANTILE, MAX_COPIES = 0.005, 0.05


# --- A grade ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What grading a hand-in gave."""

    grades: dict[str, dict[str, Any]]  # by task
    checks: dict[str, dict[str, Any]]  # by name: passed, why
    pictures: dict[str, np.ndarray]  # by task: uint8 [N, H, W]


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

    def grade(self, folder: Path, secret: SubmissionSecret, note: str = "") -> Result:
        """The grades of a submission in `folder`, the verdicts of its checks, and a picture for each task.

        secret: determines the order of images and codes, the canary inputs and the inputs of the checks.
        note: what to say of missing files. A grade has the keys of `record.Grade`, and
        checksums of its images.
        """
        # One step after the other: two steps that run at the same time could perhaps communicate.
        results = {task: self.grade_task(task, folder, secret, note) for task in TASKS}
        pictures = {task: picture for task, (_, picture) in results.items() if picture is not None}
        checks = self.check_blanks(folder, secret, note)
        return Result({task: grade for task, (grade, _) in results.items()}, checks, pictures)

    def check_blanks(self, folder: Path, secret: SubmissionSecret, note: str) -> dict[str, dict[str, Any]]:
        """The verdicts of the checks: passed, and why not, by name. They need no checkpoint."""
        if not (folder / "submission.py").is_file():
            return all_failed(note or "there is no submission.py")
        inputs = CheckInputs(self.images, secret.integer("checks") >> 193)  # 63 bits
        try:
            found = self.steps.call("check", next(iter(TASKS)), folder, inputs.arrays(), [], 4 << 20)
        except StepFailed as failure:
            return all_failed(str(failure))
        return judge(inputs, Results(*found))

    def grade_task(
        self, task: str, folder: Path, secret: SubmissionSecret, note: str
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """One task's grade, and its picture."""
        start, flags = time.monotonic(), changed_file_flags(folder)
        grade: dict[str, Any] = {"status": "ok", "reason": "", "flags": flags}
        picture = None
        try:
            for name in ("submission.py", f"{task}.pt"):
                if not (folder / name).is_file():
                    raise StepFailed("missing", note if name in note else f"there is no {name}")
            values, recon = self.reconstruct(task, folder, secret, flags)
            rows = [self.images[:10], recon[:10]]
            if TASKS[task].conditional:
                gen = self.generate(task, folder)
                values["fid"] = float(np.mean(fid(gen, self.images, self.labels)))
                flags += self.copy_flags(gen)
                grade["gen_sha256"] = array_sha256(gen)
                rows += list(gen[:, :10])
            latent_dim = values.pop("latent_dim")
            grade |= values | {"latent_dim": latent_dim, **score(task, values, latent_dim)}
            grade |= {"recon_sha256": array_sha256(recon)}
            picture = np.concatenate(rows)
        except StepFailed as failure:
            grade |= failed(failure.status, str(failure), flags)
        grade["seconds"] = round(time.monotonic() - start, 1)
        return grade, picture

    def reconstruct(
        self, task: str, folder: Path, secret: SubmissionSecret, flags: list[str]
    ) -> tuple[dict[str, float], np.ndarray]:
        """`ssim`, `mse` and `latent_dim` of the split, and its reconstructions. Adds to `flags`."""
        inputs = CanaryInputs.draw(self.images, self.labels, secret.rng(task, "inputs"))
        n, labels = inputs.n, {"labels": inputs.labels} if TASKS[task].conditional else {}

        def run_shuffled(step: str, name: str, **arrays: np.ndarray) -> np.ndarray:
            """The result of a step, whose items are sent in a secret order. name: of its order."""
            order = random_order(len(inputs.x), secret.rng(task, name))
            shuffled = {key: array[order] for key, array in arrays.items()}
            return self.steps.run(step, task, folder, shuffled, inputs.batches())[order.argsort()]

        z = run_shuffled("encode", "encode", x=inputs.x, **labels)
        with np.errstate(over="ignore"):
            rounded = z.astype(np.float16)
        if not np.isfinite(rounded).all():
            raise StepFailed("invalid", "the codes contain nan, or numbers above float16's maximum, 65504")
        sent = rounded.copy()
        sent[inputs.again] = rounded[inputs.repeated]  # the same codes twice: both must decode alike
        recon = run_shuffled("decode", "decode", z=sent, **labels)
        latent_dim = z.shape[1]
        values = reconstruction(recon[:n], self.images)
        flags += canary_flags(inputs, z, recon)
        if self.compare_float32:
            exact = run_shuffled("decode", "float32", z=z, **labels)[:n]
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


def array_sha256(array: np.ndarray) -> str:
    """A checksum of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]
