"""How much of its codebook `--model vq` uses after training, for several seeds.

    python benchmarks/discrete_usage.py --data_dir FOLDER

Trains encoder, quantizer and decoder, without the prior, which changes none of them. A code is used if an
image of `valid` has it. Finished trainings in the output folder are kept. Prints the share of used codes and
the perplexity, exp of the entropy of their frequencies. Expected: at least 80% of 512 codes, for every seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from helpers import machine

import submission
from beyond import options as beyond_options
from beyond.discrete.quantizer import code_frequencies, perplexity
from data_utils import MNISTDataset
from trainer import Trainer
from vaelab.checkpoint import load_checkpoint, load_model
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option, add_dataset_option
from vaelab.device import choose_device
from vaelab.files import lock, make_folder
from vaelab.inference import BATCH
from vaelab.run import LabModules, RunRequest, train

EXPECTED = 0.8
PRIOR_SHARE = 1e-6  # none of the steps


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add_dataset_option(parser)
    add_data_dir_option(parser)
    add = parser.add_argument
    add("--output_dir", type=Path, default=Path("outputs/discrete_usage"), help="folder of the trainings")
    add("--seeds", type=number(int, 0), nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    # As many as the first stage of the default training has.
    add("--epochs", type=number(int, 1), default=6, help="of each training (default: 6)")
    add("--channels", type=number(int, 1), default=64, help="(default: 64)")
    add("--num_codes", type=number(int, 2), default=512, help="(default: 512)")
    return parser.parse_args()


def trained(args: argparse.Namespace, seed: int) -> Path:
    """The checkpoint of a finished training. It is trained if that was not done before."""
    name = f"{args.dataset}-channels{args.channels}-codes{args.num_codes}-epochs{args.epochs}-seed{seed}"
    folder = make_folder(args.output_dir / name)
    request = RunRequest(
        "VAE0label",
        folder,
        training={"epochs": args.epochs, "seed": seed},
        builder="vq",
        model={"channels": args.channels, "num_codes": args.num_codes, "prior_share": PRIOR_SHARE},
        defaults=beyond_options.changed_defaults({"model": "vq"}, "VAE0label"),
        dataset=args.dataset,
        data_dir=args.data_dir,
        resume=True,
    )
    with lock(folder):
        train(request, LabModules(submission, Trainer, MNISTDataset))
    return folder / "last.pt"


@torch.no_grad()
def usage(path: Path, args: argparse.Namespace) -> tuple[float, float, str]:
    """The share of used codes, the perplexity, and the name of the data."""
    device = choose_device("auto")
    model = load_model(submission, load_checkpoint(path), path, "vq", device).model
    data = MNISTDataset("valid", args.dataset, args.data_dir).to(device)
    indices = torch.cat([model.indices(batch.images) for batch in data.batches(BATCH)])  # [N, 49]
    frequencies = code_frequencies(indices, args.num_codes)  # [K]
    return (frequencies > 0).double().mean().item(), perplexity(frequencies), data.name


def main() -> None:
    """Train, measure, print. Raises: LabError if a seed uses less than expected."""
    args = parse_args()
    results = {seed: usage(trained(args, seed), args) for seed in args.seeds}
    print(machine())
    about = f"{args.num_codes} codes, {args.channels} channels, {args.epochs} epochs"
    print(f"{next(iter(results.values()))[2]} valid, {about}")
    rows = [(seed, f"{share:.1%}", f"{codes:.0f}") for seed, (share, codes, _) in results.items()]
    print(markdown(("seed", "used codes", "perplexity"), rows))
    if (least := min(share for share, _, _ in results.values())) < EXPECTED:
        raise LabError(f"{least:.1%} of the codes are used: expected at least {EXPECTED:.0%}")


if __name__ == "__main__":
    run(main)
