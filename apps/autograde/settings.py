"""The options of `autograde.py`, as its modules pass them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GradingSettings:
    """See `command.parse_args`."""

    submissions: Path
    split: str
    dataset: str
    data_dir: Path | None
    output_dir: Path
    only: tuple[str, ...]
    regrade: tuple[str, ...]
    note: str
    share: tuple[int, int] | None
    jobs: int
    time_limit: float
    memory_mb: int
    latent_precision: str
    salt: str | None
    sandbox: str
    roster: Path | None = None
    points: Path | None = None
    policy: Path | None = None
    export: str | None = None
    assignment: str = "VAE Lab"
    similarity: bool = False
    handed_out: Path | None = None
    single: bool = False
    every_hand_in: bool = False  # grade all hand-ins of a student, not only the last
