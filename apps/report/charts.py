"""The geometry of the report's line charts, in the coordinates of an SVG that the template draws.

The ticks are matplotlib's. The colours are those of the page, so that a chart follows its dark mode and its
print style.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, ScalarFormatter, StrMethodFormatter

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 308, 10, 160  # the plot area
MARGIN = 8  # between the plot area's edges and the lines
MAX_POINTS = 200  # of a line; more can't be distinguished at this size
MAX_MARKERS = 30  # lines of at most so many points get a marker at each point
MAX_TICKS = 6
LOG_RATIO = 4  # the axis is logarithmic if the largest value is more than so many times the smallest


@dataclass(frozen=True)
class Ticks:
    """The ticks of an axis: their values and labels, and a common offset or factor, as text."""

    values: list[float]
    labels: list[str]
    offset: str = ""


@dataclass(frozen=True)
class LineChart:
    """A chart of lines over the epochs. All places are pixels of the SVG."""

    x_ticks: list[tuple[float, str]]  # place and label
    y_ticks: list[tuple[float, str]]
    y_offset: str  # of the labels of the y axis, such as 1e9; usually empty
    lines: dict[str, list[tuple[float, float]]]
    markers: bool
    log: bool


def linear_ticks(low: float, high: float, integer: bool = False) -> Ticks:
    """The ticks of a linear axis from `low` to `high`. integer: place them at integers only."""
    locator = MaxNLocator(nbins=MAX_TICKS - 1, steps=[1, 2, 5, 10], integer=integer)
    values = [value for value in locator.tick_values(low, high).tolist() if low <= value <= high]
    formatter = ScalarFormatter()
    formatter.set_powerlimits((-4, 6))  # longer numbers don't fit beside the axis
    formatter.create_dummy_axis()
    formatter.axis.set_view_interval(low, high)
    labels = formatter.format_ticks(values)
    return Ticks(values, labels, formatter.get_offset())


def log_ticks(low: float, high: float) -> Ticks:
    """The ticks of a logarithmic axis from `low` > 0 to `high`: powers of ten, and 2 and 5 times them."""
    subs = (1.0, 2.0, 5.0) if high <= 100 * low else (1.0,)
    values = LogLocator(subs=subs, numticks=MAX_TICKS).tick_values(low, high).tolist()
    values = [value for value in values if low <= value <= high]
    return Ticks(values, StrMethodFormatter("{x:g}").format_ticks(values))


def evenly_spaced(count: int, max_count: int) -> list[int]:
    """At most `max_count` of the indices 0 to count - 1, evenly spaced, with the last one among them."""
    return np.linspace(count - 1, 0, min(count, max_count)).round().astype(int)[::-1].tolist()


def line_chart(epochs: list[int], lines: dict[str, list[float]]) -> LineChart:
    """The chart of some lines over the epochs. lines: the name (its CSS class) to a value for each epoch."""
    values = [value for line in lines.values() for value in line]
    low, high = map(float, Locator().nonsingular(min(values), max(values)))  # wider if all are equal
    log = low > 0 and high > LOG_RATIO * low
    ticks = log_ticks(low, high) if log else linear_ticks(low, high)
    if log and len(ticks.values) < 2:
        log, ticks = False, linear_ticks(low, high)

    def x_of(epoch: float) -> float:
        fraction = (epoch - epochs[0]) / (epochs[-1] - epochs[0]) if len(epochs) > 1 else 0.5
        return round(LEFT + MARGIN + fraction * (RIGHT - LEFT - 2 * MARGIN), 1)

    def y_of(value: float) -> float:
        start, end, at = (math.log(number) if log else number for number in (low, high, value))
        return round(BOTTOM - MARGIN - (at - start) / (end - start) * (BOTTOM - TOP - 2 * MARGIN), 1)

    shown = evenly_spaced(len(epochs), MAX_POINTS)
    epoch_ticks = linear_ticks(epochs[0], epochs[-1], integer=True)
    return LineChart(
        x_ticks=[(x_of(tick), f"{tick:g}") for tick in epoch_ticks.values],
        y_ticks=[(y_of(tick), label) for tick, label in zip(ticks.values, ticks.labels, strict=True)],
        y_offset=ticks.offset,
        lines={name: [(x_of(epochs[i]), y_of(line[i])) for i in shown] for name, line in lines.items()},
        markers=len(shown) <= MAX_MARKERS,
        log=log,
    )
