"""Reconstructs and generates a few images with a hand-in, as the grader does: in a process of its own.

    python -I hand_in_trial.py LAB_FOLDER HAND_IN_FOLDER TASK IMAGES.npz RESULT.npz

`hand_in.py` starts it. IMAGES has `images` uint8 [N, H, W] and `labels` [N]; RESULT gets `recon` uint8 of the
same shape, `gen` uint8 [10, H, W], `latent_dim` and `epoch`. After an error the reason is the only line on
stderr, and the exit code is 2.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [sys.argv[2], sys.argv[1]]  # the hand-in's own model.py comes before the lab's

import numpy as np  # noqa: E402
import torch  # noqa: E402

from vaelab.checkpoint import load_checkpoint, load_weights  # noqa: E402
from vaelab.checks.explanation import explain  # noqa: E402
from vaelab.cli import LabError  # noqa: E402
from vaelab.contract import build_submission  # noqa: E402
from vaelab.inference import decode, encode, generate_images  # noqa: E402
from vaelab.language import find_language, set_language  # noqa: E402
from vaelab.metrics.reconstruction import to_float  # noqa: E402
from vaelab.tasks import TASKS  # noqa: E402


@torch.no_grad()
def run(hand_in: Path, task: str, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of RESULT."""
    import submission

    path = hand_in / f"{task}.pt"
    checkpoint = load_checkpoint(path, task)
    model = build_submission(submission, task, checkpoint.config.model_args).eval()
    load_weights(model, checkpoint, Path(path.name))
    torch.manual_seed(0)
    given = torch.tensor(labels).long() if TASKS[task].conditional else None
    z = encode(model, to_float(images), given)  # [N, d]
    z = z.half().float()  # the grader rounds codes to float16
    return {
        "recon": decode(model, z, given, images.shape[1:]),
        "gen": generate_images(model, torch.arange(10), images.shape[1:]),
        "latent_dim": np.array(z.shape[1]),
        "epoch": np.array(checkpoint.epoch),
    }


def main() -> None:
    """Read IMAGES, run the model, write RESULT."""
    set_language(find_language())
    hand_in, task, source, target = Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5])
    with np.load(source, allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    try:
        result = run(hand_in, task, images, labels)
    except LabError as error:
        sys.exit(str(error))
    except Exception as error:  # a student's code can raise anything
        name, hint = explain(error, hand_in)
        sys.exit(f"{name}. {hint}")
    np.savez(target, **result)


if __name__ == "__main__":
    main()
