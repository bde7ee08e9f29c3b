"""How a submission is looked at from outside: its models on images, between an encoder and a decoder of ours.

`rungs.py` says what is asked for; here is how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaelab.checks.diagnosis import CheckFailed
from vaelab.contract import from_submission
from vaelab.data.digits import embedded_digits
from vaelab.metrics.reconstruction import to_float

D = 6  # latent_dim of the models that are looked at: not the number of images, so that axes can be told apart
B = 5  # their batch


def sixteen_digits() -> Tensor:
    """Real handwritten digits, scikit-learn's: [16, 28, 28] in [0, 1]."""
    return to_float(embedded_digits()["train"][0][:16])


@dataclass
class Lab:
    """A submission, and images to try it on."""

    submission: ModuleType
    x: Tensor = field(default_factory=sixteen_digits)  # [16, 28, 28]

    def model(self, name: str, latent_dim: int = D) -> nn.Module:
        """A new `VAE` or `GenModel`, always of the same first weights."""
        torch.manual_seed(0)
        model = from_submission(self.submission, name)(latent_dim=latent_dim)
        if not isinstance(model, nn.Module) or not list(model.parameters()):
            raise CheckFailed(
                f"{name} has no weights that PyTorch knows of",
                "Layers are registered when they are made attributes of the module, self.name = layer. A "
                "list or a dictionary of layers hides them: then no optimizer finds them.",
            )
        return model

    def loss(self, recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, var: float) -> tuple:
        """`vae_loss`, called as the trainer calls it."""
        return from_submission(self.submission, "vae_loss")(recon, x, mu, logvar, var)


LABELS = torch.tensor([0, 3, 3, 9, 5])  # [B]


# --- What several rungs ask ---------------------------------------------------------------------


def why_shape(got: tuple[int, ...], shape: tuple[int, ...]) -> tuple[str, str]:
    """What led to a wrong shape, as far as the shape tells: its name, and a hint."""
    if got[:1] in ((B * 28,), (B * 784,)):
        return (
            "wrong flatten",
            "Rows or pixels were taken for images: which axis of [B, 28, 28] must survive?",
        )
    if got == (B, 784):
        return "the images are still flat", "The last step is to give them back their rows."
    if len(got) == 4:
        return "a channel axis too many", "Grey images have none here."
    if got == shape[::-1]:
        return "the axes are swapped", "The batch comes first."
    return "wrong shape", "Print the shape after each line, and compare it with the file's comments."


def check_tensor(name: str, value: Any, shape: tuple[int, ...], finite: bool = True) -> None:
    """Raises: CheckFailed if it is no float32 tensor of this shape."""
    if not isinstance(value, Tensor):
        raise CheckFailed(
            f"{name} is no tensor", f"Expected float32 {list(shape)}, got {type(value).__name__}."
        )
    if value.shape != shape:
        title, hint = why_shape(tuple(value.shape), shape)
        raise CheckFailed(f"{name}: {title}", f"Expected {list(shape)}, got {list(value.shape)}. {hint}")
    if value.dtype != torch.float32:
        raise CheckFailed(
            f"{name}: wrong dtype, {value.dtype}",
            "Images, codes and losses are float32. NumPy's numbers are float64 by default, and one of them "
            "is enough to turn all that it meets.",
        )
    if finite and not torch.isfinite(value).all():
        raise CheckFailed(
            f"{name} holds nan or infinite numbers", "Look for a log, a root or a division of zero."
        )


def check_apart(name: str, together: Tensor, alone: list[Tensor]) -> None:
    """Raises: CheckFailed if what an image gives depends on the images beside it in the batch."""
    if not torch.allclose(together, torch.cat(alone), rtol=1e-3, atol=1e-3):
        raise CheckFailed(
            f"{name} mixes the images of a batch: wrong flatten",
            "An image gives one result alone, and another one beside others. A reshape that does not keep "
            "the batch as its first axis, or a transpose before it, cuts the images up and shuffles "
            "the pieces.",
        )


def check_range(name: str, images: Tensor) -> None:
    """Raises: CheckFailed if images leave [0, 1], or can't fill it. images: decoded from very large codes."""
    low, high = images.min().item(), images.max().item()
    hint = f"Pixels lie in [0, 1]; these go from {low:.2f} to {high:.2f}. "
    if low < -1e-6 or high > 1 + 1e-6:
        if max(-low, high) <= 1 + 1e-6:
            hint += "Which function has the range from -1 to 1, and which from 0 to 1?"
        else:
            hint += "A linear layer can give any number: what carries all of them into [0, 1]?"
        raise CheckFailed(f"{name}: sigmoid missing", hint)
    if low >= 0.4999:
        raise CheckFailed(
            f"{name}: sigmoid taken twice", f"{hint}So no pixel can be black. What is decoder's last step?"
        )
    if torch.allclose(images.flatten(1).sum(dim=1), torch.ones(len(images)), atol=1e-3):
        raise CheckFailed(
            f"{name}: softmax over the pixels", f"{hint}They share out 1 among them: no picture does."
        )


