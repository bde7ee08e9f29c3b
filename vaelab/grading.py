"""Grades the outputs of a task: its metrics, its score, and the text that `grade.py` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vaelab.files import file_md5
from vaelab.metrics.extended import extended_table
from vaelab.metrics.fid import fid
from vaelab.metrics.reconstruction import reconstruction
from vaelab.metrics.score import bonus, max_score, score, score_terms
from vaelab.outputs import Hyperparams, Outputs, other_data


def grade_outputs(task: str, outputs: Outputs) -> dict[str, Any]:
    """The task's entry in grade_result.json."""
    images, labels, recon, gen, hyperparams = outputs
    values = reconstruction(recon, images)
    if gen is not None:
        by_class = fid(gen, images, labels)
        values |= {"fid": float(np.mean(by_class)), "fid_by_class": by_class}
    values |= {"latent_dim": hyperparams.latent_dim, **score(task, values, hyperparams.latent_dim)}
    return values | {"dataset": hyperparams.dataset, "split": hyperparams.split, "images": len(images)}


def score_table(task: str, grade: dict[str, Any]) -> str:
    """A text table of the score: each term with its points and its maximum, the bonus, the score."""
    terms = score_terms(task, grade)
    metrics = ", ".join(f"{key} {grade[key]:.4f}" for key in ("ssim", "mse", "fid") if key in grade)
    lines = [
        f"{task} on {grade['dataset']} {grade['split']}: {grade['images']:,} images, "
        f"latent_dim {grade['latent_dim']}, {metrics}",
        f"  {'term':<26} {'points':>8} {'of':>6}",
        *(f"  {term.formula:<26} {term.points:>8.3f} {term.most:>6.2f}" for term in terms),
        f"  {'sum':<26} {sum(term.points for term in terms):>8.3f} {sum(term.most for term in terms):>6.2f}",
        f"  {'times the bonus (0.2 + R)':<26} {grade['bonus']:>8.3f} {bonus(0):>6.2f}",
        f"  {'score':<26} {grade['score']:>8.2f} {max_score(task):>6.2f}   "
        f"({grade['score_uncapped']:.2f} before the cap)",
    ]
    if warning := other_data(grade["dataset"]):
        lines.append(f"  {warning}")
    return "\n".join(lines)


def notes(task: str, grade: dict[str, Any], hyperparams: Hyperparams) -> list[str]:
    """Notes below the table: a checkpoint that has changed since, and the extended metrics."""
    texts = []
    if hyperparams.checkpoint and file_md5(Path(hyperparams.checkpoint)) not in (
        None,
        hyperparams.checkpoint_md5,
    ):
        texts.append(
            f"note: {hyperparams.checkpoint} has changed since inference.py made the outputs of {task}: "
            "run it again"
        )
    if "extended" in grade:
        texts.append(extended_table(grade["extended"], grade["split"]))
    return texts
