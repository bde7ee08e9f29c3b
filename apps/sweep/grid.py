"""The grid of a sweep, read from environment variables."""

from __future__ import annotations

import argparse
import difflib
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from beyond import options as beyond_options
from vaelab.cli import LabError
from vaelab.config import TRAINING_OPTIONS, Option, model_options
from vaelab.data.options import DATASETS
from vaelab.tasks import TASKS, task_name

SETTINGS = (
    "JOBS",
    "OUTPUT_DIR",
    "DATA_DIR",
    "DEVICE",
)  # variables with one value, which does not change a result
ARRAY = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]


class Configuration(NamedTuple):
    """One configuration of the grid."""

    task: str
    options: dict[str, Any]  # of train.py, in its order

    @property
    def name(self) -> str:
        """A readable name, which is also the name of its folder."""
        return "-".join([self.task, *(f"{key}={value}" for key, value in self.options.items())])


def known_options() -> dict[str, Option]:
    """The variables of a grid and their options: the options of train.py that change its result."""
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
                f"a sweep has no variable {name}: did you mean {meant[0]}? Otherwise, unset {name}"
            )


def values_of(name: str, text: str, about: Option) -> list[Any]:
    """The values of a variable, without duplicates. Raises: LabError that names a wrong value."""
    values = []
    for word in text.split():
        try:
            value = task_name(word) if name == "TASK" else about.parse(word)
        except argparse.ArgumentTypeError as error:
            raise LabError(f"{name}: {error}") from error
        if about.choices and value not in about.choices:
            raise LabError(f"{name}: expected values of {', '.join(about.choices)}, got '{word}'")
        values += [value] if value not in values else []
    if not values:
        raise LabError(f"{name} is set, but empty: give it values, or unset it")
    return values


def read_grid(variables: Mapping[str, str]) -> list[Configuration]:
    """All configurations of the grid that the variables describe. Raises: LabError if one is wrong."""
    known = known_options()
    check_names(variables, known)
    grid = {
        name: values_of(name, variables[name], about) for name, about in known.items() if name in variables
    }
    if not grid:
        raise LabError(
            'the grid is empty: set a variable, for example LATENT_DIM="8 16" bash scripts/sweep.sh. The '
            f"variables are {', '.join(known)}"
        )
    grid = {"TASK": list(TASKS)} | grid
    print("grid: " + ", ".join(f"{name} {' '.join(map(str, values))}" for name, values in grid.items()))
    tasks, keys = grid.pop("TASK"), [name.lower() for name in grid]
    return [
        Configuration(task, dict(zip(keys, values, strict=True)))
        for task in tasks
        for values in itertools.product(*grid.values())
    ]


def own_share(configurations: list[Configuration], variables: Mapping[str, str]) -> list[Configuration]:
    """The configurations of this task of a SLURM job array; all of them outside of an array."""
    if ARRAY[0] not in variables:
        return configurations
    task, first, last, count = (int(variables[name]) for name in ARRAY)
    if last - first + 1 != count:
        raise LabError(
            f"a sweep needs an array without gaps, as in --array=0-{count - 1}, got {first} to {last}"
        )
    return configurations[task - first :: count]
