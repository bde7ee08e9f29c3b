"""Reconstruct a split and generate 1,000 images of each label with a trained model.

    python inference.py --checkpoint_path outputs/VAE0label/best.pt

It writes into the run's folder, outputs/<task>/<split>/: `recon.npy` uint8 [N, 28, 28], `gen.npy` uint8
[10, 1000, 28, 28], `hyperparams.json`, and the pictures `recon.png` (originals above reconstructions) and
`gen.png`. `grade.py` scores these files.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaelab.cli import LabError, Parser, add_device_option, number, run
from vaelab.config import MODEL_OPTIONS
from vaelab.data.options import add_data_dir_option, add_split_option
from vaelab.language import _
from vaelab.tasks import TASKS, task_name

if TYPE_CHECKING:
    import numpy as np

    from vaelab.checkpoint import Checkpoint


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--checkpoint_path", required=True, type=Path, help="a best.pt or last.pt of train.py")
    check = "stop unless the checkpoint is of this"
    add("--task", type=task_name, metavar="TASK", help=f"{check} task: {' or '.join(TASKS)}")
    add("--latent_dim", type=MODEL_OPTIONS["latent_dim"].parse, metavar="D", help=f"{check} latent_dim")
    add_split_option(parser, "valid", "images to reconstruct: valid to tune on, test for what you report")
    add_data_dir_option(parser)
    add(
        "--output_dir",
        type=Path,
        help="root of the outputs (default: the one that the checkpoint is in; outputs, if the checkpoint is "
        "not in a folder of its task)",
    )
    add("--save_png", action="store_true", help="also write a PNG file for each image")
    add(
        "--skip_compress",
        action="store_true",
        help="reconstruct from the encoder's mu, even if the model refines its codes: faster, scores less",
    )
    add("--seed", type=number(int, 0), default=0, help="seed of the generated images (default: 0)")
    add_device_option(parser)
    return parser.parse_args(argv)


def output_root(checkpoint_path: Path, task: str) -> Path:
    """The root of the run that a checkpoint belongs to."""
    folder = checkpoint_path.parent
    return folder.parent if folder.resolve().name == task else Path("outputs")


def grade_command(root: Path, split: str) -> str:
    """The command that grades the outputs in a root."""
    words = ["python grade.py"]
    words += [f"--output_dir {root}"] * (root != Path("outputs")) + [f"--split {split}"] * (split != "valid")
    return " ".join(words)


def check_latent_dim(checkpoint: Checkpoint, path: Path, latent_dim: int | None) -> None:
    """Raise LabError if the checkpoint's latent_dim is not the one that was given."""
    if latent_dim not in (None, checkpoint.config.latent_dim):
        raise LabError(
            "{path} has latent_dim {found}, not {latent_dim}: leave --latent_dim out, or name "
            "another checkpoint",
            path=path,
            found=checkpoint.config.latent_dim,
            latent_dim=latent_dim,
        )


def write_pngs(folder: Path, recon: np.ndarray, gen: np.ndarray) -> None:
    """Write `recon/recon_<i>.png` and `gen/<label>/<i>.png`. uint8 [N, 28, 28] and [10, 1000, 28, 28]."""
    from tqdm import tqdm

    from vaelab.files import make_folder, write_file
    from vaelab.images import channels_last, png_bytes

    make_folder(folder / "recon")
    for i, image in enumerate(tqdm(recon, desc="recon/*.png", disable=None)):
        write_file(folder / "recon" / f"recon_{i}.png", png_bytes(channels_last(image)), sync=False)
    for label, images in enumerate(tqdm(gen, desc="gen/*/*.png", disable=None)):
        make_folder(folder / "gen" / str(label))
        for i, image in enumerate(images):
            write_file(folder / "gen" / str(label) / f"{i}.png", png_bytes(channels_last(image)), sync=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the checkpoint's model, run it, write its outputs."""
    args = parse_args(argv)
    # Imported here, so that --help and a wrong option don't have to wait for torch to load.
    import torch
    from tqdm import tqdm

    import submission
    from data_utils import MNISTDataset
    from vaelab.checkpoint import load_checkpoint, load_model
    from vaelab.device import choose_device
    from vaelab.files import file_md5, lock, make_folder
    from vaelab.inference import generate_all, reconstruct
    from vaelab.metrics.fid import GEN_PER_LABEL
    from vaelab.origin import code_md5
    from vaelab.outputs import Hyperparams, write_outputs
    from vaelab.threads import SpinControl

    # Hash before loading, so that grade.py detects a checkpoint overwritten in the meantime.
    md5 = file_md5(args.checkpoint_path)
    checkpoint = load_checkpoint(args.checkpoint_path, args.task)
    check_latent_dim(checkpoint, args.checkpoint_path, args.latent_dim)
    task, config = checkpoint.task, checkpoint.config
    code = code_md5(Path(submission.__file__).parent, task)
    dataset = MNISTDataset(args.split, config.dataset, args.data_dir)
    device = choose_device(args.device)
    loaded = load_model(submission, checkpoint, args.checkpoint_path, task, device)
    dataset.to(device)
    print(
        _(
            "{name} of epoch {epoch}, {split} split of {source}",
            name=config.model_name,
            epoch=loaded.epoch,
            split=args.split,
            source=dataset.source,
        )
    )

    torch.manual_seed(args.seed)
    with SpinControl(), tqdm(total=len(dataset) + 10 * GEN_PER_LABEL, disable=None, unit=_("image")) as bar:
        recon = reconstruct(loaded, dataset, args.skip_compress, bar)
        gen = generate_all(loaded.model, recon.shape[1:], device, bar)

    folder = make_folder((args.output_dir or output_root(args.checkpoint_path, task)) / task / args.split)
    hyperparams = Hyperparams(
        task, config.latent_dim, dataset.name, args.split, args.seed, str(args.checkpoint_path), md5, code
    )
    with lock(folder):
        # hyperparams.json is deleted first and written last: where it exists, the outputs are complete and
        # all from one model.
        (folder / "hyperparams.json").unlink(missing_ok=True)
        for earlier in ("recon", "gen"):
            shutil.rmtree(folder / earlier, ignore_errors=True)
        if args.save_png:
            write_pngs(folder, recon, gen)
        write_outputs(folder, dataset.images.cpu().numpy(), recon, gen, hyperparams)
    print(_("wrote {folder}/: recon.npy, gen.npy, recon.png, gen.png", folder=folder))
    print(_("next: {command}", command=grade_command(folder.parents[1], args.split)))


if __name__ == "__main__":
    run(main)
