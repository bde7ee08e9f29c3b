"""Conditions that several checks test. Each function raises `CheckFailed` if its condition is not met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.checks.diagnosis import CheckFailed
from vaelab.checks.explanation import ONE_HOT, label_room, vector_widths
from vaelab.checks.test_doubles import LABELS, B, D, ForwardTrace, SubmissionUnderTest, trace_forward
from vaelab.language import N_, Message


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
            N_("wrong flatten"),
            N_("Rows or pixels were treated as separate images: which axis of [B, 28, 28] must be kept?"),
        )
    if got == (B, 784):
        return N_("the images are still flat"), N_("Which operation turns 784 numbers back into 28 rows?")
    if len(got) == 4:
        return N_("one axis too many"), N_("Grey images have no channel axis here.")
    if got == expected[::-1]:
        return N_("the axes are swapped"), N_("The batch is the first axis.")
    return (
        N_("wrong shape"),
        N_("Print the shape after each line, and compare it with the comments in the file."),
    )


def check_tensor(name: str, value: Any, shape: tuple[int, ...], finite: bool = True) -> None:
    """`value` must be a float32 tensor of this shape. finite: without nan and infinite values.

    name: what the value is, a message.
    """
    name = Message(name)
    if not isinstance(value, Tensor):
        raise CheckFailed(
            "{name} is not a tensor",
            "Expected float32 {shape}; got {kind}.",
            name=name,
            shape=shape_text(shape),
            kind=type(value).__name__,
        )
    if value.shape != shape:
        title, hint = explain_shape(tuple(value.shape), shape)
        raise CheckFailed(
            "{name}: {title}",
            "Expected {expected}; got {got}. {hint}",
            name=name,
            title=Message(title),
            expected=shape_text(shape),
            got=list(value.shape),
            hint=Message(hint),
        )
    if value.dtype != torch.float32:
        raise CheckFailed(
            "{name}: wrong dtype, {dtype}",
            "Images, codes and losses are float32. NumPy's default is float64, and an operation of a "
            "float32 and a float64 tensor gives float64.",
            name=name,
            dtype=value.dtype,
        )
    if finite and not torch.isfinite(value).all():
        raise CheckFailed(
            "{name} contains nan or infinite values",
            "Look for a logarithm, a square root or a division whose argument can be zero or negative.",
            name=name,
        )


TRIPLES = {
    "tensors": N_("{name} must return a tuple of 3 tensors {expected}; got {got}"),
    "scalars": N_("{name} must return a tuple of 3 scalars {expected}; got {got}"),
}


def check_triple(name: str, value: Any, expected: str, returned: str) -> None:
    """`value`, the output of the function `name`, must be a tuple of 3. returned: a key of `TRIPLES`."""
    if isinstance(value, tuple) and len(value) == 3:
        return
    got = Message("a {kind}", kind=type(value).__name__)
    if isinstance(value, Tensor):
        got = Message("a single tensor")
    elif isinstance(value, tuple):
        got = Message("a tuple of {count}", count=len(value))
    raise CheckFailed(
        TRIPLES[returned],
        "The trainer expects {expected}, in this order.",
        name=name,
        expected=expected,
        got=got,
    )


def check_independent(name: str, batched: Tensor, single: list[Tensor]) -> None:
    """The result of an image must not depend on the other images of its batch.

    batched: the results of a batch; single: those of the same images one at a time.
    """
    if not torch.allclose(batched, torch.cat(single), rtol=1e-3, atol=1e-3):
        raise CheckFailed(
            "{name} mixes the images of a batch: wrong flatten",
            "An image gives one result alone, and a different one in a batch. A reshape that does not "
            "keep the batch as the first axis, or a transpose before it, mixes pixels of different "
            "images.",
            name=name,
        )


def check_range(name: str, images: Tensor) -> None:
    """Pixels must be in [0, 1], and be able to reach both ends. images: decoded from very large codes."""
    low, high = images.min().item(), images.max().item()
    values = {"name": name, "low": low, "high": high}
    if low < -1e-6 or high > 1 + 1e-6:
        if max(-low, high) <= 1 + 1e-6:
            raise CheckFailed(
                "{name}: sigmoid missing",
                "Pixels must be in [0, 1]; here they are between {low:.2f} and {high:.2f}. Which function "
                "has the range from -1 to 1, and which from 0 to 1?",
                **values,
            )
        raise CheckFailed(
            "{name}: sigmoid missing",
            "Pixels must be in [0, 1]; here they are between {low:.2f} and {high:.2f}. A linear layer can "
            "output any number: which function maps all of them to [0, 1]?",
            **values,
        )
    if low >= 0.4999:
        raise CheckFailed(
            "{name}: sigmoid applied twice",
            "Pixels must be in [0, 1]; here they are between {low:.2f} and {high:.2f}. No pixel can be "
            "black. What is decoder's last layer?",
            **values,
        )
    if torch.allclose(images.flatten(1).sum(dim=1), torch.ones(len(images)), atol=1e-3):
        raise CheckFailed(
            "{name}: softmax over the pixels",
            "Pixels must be in [0, 1]; here they are between {low:.2f} and {high:.2f}. The pixels of "
            "each image add up to 1. Is that so for a real image?",
            **values,
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
        got = type(output).__name__
        if isinstance(output, Tensor):
            got = Message("a tensor {shape}", shape=shape_text(output.shape))
        raise CheckFailed(
            "encode must return a tuple of 2 tensors (mu, logvar); got {got}",
            "Which half of the encoder's output is mu, and which is logvar?",
            got=got,
        )
    for name, value in zip(("mu", "logvar"), output, strict=True):
        check_tensor(name, value, (len(x), D))
    if torch.equal(*output):
        raise CheckFailed(
            "mu and logvar are the same numbers",
            "The mean of a code and its uncertainty are different quantities: each needs outputs of its own.",
        )
    return output[0], output[1]


def check_encoder_width(model: nn.Module, x: Tensor, latent_dim: int) -> None:
    """Raise CheckFailed if a network called `encoder` does not return 2 d numbers for an image."""
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        return  # layers with other names: `encode` is checked by its result
    try:
        output = encoder(x)
    except (RuntimeError, TypeError):
        return  # it expects another input, which `encode` may give it
    if not isinstance(output, Tensor) or output[:1].numel() == 2 * latent_dim:
        return
    raise CheckFailed(
        "the encoder returns {got} numbers for an image, not 2 d = {expected}",
        "It was called with latent_dim = {latent_dim}. q(z|x) has a mean and a variance for each of the d "
        "latents: does the width of the last layer follow from latent_dim?",
        got=output[:1].numel(),
        expected=2 * latent_dim,
        latent_dim=latent_dim,
    )


def check_labels(name: str, results_for: Callable[[Tensor], Tensor]) -> None:
    """The label of an image must change the result of that image, and of no other.

    name: a message; results_for: a function of labels [B] that returns one result for each image, [B, ...].
    """
    other = LABELS.clone()
    other[1] = 8  # not the middle element, whose place does not change in a flip
    changed = (results_for(LABELS) - results_for(other)).flatten(1).abs().amax(dim=1) > 1e-6  # [B]
    if not changed.any():
        raise CheckFailed(
            "{name} ignores the labels",
            "The labels 3 and 8 give the same result. The input of the layers must contain the label: as "
            "a learned vector or a one-hot vector, concatenated with the rest.",
            name=Message(name),
        )
    if changed.tolist() != [False, True, False, False, False]:
        raise CheckFailed(
            "{name} uses another image's label",
            "One label was changed, and the results of other images changed. Label i belongs to image i: "
            "which axis of the labels' vectors is the batch?",
            name=name,
        )


def check_passes_labels(model: nn.Module) -> None:
    """`forward` must call encode and decode with the labels that it is called with."""
    trace = traced_forward(model.train(), *torch.randn(2, B, D), LABELS)
    for name, labels in zip(("encode", "decode"), trace.labels, strict=True):
        if labels is None or not torch.equal(labels, LABELS):
            raise CheckFailed(
                "forward doesn't pass the labels to {name}",
                "GenModel inherits forward, and its encode and decode need the labels that forward is called "
                "with.",
                name=name,
            )


def check_label_room(network: str, model: nn.Module, inputs: Tensor) -> None:
    """Raise CheckFailed if a network has no room for a label beside its inputs, and fails with labels.

    network: `encoder` or `decoder`; inputs: images [B, 28, 28] or codes [B, d].
    """
    try:
        (model.encode if network == "encoder" else model.decode)(inputs, LABELS)
        return  # whatever the layers are, they work with labels
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        room, widths = label_room(getattr(model, network, None), inputs.flatten(1)), vector_widths(model)
    if room is None or room in (*widths, ONE_HOT):
        return
    name = N_("the first layer of self.{network} has no room for the label")
    if room > 0:
        name = N_("the first layer of self.{network} has room for {room} more numbers: not a label's vector")
    raise CheckFailed(
        name,
        "It needs the width of the image or the code plus that of the label's vector ({widths}). With the "
        "layers of model.py, pass the latter by its name, cond_dim=: by position, another argument gets it. "
        "(If your design needs no such room, fill in 3.2 and 3.3: then this check passes.)",
        network=network,
        room=room,
        widths=", ".join(map(str, sorted(widths or {ONE_HOT}))),
    )


def check_label_vectors(name: str, model: nn.Module, results_for: Callable[[Tensor], Tensor]) -> None:
    """A label must not be used as a number: then the input of the layers is a linear function of it.

    name: a message; results_for: a function of labels [10] that runs the model on ten equal images or codes.
    """
    inputs: list[Tensor] = []  # of each layer, in the order in which they are called

    def record(_layer: nn.Module, args: tuple) -> None:
        inputs.extend(arg.detach() for arg in args if isinstance(arg, Tensor) and arg.is_floating_point())

    leaves = [layer for layer in model.modules() if not list(layer.children())]
    hooks = [layer.register_forward_pre_hook(record) for layer in leaves]
    try:
        results_for(torch.arange(10))
    finally:
        for hook in hooks:
            hook.remove()
    batches = [value.flatten(1) for value in inputs if value.dim() > 1 and len(value) == 10]
    for value in batches:
        step = value.diff(dim=0)  # from each label to the next, [9, F]
        if step.abs().max() > 1e-6:  # the first input that depends on the label
            if (step - step[:1]).abs().max() < 1e-4 * step.abs().max():
                raise CheckFailed(
                    "{name} uses the label as a number",
                    "The input of the layers grows evenly from label 0 to 9, but the shape of a 4 is not "
                    "between those of a 3 and a 5. Give each label a vector of its own, learned or "
                    "one-hot.",
                    name=Message(name),
                )
            return


def check_every_weight(tested: SubmissionUnderTest, name: str, labels: Tensor | None) -> None:
    """Every weight of the model must have a gradient."""
    model = tested.model(name).train()
    tested.training_terms(model, tested.x[:B], labels)[0].backward()
    weights = [(key, weight) for key, weight in model.named_parameters() if weight.requires_grad]
    without = [key for key, weight in weights if weight.grad is None]
    if without:
        text = N_("no gradient reaches {weight}")
        if without[1:]:
            text = N_("no gradient reaches {weight} and {more} more")
        raise CheckFailed(
            text,
            "A weight without a gradient is never trained. Is its layer used? Is there a detach, a "
            "no_grad or a conversion to NumPy between it and the loss?",
            weight=without[0],
            more=len(without) - 1,
        )
