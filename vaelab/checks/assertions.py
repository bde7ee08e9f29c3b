"""Conditions that several checks test. Each function raises `CheckFailed` if its condition is not met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.checks.diagnosis import CheckFailed
from vaelab.checks.test_doubles import LABELS, B, D, ForwardTrace, SubmissionUnderTest, trace_forward


def shape_text(shape: Sequence[int]) -> str:
    """A shape with the names of its sizes and their values, such as `[B, d], B = 5, d = 6`."""
    names = {B: "B", D: "d", 2 * D: "2 d"}
    axes = [names.get(size, str(size)) for size in shape]
    used = [f"{name} = {size}" for size, name in ((B, "B"), (D, "d")) if any(name in axis for axis in axes)]
    return ", ".join([f"[{', '.join(axes)}]", *used])


def explain_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> tuple[str, str]:
    """The probable cause of a wrong shape: its name, and a hint."""
    if got[:1] in ((B * 28,), (B * 784,)):
        return (
            "wrong flatten",
            "Rows or pixels were treated as separate images: which axis of [B, 28, 28] must be kept?",
        )
    if got == (B, 784):
        return "the images are still flat", "Which operation turns 784 numbers back into 28 rows?"
    if len(got) == 4:
        return "one axis too many", "Grey images have no channel axis here."
    if got == expected[::-1]:
        return "the axes are swapped", "The batch is the first axis."
    return "wrong shape", "Print the shape after each line, and compare it with the comments in the file."


def check_tensor(name: str, value: Any, shape: tuple[int, ...], finite: bool = True) -> None:
    """`value` must be a float32 tensor of this shape. finite: without nan and infinite values."""
    if not isinstance(value, Tensor):
        raise CheckFailed(
            f"{name} is not a tensor", f"Expected float32 {shape_text(shape)}; got {type(value).__name__}."
        )
    if value.shape != shape:
        title, hint = explain_shape(tuple(value.shape), shape)
        raise CheckFailed(
            f"{name}: {title}", f"Expected {shape_text(shape)}; got {list(value.shape)}. {hint}"
        )
    if value.dtype != torch.float32:
        raise CheckFailed(
            f"{name}: wrong dtype, {value.dtype}",
            "Images, codes and losses are float32. NumPy's default is float64, and an operation of a float32 "
            "and a float64 tensor gives float64.",
        )
    if finite and not torch.isfinite(value).all():
        raise CheckFailed(
            f"{name} contains nan or infinite values",
            "Look for a logarithm, a square root or a division whose argument can be zero or negative.",
        )


def check_triple(name: str, value: Any, expected: str, returned: str) -> None:
    """`value`, the output of the function `name`, must be a tuple of 3."""
    if isinstance(value, tuple) and len(value) == 3:
        return
    got = f"a {type(value).__name__}"
    if isinstance(value, Tensor):
        got = "a single tensor"
    elif isinstance(value, tuple):
        got = f"a tuple of {len(value)}"
    raise CheckFailed(
        f"{name} must return a tuple of 3 {returned} {expected}; got {got}",
        f"The trainer expects {expected}, in this order.",
    )


def check_independent(name: str, batched: Tensor, single: list[Tensor]) -> None:
    """The result of an image must not depend on the other images of its batch.

    batched: the results of a batch; single: those of the same images one at a time.
    """
    if not torch.allclose(batched, torch.cat(single), rtol=1e-3, atol=1e-3):
        raise CheckFailed(
            f"{name} mixes the images of a batch: wrong flatten",
            "An image gives one result alone, and a different one in a batch. A reshape that does not keep "
            "the batch as the first axis, or a transpose before it, mixes pixels of different images.",
        )


def check_range(name: str, images: Tensor) -> None:
    """Pixels must be in [0, 1], and be able to reach both ends. images: decoded from very large codes."""
    low, high = images.min().item(), images.max().item()
    hint = f"Pixels must be in [0, 1]; here they are between {low:.2f} and {high:.2f}. "
    if low < -1e-6 or high > 1 + 1e-6:
        if max(-low, high) <= 1 + 1e-6:
            hint += "Which function has the range from -1 to 1, and which from 0 to 1?"
        else:
            hint += "A linear layer can output any number: which function maps all of them to [0, 1]?"
        raise CheckFailed(f"{name}: sigmoid missing", hint)
    if low >= 0.4999:
        raise CheckFailed(
            f"{name}: sigmoid applied twice", f"{hint}No pixel can be black. What is decoder's last layer?"
        )
    if torch.allclose(images.flatten(1).sum(dim=1), torch.ones(len(images)), atol=1e-3):
        raise CheckFailed(
            f"{name}: softmax over the pixels",
            f"{hint}The pixels of each image add up to 1. Is that so for a real image?",
        )


def traced_forward(
    model: nn.Module, mu: Tensor, logvar: Tensor, labels: Tensor | None = None
) -> ForwardTrace:
    """`trace_forward`, with z checked: float32, of mu's shape."""
    trace = trace_forward(model, mu, logvar, labels)
    check_tensor("z", trace.z, tuple(mu.shape), finite=False)
    return trace


def check_encode(model: nn.Module, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """`encode` must return two different tensors [N, D]. Returns: mu and logvar."""
    output = model.encode(x, labels)
    if not isinstance(output, (tuple, list)) or len(output) != 2:
        got = f"a tensor {shape_text(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise CheckFailed(
            f"encode must return a tuple of 2 tensors (mu, logvar); got {got}",
            "Which half of the encoder's output is mu, and which is logvar?",
        )
    for name, value in zip(("mu", "logvar"), output, strict=True):
        check_tensor(name, value, (len(x), D))
    if torch.equal(*output):
        raise CheckFailed(
            "mu and logvar are the same numbers",
            "The mean of a code and its uncertainty are different quantities: each needs outputs of its own.",
        )
    return output[0], output[1]


def check_labels(name: str, results_for: Callable[[Tensor], Tensor]) -> None:
    """The label of an image must change the result of that image, and of no other.

    results_for: a function of labels [B] that returns one result for each image, [B, ...].
    """
    other = LABELS.clone()
    other[1] = 8  # not the middle element, whose place does not change in a flip
    changed = (results_for(LABELS) - results_for(other)).flatten(1).abs().amax(dim=1) > 1e-6  # [B]
    if not changed.any():
        raise CheckFailed(
            f"{name} ignores the labels",
            "The labels 3 and 8 give the same result. The input of the layers must contain the label: as a "
            "learned vector or a one-hot vector, concatenated with the rest.",
        )
    if changed.tolist() != [False, True, False, False, False]:
        raise CheckFailed(
            f"{name} uses another image's label",
            "One label was changed, and the results of other images changed. Label i belongs to image i: "
            "which axis of the labels' vectors is the batch?",
        )


def check_every_weight(tested: SubmissionUnderTest, name: str, labels: Tensor | None) -> None:
    """Every weight of the model must have a gradient."""
    model = tested.model(name).train()
    tested.training_terms(model, tested.x[:B], labels)[0].backward()
    weights = [(key, weight) for key, weight in model.named_parameters() if weight.requires_grad]
    without = [key for key, weight in weights if weight.grad is None]
    if without:
        more = f" and {len(without) - 1} more" if without[1:] else ""
        raise CheckFailed(
            f"no gradient reaches {without[0]}{more}",
            "A weight without a gradient is never trained. Is its layer used? Is there a detach, a no_grad "
            "or a conversion to NumPy between it and the loss?",
        )
