"""Grades the outputs of a task: its metrics, its score, and the text that `grade.py` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vaelab.cli import display_width, pad
from vaelab.config import SUBMISSION
from vaelab.language import _
from vaelab.metrics.fid import fid
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import bonus, max_score, score, score_terms
from vaelab.origin import origin_notes
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
    head = _(
        "{task} on {dataset} {split}: {images:,} images, latent_dim {latent_dim}, {metrics}",
        metrics=", ".join(f"{key} {grade[key]:.4f}" for key in ("ssim", "mse", "fid") if key in grade),
        task=task,
        **{key: grade[key] for key in ("dataset", "split", "images", "latent_dim")},
    )
    before = _("({score:.2f} before the cap)", score=grade["score_uncapped"])

    def line(name: str, points: str, most: str) -> str:
        columns = (
            pad(name, 26),
            " " * (8 - display_width(points)) + points,
            " " * (6 - display_width(most)) + most,
        )
        return "  " + " ".join(columns)

    lines = [
        head,
        line(_("term"), _("points"), _("of")),
        *(line(term.formula, f"{term.points:.3f}", f"{term.most:.2f}") for term in terms),
        line(
            _("sum"), f"{sum(term.points for term in terms):.3f}", f"{sum(term.most for term in terms):.2f}"
        ),
        line(_("times the bonus (0.2 + R)"), f"{grade['bonus']:.3f}", f"{bonus(0):.2f}"),
        line(_("score"), f"{grade['score']:.2f}", f"{max_score(task):.2f}") + f"   {before}",
    ]
    if warning := other_data(grade["dataset"]):
        lines.append(f"  {warning}")
    return "\n".join(lines)


def notes(task: str, grade: dict[str, Any], hyperparams: Hyperparams, root: Path) -> list[str]:
    """Notes below the table: files in `root` that don't belong together, and the extended metrics."""
    texts = origin_notes(task, root, hyperparams, SUBMISSION.parent)
    if "extended" in grade:
        from vaelab.metrics.extended import extended_table  # it imports torch, which takes seconds

        texts.append(extended_table(grade["extended"], grade["split"]))
    return texts
