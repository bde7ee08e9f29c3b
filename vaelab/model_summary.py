"""A model as it was built, in a few lines: its layers, their widths and the number of their parameters."""

from __future__ import annotations

from torch import nn

from vaelab.language import _

WIDTHS = (("in_features", "out_features"), ("in_channels", "out_channels"))  # of layers that have two
WIDTHS += (("num_embeddings", "embedding_dim"), ("num_features", ""))


def layer_text(layer: nn.Module) -> str:
    """A layer in words: its class, and its widths if it has any, such as `Linear 784-400`."""
    for names in WIDTHS:
        if hasattr(layer, names[0]):
            return f"{type(layer).__name__} " + "-".join(str(getattr(layer, name)) for name in names if name)
    return type(layer).__name__


def parameter_count(module: nn.Module) -> int:
    """The number of trained values of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_summary(model: nn.Module) -> list[str]:
    """A line for each part of a model: name, number of parameters, layers in the order of their creation."""
    parts = list(model.named_children())
    width = max((len(name) for name, _ in parts), default=0)
    lines = []
    for name, part in parts:
        layers = [layer_text(inner) for inner in part.modules() if not list(inner.children())]
        lines.append(f"{name:<{width}}  {parameter_count(part):>10,}  {', '.join(layers)}")
    own = sum(parameter.numel() for parameter in model.parameters(recurse=False))
    if own:
        lines.append(f"{'(own)':<{width}}  {own:>10,}  {_('parameters of the model itself')}")
    return lines
