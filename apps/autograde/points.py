"""The points of the lab: its parts, as in docs/solutions.md, and a student's total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaelab.language import N_
from vaelab.metrics.score import max_score
from vaelab.tasks import TASKS


@dataclass(frozen=True)
class Part:
    """A part of the lab that has points."""

    title: str
    most: float  # points
    checks: tuple[tuple[str, float], ...] = ()  # the graded checks with their points; none: graded by hand


def part(title: str, **checks: float) -> Part:
    """A part whose points are those of graded checks."""
    return Part(title, sum(checks.values()), tuple(checks.items()))


# By number, in the order of the handout. The names of the checks are those of verdicts.py.
PARTS: dict[str, Part] = {
    "0.1": Part(N_("KL divergence"), 20),
    "0.2": Part(N_("EM and the ELBO"), 10),
    "1.1": Part(N_("the objective"), 10),
    "2.2.1": part(N_("the layers"), layers=4),
    "2.2.2": part(N_("encode"), encode=3),
    "2.2.3": part(N_("decode"), decode=3),
    "2.2.4": part(
        N_("forward"), forward_eval=1, forward_pairs=1, forward_train=1, gradient=1, forward_labels=1
    ),
    "2.3": part(N_("vae_loss"), loss_recon=6, loss_kl=6, loss_shape=1, loss_sum=2),
    "3.1": part(N_("the conditional layers"), conditional_layers=8),
    "3.2": part(N_("encode with labels"), encode_labels=6),
    "3.3": part(N_("decode with labels"), decode_labels=6),
    **{task: Part(f"result: the score of {task}", max_score(task)) for task in TASKS},
}
MAX_TOTAL = sum(each.most for each in PARTS.values())


def check_points(number: str, checks: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The points of a part for its checks; None if one of them was not run."""
    about = PARTS[number]
    if not about.checks or any(name not in checks for name, _ in about.checks):
        return None
    return sum(points for name, points in about.checks if checks[name]["passed"])


def points_of(
    grades: Mapping[str, Mapping[str, Any]],
    checks: Mapping[str, Mapping[str, Any]],
    by_hand: Mapping[str, float],
) -> dict[str, float | None]:
    """The points of each part; None for one that is not graded yet. by_hand: replaces what was computed."""
    points: dict[str, float | None] = {}
    for number in PARTS:
        if number in by_hand:
            points[number] = by_hand[number]
        elif number in TASKS:
            points[number] = round(grades[number]["score"], 2) if number in grades else None
        else:
            points[number] = check_points(number, checks)
    return points


def total_of(points: Mapping[str, float | None]) -> float:
    """The sum of the points that are there."""
    return round(sum(value for value in points.values() if value is not None), 2)
