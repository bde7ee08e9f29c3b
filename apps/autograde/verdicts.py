"""The checks of the blanks, outside the sandbox: draws the inputs, and judges the arrays that came back.

`check_steps.py` calls the submission's functions. Nothing that it says is believed: each verdict here follows
from the arrays and the inputs. A check that fails hides no other. `points.py` has the points of each check.
The self-check's `device` is not among them: its result would be a statement of the submission about itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelab.checks import assertions, loss_checks
from vaelab.checks.checks import CHECKS
from vaelab.checks.diagnosis import CheckFailed, LossCase, check_term, loss_cases
from vaelab.checks.model_checks import NOISE_STD, OVERFIT_MSE, check_noise_scale, check_noise_shape

TITLES = {check.run.__name__: (check.part, check.title) for check in CHECKS}
B, D = 5, 6


class CheckInputs:
    """The inputs of the check steps, drawn for one submission: `arrays`, named `step.model.case/input`."""

    def __init__(self, images: np.ndarray, seed: int) -> None:
        """images: uint8 [N, 28, 28], of which sixteen are used."""
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng)

        chosen = torch.randperm(len(images), generator=rng)[:16].numpy()
        x = torch.from_numpy(images[chosen]).float() / 255
        labels = torch.randperm(10, generator=rng)[:B]
        other = labels.clone()
        other[1] = (other[1] + 1 + torch.randint(8, (1,), generator=rng).item()) % 10
        both = {"labels": labels, "other_labels": other}
        self.cases: list[LossCase] = loss_cases(seed % 2**62 + 1)
        train, evaluate, seed_in = torch.tensor([1]), torch.tensor([0]), torch.tensor([seed % 2**31])
        wide = {"mu": normal(2000, D), "logvar": NOISE_STD.square().log().expand(2000, D)}
        places = torch.randperm(B, generator=rng)[:, None].float() + 1
        pairs = {"mu": 100 * places.expand(B, D), "logvar": torch.full((B, D), -4.0)}
        some = {"mu": normal(B, D), "logvar": normal(B, D)}
        self.tensors: dict[str, dict[str, Tensor]] = {
            "layers.VAE.0": {"none": train},
            "layers.Gen.0": {"none": train},
            "encode.VAE.0": {"images": x},
            "encode.Gen.0": {"images": x, **both},
            "decode.VAE.0": {"z": normal(B, D), "large_z": 1000 * normal(64, D)},
            "decode.Gen.0": {"z": normal(B, D), "large_z": 1000 * normal(64, D), **both}
            | {"large_labels": torch.arange(64) % 10},
            "forward.VAE.eval": {"train": evaluate, "seed": seed_in, **some},
            "forward.VAE.pairs": {"train": train, "seed": seed_in, **pairs},
            "forward.VAE.noise": {"train": train, "seed": seed_in, **wide},
            **{
                f"forward.{model}.labels": {"train": train, "seed": seed_in, "labels": labels, **some}
                for model in ("VAE", "Gen")
            },
            "gradient.VAE.0": {"mu": normal(64, D), "logvar": 0.3 * normal(64, D)},
            **{f"loss.VAE.{i}": self.loss_inputs(case) for i, case in enumerate(self.cases)},
            "train.VAE.0": {"images": x},
            "generate.Gen.0": both,
        }

    @staticmethod
    def loss_inputs(case: LossCase) -> dict[str, Tensor]:
        """The inputs of a step for one call of `vae_loss`."""
        values = {"recon": case.recon, "images": case.x, "mu": case.mu, "logvar": case.logvar}
        return values | {"var": torch.tensor([case.var], dtype=torch.float32)}

    def arrays(self) -> dict[str, np.ndarray]:
        """The inputs as they are sent."""
        return {
            f"{call}/{name}": value.contiguous().numpy()
            for call, values in self.tensors.items()
            for name, value in values.items()
        }


class Results:
    """The arrays that came back, and the errors."""

    def __init__(self, arrays: dict[str, np.ndarray], errors: dict[str, str]) -> None:
        self.arrays, self.errors = arrays, errors

    def get(self, call: str, name: str, shape: tuple[int, ...], title: str = "") -> Tensor:
        """A checked float32 tensor. Raises: CheckFailed with the submission's error, or for a wrong shape."""
        if call in self.errors:
            raise CheckFailed(self.errors[call], "The code raised an error.")
        array = self.arrays.get(f"{call}/{name}")
        if array is None:
            raise CheckFailed(f"{title or name} was not returned", "It has no value or no gradient.")
        value = torch.from_numpy(array.copy())
        assertions.check_tensor(title or name, value, shape)
        return value

    def has(self, call: str, name: str) -> bool:
        """Whether an array came back."""
        return f"{call}/{name}" in self.arrays


