"""What runs inside the sandbox: one step of a submission, from arrays on stdin to arrays on stdout.

    python -I sandboxed_step.py LAB_FOLDER SUBMISSION_FOLDER < request > result

The request is a line of JSON (the step, the task, the limits, the seed) and packed arrays; so is the result,
or a line that says what went wrong. `grader.py` writes the one and reads the other. Nothing in this process
is trusted once a submission has been imported: whatever it does here, it can only change its own result.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

LAB, SUBMISSION = (Path(argument) for argument in sys.argv[1:3])
sys.path.insert(0, str(LAB))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from apps.autograde.arrays import pack, unpack  # noqa: E402
from apps.autograde.limits import Limits, limit_self  # noqa: E402
from vaelab.checkpoint import load_checkpoint, load_weights  # noqa: E402
from vaelab.cli import LabError  # noqa: E402
from vaelab.contract import build_submission  # noqa: E402
from vaelab.inference import decode, encode, generate_images  # noqa: E402

NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "unable to mmap")


def load_model(task: str) -> nn.Module:
    """The submission's model of a task, with its weights."""
    sys.path.insert(0, str(SUBMISSION))  # its own model.py comes before ours
    import submission

    path = SUBMISSION / f"{task}.pt"
    checkpoint = load_checkpoint(path, task)
    model = build_submission(submission, task, checkpoint.config.model_args).eval()
    load_weights(model, checkpoint, path)
    return model


@torch.no_grad()
def take_step(
    step: str, model: nn.Module, given: dict[str, np.ndarray], batches: list[int], shape: list[int]
) -> np.ndarray:
    """The step's result: codes, float32 [N, d], or images, uint8 [N, *shape].

    given: `x` uint8 [N, H, W] to encode; `z` float [N, d] to decode; `labels` int64 [N] wherever the task has
    labels, and to generate from. batches: the sizes of the batches to take them in.
    """
    results, end = [], 0
    for size in batches:
        start, end = end, end + size
        batch = {name: torch.tensor(array[start:end]) for name, array in given.items()}
        labels = batch.get("labels")
        if step == "encode":
            results.append(encode(model, batch["x"].float() / 255, labels).cpu().numpy())
        elif step == "decode":
            results.append(decode(model, batch["z"].float(), labels, tuple(shape)))
        else:
            results.append(generate_images(model, labels, tuple(shape)))
    return np.concatenate(results)


def explain(error: BaseException) -> dict[str, str]:
    """What went wrong, for the student: its kind, and a sentence with the line of his code."""
    text = f"{type(error).__name__}: {error}"[:1000] if str(error) else type(error).__name__
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        return {"status": "memory", "reason": f"it asked for more memory than it may use ({text})"}
    if isinstance(error, LabError):
        return {"status": "invalid", "reason": str(error)}
    if isinstance(error, SystemExit):
        text = f"the code ended the process by itself ({text})"
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or '?').name}, line {error.lineno}"
        return {"status": "error", "reason": f"{where}: {type(error).__name__}: {error.msg}: {error.text}"}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(SUBMISSION)]
    if own:
        text += f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})"
    return {"status": "error", "reason": text}


def main() -> None:
    """Take the step that the request asks for, and write its result."""
    settings, _, data = sys.stdin.buffer.read().partition(b"\n")
    settings = json.loads(settings)
    limit_self(Limits(**settings["limits"]), settings["uid"])
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the submission prints is not a result
    torch.set_num_threads(settings["limits"]["threads"])
    try:
        model = load_model(settings["task"])
        torch.manual_seed(settings["seed"])
        given, batches, shape = unpack(data), settings["batches"], settings["image_shape"]
        made = take_step(settings["step"], model, given, batches, shape)
        head, body = {"status": "ok"}, pack({"made": made})
    except BaseException as error:  # sys.exit too: whatever it is, it is the submission's
        head, body = explain(error), b""
    result.write(json.dumps(head).encode() + b"\n" + body)
    result.flush()
    os._exit(0)  # without the submission's atexit


if __name__ == "__main__":
    main()
