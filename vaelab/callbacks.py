"""Training callbacks: TensorBoard logging and live curves in a notebook.

A callback is called with the `Trainer` when training starts or resumes, and after each epoch, when the files
of the epoch are written. It changes nothing in the training.
"""

from __future__ import annotations

import math
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vaelab.cli import LabError, os_reason

PACKAGE = "tensorboard==2.21.0"
REDRAW_AFTER = 4  # seconds between two drawings, each of which takes up to 0.5 s


class TensorBoard:
    """Writes the numbers of log.jsonl and the images of samples/ to `tensorboard/` in the run's folder.

    The first call empties the folder and writes all earlier epochs: a resumed run has each epoch only once.
    Raises: LabError if the package tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise LabError(
                "--tensorboard needs the package tensorboard: pip install {package}, or leave it out",
                package=PACKAGE,
            ) from error
        self.make_writer, self.writer, self.written = SummaryWriter, None, 0
        threading.excepthook = without_os_errors(threading.excepthook)

    def __call__(self, trainer: Any) -> None:
        """Write the epochs that are not written yet. Raises: LabError if that fails."""
        folder = trainer.folder / "tensorboard"
        try:
            if self.writer is None:
                shutil.rmtree(folder, ignore_errors=True)
                self.writer = self.make_writer(folder)
            for row in trainer.log[self.written :]:
                self.add(row, trainer.folder / "samples" / f"epoch_{row['epoch']:03d}.png")
            self.written = len(trainer.log)
            if trainer.epoch < trainer.config.epochs:
                self.writer.flush()
            else:
                self.writer.close()
        except OSError as error:
            raise LabError(
                "can't write into {folder}: {reason}", folder=folder, reason=os_reason(error)
            ) from error

    def add(self, row: dict[str, float], samples: Path) -> None:
        """Write one epoch, with the time at which its samples were drawn."""
        step, drawn = row["step"], samples.stat().st_mtime if samples.exists() else None
        for key, value in row.items():
            if key not in ("epoch", "step"):
                self.writer.add_scalar(key, value, step, walltime=drawn)
        if drawn is not None:
            with Image.open(samples) as image:
                shape = "HW" if image.mode == "L" else "HWC"
                self.writer.add_image("samples", np.asarray(image), step, walltime=drawn, dataformats=shape)


def without_os_errors(hook: Callable) -> Callable:
    """`hook`, a `threading.excepthook`, but silent for OSError: the main thread gets this error too."""
    return lambda args: None if issubclass(args.exc_type, OSError) else hook(args)


class LiveCurves:
    """Shows the run's loss_curve.png below the cell of a notebook, and updates it during the training."""

    def __init__(self) -> None:
        ipython = sys.modules.get("IPython")  # imported by every kernel
        if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
            raise LabError("--live works in a notebook only: leave it out")
        self.shown, self.drawn_at = None, -math.inf

    def __call__(self, trainer: Any) -> None:
        """Draw, unless the last drawing is less than `REDRAW_AFTER` seconds old and more epochs follow."""
        from IPython.display import Image as Picture
        from IPython.display import display

        more = trainer.epoch < trainer.config.epochs
        if not trainer.log or (more and time.monotonic() < self.drawn_at + REDRAW_AFTER):
            return
        trainer.draw_loss_curve()
        picture = Picture(trainer.folder / "loss_curve.png")
        if self.shown is None:
            self.shown = display(picture, display_id=True)
        else:
            self.shown.update(picture)
        self.drawn_at = time.monotonic()


CALLBACKS: dict[str, Callable[[], Callable[[Any], None]]] = {"tensorboard": TensorBoard, "live": LiveCurves}