# --- The verdicts: each raises CheckFailed --------------------------------------------------------


def judge_layers(inputs: CheckInputs, results: Results, model: str) -> None:
    """Both sizes of the code give a model with weights."""
    call = f"layers.{model}.0"
    if call in results.errors:
        raise CheckFailed(results.errors[call], "The code raised an error.")
    weights = results.arrays.get(f"{call}/weights")
    if weights is None or weights.shape != (2,) or not (weights > 0).all():
        raise CheckFailed(
            "the model has no registered weights", "Assign each layer to an attribute, self.name."
        )
    if weights[0] == weights[1]:
        raise CheckFailed("latent_dim doesn't change the layers", "The widths must follow latent_dim.")


def judge_encode(inputs: CheckInputs, results: Results, model: str) -> None:
    """mu and logvar have their shapes, depend on their own image alone, and can be negative."""
    call = f"encode.{model}.0"
    mu, logvar, again, single = (
        results.get(call, name, (B, D)) for name in ("mu", "logvar", "again", "single")
    )
    if torch.equal(mu, logvar):
        raise CheckFailed("mu and logvar are the same numbers", "Each needs outputs of its own.")
    if not torch.equal(mu, again):
        raise CheckFailed(
            "encode is random: two calls give different mu", "Which method samples from q(z|x)?"
        )
    assertions.check_independent("encode", mu, [single])
    if torch.allclose(mu[:1], mu[1:], atol=1e-7):
        raise CheckFailed("encode returns the same mu for every image", "Is x the input of the layers?")
    if model == "VAE" and (results.get(call, "wide", (16, 20)) >= 0).all():
        raise CheckFailed(
            "logvar is never negative: computed as std, or passed through relu, exp or softplus",
            "sigma is positive. Which values can log sigma^2 have?",
        )
    if model == "Gen":
        judge_labels("the encoder", mu, results.get(call, "other", (B, D)))


def judge_decode(inputs: CheckInputs, results: Results, model: str) -> None:
    """Images have their shape and range, and depend on their own code alone."""
    call = f"decode.{model}.0"
    images = results.get(call, "images", (B, 28, 28), "the output of decode")
    single = results.get(call, "single", (B, 28, 28), "the output of decode")
    assertions.check_range("decode", results.get(call, "large", (64, 28, 28), "the output of decode"))
    assertions.check_independent("decode", images, [single])
    if torch.allclose(images[:1], images[1:], atol=1e-7):
        raise CheckFailed("decode returns the same image for every code", "Is z the input of the layers?")
    if model == "Gen":
        judge_labels("the decoder", images, results.get(call, "other", (B, 28, 28)))


def judge_labels(name: str, first: Tensor, other: Tensor) -> None:
    """The label of the second image was changed: its result, and no other, changes."""
    changed = ((first - other).flatten(1).abs().amax(dim=1) > 1e-6).tolist()
    if not any(changed):
        raise CheckFailed(f"{name} ignores the labels", "Two labels give the same result.")
    if changed != [False, True, False, False, False]:
        raise CheckFailed(f"{name} uses another image's label", "Label i belongs to image i.")


