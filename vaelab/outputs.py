"""The outputs of `inference.py`: written by it, read and checked by `grade.py`.

`recon.npy` uint8 [N, 28, 28], `gen.npy` uint8 [10, 1000, 28, 28], or a PNG file for each image; and
`hyperparams.json`.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vaelab.cli import LabError, reason
from vaelab.data.options import DATASETS
from vaelab.data.splits import load_split, prepare
from vaelab.files import read_json, write_file, write_json, write_npy
from vaelab.images import image_grid, png_bytes, with_caption
from vaelab.language import N_, Message, _, in_english
from vaelab.metrics.fid import GEN_PER_LABEL
from vaelab.metrics.score import PIXELS
from vaelab.tasks import TASKS

# Below the pictures, in English: Pillow's own font has no other script.
RECON_CAPTION = N_(
    "Rows of originals, each above its reconstructions. {task}, {dataset} {split}, latent_dim {latent_dim}"
)
GEN_CAPTION = N_(
    "Generated images: one row for each label, 0 to 9. {task}, {dataset} {split}, latent_dim {latent_dim}"
)
GEN_CAPTION_WITHOUT_LABELS = N_(
    "Generated images, from codes of N(0, I), without labels. {task}, {dataset} {split}, latent_dim "
    "{latent_dim}"
)


@dataclass(frozen=True)
class Hyperparams:
    """The content of hyperparams.json: the origin of the outputs."""

    task: str
    latent_dim: int
    dataset: str
    split: str
    seed: int | None = None
    checkpoint: str | None = None
    checkpoint_md5: str | None = None
    code_md5: str | None = None  # of the model's code: see `vaelab/origin.py`


class Outputs(NamedTuple):
    """The graded arrays of a task: uint8 images [N, ...] and their reconstructions, labels [N]."""

    images: np.ndarray
    labels: np.ndarray
    recon: np.ndarray
    gen: np.ndarray | None  # [10, 1000, ...], of a conditional task
    hyperparams: Hyperparams


def write_outputs(
    folder: Path, images: np.ndarray, recon: np.ndarray, gen: np.ndarray, hyperparams: Hyperparams
) -> None:
    """Write the arrays, the pictures `recon.png` and `gen.png`, and, last, hyperparams.json.

    images, recon: uint8 [N, ...]; gen: uint8 [10, 1000, ...]. recon.png: rows of originals, each above its
    reconstructions. gen.png: a row for each label.
    """
    write_npy(folder / "recon.npy", recon)
    write_npy(folder / "gen.npy", gen)
    rows = [
        row
        for start in range(0, min(50, len(images)), 10)
        for row in (images[start:][:10], recon[start:][:10])
    ]
    values = asdict(hyperparams)
    gen_text = GEN_CAPTION if TASKS[hyperparams.task].conditional else GEN_CAPTION_WITHOUT_LABELS
    pictures = {
        "recon": (np.concatenate(rows), RECON_CAPTION),
        "gen": (np.concatenate(gen[:, :10]), gen_text),
    }
    for name, (cells, text) in pictures.items():
        grid = with_caption(image_grid(cells, columns=10), in_english(Message(text, **values)))
        write_file(folder / f"{name}.png", png_bytes(grid))
    write_json(folder / "hyperparams.json", asdict(hyperparams))


def read_png(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A PNG file as uint8 of `shape`, (H, W) or (3, H, W). Raises: LabError that names the file."""
    mode, about = ("L", N_("8-bit grey")) if len(shape) == 2 else ("RGB", N_("8-bit colour"))
    try:
        # Pillow only warns about decompression bombs: here the warning is an error.
        with warnings.catch_warnings(action="error"), Image.open(path) as image:
            kind = Message(
                "{format} of mode {mode} and size {shape}",
                format=image.format,
                mode=image.mode,
                shape=list(image.size[::-1]),
            )
            if (image.format, image.mode, image.size[::-1]) == ("PNG", mode, shape[-2:]):
                return np.asarray(image) if mode == "L" else np.asarray(image).transpose(2, 0, 1)
    except Exception as error:  # damaged or hostile bytes can raise anything
        raise LabError("can't read {path}: {reason}", path=path, reason=reason(error)) from error
    raise LabError(
        "{path} should be a PNG of mode {mode} ({about}) and size {shape}, got {kind}",
        path=path,
        mode=mode,
        about=Message(about),
        shape=list(shape[-2:]),
        kind=kind,
    )


