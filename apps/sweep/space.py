"""The space of a sweep, read from environment variables: a list of values or a range for each option."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from beyond import options as beyond_options
from vaelab.cli import LabError, number
from vaelab.config import TRAINING_OPTIONS, Option, model_options
from vaelab.data.options import DATASETS
from vaelab.language import N_, _
from vaelab.tasks import TASKS, task_name

RANGE = re.compile(r"(?P<low>\S+?)\.\.(?P<high>[^\s:]+)(:(?P<step>\S+))?")
SAMPLERS, PRUNERS = ("tpe", "gp", "random"), ("median", "hyperband", "none")
# Variables with one value, and the choices for it. They don't change the result of a configuration.
SETTINGS = {"JOBS": (), "OUTPUT_DIR": (), "DATA_DIR": (), "DEVICE": (), "STORAGE": (), "TRIALS": ()}
SETTINGS |= {"SAMPLER": SAMPLERS, "SAMPLER_SEED": (), "PRUNER": PRUNERS}


class Configuration(NamedTuple):
    """One configuration: a task and options of train.py."""

    task: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """A readable name, which is also the name of its folder."""
        return "-".join([self.task, *(f"{key}={value}" for key, value in self.options.items())])


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`; log: uniform in the logarithm; step: only every step-th."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __str__(self) -> str:
        kind = ":log" if self.log else f":{self.step}" if self.step else ""
        return f"{self.low}..{self.high}{kind}"


@dataclass(frozen=True)
class Space:
    """The tasks of a sweep, and the values of each option that it varies."""

    tasks: list[str]
    values: dict[str, list[Any] | Range]

    @property
    def is_search(self) -> bool:
        """Whether an option has a range: then a sampler chooses the configurations."""
        return any(isinstance(values, Range) for values in self.values.values())

    def grid(self, task: str) -> list[Configuration]:
        """Every combination of the values, for one task."""
        combinations = itertools.product(*self.values.values())
        return [Configuration(task, dict(zip(self.values, each, strict=True))) for each in combinations]

    def __str__(self) -> str:
        texts = {"TASK": self.tasks} | {key.upper(): values for key, values in self.values.items()}
        parts = (f"{k} {v if isinstance(v, Range) else ' '.join(map(str, v))}" for k, v in texts.items())
        return f"{'search' if self.is_search else 'grid'}: {', '.join(parts)}"


@dataclass(frozen=True)
class Settings:
    """The settings of a sweep, which don't change the result of a configuration."""

    root: Path
    jobs: int
    data_dir: str  # empty: the default, as for the next two
    device: str
    storage: str
    trials: int  # of a search, for each task
    sampler: str
    sampler_seed: int
    pruner: str


def known_options() -> dict[str, Option]:
    """The variables of a sweep and their options: the options of train.py that change its result."""
    options = {name: entry.about for name, entry in model_options().items()}
    options |= TRAINING_OPTIONS | beyond_options.OPTIONS | {"dataset": Option("", choices=DATASETS)}
    return {"TASK": Option("")} | {name.upper(): about for name, about in options.items()}


def check_names(names: Mapping[str, str], known: Mapping[str, Any]) -> None:
    """Raise LabError if a variable that is set looks like a misspelt variable of a sweep."""
    valid = [*known, *SETTINGS]
    for name in names:
        meant = difflib.get_close_matches(name.upper(), valid, n=1, cutoff=0.8)
        meant = meant or [option for option in known if option.startswith(f"{name.upper()}_")]
        if meant and name not in valid:
            raise LabError(
                "a sweep has no variable {name}: did you mean {meant}? Otherwise, unset {name}",
                name=name,
                meant=meant[0],
            )


def parse_range(match: re.Match, about: Option) -> Range:
    """The range that a text stands for. Raises: argparse.ArgumentTypeError if it is wrong."""
    if about.kind not in (int, float):
        text = _("expected a list of values, since only numbers have ranges, got '{text}'", text=match[0])
        raise argparse.ArgumentTypeError(text)
    low, high = about.parse(match["low"]), about.parse(match["high"])
    log = match["step"] == "log"
    step = number(about.kind, 0, exclusive=True)(match["step"]) if match["step"] and not log else None
    if low >= high or (log and low <= 0):
        text = N_("expected a range that ends above its start, got '{text}'")
        if log:
            text = N_("expected a range that starts above 0 and ends above its start, got '{text}'")
        raise argparse.ArgumentTypeError(_(text, text=match[0]))
    return Range(low, high, log, step)


def values_of(name: str, text: str, about: Option) -> list[Any] | Range:
    """The values of a variable, without duplicates. Raises: LabError that names a wrong value."""
    values = []
    try:
        if match := RANGE.fullmatch(text.strip()):
            return parse_range(match, about)
        for word in text.split():
            value = task_name(word) if name == "TASK" else about.parse(word)
            if about.choices and value not in about.choices:
                names = ", ".join(about.choices)
                raise argparse.ArgumentTypeError(
                    _("expected values of {names}, got '{text}'", names=names, text=word)
                )
            values += [value] if value not in values else []
    except argparse.ArgumentTypeError as error:
        raise LabError("{name}: {error}", name=name, error=error) from error
    if not values:
        raise LabError("{name} is set, but empty: give it values, or unset it", name=name)
    return values


def read_space(variables: Mapping[str, str]) -> Space:
    """The space that the variables describe. Raises: LabError if one is wrong."""
    known = known_options()
    check_names(variables, known)
    values = {
        name.lower(): values_of(name, variables[name], about)
        for name, about in known.items()
        if name in variables
    }
    if not values:
        raise LabError(
            'the grid is empty: set a variable, for example LATENT_DIM="8 16" bash scripts/sweep.sh. The '
            "variables are {names}",
            names=", ".join(known),
        )
    return Space(values.pop("task", list(TASKS)), values)


def read_settings(variables: Mapping[str, str], space: Space) -> Settings:
    """The settings that the variables describe. Raises: LabError if one is wrong."""
    given = {name: variables.get(name, "") for name in SETTINGS}
    for name, choices in SETTINGS.items():
        if choices and given[name] and given[name] not in choices:
            about = {"name": name, "names": ", ".join(choices), "text": given[name]}
            raise LabError("{name}: expected one of {names}, got '{text}'", **about)
    for name in ("TRIALS", "SAMPLER", "PRUNER"):
        if given[name] not in ("", "none") and not space.is_search:
            raise LabError('{name} is for a search: give an option a range, as LATENT_DIM="8..40"', name=name)
    if space.is_search and not given["TRIALS"]:
        raise LabError("a range makes this a search: say how many trials, as TRIALS=40")

    def integer(name: str, default: int, low: int, high: int) -> int:
        try:
            return number(int, low, high)(given[name] or str(default))
        except argparse.ArgumentTypeError as error:
            raise LabError("{name}: {error}", name=name, error=error) from error

    return Settings(
        root=Path(given["OUTPUT_DIR"] or "outputs/sweep"),
        jobs=integer("JOBS", 1, 1, 1024),
        data_dir=given["DATA_DIR"],
        device=given["DEVICE"],
        storage=given["STORAGE"],
        trials=integer("TRIALS", 1, 1, 10**6),
        sampler=given["SAMPLER"] or "tpe",
        sampler_seed=integer("SAMPLER_SEED", 0, 0, 2**31 - 1),
        pruner=given["PRUNER"] or ("median" if space.is_search else "none"),
    )
