"""The contract of a submission: how its models are built and what their methods return."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from vaelab.cli import LabError
from vaelab.config import SUBMISSION_MODEL, TrainConfig
from vaelab.language import Message, as_message
from vaelab.tasks import TASKS

# The modules that add to a submission's model, or build another. The list is fixed: no name from a checkpoint
# is ever imported. They are loaded only when needed, since the students' version doesn't have them.
BUILDERS = {"beyond": "beyond.extended", "discrete": "beyond.discrete.build"}


def load_builder(name: str, why: Message) -> ModuleType:
    """A module of `BUILDERS`. why: what it is needed for. Raises: LabError if this copy doesn't have it."""
    try:
        return importlib.import_module(BUILDERS[name])
    except ModuleNotFoundError as error:
        raise LabError("{why}, for which this copy of the lab has no beyond/", why=why) from error


def from_submission(submission: ModuleType, name: str) -> Any:
    """The class or function `name` of a submission. Raises: LabError if it has none."""
    if not hasattr(submission, name):
        raise LabError("submission.py has no {name}, which the lab needs", name=name)
    return getattr(submission, name)


def model_parameters(submission: ModuleType, task: str) -> Mapping[str, inspect.Parameter]:
    """The parameters in the signature of the constructor of a task's model (not its weights)."""
    return inspect.signature(from_submission(submission, TASKS[task].model_class)).parameters


def resolve_model_args(submission: ModuleType, task: str, options: dict[str, Any]) -> dict[str, Any]:
    """All arguments of the task's model: `options`, and the model's own defaults for the rest.

    Stored in full, so that a checkpoint stays readable when a default changes. Defaults that are not
    plain values (a class, for example) can't be stored and are left to the model.
    Raises: LabError if the model doesn't take an option.
    """
    name = TASKS[task].model_class
    signature = inspect.signature(from_submission(submission, name))
    unknown = [key for key in options if key not in signature.parameters]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        known = ", ".join(f"--{key}" for key in signature.parameters if key != "image_shape")
        raise LabError(
            "{name} in submission.py has no option {unknown}: it takes {known}",
            name=name,
            unknown=", ".join(unknown),
            known=known,
        )
    try:
        signature.bind(**options)
    except TypeError as error:
        raise LabError(
            "{name} in submission.py can't be called with {options} ({error})",
            name=name,
            options=options,
            error=error,
        ) from error
    defaults = {key: parameter.default for key, parameter in signature.parameters.items()}
    plain = (bool, int, float, str, tuple, type(None))
    return {key: value for key, value in defaults.items() if type(value) in plain} | options


def build_submission(submission: ModuleType, task: str, model_args: dict[str, Any]) -> nn.Module:
    """The submission's own model of a task, freshly initialised. Raises: LabError for wrong arguments."""
    arguments = resolve_model_args(submission, task, model_args)
    return from_submission(submission, TASKS[task].model_class)(**arguments)


def build_model(submission: ModuleType, config: TrainConfig) -> nn.Module:
    """The model of a configuration, freshly initialised: the submission's with its additions, or another.

    Raises: LabError for wrong arguments, or additions that this copy of the lab doesn't have.
    """
    if config.model != SUBMISSION_MODEL:
        why = Message("the model is of --model {model}", model=config.model)
        return load_builder("discrete", why).build(config)
    model = build_submission(submission, config.task, config.model_args)
    if not config.beyond:
        return model
    why = Message("the model was trained with {beyond}", beyond=config.beyond)
    builder = load_builder("beyond", why)
    return builder.extend(model, from_submission(submission, "vae_loss"), config)


def generate(model: nn.Module, labels: Tensor) -> Tensor:
    """The model's `generate(labels)`. Raises: LabError if it has no such method."""
    if not hasattr(model, "generate"):
        raise LabError("{kind} in submission.py has no method generate(labels)", kind=type(model).__name__)
    return model.generate(labels)


def check_output(name: str | Message, value: Any, shape: tuple[int, ...]) -> None:
    """Check what a model returned. Raises: LabError that says what was expected and what was returned.

    name: what the value is, a message.
    """
    if isinstance(value, Tensor) and value.shape == shape and value.is_floating_point():
        return
    got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise LabError(
        "{name} must be a float tensor of shape {shape}, got {got}: see submission.py",
        name=as_message(name),
        shape=list(shape),
        got=got,
    )


def check_triple(name: str, value: Any, expected: str) -> tuple:
    """Check that a submission's function returned a tuple of 3. Raises: LabError if it didn't."""
    if isinstance(value, tuple) and len(value) == 3:
        return value
    got = type(value).__name__
    if isinstance(value, tuple):
        got = Message("{count} values", count=len(value))
    raise LabError(
        "{name} must return {expected}, got {got}: see submission.py",
        name=Message(name),
        expected=expected,
        got=got,
    )