def judge_forward_eval(inputs: CheckInputs, results: Results) -> None:
    """In eval mode z is mu, and forward returns (recon, mu, logvar)."""
    call = "forward.VAE.eval"
    given = inputs.tensors[call]
    z = results.get(call, "z", (B, D))
    if not torch.equal(z, given["mu"]):
        raise CheckFailed("sampling in eval mode: z is not mu", "model.eval() sets self.training to False.")
    for name in ("mu", "logvar"):
        if not torch.equal(results.get(call, f"out_{name}", (B, D)), given[name]):
            raise CheckFailed(f"forward doesn't return the {name} of encode", "Expected (recon, mu, logvar).")
    recon = results.get(call, "recon", (B, 28, 28))
    if not torch.allclose(recon, z.sum(dim=1)[:, None, None].expand(-1, 28, 28), atol=1e-5):
        raise CheckFailed("forward doesn't return the images of decode", "recon i is compared with image i.")


def judge_forward_pairs(inputs: CheckInputs, results: Results) -> None:
    """Row i of z is drawn around mu of image i, with noise of its own."""
    given = inputs.tensors["forward.VAE.pairs"]["mu"]
    z = results.get("forward.VAE.pairs", "z", (B, D))
    nearest = (z / 100).round()
    if (nearest == 0).all():
        raise CheckFailed("mu missing from z", "The samples of N(mu, sigma^2) have the mean mu.")
    if not torch.equal(100 * nearest, given):
        raise CheckFailed("the latents of different images are mixed up", "Row i of z belongs to image i.")
    check_noise_shape(drawn_noise(inputs, results))


def drawn_noise(inputs: CheckInputs, results: Results) -> Tensor:
    """z - mu of two thousand codes, [2000, D]."""
    mu = inputs.tensors["forward.VAE.noise"]["mu"]
    noise = results.get("forward.VAE.noise", "z", (2000, D)) - mu
    if not noise.abs().any():
        raise CheckFailed("no sampling in train mode: z is mu", "Without noise this is an autoencoder.")
    return noise


def judge_forward_train(inputs: CheckInputs, results: Results) -> None:
    """The noise of z has the standard deviation sigma, and the mean 0."""
    noise = drawn_noise(inputs, results)
    check_noise_scale(noise.std(dim=0))
    if (noise / NOISE_STD).mean(dim=0).abs().max() > 0.15:
        raise CheckFailed("the mean of the noise is not zero", "What is the mean of eps?")


def judge_gradient(inputs: CheckInputs, results: Results) -> None:
    """The gradients of sum z^2 are those of z = mu + sigma eps: 2 z, and z (z - mu)."""
    call, mu = "gradient.VAE.0", inputs.tensors["gradient.VAE.0"]["mu"]
    z = results.get(call, "z", (64, D))
    for name, expected in (("mu", 2 * z), ("logvar", z * (z - mu))):
        got = results.get(call, f"grad_{name}", (64, D), f"the gradient through the sampling to {name}")
        if not torch.allclose(got, expected, rtol=1e-2, atol=1e-3):
            raise CheckFailed(
                f"the gradient through the sampling to {name} is wrong", "What is z a function of?"
            )


def judge_forward_labels(inputs: CheckInputs, results: Results) -> None:
    """forward passes the labels on to encode and decode: that of VAE, or GenModel's own."""

    def passed_on(model: str, name: str) -> bool:
        call = f"forward.{model}.labels"
        got = results.arrays.get(f"{call}/{name}_labels")
        return got is not None and np.array_equal(got, inputs.tensors[call]["labels"].numpy())

    for name in ("encode", "decode"):
        if not passed_on("VAE", name) and not passed_on("Gen", name):
            results.get("forward.VAE.labels", "z", (B, D))  # names the submission's error, if there is one
            raise CheckFailed(f"forward doesn't pass the labels to {name}", "GenModel inherits forward.")


def loss_values(inputs: CheckInputs, results: Results) -> list[list[float]]:
    """(loss, recon_term, kl_term) of each case."""
    names = ("loss", "recon_term", "kl_term")
    return [
        [results.get(f"loss.VAE.{i}", name, ()).item() for name in names] for i in range(len(inputs.cases))
    ]


def judge_loss_shape(inputs: CheckInputs, results: Results) -> None:
    """vae_loss returns three scalars, and its loss has a gradient for the images and for the codes."""
    loss_values(inputs, results)
    for i, case in enumerate(inputs.cases):
        call = f"loss.VAE.{i}"
        codes = "grad_mu" if results.has(call, "grad_mu") else "grad_logvar"
        results.get(call, "grad_recon", tuple(case.recon.shape), "the gradient of the loss for recon")
        results.get(call, codes, tuple(case.mu.shape), "the gradient of the loss for mu and logvar")


