"""The checkpoints of the playground, and a cache of their models."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import torch

import submission
from apps.playground.session import ModelSession
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel, load_checkpoint, load_model
from vaelab.cli import LabError, reason

MAX_MODELS = 8  # in memory; the least recently used one is removed first


def find_checkpoints(folder: Path) -> dict[str, Path]:
    """Every best.pt in `folder` and its subfolders, by the name of the folder that contains it."""
    paths = sorted(folder.rglob("best.pt"))
    return {
        str(path.parent.relative_to(folder if path.parent != folder else folder.parent)): path
        for path in paths
    }


class ModelCache:
    """The models of some checkpoints, loaded when they are first used.

    Attributes: `names`, of the checkpoints that could be loaded; `refused`, the names of the others with
    the reason. The session of the first model is made in the constructor: the page opens with it.
    """

    def __init__(
        self, paths: dict[str, Path], split: str, data_dir: Path | None, device: torch.device
    ) -> None:
        self.paths, self.split, self.data_dir, self.device = paths, split, data_dir, device
        self.lock = threading.Lock()
        self.sessions: OrderedDict[str, ModelSession] = OrderedDict()
        self.names: list[str] = []
        self.refused: dict[str, str] = {}
        for name in paths:
            try:
                self._load(name)
                self.names.append(name)
            except Exception as error:  # a student's model can raise anything
                self.refuse(name, error)
        for name in list(self.names):
            try:
                self.session(name)
                break
            except Exception as error:
                self.names.remove(name)
                self.refuse(name, error)

    def refuse(self, name: str, error: Exception) -> None:
        """Record why a checkpoint can't be used."""
        kind = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
        self.refused[name] = kind + reason(error)

    def _load(self, name: str) -> LoadedModel:
        checkpoint = load_checkpoint(self.paths[name])
        checkpoint.require_submission(self.paths[name], "the playground")
        if checkpoint.config.dataset == "cifar10":
            raise LabError("its images are in colour: the playground shows grey ones only")
        return load_model(submission, checkpoint, self.paths[name], name, self.device)

    def session(self, name: str) -> ModelSession:
        """The session of a checkpoint's model. Raises: LabError if there is no checkpoint of that name."""
        if name not in self.paths:
            raise LabError("there is no checkpoint '{name}': choose one from the list", name=name)
        with self.lock:
            if name not in self.sessions:
                loaded = self._load(name)
                dataset = MNISTDataset(self.split, loaded.config.dataset, self.data_dir)
                self.sessions[name] = ModelSession(loaded, dataset, self.device)
            self.sessions.move_to_end(name)
            while len(self.sessions) > MAX_MODELS:
                self.sessions.popitem(last=False)
            return self.sessions[name]
