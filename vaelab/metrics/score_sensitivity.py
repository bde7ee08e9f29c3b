"""The sensitivity of a score to each of the numbers that it is computed from.

All values are differences of `vaelab.metrics.score.score`, so they are right for any formula, cap included.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vaelab.language import N_, _, plural
from vaelab.metrics.score import score, score_terms
from vaelab.tasks import TASKS

DECIMALS = {"ssim": 4, "mse": 5, "fid": 2, "latent_dim": 0}  # in sentences
TENTH = 0.1  # the terms are compared by this change: a tenth of the points that are missing to the maximum
MIN_POINTS = 1e-9  # smaller differences are rounding errors
DIMENSIONS = 8  # the small step of latent_dim; 1 if latent_dim is not larger than 8


class Sensitivity(NamedTuple):
    """The points that a better value of one number would add, if all other numbers stayed the same."""

    key: str  # ssim, mse, fid or latent_dim
    sentence: str  # the points that a small step would add
    tenth: str  # the points that a tenth of the gap to the best value would add
    added: float  # points that the step adds to the score
    uncapped: float  # points that the step adds before the cap
    tenth_uncapped: float  # points that the tenth adds before the cap


def term_range(task: str, key: str) -> tuple[float, float]:
    """The values of `key` at which its term gives no points, and at which it gives the most points."""
    limits = {"ssim": (0.0, 1.0), "mse": (TASKS[task].mse_limit, 0.0), "fid": (TASKS[task].fid_limit, 0.0)}
    return limits[key]


def added_points(task: str, grade: dict[str, Any], key: str, value: float) -> tuple[float, float]:
    """The points that another value of `key` would add: (to the score, to the score before the cap)."""
    values = grade | {key: value}
    changed = score(task, values, values["latent_dim"])
    return changed["score"] - grade["score"], changed["score_uncapped"] - grade["score_uncapped"]


def points_text(points: float) -> str:
    """The points with two decimals, or two significant digits where they are below 0.1."""
    if points < 0.001:
        return _("less than 0.001 points")
    if points < 0.1:
        return _("{points:.2g} points", points=points)
    return _("{points:.2f} points", points=points)


def added_text(added: float, uncapped: float) -> str:
    """The added points in words, and the points before the cap where the two differ."""
    if uncapped < MIN_POINTS:
        return _("nothing")
    if added < MIN_POINTS:
        return _("nothing under the cap ({points} before it)", points=points_text(uncapped))
    if uncapped - added >= MIN_POINTS:
        values = {"added": points_text(added), "points": points_text(uncapped)}
        return _("{added} up to the cap ({points} before it)", **values)
    return points_text(added)


def small_step(key: str, value: float) -> tuple[str, float]:
    """A small improvement of `key`: its description, and the new value."""
    match key:
        case "ssim":
            size = min(0.01, 1 - value)
            return _("An SSIM higher by {size:.2g}", size=size), value + size
        case "mse":
            return _("An MSE lower by 10%"), 0.9 * value
        case "fid":
            size = min(1.0, value)
            return _("An FID lower by {size:.2g}", size=size), value - size
    fewer = DIMENSIONS if value > DIMENSIONS else 1
    return plural("{n} fewer latent dimension", "{n} fewer latent dimensions", fewer), value - fewer


def tenth_better(task: str, grade: dict[str, Any], key: str) -> float:
    """The value of `key` that gains a tenth of the points that its term is below its maximum."""
    if key == "latent_dim":
        return grade[key] - max(1, round(TENTH * grade[key]))
    _formula, points, max_points = score_terms(task, grade)[list(DECIMALS).index(key)]
    worst, best = term_range(task, key)
    return worst + (best - worst) * (points + TENTH * (max_points - points)) / max_points


def sensitivity_of(task: str, grade: dict[str, Any], key: str) -> Sensitivity | None:
    """The sensitivity of the score to `key`; None if its value is the best possible one."""
    value, best = grade[key], 1 if key == "latent_dim" else term_range(task, key)[1]
    if value == best:
        return None
    step, stepped = small_step(key, value)
    tenth = tenth_better(task, grade, key)
    by_step, by_tenth = (added_points(task, grade, key, better) for better in (stepped, tenth))
    before, after, after_tenth = (f"{number:.{DECIMALS[key]}f}" for number in (value, stepped, tenth))
    text = N_("{step} ({before} to {after}) would add {added} if nothing else changed.")
    if key in ("mse", "fid") and by_step[1] < MIN_POINTS:
        text = N_(
            "{step} ({before} to {after}) would add {added} (its term is 0 until it is below {limit:g}) if "
            "nothing else changed."
        )
    limit = None if key == "latent_dim" else term_range(task, key)[0]
    sentence = _(text, step=step, before=before, after=after, added=added_text(*by_step), limit=limit)
    tenth_sentence = _(
        "A tenth of the gap to the best value ({before} to {after}): {added}.",
        before=before,
        after=after_tenth,
        added=added_text(*by_tenth),
    )
    return Sensitivity(key, sentence, tenth_sentence, *by_step, by_tenth[1])


def sensitivities(task: str, grade: dict[str, Any]) -> list[Sensitivity]:
    """The sensitivity of the score to each number, sorted by the points that a tenth of its gap would add.

    grade: a task's entry in grade_result.json.
    """
    found = [sensitivity_of(task, grade, key) for key in DECIMALS if key in grade]
    return sorted(filter(None, found), key=lambda sensitivity: -sensitivity.tenth_uncapped)
