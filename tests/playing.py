"""What the tests of the playground share: a folder of checkpoints, good and bad, and a drawing.

    from playing import lab, cache  # noqa: F401

in a test module gives it both fixtures.
"""

from __future__ import annotations

import base64
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from apps.playground.cache import ModelCache, find_checkpoints
from vaelab.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CPU = torch.device("cpu")
NASTY = "<b>${1 + 1}{{value}}"  # the name of a folder


@pytest.fixture(scope="module")
def lab(main_job: Path, tmp_path_factory: pytest.TempPathFactory):
    """The main job's folder with checkpoints beside its own that can't be used. Tests work in it."""
    folder = tmp_path_factory.mktemp("playground") / "lab"
    shutil.copytree(main_job, folder)
    good = load_checkpoint(folder / "outputs/VAE0label/best.pt")

    def changed(**fields: Any) -> Checkpoint:
        return replace(good, config=replace(good.config, **fields))

    spoiled = {
        "other_weights": changed(model_args=good.config.model_args | {"latent_dim": 13}),
        "other_options": changed(model_args={"latent_dim": 12, "depth": 5}),
        "colour": changed(dataset="cifar10"),
        NASTY: good,
    }
    for name, checkpoint in spoiled.items():
        (folder / "outputs" / name).mkdir()
        save_checkpoint(folder / "outputs" / name / "best.pt", checkpoint)
    (folder / "outputs" / NASTY / "best.pt").write_bytes(b"no checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("VAE_LAB_DATA", raising=False)
        yield folder


@pytest.fixture(scope="module")
def cache(lab: Path) -> ModelCache:
    return ModelCache(find_checkpoints(lab / "outputs"), "valid", None, CPU)


def png(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def drawing(height: int = 280, width: int = 280) -> np.ndarray:
    """A thick 7, away from the middle."""
    array = np.zeros((height, width), np.uint8)
    array[40:60, 30:120] = 255
    for i in range(100):
        array[60 + i, 110 - i // 2 : 130 - i // 2] = 255
    return array
