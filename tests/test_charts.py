"""The report's charts: what is drawn lies where it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.report.charts import line_chart, linear_ticks, log_ticks, thinned

VALUES = st.floats(-1e29, 1e29)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40), st.integers(1, 1000))
def test_whatever_is_drawn_lies_in_the_chart(pairs: list[tuple[float, float]], first: int) -> None:
    train, valid = map(list, zip(*pairs, strict=True))
    chart = line_chart(list(range(first, first + len(pairs))), {"train": train, "valid": valid})
    for points in chart["lines"].values():
        assert len(points) == len(pairs)
        for x, y in points:
            assert charts.LEFT <= x <= charts.RIGHT
            assert charts.TOP <= y <= charts.BOTTOM
    assert len(chart["y_ticks"]) <= 7
    assert all(charts.TOP <= y <= charts.BOTTOM for y, _ in chart["y_ticks"])
    assert all(charts.LEFT <= x <= charts.RIGHT for x, _ in chart["x_ticks"])


def test_ticks_are_round_numbers_within() -> None:
    assert linear_ticks(0.0045, 0.0096) == pytest.approx([0.006, 0.008])
    assert linear_ticks(1, 36) == [10, 20, 30]
    assert log_ticks(1500, 10_608) == [2000, 5000, 10_000]
    assert thinned(5, 12) == [0, 1, 2, 3, 4]
    assert thinned(36, 12)[:2] + thinned(36, 12)[-1:] == [0, 3, 35]
    assert thinned(36, 1) == [35]
