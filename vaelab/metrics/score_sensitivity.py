"""What would gain the most points: how a score answers to each of the numbers that it is made of.

All of it is differences of `metrics.score`, so that it holds for whatever the formula is, cap included.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vaelab.metrics.score import score, score_terms

# Where a term gives nothing, and where it gives all it can: in between it is linear.
RANGE = {"ssim": (0.0, 1.0), "mse": (0.1, 0.0), "fid": (10.0, 0.0)}
FORMAT = {"ssim": ".4f", "mse": ".5f", "fid": ".2f", "latent_dim": "d"}
SHARE = 0.1  # of what a term lacks to its maximum: the step by which the terms are compared
MIN_POINTS = 1e-9  # points: what is less comes of rounding
DIMENSIONS = 8  # a step of latent_dim, where it has so many to spare


class Sensitivity(NamedTuple):
    """What a better value would add. `added` is in points of the score, `uncapped` before the cap."""

    key: str  # ssim, mse, fid or latent_dim
    sentence: str  # what a step that one can picture would add
    tenth: str  # what a tenth of what is lacking would add
    added: float  # by the step
    uncapped: float
    tenth_uncapped: float  # by the tenth


def added(task: str, grade: dict[str, Any], key: str, value: float) -> tuple[float, float]:
    """The points that another value of `key` would add, if nothing else changed: (score, score_uncapped)."""
    values = grade | {key: value}
    better = score(task, values, values["latent_dim"])
    return better["score"] - grade["score"], better["score_uncapped"] - grade["score_uncapped"]


def points(value: float) -> str:
    """So many points, in words: two decimals, or two digits of what is smaller."""
    if value < 0.001:
        return "less than 0.001 points"
    return f"{value:.2f} points" if value >= 0.1 else f"{value:.2g} points"


def worth(gain: float, uncapped: float) -> str:
    """What a step adds, in words; where the cap takes some or all of it, that too."""
    if uncapped < MIN_POINTS:
        return "nothing"
    if gain < MIN_POINTS:
        return f"nothing under the cap ({points(uncapped)} before it)"
    if uncapped - gain >= MIN_POINTS:
        return f"{points(gain)} up to the cap ({points(uncapped)} before it)"
    return points(gain)


def step(key: str, value: float) -> tuple[str, float]:
    """A step that one can picture: what it is, and the value that it leads to."""
    match key:
        case "ssim":
            size = min(0.01, 1 - value)
            return f"An SSIM higher by {size:.2g}", value + size
        case "mse":
            return "An MSE lower by 10%", 0.9 * value
        case "fid":
            size = min(1.0, value)
            return f"An FID lower by {size:.2g}", value - size
    fewer = DIMENSIONS if value > DIMENSIONS else 1
    return f"{fewer} fewer latent dimension{'s' if fewer > 1 else ''}", value - fewer


def tenth(task: str, grade: dict[str, Any], key: str) -> float:
    """The value of `key` at which its term lacks a tenth less to the most it can give."""
    if key == "latent_dim":
        return grade[key] - max(1, round(SHARE * grade[key]))
    index = list(RANGE).index(key)
    _, now, most = score_terms(task, grade)[index]
    nothing, everything = RANGE[key]
    return nothing + (everything - nothing) * (now + SHARE * (most - now)) / most


def sensitivity_of(task: str, grade: dict[str, Any], key: str) -> Sensitivity | None:
    """What a better value of `key` would add; None where it can't be better."""
    value, best = grade[key], 1 if key == "latent_dim" else RANGE[key][1]
    if value == best:
        return None
    what, to = step(key, value)
    by_step, further = added(task, grade, key, to), tenth(task, grade, key)
    by_tenth, form = added(task, grade, key, further), FORMAT[key]
    sentence = f"{what} ({value:{form}} to {to:{form}}) would add {worth(*by_step)}"
    if key in ("mse", "fid") and by_step[1] < MIN_POINTS:
        sentence += f" (its term is 0 until it is below {RANGE[key][0]:g})"
    lacking = f"A tenth of what is lacking ({value:{form}} to {further:{form}}): {worth(*by_tenth)}."
    return Sensitivity(key, sentence + " if nothing else changed.", lacking, *by_step, by_tenth[1])


def sensitivities(task: str, grade: dict[str, Any]) -> list[Sensitivity]:
    """What each number could still gain, by the points that a tenth of what it lacks would add.

    grade: a task's part of grade_result.json.
    """
    found = [sensitivity_of(task, grade, key) for key in FORMAT if key in grade]
    return sorted(filter(None, found), key=lambda gain: -gain.tenth_uncapped)
