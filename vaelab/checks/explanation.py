"""The name of a mistake and a hint, for any error that a check of a submission raised."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from pathlib import Path

from torch import Tensor, nn

from vaelab.checks.diagnosis import CheckFailed
from vaelab.language import N_, _

ONE_HOT = 10  # the width of a label's one-hot vector
DEVICE_HINT = N_(
    "The trainer moves the model and the images to one device. A tensor that your code creates is on the CPU "
    "unless a device is given: which device does randn use, and which randn_like?"
)
# Errors of PyTorch that say little to a beginner: (a pattern of their text, the mistake, a hint).
ERRORS = [
    (
        r"shapes cannot be multiplied|size mismatch|Expected \d+D .* input",
        N_("wrong flatten, or a layer of the wrong width"),
        N_("A linear layer expects [B, in_features]. Print the shape of its input."),
    ),
    (
        r"number.of.dimensions",
        N_("the shapes to be joined differ in their number of axes"),
        N_(
            "torch.cat joins tensors of as many axes: [B, n] and [B, m] to [B, n + m]. Labels are "
            "[B]: part 3.1 turns them into vectors, and the VAE of part 2 does not use them."
        ),
    ),
    (r"same device|not on the expected device|CUDA|cuda|NVIDIA", N_("wrong device"), DEVICE_HINT),
    (
        r"is\snot\sdefined",
        N_("an unknown name"),
        N_("Is it misspelt, or not imported at the top of submission.py? The layers are in model.py."),
    ),
    (
        r"\bLong\b",
        N_("wrong dtype"),
        N_("Labels are int64, the numbers of classes. Turn each into a vector, learned or one-hot, first."),
    ),
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


def own_place(error: Exception, folder: Path) -> str:
    """The last line of the submission that the error passed through, as 'submission.py line 12: '.

    A line of submission.py goes before one of model.py: there the student decides what the layers are given.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "<module>"]
    for name in ("submission.py", "discrete.py", "model.py"):
        own = [frame for frame in frames if Path(frame.filename) == folder / name]
        if own:
            return _("{file} line {line}: ", file=name, line=own[-1].lineno)
    return ""


def vector_widths(model: nn.Module) -> set[int]:
    """The widths of the vectors that a model's embeddings, or dense layers beside its networks, return."""
    widths = set()
    for name, part in model.named_modules():
        if isinstance(part, nn.Embedding):
            widths.add(part.embedding_dim)
        elif isinstance(part, nn.Linear) and name.split(".")[0] not in ("encoder", "decoder"):
            widths.add(part.out_features)
    return widths


def label_widths(error: Exception) -> set[int]:
    """The possible sizes of a label's vector in the failing model; none where it has no labels."""
    widths, has_labels = {ONE_HOT}, False
    for frame, _line in traceback.walk_tb(error.__traceback__):
        has_labels |= isinstance(frame.f_locals.get("labels"), Tensor)
        model = frame.f_locals.get("self")
        if isinstance(model, nn.Module):
            widths |= {part.embedding_dim for part in model.modules() if isinstance(part, nn.Embedding)}
    return widths if has_labels else set()


def input_widths(error: Exception) -> tuple[int, int, int] | None:
    """(rows, width of the input, width that the linear layer expects), if they don't fit together."""
    match = re.search(r"\((\d+)x(\d+) and (\d+)x(\d+)\)", str(error))
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def label_room(network: nn.Module | None, inputs: Tensor) -> int | None:
    """How much wider a network's input is than `inputs`, [B, n]; None if it can't be told."""
    try:
        network(inputs)
    except Exception as error:  # a student's code can raise anything
        found = input_widths(error)
        return found[2] - found[1] if found and found[0] == len(inputs) else None
    return 0


