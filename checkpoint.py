"""What a checkpoint holds, how it is written and read, and how a model is built from it.

A checkpoint is a dictionary: `task`, `config` (a `trainer.TrainConfig` as a dictionary), `epoch`,
`best_loss`, `model` (the weights) and, in `last.pt`, `optimizer`. `config["model_args"]` and the task
rebuild the model, so that a checkpoint's path is all that a command needs.
"""

from __future__ import annotations

import inspect
import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from common import LabError, write_file

MODEL_CLASSES = {"VAE0label": "VAE", "Genwithlabel": "GenModel"}  # the class of each task in submission.py


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA, else Apple's MPS, else the CPU. Raises: LabError if the one named isn't there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in available if available[device])
    if not available[name]:
        raise LabError(f"this machine, or this build of torch, has no {name} device: use --device auto")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """`auto`: bf16 where the device multiplies bfloat16 natively, several times as fast, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = cpu.get("avx512_bf16") or cpu.get("amx_bf16")
    return "bf16" if native else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context in which layers multiply in `precision`. Weights and optimizer stay float32 in either."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def from_submission(submission: ModuleType, name: str) -> Any:
    """The class or function `name` of a submission. Raises: LabError if it has none."""
    if not hasattr(submission, name):
        raise LabError(f"submission.py has no {name}, which the lab needs")
    return getattr(submission, name)


def resolve_model_args(submission: ModuleType, task: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the task's model is built with: `options`, and the model's own defaults for the rest.

    Stored in full, so that a checkpoint stays readable when a default changes. Defaults that are not
    plain values (a class, say) can't be stored and are left to the model.
    Raises: LabError if the model doesn't take an option.
    """
    name = MODEL_CLASSES[task]
    signature = inspect.signature(from_submission(submission, name))
    try:
        signature.bind(**options)
    except TypeError as error:
        raise LabError(f"{name} in submission.py takes other options ({error}) than {options}") from error
    defaults = {key: parameter.default for key, parameter in signature.parameters.items()}
    plain = (bool, int, float, str, tuple, type(None))
    return {key: value for key, value in defaults.items() if type(value) in plain} | options


def build_model(submission: ModuleType, task: str, model_args: dict[str, Any]) -> nn.Module:
    """The task's model, freshly initialised. Raises: LabError if it doesn't take these options."""
    return from_submission(submission, MODEL_CLASSES[task])(
        **resolve_model_args(submission, task, model_args)
    )


def _canonical(value: Any) -> Any:
    """A copy that pickles to the same bytes as any equal value.

    Pickle writes an object that it meets twice as a reference. Whether two equal strings are one object
    depends on where they come from (a loaded checkpoint, say), so equal strings are made one here, and
    containers new.
    """
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(item) for item in value)
    return sys.intern(value) if isinstance(value, str) else value


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all; see `common.write_file`. Equal ones are equal files."""
    buffer = io.BytesIO()
    torch.save(_canonical(checkpoint), buffer)
    write_file(path, buffer.getvalue())


def load_checkpoint(path: Path, task: str | None = None) -> dict[str, Any]:
    """Read a checkpoint of this lab onto the CPU, running no code that it may hold.

    Raises: LabError if there is none, it is damaged, it is something else, or it is not of `task`.
    """
    if not path.is_file():
        raise LabError(f"there is no checkpoint {path}: python train.py --task {task or 'TASK'} makes one")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load doesn't look at the checksums
            if archive.testzip() is not None:
                raise ValueError("a checksum is wrong")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        raise LabError(
            f"{path} is damaged, or not a checkpoint of this lab ({type(error).__name__})"
        ) from error
    kinds = {"task": str, "config": dict, "epoch": int, "model": dict}
    if not isinstance(checkpoint, dict) or any(
        not isinstance(checkpoint.get(key), kind) for key, kind in kinds.items()
    ):
        raise LabError(f"{path} is not a checkpoint of this lab: it should hold {', '.join(kinds)}")
    dataset, model_args = (checkpoint["config"].get(key) for key in ("dataset", "model_args"))
    known = checkpoint["task"] in MODEL_CLASSES and isinstance(dataset, str) and isinstance(model_args, dict)
    if not known or type(model_args.get("latent_dim")) is not int:
        raise LabError(f"{path} is not a checkpoint of this lab: its task or its configuration is unknown")
    if task is not None and checkpoint["task"] != task:
        raise LabError(f"{path} is of the task {checkpoint['task']}, not {task}")
    return checkpoint


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into `model`. Raises: LabError if they don't fit."""
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise LabError(
            f"the weights in {path} don't fit {type(model).__name__} in submission.py ({reason}): "
            "use the submission.py it was trained with, or train again"
        ) from error


@dataclass
class Subject:
    """A trained model in eval mode, and what its checkpoint says of it."""

    name: str
    path: Path
    model: nn.Module
    task: str
    epoch: int
    config: dict[str, Any]

    @property
    def latent_dim(self) -> int:
        """The size of its code."""
        return self.config["model_args"]["latent_dim"]

    def labels(self, labels: Tensor) -> Tensor | None:
        """The labels, if the model is given any."""
        return labels if self.task == "Genwithlabel" else None


def make_subject(
    submission: ModuleType, checkpoint: dict[str, Any], path: Path, name: str, device: torch.device
) -> Subject:
    """The model of a checkpoint that was read from `path`. Raises: LabError if the weights don't fit."""
    task, config = checkpoint["task"], checkpoint["config"]
    model = build_model(submission, task, config["model_args"])
    load_weights(model, checkpoint, path)
    return Subject(name, path, model.to(device).eval(), task, checkpoint["epoch"], config)


def generate(model: nn.Module, labels: Tensor) -> Tensor:
    """The model's `generate(labels)`. Raises: LabError if it has no such method."""
    if not hasattr(model, "generate"):
        raise LabError(f"{type(model).__name__} in submission.py has no method generate(labels)")
    return model.generate(labels)


def check_output(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Check what a model returned. Raises: LabError that says what the contract expects and what came."""
    if isinstance(value, Tensor) and value.shape == shape and value.is_floating_point():
        return
    came = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise LabError(f"{name} must be a float tensor of shape {list(shape)}, got {came}: see submission.py")


def check_triple(name: str, value: Any, expected: str) -> tuple:
    """Check that a submission's function returned three things. Raises: LabError if it didn't."""
    if isinstance(value, tuple) and len(value) == 3:
        return value
    came = f"{len(value)} values" if isinstance(value, tuple) else type(value).__name__
    raise LabError(f"{name} must return {expected}, got {came}: see submission.py")
