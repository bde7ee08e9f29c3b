"""`--tensorboard`, whose events are what the log and the samples of a run say, and `--live`."""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import shutil
import sys
import threading
import time
from pathlib import Path

import IPython
import numpy as np
import pytest
from conftest import REPO, made_once, rows
from PIL import Image

from train import main
from trainer import Trainer
from vaelab.callbacks import PACKAGE, LiveCurves, TensorBoard
from vaelab.checkpoint import load_checkpoint
from vaelab.cli import run

SMALL = ("--task", "Genwithlabel", "--dataset", "digits", "--arch", "mlp", "--hidden_dim", "8")
SMALL += ("--epochs", "5", "--tensorboard")
FOLDER = Path("outputs/Genwithlabel")


def start(*options: str) -> None:
    """Run `train.py` in this process, in the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *SMALL, *options])
        patch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest's own keeps silent
        patch.setattr(Trainer, "draw_loss_curve", lambda trainer: None)  # slow, and not what is tested here
        main()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an uninterrupted run."""

    def make(cwd: Path) -> None:
        with contextlib.chdir(cwd):
            start()

    return made_once(tmp_path_factory, "whole_run_with_events", make)


@pytest.fixture
def beside(whole_run: Path, in_tmp: Path) -> Path:
    """An empty working folder with the same data. Returns: the uninterrupted run's folder."""
    shutil.copytree(whole_run / "dataset", in_tmp / "dataset")
    return whole_run / FOLDER


def events(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], list[tuple[int, bytes]]]:
    """What TensorBoard itself reads: tag to (step, value), and (step, PNG file) of the samples."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    reader.Reload()
    tags = reader.Tags()
    assert tags["images"] == ["samples"]
    scalars = {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in tags["scalars"]}
    return scalars, [(event.step, event.encoded_image_string) for event in reader.Images("samples")]


def check_events(folder: Path, epochs: int) -> None:
    """Each epoch is there once, in order, with the numbers of the log and the pixels of the samples."""
    scalars, images = events(folder)
    log = rows(folder)
    assert [row["epoch"] for row in log] == list(range(1, epochs + 1))
    assert scalars.keys() == log[0].keys() - {"epoch", "step"}
    for tag, series in scalars.items():
        assert series == [(row["step"], np.float32(row[tag])) for row in log], tag
    assert [step for step, _ in images] == [row["step"] for row in log]
    for row, (_, png) in zip(log, images, strict=True):
        shown = np.asarray(Image.open(io.BytesIO(png)))
        with Image.open(folder / f"samples/epoch_{row['epoch']:03d}.png") as saved:
            np.testing.assert_array_equal(shown, np.asarray(saved.convert("RGB")))


def test_the_events_are_the_log_and_the_samples(whole_run: Path) -> None:
    check_events(whole_run / FOLDER, 5)


def test_they_are_written_anew_on_resume_and_cleared_on_overwrite(beside: Path) -> None:
    shutil.copytree(beside, FOLDER)
    (FOLDER / "samples/epoch_001.png").unlink()
    start("--resume")  # all five epochs are done
    scalars, images = events(FOLDER)
    assert (len(scalars["valid_loss"]), len(images)) == (5, 4)
    start("--overwrite", "--epochs", "2")
    check_events(FOLDER, 2)
    assert len(list((FOLDER / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize(
    "moment", ["between log and last.pt", "after last.pt", "amid the events of an epoch"]
)
def test_a_run_that_was_killed_goes_on_without_a_gap(
    beside: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    save, write, add = Trainer.save, TensorBoard.__call__, TensorBoard.add

    def kill_at(when: bool) -> None:
        if when:
            raise SystemExit("killed")

    def saved(trainer: Trainer, name: str) -> None:
        kill_at(name == "last.pt" and trainer.epoch == 3 and moment.startswith("between"))
        save(trainer, name)

    def written(board: TensorBoard, trainer: Trainer) -> None:
        kill_at(trainer.epoch == 3 and moment.startswith("after"))
        write(board, trainer)

    def added(board: TensorBoard, row: dict, samples: Path) -> None:
        if row["epoch"] == 3 and moment.startswith("amid"):
            board.writer.add_scalar("valid_loss", 1, row["step"])
            board.writer.flush()
            kill_at(True)
        add(board, row, samples)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", saved)
        patch.setattr(TensorBoard, "__call__", written)
        patch.setattr(TensorBoard, "add", added)
        with pytest.raises(SystemExit, match="killed"):
            start()
    assert len(rows(FOLDER)) == 3
    start("--resume")
    check_events(FOLDER, 5)
    (resumed, resumed_images), (whole, whole_images) = events(FOLDER), events(beside)
    assert resumed_images == whole_images
    del whole["seconds"], resumed["seconds"]
    assert resumed == whole


def test_without_the_package_one_line_says_what_to_do(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # importing it fails from here on
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        run(start)
    assert ended.value.code == 2
    advice = "pip install tensorboard==2.21.0, or leave it out"
    assert capsys.readouterr() == ("", f"error: --tensorboard needs the package tensorboard: {advice}\n")
    assert [path.name for path in FOLDER.iterdir()] == [".lock"]
    assert PACKAGE in (REPO / "requirements/test.txt").read_text().splitlines()


def test_a_full_disk_is_one_line_too(beside: Path, capsys: pytest.CaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (450_000, hard))  # enough for a checkpoint, and some pictures
    try:
        with pytest.raises(SystemExit) as ended:
            run(start)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.value.code == 2
    time.sleep(0.1)  # for the writer's thread, which would have more to say
    assert capsys.readouterr().err == f"error: can't write into {FOLDER}/tensorboard: File too large\n"
    assert 1 < len(rows(FOLDER)) < 5
    assert load_checkpoint(FOLDER / "last.pt").epoch == len(rows(FOLDER))


def test_live_curves_need_a_notebook(in_tmp: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run(lambda: start("--live"))
    assert capsys.readouterr().err == "error: --live works in a notebook only: leave it out\n"


def test_they_are_drawn_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> None:
    """Not at every epoch of a fast run, but whatever is shown last is of the last epoch."""
    shown, clock = [], [0.0]
    monkeypatch.setattr(IPython, "get_ipython", lambda: argparse.Namespace(kernel=None))
    monkeypatch.setattr("vaelab.callbacks.time.monotonic", lambda: clock[0])
    handle = argparse.Namespace(update=lambda picture: shown.append(("again", picture.data)))
    monkeypatch.setattr(
        IPython.display,
        "display",
        lambda picture, display_id: shown.append(("first", picture.data)) or handle,
    )
    trainer = argparse.Namespace(folder=in_tmp, log=[], epoch=0, config=argparse.Namespace(epochs=5))
    trainer.draw_loss_curve = lambda: (in_tmp / "loss_curve.png").write_bytes(
        b"\x89PNG\r\n\x1a\n%d" % trainer.epoch
    )
    live = LiveCurves()
    for epoch, now in ((0, 0.0), (1, 1.0), (2, 2.0), (3, 5.5), (4, 6.0), (5, 6.1)):
        trainer.epoch, clock[0] = epoch, now
        trainer.log = list(range(epoch))
        live(trainer)
    assert [(how, data[-1:]) for how, data in shown] == [("first", b"1"), ("again", b"3"), ("again", b"5")]
