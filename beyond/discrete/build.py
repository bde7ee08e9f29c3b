"""Builds the discrete models of `--model vq` and `--model fsq` from the options of a run."""

from __future__ import annotations

import inspect
from typing import Any

from beyond.discrete.model import DiscreteVAE, grid_size
from model import Shape
from vaelab.cli import LabError
from vaelab.config import TrainConfig
from vaelab.tasks import TASKS

SET_HERE = ("self", "quantizer", "num_classes", "image_shape")  # by --model, by the task, by the data


def model_args(model: str, task: str, options: dict[str, Any], image_shape: Shape) -> dict[str, Any]:
    """All arguments of the model `vq` or `fsq`: the options that were given, and defaults for the rest.

    Raises: LabError if the model doesn't take an option, or not with this value.
    """
    parameters = inspect.signature(DiscreteVAE.__init__).parameters
    known = [name for name in parameters if name not in SET_HERE]
    if unknown := [name for name in options if name not in known]:
        raise LabError(
            "--model {model} has no option {unknown}: it takes {known}",
            model=model,
            unknown=", ".join(f"--{name}" for name in unknown),
            known=", ".join(f"--{name}" for name in known),
        )
    if {"num_codes", "levels"} <= options.keys():
        raise LabError("--levels decides the number of codes: leave --num_codes out")
    args = {name: parameters[name].default for name in known}
    args |= {"latent_dim": grid_size(image_shape), "quantizer": model, "image_shape": image_shape}
    args |= {"num_classes": 10 if TASKS[task].conditional else 1} | options
    quantizer = build_from(args).quantizer  # checks the arguments
    return args | ({"num_codes": quantizer.num_codes} if args["levels"] else {})


def build_from(args: dict[str, Any]) -> DiscreteVAE:
    """A new model. Raises: LabError for arguments that it can't have."""
    try:
        return DiscreteVAE(**args)
    except (TypeError, ValueError) as error:
        raise LabError("--model {model}: {error}", model=args.get("quantizer"), error=error) from error


def build(config: TrainConfig) -> DiscreteVAE:
    """The model of a configuration, freshly initialised. Raises: LabError for wrong arguments."""
    if config.beyond:
        raise LabError(
            "--model {model} can't have the additions {additions}",
            model=config.model,
            additions=config.beyond,
        )
    if config.model_args.get("quantizer") != config.model:
        raise LabError("the arguments of its model are not those of --model {model}", model=config.model)
    return build_from(config.model_args)
