"""Score the outputs of `inference.py` for whichever of the two tasks is there.

    python grade.py

prints each term of the score and writes outputs/grade_result.json, and outputs/report.html to look at. It
reads arrays, pictures and JSON only: no code of a submission runs here.

    python grade.py --extended

also says whether the generated digits are good, or only good at the score: what an independent classifier
reads in them, how they vary, and whether they are copies of training images.
"""

from __future__ import annotations

import argparse
import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import metrics
from classifier import load_classifier, read
from common import TASKS, LabError, Parser, file_md5, read_json, reason, run, write_file, write_json
from data_utils import DATASETS, SPLITS, MNISTDataset, add_data_dir_option, load_split, prepare
from report import Outputs, other_data, report_page

QUANTILES = (0.01, 0.1, 0.5, 0.9)  # of the distances to the nearest training image


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
    parser.add_argument(
        "--extended",
        action="store_true",
        help="judge Genwithlabel's images by more than the score; the first time, this trains a classifier "
        "for about a minute",
    )
    return parser.parse_args()


# --- Reading outputs ----------------------------------------------------------------------------


def read_png(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A PNG file as uint8 of `shape`, (H, W) or (3, H, W). Raises: LabError that names the file."""
    mode, about = ("L", "8-bit grey") if len(shape) == 2 else ("RGB", "8-bit colour")
    try:
        # Pillow warns of pictures too large to be honest: here that is an error.
        with warnings.catch_warnings(action="error"), Image.open(path) as image:
            kind = f"{image.format} of mode {image.mode} and size {list(image.size[::-1])}"
            if (image.format, image.mode, image.size[::-1]) == ("PNG", mode, shape[-2:]):
                return np.asarray(image) if mode == "L" else np.asarray(image).transpose(2, 0, 1)
    except Exception as error:  # damaged or hostile bytes can raise anything
        raise LabError(f"can't read {path}: {reason(error)}") from error
    raise LabError(f"{path} should be a PNG of mode {mode} ({about}) and size {list(shape[-2:])}, got {kind}")


def read_npy(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array of `shape`. Raises: LabError that names the file and what it holds instead."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise LabError(f"there is no {path}: run inference.py again") from error
    except Exception as error:  # damaged or hostile bytes can raise anything
        raise LabError(
            f"{path} is damaged, or not an array ({reason(error)}): run inference.py again"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape != shape:
        came = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise LabError(f"{path} should hold uint8 {list(shape)}, got {came}: run inference.py again")
    return array


def read_recon(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """`recon.npy`, or the files recon/recon_<i>.png. shape: [N, 28, 28]."""
    if not (folder / "recon").is_dir() or (folder / "recon.npy").exists():
        return read_npy(folder / "recon.npy", shape)
    return np.stack([read_png(folder / "recon" / f"recon_{i}.png", shape[1:]) for i in range(shape[0])])


def read_gen(folder: Path, image_shape: tuple[int, ...]) -> np.ndarray:
    """`gen.npy`, or the files gen/<label>/<i>.png. Returns: uint8 [10, 1000, 28, 28]."""
    shape = (10, metrics.GEN_PER_LABEL, *image_shape)
    if not (folder / "gen").is_dir() or (folder / "gen.npy").exists():
        return read_npy(folder / "gen.npy", shape)
    paths = [
        folder / "gen" / str(label) / f"{i}.png" for label in range(10) for i in range(metrics.GEN_PER_LABEL)
    ]
    return np.stack([read_png(path, image_shape) for path in paths]).reshape(shape)


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


def read_outputs(task: str, args: argparse.Namespace) -> Outputs:
    """What inference.py made of a task, and the images that it is held against."""
    folder = args.output_dir / task / args.split
    hyperparams = read_hyperparams(folder, task, args.split)
    prepare(hyperparams["dataset"], args.data_dir, [args.split])
    images, labels = load_split(hyperparams["dataset"], args.split)
    recon = read_recon(folder, images.shape)
    gen = read_gen(folder, images.shape[1:]) if task == "Genwithlabel" else None
    return Outputs(images, labels, recon, gen, hyperparams)


def grade_task(task: str, outputs: Outputs, args: argparse.Namespace) -> dict[str, Any]:
    """The task's metrics and score, as they stand in grade_result.json, and the number of images."""
    images, labels, recon, gen, hyperparams = outputs
    dataset, latent_dim = hyperparams["dataset"], hyperparams["latent_dim"]
    values = metrics.reconstruction(recon, images)
    if gen is not None:
        by_class = metrics.fid(gen, images, labels)
        values |= {"fid": float(np.mean(by_class)), "fid_by_class": by_class}
        if args.extended:
            values["extended"] = extended(
                gen, recon, images, labels, MNISTDataset("train", dataset, args.data_dir)
            )
    values |= {"latent_dim": latent_dim, **metrics.score(task, values, latent_dim)}
    return values | {"dataset": dataset, "split": args.split, "images": len(images)}


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
    if other_data(grade["dataset"]):
        lines.append(f"  {other_data(grade['dataset'])}")
    return "\n".join(lines)


# --- Is it good, or only good at the score? -----------------------------------------------------


def extended(
    gen: np.ndarray, recon: np.ndarray, images: np.ndarray, labels: np.ndarray, train_set: MNISTDataset
) -> dict[str, Any]:
    """What the score doesn't say of generated images, uint8 [10, 1000, H, W], beside the same of real ones.

    recon, images, labels: the split, which neither the model nor the classifier was trained on.
    """
    train, classifier = train_set.images.numpy(), load_classifier(train_set)
    flat, asked = gen.reshape(-1, *gen.shape[2:]), np.arange(10).repeat(gen.shape[1])
    labels_gen, features_gen = read(classifier, flat)
    labels_real, features_real = read(classifier, images)
    n = min(len(flat), len(images), len(train))  # equal numbers, for distances that can be compared
    _, features_train = read(classifier, evenly(train, n))
    features_gen, features_real = evenly(features_gen, n), evenly(features_real, n)

    copy_gen, copy_real, copy_recon = (
        metrics.nearest_distance(metrics.to_float(some), metrics.to_float(train))
        for some in (flat, images, recon)
    )
    diversity = [metrics.mean_pairwise_distance(metrics.to_float(group)) for group in gen]
    diversity_real = [
        metrics.mean_pairwise_distance(metrics.to_float(images[labels == y][:1000])) for y in range(10)
    ]
    return {
        "label_accuracy": float(np.mean(labels_gen.numpy() == asked)),
        "label_accuracy_real": float(np.mean(labels_real.numpy() == labels)),
        "classifier_fid": metrics.frechet_distance(features_gen, features_real),
        "classifier_fid_real": metrics.frechet_distance(features_train, features_real),
        "classifier_fid_n": n,
        "diversity_by_class": diversity,
        "diversity_by_class_real": diversity_real,
        "copy_probability": metrics.probability_closer(copy_gen, copy_real),
        # Decoded images are smoother than real ones, and so a little nearer to all; these are decoded too.
        "copy_probability_recon": metrics.probability_closer(copy_gen, copy_recon),
        "copy_distance": np.quantile(copy_gen.numpy(), QUANTILES).tolist(),
        "copy_distance_real": np.quantile(copy_real.numpy(), QUANTILES).tolist(),
    }


def evenly(items: Any, n: int) -> Any:
    """n of the items, spread evenly over all of them."""
    return items[np.linspace(0, len(items) - 1, n).astype(int)]


def extended_table(values: dict[str, Any], split: str) -> str:
    """`extended`'s values, generated beside real."""
    diversity = list(zip(values["diversity_by_class"], values["diversity_by_class_real"], strict=True))
    keys = ("copy_distance", "copy_distance_real")
    distances = (" ".join(f"{distance:.2f}" for distance in values[key]) for key in keys)
    ratios = " ".join(f"{a / b:.2f}" if b else "-" for a, b in diversity)
    rows = [
        ("read by the classifier as asked", "label_accuracy", ".2%"),
        (f"classifier FID to {split}, N = {values['classifier_fid_n']:,}", "classifier_fid", ".3f"),
    ]
    lines = [f"  {'beyond the score':<44} {'generated':>10} {'real':>10}"]
    lines += [
        f"  {name:<44} {values[key]:>10{form}} {values[key + '_real']:>10{form}}" for name, key, form in rows
    ]
    quantiles = ", ".join(f"{q:.0%}" for q in QUANTILES)
    lines += [
        f"  mean distance within a class, generated : real, 0 to 9: {ratios}",
        f"  distance to the nearest training image, {quantiles} quantiles:",
        "    generated {}; real {}".format(*distances),
        "  probability that a generated image is nearer to a training image than a real one is:",
        f"    {values['copy_probability']:.3f} (1/2: as near as chance would have it; 1: copies)",
        "  the same, to the reconstruction of a real one, which is as smooth as what is generated:",
        f"    {values['copy_probability_recon']:.3f}",
    ]
    return "\n".join(lines)


def beside(task: str, grade: dict[str, Any], hyperparams: dict[str, Any]) -> list[str]:
    """What there is to say of a grade beside its table."""
    texts = []
    checkpoint = Path(str(hyperparams.get("checkpoint")))
    if file_md5(checkpoint) not in (None, hyperparams.get("checkpoint_md5")):
        texts.append(
            f"note: {checkpoint} has changed since inference.py made the outputs of {task}: run it again"
        )
    if "extended" in grade:
        texts.append(extended_table(grade["extended"], grade["split"]))
    return texts


def how_to_make(task: str, args: argparse.Namespace) -> tuple[str, str]:
    """The commands that make the outputs of a task: the training, and what comes of it."""
    root = "" if args.output_dir == Path("outputs") else f" --output_dir {args.output_dir}"
    split = "" if args.split == "valid" else f" --split {args.split}"
    checkpoint = args.output_dir / task / "best.pt"
    return (
        f"python train.py --task {task}{root}",
        f"python inference.py --checkpoint_path {checkpoint}{root}{split}",
    )


def try_report(output_dir: Path, *args: Any) -> str:
    """Write the page. Returns: a line that says where it is, or why there is none; the grade stands."""
    path = output_dir / "report.html"
    try:
        write_file(path, report_page(output_dir, *args))
        return f"report: {path}"
    except Exception as error:  # what a user's files hold can go wrong in ways that nobody foresaw
        with contextlib.suppress(OSError):
            path.unlink()  # an earlier one would be of another grade
        return f"note: no report was written: {reason(error)}"


def main() -> None:
    """Grade what is there."""
    args = parse_args()
    commands = {task: how_to_make(task, args) for task in TASKS}
    present = [task for task in TASKS if (args.output_dir / task / args.split / "hyperparams.json").is_file()]
    if not present:
        raise LabError(
            f"nothing to grade in {args.output_dir}/<task>/{args.split}/ (no hyperparams.json). "
            f"To make it: {', then '.join(commands[TASKS[0]])}"
        )
    outputs = {task: read_outputs(task, args) for task in present}
    grades = {task: grade_task(task, outputs[task], args) for task in present}
    printed = {task: beside(task, grade, outputs[task].hyperparams) for task, grade in grades.items()}
    write_json(args.output_dir / "grade_result.json", grades)
    for task in TASKS:
        if task in present:
            print("\n".join([table(task, grades[task]), *printed[task]]) + "\n")
        else:
            print(f"{task} is not there. To make it: {', then '.join(commands[task])}\n")
    total = sum(grade["score"] for grade in grades.values())
    print(f"total {total:.2f} of {sum(map(metrics.max_score, TASKS)):.0f}")
    print(try_report(args.output_dir, grades, outputs, commands, printed))
    print(
        "This is the self-check. The grade that counts is the same, of code run isolated, on unseen images."
    )


if __name__ == "__main__":
    run(main)