def explain_constructor(error: Exception) -> str | None:
    """How to pass the arguments of a layer of model.py whose constructor raised an error; None elsewhere."""
    if not isinstance(error, (TypeError, ValueError, KeyError)):
        return None
    made = None
    for frame, _line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "__init__" and type(frame.f_locals.get("self")).__module__ == "model":
            made = type(frame.f_locals["self"])
    if match := re.match(r"(\w+)\.__init__\(\) ", str(error)):  # a wrong number of arguments: no frame
        made = getattr(sys.modules.get("model"), match[1], made)
    if made is None:
        return None
    first, *names = list(inspect.signature(made).parameters)
    return _(
        "{layer} takes {first} first. Pass these by name, as hidden_dim=hidden_dim: {names}.",
        layer=made.__name__,
        first=first,
        names=", ".join(names),
    )


def explain_widths(error: Exception) -> tuple[str, str] | None:
    """The mistake and a hint, for a linear layer whose input has the wrong width; None for other errors."""
    found = input_widths(error)
    if not found:
        return None
    rows, got, expected = found
    numbers = _(
        "A linear layer expects [B, {expected}]; its input is [{rows}, {got}].",
        expected=expected,
        rows=rows,
        got=got,
    )
    name = _("a layer of the wrong width")
    hint = _("Print the shape before this line, and compare it with the layer's in_features.")
    if abs(expected - got) in label_widths(error) and got < expected:
        name = _("the label's vector is not passed to this layer")
        hint = _(
            "That is {difference} fewer, which is the width of the label's vector. Which line should pass "
            "the label on, beside the image or the code?",
            difference=expected - got,
        )
    elif abs(expected - got) in label_widths(error):
        name = _("the label's vector is one input too many for this layer")
        hint = _(
            "That is {difference} more, which is the width of the label's vector. In GenModel, are both "
            "networks created again, with room for the label?",
            difference=got - expected,
        )
    elif 0 < expected - got < ONE_HOT and ONE_HOT in label_widths(error):
        name = _("a one-hot vector of the wrong width, perhaps")
        hint = _(
            "That is {difference} fewer. torch.nn.functional.one_hot makes vectors as wide as the largest "
            "label of the batch plus one, unless it is given the number of classes.",
            difference=expected - got,
        )
    elif got in (28, 1) or rows % 28 == 0:
        name = _("wrong flatten: rows of pixels as images")
        hint = _("Which axes of the images are flattened, and which one is kept?")
    return name, _("{numbers} {hint}", numbers=numbers, hint=hint)


def blank_text(text: str) -> str:
    """The message of an empty blank, in the user's language if the students' version is an English one."""
    match = re.fullmatch(r"(\S+) (.+): see part (\S+) of (\S+)", text)
    if not match:
        return text
    about = {"blank": match[1], "name": _(match[2]), "number": match[3], "handout": _(match[4])}
    return _("{blank} {name}: see part {number} of {handout}", **about)


def explain(error: Exception, folder: Path) -> tuple[str, str]:
    """The name of a mistake, and a hint.

    error: a `CheckFailed`, or an exception that the code of the submission in `folder` raised.
    """
    if isinstance(error, CheckFailed):
        return error.name, error.hint
    if isinstance(error, NotImplementedError) and str(error)[:1].isdigit():
        return (
            _("not filled in yet: {blank}", blank=blank_text(str(error))),
            _("Replace the line `raise NotImplementedError` by your code, then run this again."),
        )
    if isinstance(error, SyntaxError):
        name = _("line {line} is not valid Python: {reason}", line=error.lineno, reason=error.msg)
        return name, str(error.text or "").strip()
    if explained := explain_widths(error):
        return explained[0], own_place(error, folder) + explained[1]
    raised = where_and_what(error, folder)
    if hint := explain_constructor(error):
        return raised, hint
    for pattern, name, hint in ERRORS:
        if re.search(pattern, str(error)):
            return _(name), _("{error}. {hint}", error=raised.rstrip(".?!"), hint=_(hint))
    return raised, _("Python or PyTorch raised this error while running your code.")


def where_and_what(error: Exception, folder: Path) -> str:
    """An error of the submission's code: its place in submission.py or model.py, its type and its text."""
    text = (str(error).strip() or _("no message")).splitlines()[0]
    return own_place(error, folder) + _("{kind}: {text}", kind=type(error).__name__, text=text)
