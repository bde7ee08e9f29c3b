"""The name of a mistake and a hint, for any error that a check of a submission raised."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

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
        "A linear layer expects [B, in_features]. Print the shape of its input. In GenModel: are both "
        "networks created again, with room for the label?",
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
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "<module>"]
    own_files = {folder / name for name in ("submission.py", "model.py", "discrete.py")}
    own = [frame for frame in frames if Path(frame.filename) in own_files]
    place = f"{Path(own[-1].filename).name} line {own[-1].lineno}: " if own else ""
    text = (str(error).strip() or "no message").splitlines()[0]
    for pattern, name, hint in ERRORS:
        if re.search(pattern, str(error)):
            return name, f"{place}{type(error).__name__}: {text.rstrip('.?!')}. {hint}"
    return (
        f"{place}{type(error).__name__}: {text}",
        "Python or PyTorch raised this error while running your code.",
    )