class ForwardTrace(NamedTuple):
    """What `forward` did with an encoder and a decoder that were put in the place of the model's."""

    z: Tensor  # [B, D]
    given: Tensor  # the images that the decoder gave it, [B, 28, 28]
    output: tuple
    labels: tuple  # that encode and decode were called with


def trace_forward(model: nn.Module, mu: Tensor, logvar: Tensor, labels: Tensor | None = None) -> ForwardTrace:
    """Run `forward` between an encoder that gives mu and logvar and a decoder that remembers z."""
    seen, posterior = {}, (mu, logvar)

    def encode(x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen["encode"] = labels
        return posterior

    def decode(z: Tensor, labels: Tensor | None = None) -> Tensor:
        seen["decode"], seen["z"] = labels, z
        seen["images"] = z.sum(dim=1)[:, None, None].expand(-1, 28, 28)
        return seen["images"]

    model.encode, model.decode = encode, decode
    output = model(torch.zeros(len(mu), 28, 28), labels)
    for name in ("encode", "decode"):
        if name not in seen:
            raise CheckFailed(
                f"forward goes past self.{name}",
                "GenModel inherits forward and writes encode and decode anew: a forward that uses the layers "
                "themselves would never see its labels.",
            )
    check_tensor("z", seen["z"], tuple(mu.shape), finite=False)
    return ForwardTrace(seen["z"], seen["images"], output, (seen["encode"], seen["decode"]))


def check_encode(model: nn.Module, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """mu and logvar, [B, D] each. Raises: CheckFailed if they are something else."""
    output = model.encode(x, labels)
    if not isinstance(output, (tuple, list)) or len(output) != 2:
        got = f"a tensor {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise CheckFailed(
            "encode returns no pair (mu, logvar)", f"It returns {got}. Which half of the numbers is which?"
        )
    for name, value in zip(("mu", "logvar"), output, strict=True):
        check_tensor(name, value, (len(x), D))
    if torch.equal(*output):
        raise CheckFailed(
            "mu and logvar are the same numbers", "Where a code lies does not say how sure it is."
        )
    return output[0], output[1]


def check_labels(what: str, of: Callable[[Tensor], Tensor]) -> None:
    """Raises: CheckFailed unless the label of an image changes what that image gives, and no other.

    of: labels [B] to one result for each image, [B, ...].
    """
    other = LABELS.clone()
    other[1] = 8  # not the middle one, which a flip leaves where it is
    changed = (of(LABELS) - of(other)).flatten(1).abs().amax(dim=1) > 1e-6  # [B]
    if not changed.any():
        raise CheckFailed(
            f"{what} ignores the labels",
            "A 3 and an 8 give the same numbers. What the layers are given must hold the label: as a learned "
            "vector, or a one-hot one, beside the rest.",
        )
    if changed.tolist() != [False, True, False, False, False]:
        raise CheckFailed(
            f"{what} gives an image another image's label",
            "One label was changed, and other images changed with it. Label i belongs to image i: which axis "
            "of the labels' vectors is the batch?",
        )


def training_terms(lab: Lab, model: nn.Module, x: Tensor, labels: Tensor | None) -> tuple:
    """What `train.py` minimises: `vae_loss`, or the model's own `training_loss`."""
    if hasattr(model, "training_loss"):
        return model.training_loss(x, labels, 0.01)
    recon, mu, logvar = model(x, labels)
    return lab.loss(recon, x, mu, logvar, 0.01)


def check_every_weight(lab: Lab, name: str, labels: Tensor | None) -> None:
    """Raises: CheckFailed if a weight is out of the gradient's reach."""
    model = lab.model(name).train()
    training_terms(lab, model, lab.x[:B], labels)[0].backward()
    weights = [(key, weight) for key, weight in model.named_parameters() if weight.requires_grad]
    unreached = [key for key, weight in weights if weight.grad is None]
    if unreached:
        raise CheckFailed(
            f"no gradient reaches {unreached[0]}"
            + (f" and {len(unreached) - 1} more" if unreached[1:] else ""),
            "A weight that no gradient reaches never learns. Is its layer used? Does a detach, a no_grad or "
            "NumPy lie between it and the loss?",
        )