def judge_loss_kl(inputs: CheckInputs, results: Results) -> None:
    """The KL term has the right value."""
    values = loss_values(inputs, results)
    loss_checks.check_order(values, inputs.cases)
    check_term("KL", [value[2] for value in values], inputs.cases)


def judge_loss_recon(inputs: CheckInputs, results: Results) -> None:
    """The reconstruction term has the right value."""
    check_term("reconstruction", [value[1] for value in loss_values(inputs, results)], inputs.cases)


def judge_loss_sum(inputs: CheckInputs, results: Results) -> None:
    """The loss is the sum of its terms, neither of which is zero."""
    loss_checks.check_sum(loss_values(inputs, results))


def judge_every_weight(inputs: CheckInputs, results: Results) -> None:
    """Every weight has a gradient."""
    call = "train.VAE.0"
    if call in results.errors:
        raise CheckFailed(results.errors[call], "The code raised an error.")
    grads = results.arrays.get(f"{call}/grads", np.zeros(0))
    if grads.ndim != 1 or not len(grads) or (grads < 0).any():
        raise CheckFailed("no gradient reaches some weights", "Is each layer used?")


def judge_overfit(inputs: CheckInputs, results: Results) -> None:
    """The VAE overfits sixteen images."""
    recon = results.get("train.VAE.0", "recon", (16, 28, 28))
    error = (recon - inputs.tensors["train.VAE.0"]["images"]).square().mean().item()
    if not error < 2 * OVERFIT_MSE:  # twice: other images than the self-check's
        raise CheckFailed(f"the VAE can't overfit sixteen images: MSE {error:.3f}", "Start from DemoVAE.")


def judge_generate(inputs: CheckInputs, results: Results) -> None:
    """generate returns new images in each call, of the label that was asked for."""
    shape = (B, 28, 28)
    first, second, seeded, other = (
        results.get("generate.Gen.0", name, shape, "the output of generate")
        for name in ("first", "second", "seeded", "seeded_other")
    )
    if torch.equal(first, second):
        raise CheckFailed("generate returns the same images in each call", "Which quantity should be random?")
    if torch.equal(seeded, other):
        raise CheckFailed("generate ignores the labels", "Which networks does generate call?")


Verdict = Callable[[CheckInputs, Results], None]
VERDICTS: dict[str, Verdict] = {
    "layers": lambda inputs, results: judge_layers(inputs, results, "VAE"),
    "encode": lambda inputs, results: judge_encode(inputs, results, "VAE"),
    "decode": lambda inputs, results: judge_decode(inputs, results, "VAE"),
    "forward_eval": judge_forward_eval,
    "forward_pairs": judge_forward_pairs,
    "forward_train": judge_forward_train,
    "gradient": judge_gradient,
    "loss_shape": judge_loss_shape,
    "loss_kl": judge_loss_kl,
    "loss_recon": judge_loss_recon,
    "loss_sum": judge_loss_sum,
    "every_weight": judge_every_weight,
    "overfit": judge_overfit,
    "conditional_layers": lambda inputs, results: judge_layers(inputs, results, "Gen"),
    "encode_labels": lambda inputs, results: judge_encode(inputs, results, "Gen"),
    "decode_labels": lambda inputs, results: judge_decode(inputs, results, "Gen"),
    "forward_labels": judge_forward_labels,
    "generate": judge_generate,
}


def judge(inputs: CheckInputs, results: Results) -> dict[str, dict[str, Any]]:
    """passed, and why not, for each check by name."""
    verdicts = {}
    for name, verdict in VERDICTS.items():
        try:
            verdict(inputs, results)
        except CheckFailed as failure:
            verdicts[name] = {"passed": False, "why": f"{failure.name}. {failure.hint}"}
        else:
            verdicts[name] = {"passed": True, "why": ""}
    return verdicts


def all_failed(why: str) -> dict[str, dict[str, Any]]:
    """The verdicts if nothing came back from the sandbox."""
    return {name: {"passed": False, "why": why} for name in VERDICTS}
