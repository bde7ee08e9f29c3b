"""The program that runs inside the sandbox: one step of a submission, arrays on stdin to arrays on stdout.

    python -I sandboxed_step.py LAB_FOLDER SUBMISSION_FOLDER < request > result

The request is a `StepRequest` and packed arrays. The output has a line `#...` before each phase, to name the
phase that a time-out stopped; then a line of JSON with the status (and, after an error, the reason); then
packed arrays. `grader.py` writes the request and reads the result. Nothing in this process is trusted once a
submission has been imported: a submission can only change its own result.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

LAB, SUBMISSION = (Path(argument) for argument in sys.argv[1:3])
sys.path.insert(0, str(LAB))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from apps.autograde.arrays import pack, unpack  # noqa: E402
from apps.autograde.check_steps import run_check_steps  # noqa: E402
from apps.autograde.limits import apply_limits  # noqa: E402
from apps.autograde.request import StepRequest  # noqa: E402
from vaelab.checkpoint import load_checkpoint, load_weights  # noqa: E402
from vaelab.cli import LabError  # noqa: E402
from vaelab.contract import build_submission  # noqa: E402
from vaelab.inference import decode, encode, generate_images  # noqa: E402

NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "unable to mmap")


def load_model(task: str, say: Callable[[str], None]) -> nn.Module:
    """The submission's model of a task, with its weights. say: is called with each phase."""
    say("the import of submission.py")
    submission = import_submission()
    say(f"the loading of {task}.pt")
    path = SUBMISSION / f"{task}.pt"
    checkpoint = load_checkpoint(path, task)
    checkpoint.require_submission(path.name, "grading")
    model = build_submission(submission, task, checkpoint.config.model_args).eval()
    load_weights(model, checkpoint, path)
    return model


def import_submission() -> ModuleType:
    """The submission's module. Its own model.py comes before the lab's."""
    sys.path.insert(0, str(SUBMISSION))
    return importlib.import_module("submission")


@torch.no_grad()
def run_step(request: StepRequest, model: nn.Module, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The result of the step: codes, float32 [N, d], or images, uint8 [N, *image_shape].

    arrays: `x` uint8 [N, H, W] for encode; `z` float [N, d] for decode; `labels` int64 [N] for generate, and
    for all steps of a conditional task.
    """
    results, end, shape = [], 0, request.image_shape
    for size in request.batches:
        start, end = end, end + size
        batch = {name: torch.tensor(array[start:end]) for name, array in arrays.items()}
        labels = batch.get("labels")
        if request.step == "encode":
            results.append(encode(model, batch["x"].float() / 255, labels).cpu().numpy())
        elif request.step == "decode":
            results.append(decode(model, batch["z"].float(), labels, shape))
        else:
            results.append(generate_images(model, labels, shape))
    return np.concatenate(results)


def explain(error: BaseException) -> dict[str, str]:
    """The status of a step that failed, and the reason, with the line of the submission's code."""
    text = f"{type(error).__name__}: {error}"[:1000] if str(error) else type(error).__name__
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        return {"status": "memory", "reason": f"the code requested more memory than the limit ({text})"}
    if isinstance(error, LabError):
        return {"status": "invalid", "reason": str(error)}
    if isinstance(error, SystemExit):
        text = f"the code ended the process ({text})"
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or '?').name}, line {error.lineno}"
        return {"status": "error", "reason": f"{where}: {type(error).__name__}: {error.msg}: {error.text}"}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(SUBMISSION)]
    if own:
        text += f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})"
    return {"status": "error", "reason": text}


def main() -> None:
    """Run the step that the request names, and write its result."""
    line, _, data = sys.stdin.buffer.read().partition(b"\n")
    request = StepRequest.from_json(line)
    apply_limits(request.limits, request.uid)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that the submission's prints are not part of the result
    torch.set_num_threads(request.limits.threads)

    def say(phase: str) -> None:
        output.write(f"#{phase}\n".encode())
        output.flush()

    try:
        if request.step == "check":
            say("the import of submission.py")
            module = import_submission()
            say("the checks of the blanks")
            results, errors = run_check_steps(module, unpack(data), explain)
            head, body = {"status": "ok", "errors": errors}, pack(results)
        else:
            model = load_model(request.task, say)
            say(request.step)
            torch.manual_seed(request.seed)
            head, body = {"status": "ok"}, pack({"result": run_step(request, model, unpack(data))})
    except BaseException as error:  # also sys.exit of the submission
        head, body = explain(error), b""
    output.write(json.dumps(head).encode() + b"\n" + body)
    output.flush()
    os._exit(0)  # without the submission's atexit functions


if __name__ == "__main__":
    main()
