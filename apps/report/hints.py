"""The next steps for a model, each with the points that were measured for it on this run, the largest first.

Every number is computed from the graded arrays or from the log of the training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from apps.report.pictures import reconstruction_errors
from apps.report.run_data import Row
from vaelab.language import _
from vaelab.metrics.score_sensitivity import added_points
from vaelab.outputs import Outputs

MAX_HINTS = 4
MIN_POINTS = 0.01  # a smaller gain is not worth a line


class Hint(NamedTuple):
    """A next step: the points before the cap that were measured for it, and the text."""

    points: float
    text: str


def longer_training(task: str, grade: dict[str, Any], rows: list[Row]) -> Iterator[Hint]:
    """The points that the second half of the training added through SSIM and MSE."""
    if len(rows) < 4:
        return
    half, last = rows[len(rows) // 2 - 1], rows[-1]
    then = grade | {"ssim": half["valid_ssim"], "mse": half["valid_mse"]}
    now = grade | {"ssim": last["valid_ssim"], "mse": last["valid_mse"]}
    base = added_points(task, grade, "ssim", now["ssim"])[1] + added_points(task, grade, "mse", now["mse"])[1]
    points = base - added_points(task, grade, "ssim", then["ssim"])[1]
    points -= added_points(task, grade, "mse", then["mse"])[1]
    text = _(
        "Train longer (section 2.4): the second half of the training, epochs {start} to {end}, added "
        "{points:.2f} points through SSIM and MSE. Twice as many epochs can be expected to add less.",
        start=int(half["epoch"]) + 1,
        end=int(last["epoch"]),
        points=points,
    )
    yield Hint(points, text)


def fid_parts(outputs: Outputs) -> tuple[float, float, float]:
    """(the FID's part of the means, its part of the variances, variance of generated to real images)."""
    means, spreads, generated, real = [], [], [], []
    for label, group in enumerate(outputs.gen):
        pairs = (group, outputs.images[outputs.labels == label])
        g, r = (part.reshape(len(part), -1) / 255.0 for part in pairs)
        means.append(np.square(g.mean(axis=0) - r.mean(axis=0)).sum())
        spreads.append(np.square(np.sqrt(g.var(axis=0)) - np.sqrt(r.var(axis=0))).sum())
        generated.append(g.var(axis=0).sum())
        real.append(r.var(axis=0).sum())
    return float(np.mean(means)), float(np.mean(spreads)), float(np.sum(generated) / max(np.sum(real), 1e-12))


def generation(task: str, grade: dict[str, Any], outputs: Outputs) -> Iterator[Hint]:
    """The points that each part of the FID costs, and those that the worst label costs."""
    mean_part, spread_part, ratio = fid_parts(outputs)
    points = added_points(task, grade, "fid", grade["fid"] - mean_part)[1]
    text = _(
        "Draw codes as the encoder places them (section 3.4): the mean images of the labels make up "
        "{part:.2f} of the FID of {fid:.2f}, which costs {points:.2f} points. They differ where codes of "
        "N(0, I) are unlike the codes of real images.",
        part=mean_part,
        fid=grade["fid"],
        points=points,
    )
    yield Hint(points, text)
    points = added_points(task, grade, "fid", grade["fid"] - spread_part)[1]
    text = _(
        "Match the variety of the images (section 5.3): generated images vary {ratio:.0%} as much as real "
        "ones, pixel by pixel. This part of the FID, {part:.2f}, costs {points:.2f} points.",
        ratio=ratio,
        part=spread_part,
        points=points,
    )
    yield Hint(points, text)
    distances = np.array(grade["fid_by_class"])
    worst, usual = int(distances.argmax()), float(np.median(distances))
    better = grade["fid"] - (distances[worst] - usual) / len(distances)
    points = added_points(task, grade, "fid", float(better))[1]
    text = _(
        "Look at the label {label} (section 3.4): its FID is {worst:.2f}, and the median of the labels is "
        "{usual:.2f}. The difference costs {points:.2f} points.",
        label=worst,
        worst=float(distances[worst]),
        usual=usual,
        points=points,
    )
    yield Hint(points, text)


def hard_images(task: str, grade: dict[str, Any], outputs: Outputs) -> Iterator[Hint]:
    """The points that the tenth of the images with the largest error costs."""
    errors = np.sort(reconstruction_errors(outputs))
    start = len(errors) - max(1, len(errors) // 10)
    share = float(errors[start:].sum() / max(errors.sum(), 1e-12))
    better = float(np.minimum(errors, errors[start]).mean())
    points = added_points(task, grade, "mse", better)[1]
    text = _(
        "Look at the worst reconstructions (section 4): a tenth of the images has {share:.0%} of the squared "
        "error. With the error at the border of this tenth they would add {points:.2f} points.",
        share=share,
        points=points,
    )
    yield Hint(points, text)


def next_steps(task: str, grade: dict[str, Any], outputs: Outputs, rows: list[Row]) -> list[Hint]:
    """The steps with the largest gains that were measured, at most `MAX_HINTS`."""
    found = [*longer_training(task, grade, rows), *hard_images(task, grade, outputs)]
    if outputs.gen is not None and "fid_by_class" in grade:
        found += generation(task, grade, outputs)
    return sorted((hint for hint in found if hint.points >= MIN_POINTS), reverse=True)[:MAX_HINTS]
