"""The geometry of the report's line charts: numbers to places in an SVG, which the template draws.

Colours are the page's, so that a chart follows its dark mode and its print style.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 308, 10, 160  # of the plot within it
MAX_POINTS = 200  # of a line: more can't be told apart
DOTS = 30  # up to so many points, each is marked


def linear_ticks(low: float, high: float) -> list[float]:
    """Up to six round numbers from `low` to `high`."""
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-200):
        return [low]
    size = 10.0 ** math.floor(math.log10((high - low) / 3))
    size *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 5)
    return [i * size for i in range(math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten, or of them the powers alone, from `low` to `high`."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    ticks = [tick for tick in ticks if low <= tick <= high]
    return ticks[:: -(-len(ticks) // 6) or 1]


def short(tick: float) -> str:
    """A number as a label that fits beside the axis."""
    label = f"{tick:g}"
    return label if len(label) <= 7 else f"{tick:.3g}"


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to count - 1, evenly, the last among them."""
    return np.linspace(count - 1, 0, min(count, most)).round().astype(int)[::-1].tolist()


def line_chart(epochs: list[int], lines: dict[str, list[float]]) -> dict[str, Any]:
    """A chart of lines over the epochs, for the template.

    lines: a name, which is also the line's class on the page, to a value for each epoch. The axis is
    logarithmic where all values are positive and the largest is more than four times the smallest.
    """
    values = [value for line in lines.values() for value in line]
    low, high = min(values), max(values)
    log = low > 0 and high > 4 * low
    ticks = log_ticks(low, high) if log else linear_ticks(low, high)
    if log and len(ticks) < 2:
        log, ticks = False, linear_ticks(low, high)

    def place_x(epoch: float) -> float:
        share = (epoch - epochs[0]) / (epochs[-1] - epochs[0]) if epochs[-1] > epochs[0] else 0.5
        return round(LEFT + 8 + share * (RIGHT - LEFT - 16), 1)

    def place_y(value: float) -> float:
        start, end, at = (math.log(v) if log else v for v in (low, high, value))
        share = (at - start) / (end - start) if end > start else 0.5
        return round(BOTTOM - 8 - share * (BOTTOM - TOP - 16), 1)

    chosen = thinned(len(epochs), MAX_POINTS)
    places = {name: [(place_x(epochs[i]), place_y(line[i])) for i in chosen] for name, line in lines.items()}
    epoch_ticks = [tick for tick in linear_ticks(epochs[0], epochs[-1]) if tick == int(tick)]
    return {
        "x_ticks": [(place_x(tick), f"{tick:g}") for tick in epoch_ticks],
        "y_ticks": [(place_y(tick), short(tick)) for tick in ticks],
        "lines": places,
        "dots": len(chosen) <= DOTS,
        "log": log,
    }