def read_npy(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array of `shape`. Raises: LabError that names the file and its actual content."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise LabError("there is no {path}: run inference.py again", path=path) from error
    except Exception as error:  # damaged or hostile bytes can raise anything
        raise LabError(
            "{path} is damaged, or not an array ({reason}): run inference.py again",
            path=path,
            reason=reason(error),
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape != shape:
        came = Message("an archive")
        if isinstance(array, np.ndarray):
            came = f"{array.dtype} {list(array.shape)}"
        raise LabError(
            "{path} should contain uint8 {shape}, got {came}: run inference.py again",
            path=path,
            shape=list(shape),
            came=came,
        )
    return array


def read_recon(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """`recon.npy`, or the files recon/recon_<i>.png. shape: [N, 28, 28]."""
    if not (folder / "recon").is_dir() or (folder / "recon.npy").exists():
        return read_npy(folder / "recon.npy", shape)
    return np.stack([read_png(folder / "recon" / f"recon_{i}.png", shape[1:]) for i in range(shape[0])])


def read_gen(folder: Path, image_shape: tuple[int, ...]) -> np.ndarray:
    """`gen.npy`, or the files gen/<label>/<i>.png. Returns: uint8 [10, 1000, 28, 28]."""
    shape = (10, GEN_PER_LABEL, *image_shape)
    if not (folder / "gen").is_dir() or (folder / "gen.npy").exists():
        return read_npy(folder / "gen.npy", shape)
    paths = [folder / "gen" / str(label) / f"{i}.png" for label in range(10) for i in range(GEN_PER_LABEL)]
    return np.stack([read_png(path, image_shape) for path in paths]).reshape(shape)


def read_hyperparams(folder: Path, task: str, split: str) -> Hyperparams:
    """`hyperparams.json`, checked. Raises: LabError that names the wrong key."""
    path = folder / "hyperparams.json"
    values = read_json(path)
    latent_dim = values.get("latent_dim")
    names = ", ".join(DATASETS[1:])
    checks = (
        (Message("task '{task}'", task=task), values.get("task") == task),
        (Message("split '{split}'", split=split), values.get("split") == split),
        (
            Message("a latent_dim from 1 to {most}", most=PIXELS),
            type(latent_dim) is int and 1 <= latent_dim <= PIXELS,
        ),
        (Message("a dataset of {names}", names=names), values.get("dataset") in DATASETS[1:]),
    )
    for what, good in checks:
        if not good:
            raise LabError(
                "{path} should contain {what}, got {values}: run inference.py again",
                path=path,
                what=what,
                values=values,
            )
    return Hyperparams(**{entry.name: values.get(entry.name) for entry in fields(Hyperparams)})


def read_outputs(folder: Path, task: str, split: str, data_dir: Path | None) -> Outputs:
    """The outputs of a task in `folder`, and the images of the split. Raises: LabError if one is wrong."""
    hyperparams = read_hyperparams(folder, task, split)
    prepare(hyperparams.dataset, data_dir, [split])
    images, labels = load_split(hyperparams.dataset, split)
    recon = read_recon(folder, images.shape)
    gen = read_gen(folder, images.shape[1:]) if TASKS[task].conditional else None
    return Outputs(images, labels, recon, gen, hyperparams)


def other_data(dataset: str) -> str:
    """The warning that a score is not one on MNIST; empty for MNIST."""
    if dataset == "mnist":
        return ""
    return _("This is {dataset}, not MNIST: the score can't be compared with one on MNIST.", dataset=dataset)
