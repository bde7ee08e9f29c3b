"""Runs the checks of the handout's blanks in order, and explains the first that fails."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch

from apps.selfcheck.trial_training import full
from vaelab.checks.checks import (
    DEVICE_HINT,
    conditional_layers,
    decode,
    decode_labels,
    device,
    encode,
    encode_labels,
    every_weight,
    forward_eval,
    forward_labels,
    forward_pairs,
    forward_train,
    generate,
    gradient,
    layers,
    loss_kl,
    loss_recon,
    loss_shape,
    loss_sum,
    overfit,
)
from vaelab.checks.diagnosis import CheckFailed
from vaelab.checks.test_doubles import Lab
from vaelab.files import read_json

SEED = 0


class Check(NamedTuple):
    """One check of a submission."""

    part: str  # of the handout
    title: str
    run: Callable[[Lab], None]


CHECKS = [
    Check("2.2.1", "the VAE's layers are there", layers),
    Check("2.2.2", "encode: two vectors for each image, of any sign, from that image alone", encode),
    Check("2.2.3", "decode: an image in [0, 1] for each code, from that code alone", decode),
    Check("2.2.4", "forward in eval mode: z is mu", forward_eval),
    Check("2.2.4", "forward pairs each latent with its own image", forward_pairs),
    Check("2.2.4", "forward in train mode: z is drawn from N(mu, sigma^2)", forward_train),
    Check("2.2.4", "the gradient passes through the draw", gradient),
    Check("2.3", "vae_loss returns three numbers with a gradient", loss_shape),
    Check("2.3", "the KL term: its value, reduction, sign and scale", loss_kl),
    Check("2.3", "the reconstruction term: its value, reduction, sign and scale with var", loss_recon),
    Check("2.3", "the loss is the sum of its terms", loss_sum),
    Check("2.2", "the gradient reaches every weight of the VAE", every_weight),
    Check("2.2", "the VAE learns sixteen images by heart", overfit),
    Check("3.1", "the conditional layers are there", conditional_layers),
    Check("3.2", "encode: each image with its label", encode_labels),
    Check("3.3", "decode: each code with its label", decode_labels),
    Check("3", "forward hands the labels on, and the gradient reaches every weight", forward_labels),
    Check("3", "generate: another image each time, of the label that was asked for", generate),
    Check("2, 3", "nothing is tied to one device", device),
]

# Errors of PyTorch that say little to a beginner: (what their text holds, the mistake, a hint).
ERRORS = [
    (
        r"shapes cannot be multiplied|size mismatch|Expected \d+D .* input",
        "wrong flatten, or a layer of the wrong width",
        "A linear layer takes [B, in_features]. Print the shape of what it is given. In GenModel: were both "
        "networks made anew, with room for the label?",
    ),
    (r"same device|not on the expected device|CUDA|cuda|NVIDIA", "wrong device", DEVICE_HINT),
    (
        r"same dtype|expected scalar type|expected .* dtype|Double and Float",
        "wrong dtype",
        "Weights and images are float32. NumPy's numbers are float64 by default: what made the other tensor?",
    ),
    (
        r"Module.__init__\(\) call",
        "super().__init__() missing",
        "A module keeps its layers in a list of its own, which super().__init__() makes.",
    ),
]


def load(path: Path) -> ModuleType:
    """The module in a file. Raises: whatever its code raises."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def explain(error: Exception, folder: Path) -> tuple[str, str]:
    """The name of a mistake, and a hint. error: a `CheckFailed`, or an exception of the submission's code."""
    if isinstance(error, CheckFailed):
        return error.name, error.hint
    if isinstance(error, NotImplementedError) and str(error)[:1].isdigit():
        return f"not filled in yet: {error}", "Replace the TODO's `raise` by your lines, and run this again."
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} is not Python: {error.msg}", str(error.text or "").strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "<module>"]
    own_files = {folder / "submission.py", folder / "model.py"}
    theirs = [frame for frame in frames if Path(frame.filename) in own_files]
    place = f"{Path(theirs[-1].filename).name} line {theirs[-1].lineno}: " if theirs else ""
    text = (str(error).strip() or "no message").splitlines()[0]
    for pattern, name, hint in ERRORS:
        if re.search(pattern, str(error)):
            return name, f"{place}{type(error).__name__}: {text}. {hint}"
    return (
        f"{place}{type(error).__name__}: {text}",
        "This is an error in your code, as Python or PyTorch reports it.",
    )


def run_checks(lab: Lab) -> Iterator[tuple[str, str, Exception | None]]:
    """(part, title, None or the error) of each check up to the first that fails."""
    for check in CHECKS:
        torch.manual_seed(SEED)
        try:
            check.run(lab)
        except Exception as error:  # a student's code can raise anything
            yield check.part, check.title, error
            return
        yield check.part, check.title, None


def report(part: str, title: str, error: Exception | None, folder: Path) -> bool:
    """Print the outcome of one check. Returns: whether it passed."""
    if error is None:
        print(f"ok   {part:<6} {title}", flush=True)
        return True
    name, hint = explain(error, folder)
    print(f"FAIL {part:<6} {title}\n     {name}")
    print(textwrap.fill(hint, width=100, initial_indent="     ", subsequent_indent="     "))
    return False


def note_changes(folder: Path) -> None:
    """Print which of the files that were handed out have changed since."""
    if not (folder / "manifest.json").is_file():
        return
    for name, expected in read_json(folder / "manifest.json").get("files", {}).items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            print(f"note: {name} has changed since it was handed out; grading uses the original")


def self_check(args: argparse.Namespace, folder: Path) -> bool:
    """Run the checks on the submission.py in `folder`, then, with `--full`, train. Returns: all passed."""
    note_changes(folder)
    try:
        submission = load(folder / "submission.py")
        lab = Lab(submission)
    except Exception as error:  # a student's code can raise anything
        report("", "submission.py can be imported", error, folder)
        return False
    passed = [report(*outcome, folder) for outcome in run_checks(lab)]
    if not passed[-1]:
        print(
            f"{len(passed) - 1} of {len(CHECKS)} checks passed. Fix this one, then run python check.py again."
        )
        return False
    print(f"{len(CHECKS)} of {len(CHECKS)} checks passed")
    return full(submission, args, folder) if args.full else True
