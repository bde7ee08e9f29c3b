"""Checkpoints: their content, writing and reading them, and building a model from one.

A checkpoint file is a dictionary: `task`, `config` (a `TrainConfig` as a dictionary), `epoch`, `best_loss`,
`model` (the state_dict of the submission's model) and, in `last.pt`, `optimizer`. Where something beyond the
lab was added to the submission, `beyond` holds its `options` and `weights`. The configuration is enough to
rebuild the model. With `--model vq` or `fsq`, which `config` says, `model` is the state_dict of that model.
"""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.cli import LabError
from vaelab.config import SUBMISSION_MODEL, TrainConfig
from vaelab.contract import build_model
from vaelab.files import write_file
from vaelab.language import N_, Message
from vaelab.tasks import TASKS, Task


@dataclass
class Checkpoint:
    """A training's state after an epoch. `optimizer` is None in `best.pt`, from which nothing is resumed."""

    config: TrainConfig
    epoch: int
    best_loss: float
    model: dict[str, Tensor]
    beyond: dict[str, Tensor] | None = None  # the weights of the additions to the submission
    optimizer: dict[str, Any] | None = None

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.config.task

    def require_submission(self, path: Path, what: str) -> None:
        """Raise LabError unless the checkpoint is of a submission's model, which `what` needs."""
        if self.config.model != SUBMISSION_MODEL:
            raise LabError(
                "{path} is of --model {model}, but {what} needs a model of submission.py",
                path=path,
                model=self.config.model,
                what=what,
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


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values, atomically. Equal contents give identical files."""
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    write_file(path, buffer.getvalue())


def load_tensors(path: Path) -> Any:
    """The content of a file of `save_tensors`, loaded onto the CPU. No code in the file is run.

    Raises: LabError if the file is damaged, or was not written by `torch.save`.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load doesn't check the checksums
            if archive.testzip() is not None:
                raise ValueError("a checksum is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        raise LabError(
            "{path} is damaged, or not a checkpoint of this lab ({kind})",
            path=path,
            kind=type(error).__name__,
        ) from error


def model_entries(model: nn.Module) -> dict[str, Any]:
    """The weights of a model as the fields `model` and `beyond` of a `Checkpoint`."""
    if hasattr(model, "checkpoint_entries"):
        return model.checkpoint_entries()
    return {"model": model.state_dict()}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically. Equal checkpoints give identical files."""
    config = checkpoint.config.to_dict()
    options = config.pop("beyond", None)
    content = {
        "task": checkpoint.task,
        "config": config,
        "epoch": checkpoint.epoch,
        "best_loss": checkpoint.best_loss,
        "model": checkpoint.model,
    }
    if options:
        content["beyond"] = {"options": options, "weights": checkpoint.beyond}
    if checkpoint.optimizer is not None:
        content["optimizer"] = checkpoint.optimizer
    save_tensors(path, content)


def load_checkpoint(path: Path, task: str | None = None) -> Checkpoint:
    """Read a checkpoint of this lab onto the CPU, without running any code in it.

    Raises: LabError if the file is missing, damaged, not a checkpoint of the lab, or of another task.
    """
    if path.is_dir():
        raise LabError("{path} is a folder: name a file in it, as {path}/best.pt", path=path)
    if not path.is_file():
        raise LabError(
            "there is no checkpoint {path}: python train.py --task {task} makes one",
            path=path,
            task=task or "TASK",
        )
    content = load_tensors(path)
    kinds = {"config": dict, "epoch": int, "model": dict}
    if not isinstance(content, dict) or any(
        not isinstance(content.get(key), kind) for key, kind in kinds.items()
    ):
        raise LabError(
            "{path} is not a checkpoint of this lab: it should contain {kinds}",
            path=path,
            kinds=", ".join(kinds),
        )
    try:
        beyond = content.get("beyond") or {"options": {}, "weights": None}
        config = TrainConfig.from_dict(
            {"model": SUBMISSION_MODEL} | content["config"] | {"beyond": beyond["options"]}
        )
        if config.task != content.get("task"):
            raise LabError("its task is not that of its configuration")
    except (LabError, KeyError, TypeError) as error:
        raise LabError("{path} can't be used: {error}", path=path, error=error) from error
    if task is not None and config.task != task:
        raise LabError("{path} is of the task {found}, not {task}", path=path, found=config.task, task=task)
    rest = (content.get("best_loss"), content["model"], beyond["weights"], content.get("optimizer"))
    return Checkpoint(config, content["epoch"], *rest)


def load_weights(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Load a checkpoint's weights into `model`. Raises: LabError if they don't fit. path: for messages."""
    try:
        if hasattr(model, "load_checkpoint_entries"):
            model.load_checkpoint_entries(checkpoint.model, checkpoint.beyond)
        else:
            model.load_state_dict(checkpoint.model)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        text = N_(
            "the weights in {path} don't fit {model_class} in submission.py ({reason}): use the "
            "submission.py it was trained with, or train again"
        )
        if checkpoint.config.model != SUBMISSION_MODEL:
            text = N_("the weights in {path} don't fit --model {model_class} ({reason}): train again")
        raise LabError(
            Message(text, path=path, model_class=checkpoint.config.model_name, reason=reason)
        ) from error


@dataclass
class LoadedModel:
    """A trained model in eval mode, with its name, its file and its configuration."""

    name: str  # in figures and messages
    path: Path
    model: nn.Module
    config: TrainConfig
    epoch: int

    @property
    def task(self) -> Task:
        """The task that the model was trained for."""
        return TASKS[self.config.task]

    @property
    def latent_dim(self) -> int:
        """The number of latents of a code."""
        return self.config.latent_dim

    def labels(self, labels: Tensor) -> Tensor | None:
        """The labels, if the model is conditional; else None."""
        return labels if self.task.conditional else None


def load_model(
    submission: ModuleType, checkpoint: Checkpoint, path: Path, name: str, device: torch.device
) -> LoadedModel:
    """The model of a checkpoint that was read from `path`. Raises: LabError if the weights don't fit."""
    model = build_model(submission, checkpoint.config)
    load_weights(model, checkpoint, path)
    return LoadedModel(name, path, model.to(device).eval(), checkpoint.config, checkpoint.epoch)
