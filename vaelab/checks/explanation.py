"""The name of a mistake and a hint, for any error that a check of a submission raised."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from vaelab.checks.diagnosis import CheckFailed
from vaelab.language import N_, _

DEVICE_HINT = N_(
    "The trainer moves the model and the images to one device. A tensor that your code creates is on the CPU "
    "unless a device is given: which device does randn use, and which randn_like?"
)
# Errors of PyTorch that say little to a beginner: (a pattern of their text, the mistake, a hint).
ERRORS = [
    (
        r"shapes cannot be multiplied|size mismatch|Expected \d+D .* input",
        N_("wrong flatten, or a layer of the wrong width"),
        N_(
            "A linear layer expects [B, in_features]. Print the shape of its input. In GenModel: are both "
            "networks created again, with room for the label?"
        ),
    ),
    (r"same device|not on the expected device|CUDA|cuda|NVIDIA", N_("wrong device"), DEVICE_HINT),
    (
        r"same dtype|expected scalar type|expected .* dtype|Double and Float",
        N_("wrong dtype"),
        N_(
            "Weights and images are float32. NumPy's default is float64: which line created the other tensor?"
        ),
    ),
    (
        r"Module.__init__\(\) call",
        N_("super().__init__() missing"),
        N_("A module keeps its layers in a dictionary that super().__init__() creates."),
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
            _("not filled in yet: {blank}", blank=error),
            _("Replace the line `raise NotImplementedError` by your code, then run this again."),
        )
    if isinstance(error, SyntaxError):
        name = _("line {line} is not valid Python: {reason}", line=error.lineno, reason=error.msg)
        return name, str(error.text or "").strip()
    raised = where_and_what(error, folder)
    for pattern, name, hint in ERRORS:
        if re.search(pattern, str(error)):
            return _(name), _("{error}. {hint}", error=raised.rstrip(".?!"), hint=_(hint))
    return raised, _("Python or PyTorch raised this error while running your code.")


def where_and_what(error: Exception, folder: Path) -> str:
    """An error of the submission's code: its place in submission.py or model.py, its type and its text."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "<module>"]
    own_files = {folder / "submission.py", folder / "model.py"}
    own = [frame for frame in frames if Path(frame.filename) in own_files]
    text = (str(error).strip() or _("no message")).splitlines()[0]
    values = {"kind": type(error).__name__, "text": text}
    if not own:
        return _("{kind}: {text}", **values)
    file, line = Path(own[-1].filename).name, own[-1].lineno
    return _("{file} line {line}: {kind}: {text}", file=file, line=line, **values)
