"""Reconstruct a split and generate 1,000 images of each label with a trained model.

    python inference.py --checkpoint_path outputs/VAE0label/best.pt

writes outputs/<task>/<split>/: `recon.npy` uint8 [N, 28, 28], `gen.npy` uint8 [10, 1000, 28, 28],
`hyperparams.json`, and the pictures `recon.png` (originals above reconstructions) and `gen.png`.
`grade.py` scores them.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import submission
from checkpoint import (
    MODEL_CLASSES,
    build_model,
    choose_device,
    load_checkpoint,
    load_weights,
)
from common import (
    TASKS,
    Parser,
    channels_last,
    file_md5,
    image_grid,
    lock,
    make_folder,
    number,
    png_bytes,
    run,
    task_name,
    write_file,
    write_json,
    write_npy,
)
from data_utils import SPLITS, MNISTDataset, add_data_dir_option
from metrics import GEN_PER_LABEL
from steps import generate_all, reconstruct


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--checkpoint_path", required=True, type=Path, help="a best.pt or last.pt of train.py"
    )
    parser.add_argument(
        "--task", type=task_name, help=f"insist that the checkpoint is of this task: {' or '.join(TASKS)}"
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="valid",
        help="the images to reconstruct: valid to tune on, test for what you report (default: valid)",
    )
    add_data_dir_option(parser)
    parser.add_argument(
        "--output_dir", type=Path, default="outputs", help="root of what is written (default: outputs)"
    )
    parser.add_argument("--save_png", action="store_true", help="also write a PNG file for each image")
    parser.add_argument(
        "--skip_compress",
        action="store_true",
        help="reconstruct from the encoder's mu, even if the model can improve on it: faster, scores less",
    )
    parser.add_argument(
        "--seed", type=number(int, 0), default=0, help="decides the generated images (default: 0)"
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="auto: the fastest"
    )
    return parser.parse_args()


def write_pngs(folder: Path, recon: np.ndarray, gen: np.ndarray) -> None:
    """`recon/recon_<i>.png` and `gen/<label>/<i>.png`."""
    make_folder(folder / "recon")
    for i, image in enumerate(tqdm(recon, desc="recon/*.png", disable=None)):
        write_file(folder / "recon" / f"recon_{i}.png", png_bytes(channels_last(image)), sync=False)
    for label, images in enumerate(tqdm(gen, desc="gen/*/*.png", disable=None)):
        make_folder(folder / "gen" / str(label))
        for i, image in enumerate(images):
            write_file(folder / "gen" / str(label) / f"{i}.png", png_bytes(channels_last(image)), sync=False)


def write_pictures(folder: Path, images: np.ndarray, recon: np.ndarray, gen: np.ndarray) -> None:
    """`recon.png`: rows of originals, each above its reconstructions. `gen.png`: a row a label."""
    rows = [
        row
        for start in range(0, min(50, len(images)), 10)
        for row in (images[start:][:10], recon[start:][:10])
    ]
    write_file(folder / "recon.png", png_bytes(image_grid(np.concatenate(rows), columns=10)))
    write_file(folder / "gen.png", png_bytes(image_grid(np.concatenate(gen[:, :10]), columns=10)))


def main() -> None:
    """Load the checkpoint's model, run it, write what it made."""
    args = parse_args()
    # Taken first: should training replace the checkpoint meanwhile, grade.py notices.
    md5 = file_md5(args.checkpoint_path)
    checkpoint = load_checkpoint(args.checkpoint_path, args.task)
    task, config = checkpoint["task"], checkpoint["config"]
    dataset = MNISTDataset(args.split, config["dataset"], args.data_dir)
    device = choose_device(args.device)
    model = build_model(submission, task, config["model_args"]).to(device).eval()
    load_weights(model, checkpoint, args.checkpoint_path)
    dataset.to(device)
    print(f"{MODEL_CLASSES[task]} of epoch {checkpoint['epoch']}, {args.split} split of {dataset.source}")

    torch.manual_seed(args.seed)
    latent_dim = config["model_args"]["latent_dim"]
    with tqdm(total=len(dataset) + 10 * GEN_PER_LABEL, disable=None, unit="image") as bar:
        use_labels = task == "Genwithlabel"
        recon = reconstruct(model, dataset, latent_dim, use_labels, args.skip_compress, bar)
        gen = generate_all(model, recon.shape[1:], device, bar)

    folder = make_folder(args.output_dir / task / args.split)
    with lock(folder):
        # Written last, taken away first: outputs with a hyperparams.json are whole and of one model.
        (folder / "hyperparams.json").unlink(missing_ok=True)
        for earlier in ("recon", "gen"):
            shutil.rmtree(folder / earlier, ignore_errors=True)
        write_npy(folder / "recon.npy", recon)
        write_npy(folder / "gen.npy", gen)
        write_pictures(folder, dataset.images.cpu().numpy(), recon, gen)
        if args.save_png:
            write_pngs(folder, recon, gen)
        hyperparams = {"task": task, "latent_dim": latent_dim, "dataset": dataset.name, "split": args.split}
        hyperparams |= {"seed": args.seed, "checkpoint": str(args.checkpoint_path), "checkpoint_md5": md5}
        write_json(folder / "hyperparams.json", hyperparams)
    print(f"wrote {folder}/: recon.npy, gen.npy, recon.png, gen.png")


if __name__ == "__main__":
    run(main)
