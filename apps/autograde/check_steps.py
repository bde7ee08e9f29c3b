"""The checks of the blanks, inside the sandbox: calls the submission's functions on inputs of the grader.

Each function below calls one of them with a new model and returns arrays. It judges nothing: whatever runs
beside a submission can be forged. `verdicts.py` draws the inputs and judges the arrays, outside.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelab.checks.overfit import OVERFIT_CLIP, OVERFIT_STEPS
from vaelab.contract import from_submission

Arrays = dict[str, np.ndarray]
MODELS = {"VAE": "VAE", "Gen": "GenModel"}


def new_model(module: ModuleType, name: str, latent_dim: int) -> nn.Module:
    """A new model of the submission, always with the same initial weights."""
    torch.manual_seed(0)
    return from_submission(module, name)(latent_dim=latent_dim)


def as_arrays(values: dict[str, Any]) -> Arrays:
    """Tensors as float32 arrays. Raises: TypeError for anything else."""
    found = {}
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is not a tensor but {type(value).__name__}")
        if value.dtype != torch.float32:
            raise TypeError(f"{name} is {value.dtype}, expected float32")
        found[name] = value.detach().cpu().numpy()
    return found


def pair(name: str, value: Any, n: int, expected: str) -> tuple:
    """`value`, which must be a tuple or list of n. Raises: TypeError."""
    if not isinstance(value, (tuple, list)) or len(value) != n:
        got = f"{len(value)} values" if isinstance(value, (tuple, list)) else type(value).__name__
        raise TypeError(f"{name} must return {expected}, got {got}")
    return tuple(value)


def step_layers(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """The sizes of the weights of a model with two sizes of the code."""
    sizes = [
        [weight.numel() for weight in new_model(module, name, latent_dim).parameters()]
        for latent_dim in (6, 3)
    ]
    return {"weights": np.array([sum(each) for each in sizes], dtype=np.int64)}


def step_encode(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """mu and logvar of five images, again, one by one, and with another label; logvar of a wider model."""
    model, labels, images = new_model(module, name, 6).eval(), x.get("labels"), x["images"]
    with torch.no_grad():
        some = images[:5]
        mu, logvar = pair("encode", model.encode(some, labels), 2, "(mu, logvar)")
        values = {"mu": mu, "logvar": logvar, "again": model.encode(some, labels)[0]}
        rows = [None if labels is None else labels[i : i + 1] for i in range(5)]
        values["single"] = torch.cat([model.encode(some[i : i + 1], rows[i])[0] for i in range(5)])
        if labels is None:
            values["wide"] = new_model(module, name, 20).eval().encode(images)[1]
        else:
            values["other"] = model.encode(some, x["other_labels"])[0]
    return as_arrays(values)


def step_decode(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """The images of five codes, one by one, and with another label; those of very large codes."""
    model, labels, z = new_model(module, name, 6).eval(), x.get("labels"), x["z"]
    with torch.no_grad():
        values = {"images": model.decode(z, labels)}
        rows = [None if labels is None else labels[i : i + 1] for i in range(5)]
        values["single"] = torch.cat([model.decode(z[i : i + 1], rows[i]) for i in range(5)])
        if labels is None:
            values["large"] = model.decode(x["large_z"])
        else:
            values["large"] = model.decode(x["large_z"], x["large_labels"])
            values["other"] = model.decode(z, x["other_labels"])
    return as_arrays(values)


def run_forward(model: nn.Module, x: dict[str, Tensor], mu: Tensor, logvar: Tensor) -> dict[str, Any]:
    """What `forward` gives to decode and returns, with an encode that returns mu and logvar.

    decode returns images of which each shows the sum of its code.
    """
    seen: dict[str, Any] = {}

    def encode(_: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen["encode_labels"] = labels
        return mu, logvar

    def decode(z: Tensor, labels: Tensor | None = None) -> Tensor:
        seen["z"], seen["decode_labels"] = z, labels
        return z.sum(dim=1)[:, None, None].expand(-1, 28, 28)

    model.encode, model.decode = encode, decode
    output = model(torch.zeros(len(mu), 28, 28), x.get("labels"))
    for name in ("encode_labels", "decode_labels"):
        if name not in seen:
            raise TypeError(f"forward doesn't call self.{name.partition('_')[0]}")
    names = ("recon", "out_mu", "out_logvar")
    return seen | dict(zip(names, pair("forward", output, 3, "(recon, mu, logvar)"), strict=True))


def step_forward(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """`forward` in eval mode or train mode, as `train` says, for given mu and logvar."""
    model = new_model(module, name, 6).train(bool(x["train"].item()))
    torch.manual_seed(int(x["seed"].item()))
    values = run_forward(model, x, x["mu"], x["logvar"])
    if len(x["mu"]) > 100:
        del values["recon"]  # megabytes, of which no check needs one
    labels = [values.pop(key) for key in ("encode_labels", "decode_labels")]
    found = as_arrays(values)
    for key, each in zip(("encode_labels", "decode_labels"), labels, strict=True):
        if isinstance(each, Tensor):
            found[key] = each.cpu().numpy().astype(np.int64)
    return found


def step_gradient(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """z in train mode, and the gradients of the sum of z^2 for mu and logvar."""
    model = new_model(module, name, 6).train()
    mu, logvar = x["mu"].requires_grad_(), x["logvar"].requires_grad_()
    z = run_forward(model, x, mu, logvar)["z"]
    if not z.requires_grad:
        return as_arrays({"z": z})
    grads = torch.autograd.grad(z.square().sum(), (mu, logvar), allow_unused=True)
    values = {"z": z, "grad_mu": grads[0], "grad_logvar": grads[1]}
    return as_arrays({key: value for key, value in values.items() if value is not None})


def step_loss(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """The terms of `vae_loss`, and the gradient of the loss for recon, mu and logvar."""
    inputs = {key: x[key].clone().requires_grad_() for key in ("recon", "mu", "logvar")}
    output = from_submission(module, "vae_loss")(
        inputs["recon"], x["images"], inputs["mu"], inputs["logvar"], float(x["var"].item())
    )
    terms = dict(
        zip(("loss", "recon_term", "kl_term"), pair("vae_loss", output, 3, "3 scalars"), strict=True)
    )
    if all(isinstance(term, Tensor) and term.requires_grad and not term.ndim for term in terms.values()):
        terms["loss"].backward()
        terms |= {f"grad_{key}": value.grad for key, value in inputs.items() if value.grad is not None}
    return as_arrays(terms)


def step_train(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """The largest gradient of each weight; after a few steps on sixteen images, their reconstructions."""
    model, labels, images = new_model(module, name, 6).train(), x.get("labels"), x["images"]

    def loss() -> Tensor:
        if hasattr(model, "training_loss"):
            return model.training_loss(images, labels, 0.01)[0]
        recon, mu, logvar = model(images, labels)
        return from_submission(module, "vae_loss")(recon, images, mu, logvar, 0.01)[0]

    loss().backward()
    grads = [weight.grad for weight in model.parameters() if weight.requires_grad]
    found = {
        "grads": np.array([-1 if grad is None else float(grad.abs().max()) for grad in grads], np.float32)
    }
    if labels is None:
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(OVERFIT_STEPS):
            optimizer.zero_grad()
            loss().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), OVERFIT_CLIP)
            optimizer.step()
        with torch.no_grad():
            found |= as_arrays({"recon": model.eval()(images)[0]})
    return found


def step_generate(module: ModuleType, x: dict[str, Tensor], name: str) -> Arrays:
    """Images of given labels twice; with one seed for two sets of labels."""
    model, labels = new_model(module, name, 6).eval(), x["labels"]
    with torch.no_grad():
        values = {"first": model.generate(labels), "second": model.generate(labels)}
        for key, wanted in (("seeded", labels), ("seeded_other", x["other_labels"])):
            torch.manual_seed(1)
            values[key] = model.generate(wanted)
    return as_arrays(values)


STEPS: dict[str, Callable[[ModuleType, dict[str, Tensor], str], Arrays]] = {
    "layers": step_layers,
    "encode": step_encode,
    "decode": step_decode,
    "forward": step_forward,
    "gradient": step_gradient,
    "loss": step_loss,
    "train": step_train,
    "generate": step_generate,
}


def run_check_steps(
    module: ModuleType, arrays: Arrays, explain: Callable[[BaseException], dict[str, str]]
) -> tuple[Arrays, dict[str, str]]:
    """The arrays of all steps, and the reason for each step that raised an error. Each runs on its own.

    arrays: named `step.model.case/input`; the results are named in the same way. explain: error to reason.
    """
    inputs: dict[str, dict[str, Tensor]] = {}
    for key, array in arrays.items():
        call, _, name = key.partition("/")
        inputs.setdefault(call, {})[name] = torch.tensor(array)
    results, errors = {}, {}
    for call, values in inputs.items():
        step, model, _ = call.split(".")
        try:
            found = STEPS[step](module, values, MODELS[model])
        except Exception as error:  # a student's code can raise anything
            errors[call] = explain(error)["reason"][:500]
            continue
        results |= {f"{call}/{name}": array for name, array in found.items()}
    return results, errors
