"""The schedule of a training: its stages, and the progress within each.

Most models are trained in one stage. A model with an attribute `stage_shares`, the share of the steps that
each stage takes, is trained in several: its attribute `stage` is set to the number of the stage, from 0,
before each step, and its `training_loss` decides what that stage trains. Warm-up and decay of the learning
rate are those of a training of their own in every stage.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from vaelab.cli import LabError


@dataclass(frozen=True)
class Schedule:
    """The stages of a training. ends: for each stage, the number of the step after its last."""

    ends: tuple[int, ...]

    @classmethod
    def of(cls, model: object, steps: int) -> Schedule:
        """The schedule of a model's training of `steps` steps. Raises: LabError for invalid shares."""
        shares: Sequence[float] = getattr(model, "stage_shares", (1.0,))
        if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise LabError(
                "stage_shares of the model must be positive and sum to 1, got {shares}", shares=shares
            )
        return cls(tuple(round(steps * share) for share in accumulate(shares)))

    def stage(self, step: int) -> int:
        """The stage that a step belongs to, from 0."""
        return min(bisect_right(self.ends, step), len(self.ends) - 1)

    def start(self, step: int) -> int:
        """The first step of the stage that a step belongs to."""
        return (0, *self.ends)[self.stage(step)]

    def progress(self, step: int) -> float:
        """The finished part of the stage before a step: from 0 to 1."""
        start = self.start(step)
        return (step - start) / (self.ends[self.stage(step)] - start)
