"""The score of a task, from its metrics. Its weights and caps are in `vaelab/tasks.py`."""

from __future__ import annotations

from typing import NamedTuple

from vaelab.tasks import TASKS

PIXELS = 784  # of an MNIST image, to which the compression bonus compares latent_dim


class ScoreTerm(NamedTuple):
    """One term of a score's sum: its formula, its points, and its maximum."""

    formula: str
    points: float
    most: float


def bonus(latent_dim: int) -> float:
    """The factor that rewards compression: 0.2 + R, with the compression rate R = 1 - latent_dim / 784."""
    return 0.2 + 1 - latent_dim / PIXELS


def score_terms(task: str, values: dict[str, float]) -> list[ScoreTerm]:
    """The terms of a task's score before the bonus. values: `ssim`, `mse` and, if conditional, `fid`."""
    rules = TASKS[task]

    def points_below(weight: float, limit: float, key: str) -> ScoreTerm:
        factor = "" if weight == 1 else f"{weight:g} "
        return ScoreTerm(
            f"{factor}max({limit:g} - {key}, 0)", weight * max(limit - values[key], 0.0), weight * limit
        )

    ssim_points = rules.ssim_weight * values["ssim"]
    terms = [
        ScoreTerm(f"{rules.ssim_weight:g} ssim", ssim_points, rules.ssim_weight),
        points_below(rules.mse_weight, rules.mse_limit, "mse"),
    ]
    if rules.conditional:
        terms.append(points_below(rules.fid_weight, rules.fid_limit, "fid"))
    return terms


def max_score(task: str) -> float:
    """The cap of a task's score."""
    return TASKS[task].cap


def score(task: str, values: dict[str, float], latent_dim: int) -> dict[str, float]:
    """`bonus`, `score`, and `score_uncapped`, the score before the cap. values: see `score_terms`."""
    uncapped = sum(term.points for term in score_terms(task, values)) * bonus(latent_dim)
    return {
        "bonus": bonus(latent_dim),
        "score": min(uncapped, max_score(task)),
        "score_uncapped": uncapped,
    }
