"""The report's charts: what is drawn lies where it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.report import charts
from apps.report.charts import evenly_spaced, line_chart, linear_ticks, log_ticks

VALUES = st.floats(-1e29, 1e29)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40), st.integers(1, 1000))
def test_whatever_is_drawn_lies_in_the_chart(pairs: list[tuple[float, float]], first: int) -> None:
    train, valid = map(list, zip(*pairs, strict=True))
    chart = line_chart(list(range(first, first + len(pairs))), {"train": train, "valid": valid})
    for points in chart.lines.values():
        assert len(points) == len(pairs)
        for x, y in points:
            assert charts.LEFT <= x <= charts.RIGHT
            assert charts.TOP <= y <= charts.BOTTOM
    assert len(chart.y_ticks) <= 7
    assert all(charts.TOP <= y <= charts.BOTTOM for y, _ in chart.y_ticks)
    assert all(charts.LEFT <= x <= charts.RIGHT for x, _ in chart.x_ticks)


def test_ticks_are_round_numbers_within() -> None:
    assert linear_ticks(0.0045, 0.0096).values == pytest.approx([0.006, 0.008])
    assert linear_ticks(0.0045, 0.0096).labels == ["0.006", "0.008"]
    assert linear_ticks(1, 36, integer=True).values == [10, 20, 30]
    assert linear_ticks(1, 2, integer=True).values == [1, 2]
    assert log_ticks(1500, 10_608).values == [2000, 5000, 10_000]
    assert log_ticks(0.001, 1).labels == ["0.001", "0.01", "0.1", "1"]
    assert evenly_spaced(5, 12) == [0, 1, 2, 3, 4]
    assert evenly_spaced(36, 12)[:2] + evenly_spaced(36, 12)[-1:] == [0, 3, 35]
    assert evenly_spaced(36, 1) == [35]
