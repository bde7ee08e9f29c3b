"""The speed of inference and grading, compared with one PNG file for each image.

    python train.py --task Genwithlabel --refine 10 && python benchmarks/grade_speed.py

Both methods reconstruct a split, generate 1,000 images of each label and score them, from one checkpoint;
both times include the start of two processes. The PNG method, that of the original lab: a DataLoader over
single images; every output image is saved as a PNG file; the grader reads the files one by one and calls
scikit-image's SSIM for each image. The two methods alternate, and the table gives medians. Their scores must
agree to 0.01 (in bf16, the batch size changes the last digits).

Both are measured with the codes of the encoder (mu) and, if the checkpoint has `--refine`, with refined
codes, whose cost is the same for both methods.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from helpers import REPO, lab, machine
from PIL import Image
from skimage.metrics import structural_similarity
from torch.utils.data import DataLoader

import submission
from data_utils import MNISTDataset
from vaelab.checkpoint import load_checkpoint, load_model
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option
from vaelab.device import autocast, choose_precision
from vaelab.metrics.fid import GEN_PER_LABEL
from vaelab.metrics.reconstruction import to_uint8
from vaelab.metrics.score import score as compute_score

TASK = "Genwithlabel"


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--checkpoint_path",
        type=Path,
        default=REPO / "outputs" / TASK / "best.pt",
        help="of Genwithlabel (default: outputs/Genwithlabel/best.pt)",
    )
    parser.add_argument("--runs", type=number(int, 1, 100), default=3, help="runs of each (default: 3)")
    # Run a step of the PNG method in this process.
    parser.add_argument("--original", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=("inference", "grade"), help=argparse.SUPPRESS)
    parser.add_argument("--skip_compress", action="store_true", help=argparse.SUPPRESS)
    add_data_dir_option(parser)
    return parser.parse_args()


# --- The PNG method -----------------------------------------------------------------------------


@torch.no_grad()
def original_inference(args: argparse.Namespace, dataset: MNISTDataset) -> None:
    """Reconstruct and generate, with a PNG file for each image."""
    folder, checkpoint = args.original, load_checkpoint(args.checkpoint_path, TASK)
    device = torch.device("cpu")
    model = load_model(submission, checkpoint, args.checkpoint_path, TASK, device).model
    (folder / "recon").mkdir(parents=True)
    index = 0
    loader = DataLoader([dataset[i] for i in range(len(dataset))], batch_size=128)
    precision = choose_precision("auto", device)
    for x, labels in loader:
        if args.skip_compress or not hasattr(model, "compress"):
            codes, _ = model.encode(x, labels)
        else:
            with autocast(precision, device):  # as in vaelab/inference.py
                codes = model.compress(x, labels)
        for image in to_uint8(model.decode(codes, labels)).numpy():
            Image.fromarray(image).save(folder / "recon" / f"recon_{index}.png")
            index += 1
    torch.manual_seed(0)  # that of inference.py; the DataLoader has used the generator
    for label in range(10):
        (folder / "gen" / str(label)).mkdir(parents=True)
        images = to_uint8(model.generate(torch.full((GEN_PER_LABEL,), label))).numpy()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / "gen" / str(label) / f"{i}.png")


def original_grade(dataset: MNISTDataset, folder: Path, latent_dim: int) -> float:
    """The uncapped score of the PNG files, image by image."""
    images, labels = dataset.images.numpy(), dataset.labels.numpy()
    mse = ssim = 0.0
    for i, image in enumerate(images):
        recon = np.array(Image.open(folder / "recon" / f"recon_{i}.png"))
        mse += np.mean((recon / 255.0 - image / 255.0) ** 2) / len(images)
        ssim += structural_similarity(recon, image, data_range=255) / len(images)
    fid = 0.0
    for label in range(10):
        paths = (folder / "gen" / str(label) / f"{i}.png" for i in range(GEN_PER_LABEL))
        generated = np.stack([np.array(Image.open(path)) for path in paths]) / 255.0
        real = images[labels == label] / 255.0
        (mean_g, var_g), (mean_r, var_r) = ((x.mean(axis=0), x.var(axis=0)) for x in (generated, real))
        distance = np.sum((mean_g - mean_r) ** 2) + np.sum(var_g + var_r - 2 * np.sqrt(var_g * var_r))
        fid += float(distance) / 10
    return compute_score(TASK, {"mse": mse, "ssim": ssim, "fid": fid}, latent_dim)["score_uncapped"]


def run_original(args: argparse.Namespace) -> None:
    """Run a step of the PNG method, in `args.original`."""
    checkpoint = load_checkpoint(args.checkpoint_path, TASK)
    dataset = MNISTDataset("valid", checkpoint.config.dataset, args.data_dir)
    if args.step == "inference":
        original_inference(args, dataset)
    else:
        score = original_grade(dataset, args.original, checkpoint.config.latent_dim)
        (args.original / "score.json").write_text(json.dumps(score))


# --- The comparison -----------------------------------------------------------------------------


def compare(args: argparse.Namespace, *options: str) -> tuple[dict[str, list[float]], float]:
    """The seconds of each run of both methods, and the score. Raises: LabError if the scores differ."""
    root = REPO / "outputs" / "grade_speed"
    data = ["--data_dir", args.data_dir] if args.data_dir else []
    model = ["--checkpoint_path", args.checkpoint_path, *options]
    times: dict[str, list[float]] = {"ours": [], "original": []}
    for _ in range(args.runs):
        shutil.rmtree(root, ignore_errors=True)
        start = time.perf_counter()
        lab("inference.py", *model, "--output_dir", root / "ours", *data)
        lab("grade.py", "--output_dir", root / "ours", *data)
        times["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        for step in ("inference", "grade"):
            png_method = ["--original", root / "original", "--step", step]
            lab("benchmarks/grade_speed.py", *model, *png_method, *data)
        times["original"].append(time.perf_counter() - start)
    ours = json.loads((root / "ours" / "grade_result.json").read_text())[TASK]["score_uncapped"]
    original = json.loads((root / "original" / "score.json").read_text())
    if abs(ours - original) > 0.01:
        raise LabError(f"the two methods give different scores: {ours} and {original}")
    shutil.rmtree(root)
    return times, ours


def main() -> None:
    """Time both methods alternately and print the table."""
    args = parse_args()
    if args.original:
        run_original(args)
        return
    rows = []
    refines = load_checkpoint(args.checkpoint_path, TASK).config.beyond.get("refine", 0) > 0
    for codes, options in (("mu", ["--skip_compress"]), *([("refined", [])] if refines else [])):
        times, score = compare(args, *options)
        medians = {method: statistics.median(values) for method, values in times.items()}
        for method, values in times.items():
            span = f"{min(values):.1f} to {max(values):.1f} s"
            ratio = "" if method == "ours" else f"{medians['original'] / medians['ours']:.1f}"
            rows.append((codes, method, f"{medians[method]:.1f} s", span, ratio, f"{score:.2f}"))
    print(f"{machine()}; {args.runs} runs each\n")
    print(markdown(("codes", "inference + grade", "median", "range", "ours is faster by", "score"), rows))


if __name__ == "__main__":
    run(main)
