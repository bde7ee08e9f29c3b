"""The request to run one step of a submission, as it is sent into a sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from apps.autograde.limits import Limits


@dataclass(frozen=True)
class StepRequest:
    """One step of a submission. The arrays that it is computed from are sent after it; see `arrays.py`."""

    step: str  # encode, decode, generate or check
    task: str
    seed: int
    batches: list[int]  # the sizes of the batches
    image_shape: tuple[int, ...]
    limits: Limits
    uid: int | None  # the user to become, if the sandbox was made by root

    def to_json(self) -> bytes:
        """The request as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> StepRequest:
        """The request that `to_json` wrote."""
        values = json.loads(line)
        shape, limits = tuple(values.pop("image_shape")), Limits(**values.pop("limits"))
        return cls(**values, image_shape=shape, limits=limits)
