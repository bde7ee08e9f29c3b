"""The stages of a training: which step belongs to which, and the learning rate within each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vaelab.cli import LabError
from vaelab.schedule import Schedule


def staged(*shares: float) -> SimpleNamespace:
    return SimpleNamespace(stage_shares=shares)


def test_a_model_without_stages_has_one() -> None:
    schedule = Schedule.of(object(), 10)
    assert [schedule.stage(step) for step in range(-1, 12)] == [0] * 13
    assert [schedule.progress(step) for step in range(10)] == [step / 10 for step in range(10)]


def test_stages_share_the_steps_and_each_progresses_from_0_to_1() -> None:
    schedule = Schedule.of(staged(0.6, 0.4), 10)
    assert [schedule.stage(step) for step in range(10)] == [0] * 6 + [1] * 4
    assert [schedule.start(step) for step in range(10)] == [0] * 6 + [6] * 4
    expected = [step / 6 for step in range(6)] + [step / 4 for step in range(4)]
    assert [schedule.progress(step) for step in range(10)] == pytest.approx(expected)
    assert schedule.progress(10) == 1


def test_a_stage_may_be_too_short_for_a_step() -> None:
    schedule = Schedule.of(staged(0.7, 0.3), 1)
    assert (schedule.stage(0), schedule.progress(0)) == (0, 0)
    assert [Schedule.of(staged(0.2, 0.3, 0.5), 2).stage(step) for step in range(2)] == [1, 2]


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.5, -0.5), (1.0, 0.0)])
def test_shares_that_are_no_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(LabError, match="stage_shares of the model must be positive and sum to 1"):
        Schedule.of(staged(*shares), 10)
