"""Grades one submission. None of its code runs in this process.

Each step runs in a sandbox of its own. The first gets labels and generates images. The second gets the
images and returns codes. The third never sees an image: it gets those codes, rounded to float16 and in
another order, and decodes them. So only information in the codes is scored, and `latent_dim` is their
width, not a number that the submission states. The grade is computed here, from plain arrays.

Canary inputs and probes are mixed into images and codes. They don't change the grade; results that an
honest model would not give are flagged, with their numbers, for people to review.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.autograde.canaries import CanaryInputs, canary_flags, random_order, sizes_of_batches
from apps.autograde.flags import generated_flags, probe_flags
from apps.autograde.generated import BESIDE_FID, RealImages
from apps.autograde.probes import Decoded, Probes, measure
from apps.autograde.record import failed
from apps.autograde.secret import SubmissionSecret
from apps.autograde.steps import StepFailed, Steps
from apps.autograde.verdicts import CheckInputs, Results, all_failed, judge
from vaelab.metrics.fid import GEN_PER_LABEL, fid
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import score
from vaelab.tasks import TASKS

# Files of the lab that a submission has no reason to change.
PROTECTED = ("trainer.py", "train.py", "inference.py", "grade.py", "check.py", "data_utils.py")
REPO = Path(__file__).resolve().parents[2]


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
    real: RealImages  # of the split, and what they are compared with
    compare_float32: bool = False
    per_label: int = GEN_PER_LABEL  # generated images

    @property
    def images(self) -> np.ndarray:
        """The images of the split, uint8 [N, H, W]."""
        return self.real.images

    @property
    def labels(self) -> np.ndarray:
        """Their labels, [N]."""
        return self.real.labels

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
            # It comes first, so that generated images can be encoded too.
            gen = self.generate(task, folder) if TASKS[task].conditional else None
            values, recon, seen = self.reconstruct(task, folder, secret, gen, flags)
            rows = [self.images[:10], recon[:10]]
            if gen is not None:
                values["fid"] = float(np.mean(fid(gen, self.images, self.labels)))
                about = self.real.measure(gen, secret.rng(task, "generated"))
                flags += generated_flags(values["fid"], TASKS[task].fid_limit, about | seen)
                values |= {name: about[name] for name in BESIDE_FID}
                grade["generated"] = about
                grade["gen_sha256"] = array_sha256(gen)
                rows += list(gen[:, :10])
            latent_dim = values.pop("latent_dim")
            grade |= values | {"latent_dim": latent_dim, **score(task, values, latent_dim)}
            grade |= {"recon_sha256": array_sha256(recon), "probes": seen}
            picture = np.concatenate(rows)
        except StepFailed as failure:
            grade |= failed(failure.status, str(failure), flags)
        grade["seconds"] = round(time.monotonic() - start, 1)
        return grade, picture

    def reconstruct(
        self, task: str, folder: Path, secret: SubmissionSecret, gen: np.ndarray | None, flags: list[str]
    ) -> tuple[dict[str, float], np.ndarray, dict[str, float]]:
        """`ssim`, `mse` and `latent_dim` of the split, its reconstructions, and the statistics of the probes.

        gen: generated images, of which some are encoded and decoded too. Adds to `flags`.
        """
        probes = Probes.draw(self.images, self.labels, gen, secret.rng(task, "probes"))
        inputs = CanaryInputs.draw(self.images, self.labels, probes.inputs(), secret.rng(task, "inputs"))
        n, conditional = inputs.n, TASKS[task].conditional

        def run_shuffled(step: str, labels: np.ndarray, name: str, **arrays: np.ndarray) -> np.ndarray:
            """The result of a step, whose items are sent in a secret order. name: of its order."""
            arrays |= {"labels": labels} if conditional else {}
            order = random_order(len(labels), secret.rng(task, name))
            shuffled = {key: array[order] for key, array in arrays.items()}
            return self.steps.run(step, task, folder, shuffled, sizes_of_batches(len(labels)))[
                order.argsort()
            ]

        z = run_shuffled("encode", inputs.labels, "encode", x=inputs.x)
        latent_dim, rounded = z.shape[1], as_float16(z)
        sent = rounded.copy()
        sent[inputs.again] = rounded[inputs.repeated]  # the same codes twice: both must decode alike
        # In front of them, codes that nobody encoded.
        invented, labels = probes.codes(rounded[:n], self.labels)
        sent, labels = np.concatenate([invented, sent]), np.concatenate([labels, inputs.labels])
        decoded = run_shuffled("decode", labels, "decode", z=sent)
        recon, from_invented = decoded[len(invented) :], decoded[: len(invented)]
        values = reconstruction(recon[:n], self.images)
        flags += canary_flags(inputs, z, recon)
        parts = Decoded.of(recon[:n], recon[inputs.more], from_invented, probes)
        seen = measure(task, probes, self.images, parts, latent_dim)
        flags += probe_flags(seen)
        if self.compare_float32:
            exact = run_shuffled("decode", inputs.labels, "float32", z=z)[:n]
            flags += precision_flags(task, values, reconstruction(exact, self.images), latent_dim)
        return values | {"latent_dim": latent_dim}, recon[:n], seen

    def generate(self, task: str, folder: Path) -> np.ndarray:
        """`per_label` images of each label, uint8 [10, per_label, H, W]."""
        labels = np.arange(10).repeat(self.per_label)
        images = self.steps.run("generate", task, folder, {"labels": labels}, [self.per_label] * 10)
        return images.reshape(10, self.per_label, *images.shape[1:])


def as_float16(z: np.ndarray) -> np.ndarray:
    """Codes rounded to float16. Raises: StepFailed if one is not finite then."""
    with np.errstate(over="ignore"):
        rounded = z.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise StepFailed("invalid", "the codes contain nan, or numbers above float16's maximum, 65504")
    return rounded


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
