"""The name of a mistake and a hint, for any error that a check of a submission raised."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from torch import Tensor, nn

from vaelab.checks.diagnosis import CheckFailed

DEVICE_HINT = (
    "The trainer moves the model and the images to one device. A tensor that your code creates is on the CPU "
    "unless a device is given: which device does randn use, and which randn_like?"
)
# Errors of PyTorch that say little to a beginner: (a pattern of their text, the mistake, a hint).
ERRORS = [
    (
        r"shapes cannot be multiplied|size mismatch|Expected \d+D .* input",
        "wrong flatten, or a layer of the wrong width",
        "A linear layer expects [B, in_features]. Print the shape of its input.",
    ),
    (r"same device|not on the expected device|CUDA|cuda|NVIDIA", "wrong device", DEVICE_HINT),
    (
        r"same dtype|expected scalar type|expected .* dtype|Double and Float",
        "wrong dtype",
        "Weights and images are float32. NumPy's default is float64: which line created the other tensor?",
    ),
    (
        r"Module.__init__\(\) call",
        "super().__init__() missing",
        "A module keeps its layers in a dictionary that super().__init__() creates.",
    ),
]


def own_place(error: Exception, folder: Path) -> str:
    """The last line of the submission that the error passed through, as 'submission.py line 12: '.

    A line of submission.py goes before one of model.py: there the student decides what the layers are given.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "<module>"]
    for name in ("submission.py", "model.py"):
        own = [frame for frame in frames if Path(frame.filename) == folder / name]
        if own:
            return f"{name} line {own[-1].lineno}: "
    return ""


def label_widths(error: Exception) -> set[int]:
    """The possible sizes of a label's vector in the failing model; none where it has no labels."""
    widths, has_labels = {10}, False  # 10: one-hot
    for frame, _ in traceback.walk_tb(error.__traceback__):
        has_labels |= isinstance(frame.f_locals.get("labels"), Tensor)
        model = frame.f_locals.get("self")
        if isinstance(model, nn.Module):
            widths |= {part.embedding_dim for part in model.modules() if isinstance(part, nn.Embedding)}
    return widths if has_labels else set()


def explain_widths(error: Exception) -> tuple[str, str] | None:
    """The mistake and a hint, for a linear layer whose input has the wrong width; None for other errors."""
    match = re.search(r"\((\d+)x(\d+) and (\d+)x(\d+)\)", str(error))
    if not match:
        return None
    rows, got, expected, _ = map(int, match.groups())
    numbers = f"A linear layer expects [B, {expected}]; its input is [{rows}, {got}]"
    if abs(expected - got) in label_widths(error):
        if got < expected:
            return (
                "the label's vector is not passed to this layer",
                f"{numbers}: {expected - got} fewer, which is the width of the label's vector. Which line "
                "should pass the label on, beside the image or the code?",
            )
        return (
            "the label's vector is one input too many for this layer",
            f"{numbers}: {got - expected} more, which is the width of the label's vector. In GenModel, are "
            "both networks created again, with room for the label?",
        )
    if got in (28, 1) or rows % 28 == 0:
        return (
            "wrong flatten: rows of pixels as images",
            f"{numbers}. Which axes of the images are flattened, and which one is kept?",
        )
    return (
        "a layer of the wrong width",
        f"{numbers}. Print the shape before this line, and compare it with the layer's in_features.",
    )


def explain(error: Exception, folder: Path) -> tuple[str, str]:
    """The name of a mistake, and a hint.

    error: a `CheckFailed`, or an exception that the code of the submission in `folder` raised.
    """
    if isinstance(error, CheckFailed):
        return error.name, error.hint
    if isinstance(error, NotImplementedError) and str(error)[:1].isdigit():
        return (
            f"not filled in yet: {error}",
            "Replace the line `raise NotImplementedError` by your code, then run this again.",
        )
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} is not valid Python: {error.msg}", str(error.text or "").strip()
    place = own_place(error, folder)
    if explained := explain_widths(error):
        return explained[0], f"{place}{explained[1]}"
    text = (str(error).strip() or "no message").splitlines()[0]
    for pattern, name, hint in ERRORS:
        if re.search(pattern, str(error)):
            return name, f"{place}{type(error).__name__}: {text.rstrip('.?!')}. {hint}"
    return (
        f"{place}{type(error).__name__}: {text}",
        "Python or PyTorch raised this error while running your code.",
    )
