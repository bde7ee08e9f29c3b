"""Score the outputs of `inference.py` for whichever of the two tasks is there.

    python grade.py

prints each term of the score and writes outputs/grade_result.json. It reads arrays (or PNG files) and
JSON only: no code of a submission runs here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import metrics
from common import TASKS, LabError, Parser, read_json, run, write_json
from data_utils import DATASETS, SPLITS, add_data_dir_option, load_split, prepare

GEN_PER_LABEL = 1000


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--split", choices=SPLITS, default="valid", help="the split to grade (default: valid)"
    )
    add_data_dir_option(parser)
    parser.add_argument(
        "--output_dir", type=Path, default="outputs", help="root of the outputs (default: outputs)"
    )
    return parser.parse_args()


# --- Reading outputs ----------------------------------------------------------------------------


def read_png(path: Path) -> np.ndarray:
    """A grey PNG file as uint8 [H, W]. Raises: LabError that names the file."""
    try:
        with Image.open(path) as image:
            if image.format != "PNG" or image.mode != "L":
                raise LabError(f"{path} should be an 8-bit grey PNG, got {image.format} of mode {image.mode}")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabError(f"can't read {path}: {error}") from error


def read_pngs(paths: list[Path], shape: tuple[int, ...]) -> np.ndarray:
    """The images in `paths`, each of `shape`, stacked. Raises: LabError that names the first bad file."""
    images = np.empty((len(paths), *shape), np.uint8)
    for i, path in enumerate(paths):
        image = read_png(path)
        if image.shape != shape:
            raise LabError(f"{path} should be an image of {list(shape)}, got {list(image.shape)}")
        images[i] = image
    return images


def read_npy(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array of `shape`. Raises: LabError that names the file and what it holds instead."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LabError(f"{path} is damaged, or not an array ({error}): run inference.py again") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape != shape:
        came = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise LabError(f"{path} should hold uint8 {list(shape)}, got {came}: run inference.py again")
    return array


def read_recon(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """`recon.npy`, or the files recon/recon_<i>.png. shape: [N, 28, 28]."""
    if not (folder / "recon").is_dir() or (folder / "recon.npy").exists():
        return read_npy(folder / "recon.npy", shape)
    return read_pngs([folder / "recon" / f"recon_{i}.png" for i in range(shape[0])], shape[1:])


def read_gen(folder: Path, image_shape: tuple[int, ...]) -> np.ndarray:
    """`gen.npy`, or the files gen/<label>/<i>.png. Returns: uint8 [10, GEN_PER_LABEL, 28, 28]."""
    shape = (10, GEN_PER_LABEL, *image_shape)
    if not (folder / "gen").is_dir() or (folder / "gen.npy").exists():
        return read_npy(folder / "gen.npy", shape)
    paths = [folder / "gen" / str(label) / f"{i}.png" for label in range(10) for i in range(GEN_PER_LABEL)]
    return read_pngs(paths, image_shape).reshape(shape)


def read_hyperparams(folder: Path, task: str, split: str) -> dict[str, Any]:
    """`hyperparams.json`, checked. Raises: LabError that names the key at fault."""
    path = folder / "hyperparams.json"
    values = read_json(path)
    latent_dim = values.get("latent_dim")
    expected = {
        f"task '{task}'": values.get("task") == task,
        f"split '{split}'": values.get("split") == split,
        f"a latent_dim from 1 to {metrics.PIXELS}": type(latent_dim) is int
        and 1 <= latent_dim <= metrics.PIXELS,
        f"a dataset of {', '.join(DATASETS[1:])}": values.get("dataset") in DATASETS[1:],
    }
    for what, good in expected.items():
        if not good:
            raise LabError(f"{path} should hold {what}, got {values}: run inference.py again")
    return values


# --- Grading ------------------------------------------------------------------------------------


def grade_task(task: str, split: str, output_dir: Path, data_dir: Path | None) -> dict[str, Any]:
    """The task's metrics and score, as they stand in grade_result.json, and the number of images."""
    folder = output_dir / task / split
    hyperparams = read_hyperparams(folder, task, split)
    dataset, latent_dim = hyperparams["dataset"], hyperparams["latent_dim"]
    prepare(dataset, data_dir, [split])
    images, labels = load_split(dataset, split)
    values = metrics.reconstruction(read_recon(folder, images.shape), images)
    if task == "Genwithlabel":
        by_class = metrics.fid(read_gen(folder, images.shape[1:]), images, labels)
        values |= {"fid": float(np.mean(by_class)), "fid_by_class": by_class}
    values |= {"latent_dim": latent_dim, **metrics.score(task, values, latent_dim)}
    return values | {"dataset": dataset, "split": split, "images": len(images)}


def table(task: str, grade: dict[str, Any]) -> str:
    """Each term of the score with its value, its points and the most it can give."""
    lines = [
        f"{task} on {grade['dataset']} {grade['split']}: {grade['images']:,} images, "
        f"latent_dim {grade['latent_dim']}, "
        + ", ".join(f"{key} {grade[key]:.4f}" for key in ("ssim", "mse", "fid") if key in grade),
        f"  {'term':<26} {'points':>8} {'of':>6}",
    ]
    terms = metrics.score_terms(task, grade)
    lines += [f"  {formula:<26} {points:>8.3f} {most:>6.2f}" for formula, points, most in terms]
    lines += [
        f"  {'sum':<26} {sum(term[1] for term in terms):>8.3f} {sum(term[2] for term in terms):>6.2f}",
        f"  {'times the bonus (0.2 + R)':<26} {grade['bonus']:>8.3f} {metrics.bonus(0):>6.2f}",
        f"  {'score':<26} {grade['score']:>8.2f} {metrics.max_score(task):>6.2f}   "
        f"({grade['score_uncapped']:.2f} before the cap)",
    ]
    if grade["dataset"] != "mnist":
        lines.append(
            f"  This is {grade['dataset']}, not MNIST: the score can't be compared with one on MNIST."
        )
    return "\n".join(lines)


def how_to_make(task: str, split: str) -> str:
    """The commands that make the outputs of a task."""
    option = "" if split == "valid" else f" --split {split}"
    return (
        f"python train.py --task {task}, then "
        f"python inference.py --checkpoint_path outputs/{task}/best.pt{option}"
    )


def main() -> None:
    """Grade what is there."""
    args = parse_args()
    present = [task for task in TASKS if (args.output_dir / task / args.split / "hyperparams.json").is_file()]
    if not present:
        raise LabError(
            f"nothing to grade in {args.output_dir}/<task>/{args.split}/ (no hyperparams.json). "
            f"To make it: {how_to_make(TASKS[0], args.split)}"
        )
    grades = {task: grade_task(task, args.split, args.output_dir, args.data_dir) for task in present}
    print("\n\n".join(table(task, grade) for task, grade in grades.items()))
    for task in TASKS:
        if task not in present:
            print(f"\n{task} is not there. To make it: {how_to_make(task, args.split)}")
    print(
        f"\ntotal {sum(grade['score'] for grade in grades.values()):.2f} of "
        f"{sum(map(metrics.max_score, TASKS)):.0f}"
    )
    write_json(args.output_dir / "grade_result.json", grades)


if __name__ == "__main__":
    run(main)
