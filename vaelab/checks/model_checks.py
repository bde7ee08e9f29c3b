"""The checks of the VAE and of the conditional model, parts 2.2 and 3 of the handout."""

from __future__ import annotations

import torch
from torch import Tensor

from vaelab.checks.assertions import (
    check_encode,
    check_encoder_width,
    check_every_weight,
    check_independent,
    check_label_room,
    check_label_vectors,
    check_labels,
    check_passes_labels,
    check_range,
    check_tensor,
    check_triple,
    traced_forward,
)
from vaelab.checks.diagnosis import CheckFailed
from vaelab.checks.explanation import DEVICE_HINT
from vaelab.checks.overfit import OVERFIT_CLIP, OVERFIT_STEPS
from vaelab.checks.test_doubles import LABELS, B, D, SubmissionUnderTest
from vaelab.contract import from_submission
from vaelab.language import N_

OVERFIT_MSE = 0.01
# The standard deviation of each latent in the check of the sampling: logvar is -4, -2, 0.5, 1.5, 2.5 and 3.
NOISE_STD = torch.tensor([0.13534, 0.36788, 1.28403, 2.11700, 3.49034, 4.48169])

# --- 2.2.1 to 2.2.3 The layers, encode and decode -----------------------------------------------


def layers(tested: SubmissionUnderTest) -> None:
    """The VAE must be constructed for any latent_dim."""
    for latent_dim in (D, 3):
        model = tested.model("VAE", latent_dim)
        check_encoder_width(model, tested.x[:B], latent_dim)


def encode(tested: SubmissionUnderTest) -> None:
    """`encode` must return mu and logvar, which depend only on their image and can be negative."""
    model, x = tested.model("VAE").eval(), tested.x[:B]
    mu, _ = check_encode(model, x, None)
    if not torch.equal(mu, model.encode(x)[0]):
        raise CheckFailed(
            "encode is random: two calls on the same images return different mu",
            "encode returns the two parameters of q(z|x). Which method samples from it?",
        )
    check_independent("encode", mu, [model.encode(image)[0] for image in x.split(1)])
    if torch.allclose(mu[:1], mu[1:], atol=1e-7):
        raise CheckFailed("encode returns the same mu for every image", "Is x the input of the layers?")
    _, wide = tested.model("VAE", 20).eval().encode(tested.x)
    if (wide >= 0).all():
        raise CheckFailed(
            "logvar is never negative: computed as std, or passed through relu, exp or softplus",
            "sigma is positive. Which values can log sigma^2 have, and which one for sigma = 0.1? A linear "
            "layer can output any number: nothing more is needed.",
        )


def decode(tested: SubmissionUnderTest) -> None:
    """`decode` must return images in [0, 1], which depend only on their code."""
    model, z = tested.model("VAE").eval(), torch.randn(B, D)
    images = model.decode(z)
    check_tensor(N_("the output of decode"), images, (B, 28, 28))
    check_range("decode", model.decode(1000 * torch.randn(64, D)))
    check_independent("decode", images, [model.decode(code) for code in z.split(1)])
    if torch.allclose(images[:1], images[1:], atol=1e-7):
        raise CheckFailed("decode returns the same image for every code", "Is z the input of the layers?")
    try:
        given_labels = model.decode(z, LABELS)
    except (RuntimeError, TypeError, ValueError, IndexError):
        given_labels = None
    if given_labels is None or not torch.equal(images, given_labels):
        raise CheckFailed(
            "decode uses the labels",
            "The VAE of part 2 has no input for them: inference calls decode(z, labels), and labels must "
            "have no effect. Which arguments do the layers get?",
        )


# --- 2.2.4 forward ------------------------------------------------------------------------------


def forward_eval(tested: SubmissionUnderTest) -> None:
    """In eval mode `forward` must decode mu, and return (recon, mu, logvar)."""
    model, x = tested.model("VAE").eval(), tested.x[:B]
    output = model(x)
    check_triple("forward", output, "(recon, mu, logvar)", "tensors")
    names = (
        N_("recon, the first output,"),
        N_("mu, the second output,"),
        N_("logvar, the third output,"),
    )
    for name, value, shape in zip(names, output, ((B, 28, 28), (B, D), (B, D)), strict=True):
        check_tensor(name, value, shape)
    mu, logvar = torch.randn(2, B, D)
    trace = traced_forward(model, mu, logvar)
    if not torch.equal(trace.z, mu):
        raise CheckFailed(
            "sampling in eval mode: z is not mu",
            "Sampling is for training. In eval mode an image should have one reconstruction, the best one: "
            "model.train() and model.eval() set self.training.",
        )
    if torch.equal(trace.output[1], logvar):
        raise CheckFailed("forward returns mu and logvar swapped", "The trainer expects (recon, mu, logvar).")
    if not torch.equal(trace.output[2], logvar) or not torch.equal(trace.output[1], mu):
        raise CheckFailed(
            "forward doesn't return the mu and logvar of encode",
            "The loss needs them as encode returned them: not sigma, and not z.",
        )
    if not torch.equal(trace.output[0], trace.decoded):
        raise CheckFailed(
            "forward doesn't return the images of decode, or returns them in another order",
            "The loss compares image i of recon with image i of x.",
        )


def forward_passes_labels(tested: SubmissionUnderTest) -> None:
    """`forward` must pass the labels on; a GenModel with a `forward` of its own is checked in part 3."""
    vae = from_submission(tested.module, "VAE")
    if getattr(tested.module, "GenModel", vae).forward is vae.forward:
        check_passes_labels(tested.model("VAE"))


def forward_pairs(tested: SubmissionUnderTest) -> None:
    """Row i of z must be sampled from the posterior of image i."""
    model = tested.model("VAE").train()
    places = torch.arange(1.0, B + 1)
    z = traced_forward(model, 100 * places[:, None].expand(B, D), torch.full((B, D), -4.0)).z
    if z.isnan().any():
        raise CheckFailed(
            "logvar used as variance: z is nan",
            "log sigma^2 is negative for every sigma below 1, and a negative number has no square root.",
        )
    nearest = (z / 100).round()
    if (nearest == 0).all():
        raise CheckFailed(
            "mu missing from z",
            "The samples of N(mu, sigma^2) have the mean mu. Which mean do the samples of your forward have?",
        )
    if not (nearest == nearest[:, :1]).all() or not torch.equal(nearest[:, 0], places):
        raise CheckFailed(
            "the latents of different images are mixed up",
            "Row i of z must be sampled from the posterior of image i; otherwise decode(z)[i] is compared "
            "with the wrong image, and the best that the decoder can learn is the mean of all images. Look "
            "for a flip, a shuffle, a reshape or a transpose between mu and z.",
        )


def forward_train(tested: SubmissionUnderTest) -> None:
    """In train mode z must be sampled from N(mu, sigma^2)."""
    model = tested.model("VAE").train()
    row = NOISE_STD.square().log()  # logvar of each latent
    mu, logvar = torch.randn(2000, D), row.expand(2000, D)
    z = traced_forward(model, mu, logvar).z
    if torch.equal(z, mu):
        raise CheckFailed(
            "no sampling in train mode: z is mu",
            "Without noise this is an autoencoder: nothing in its loss makes codes between those of the "
            "training images decode to digits.",
        )
    noise = (z - mu).detach()  # [2000, D]
    check_noise_shape(noise)
    check_noise_scale(noise.std(dim=0))
    if (noise / NOISE_STD).mean(dim=0).abs().max() > 0.15:
        raise CheckFailed("the mean of the noise is not zero", "What is the mean of eps?")


def check_noise_shape(noise: Tensor) -> None:
    """Raise CheckFailed if the noise, [N, D], is shared by images or latents, or is uniform."""
    scaled = noise / NOISE_STD
    if (noise.std(dim=0) < 1e-6).all():
        raise CheckFailed(
            "the same noise for every image", "Which shape must eps have so that every code has its own?"
        )
    if torch.allclose(scaled, scaled[:, :1].expand_as(scaled), rtol=1e-2, atol=1e-2):
        raise CheckFailed(
            "the same noise for every latent", "Which shape must eps have so that every latent has its own?"
        )
    if (scaled.mean(dim=0) - 0.5).abs().max() < 0.1 and (scaled.std(dim=0) - 12**-0.5).abs().max() < 0.05:
        raise CheckFailed("uniform noise (rand) instead of normal noise", "Which distribution does eps have?")


def check_noise_scale(std: Tensor) -> None:
    """Raise CheckFailed if the noise has the wrong standard deviation. std: [D]."""
    if torch.allclose(std, NOISE_STD, rtol=0.1):
        return
    row = NOISE_STD.square().log()
    mistakes = {
        N_("logvar used as std"): row.abs(),
        N_("logvar used as log sigma, not log sigma^2: the std of the noise is the variance"): row.exp(),
        N_("logvar used as variance"): row.abs().sqrt(),
        N_("the noise is not multiplied by sigma"): torch.ones(D),
    }
    found = [name for name, wrong in mistakes.items() if torch.allclose(std, wrong, rtol=0.1)]
    raise CheckFailed(
        (found or [N_("z has the wrong standard deviation")])[0],
        "For logvar = {low:g} the noise in z has a standard deviation of {std_low:.3f}, for logvar = "
        "{high:g} of {std_high:.3f}. logvar is log sigma^2: which sigma belongs to each of the two?",
        low=row[0],
        high=row[-1],
        std_low=std[0],
        std_high=std[-1],
    )


def gradient(tested: SubmissionUnderTest) -> None:
    """The gradient must pass through the sampling of z to mu and logvar."""
    model = tested.model("VAE").train()
    mu, logvar = torch.zeros(2, 64, D).unbind()
    mu, logvar = mu.requires_grad_(), logvar.requires_grad_()
    z = traced_forward(model, mu, logvar).z
    grads = (None, None)
    if z.requires_grad:
        grads = torch.autograd.grad(z.square().sum(), (mu, logvar), allow_unused=True)
    missing = [
        name
        for name, grad in zip(("mu", "logvar"), grads, strict=True)
        if grad is None or not grad.abs().sum() > 0
    ]
    if missing:
        text = N_("no gradient through the sampling to {name}")
        if missing[1:]:
            text = N_("no gradient through the sampling to mu and logvar")
        raise CheckFailed(
            text,
            "A random draw has no derivative: torch.normal and .sample() cut the gradient, and so do "
            "detach, no_grad and NumPy. If the random numbers are drawn first, what is z a function of?",
            name=missing[0],
        )


# --- Training -----------------------------------------------------------------------------------


def every_weight(tested: SubmissionUnderTest) -> None:
    """Every weight of the VAE must have a gradient."""
    check_every_weight(tested, "VAE", None)


def overfit(tested: SubmissionUnderTest) -> None:
    """The VAE must overfit sixteen images in a few steps."""
    model = tested.model("VAE").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(OVERFIT_STEPS):
        loss = tested.training_terms(model, tested.x, None)[0]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OVERFIT_CLIP)
        optimizer.step()
    with torch.no_grad():
        error = (model.eval()(tested.x)[0] - tested.x).square().mean().item()
    if not error < OVERFIT_MSE:
        raise CheckFailed(
            "the VAE can't overfit sixteen images: MSE {error:.3f}",
            "After {steps} steps the MSE should be below {limit}. Is an activation missing "
            "between two layers, or is there one after the last layer? Start from the layers of DemoVAE, "
            "unchanged.",
            error=error,
            steps=OVERFIT_STEPS,
            limit=OVERFIT_MSE,
        )


# --- 3 Conditional generation -------------------------------------------------------------------


def conditional_layers(tested: SubmissionUnderTest) -> None:
    """The conditional model must be constructed for any latent_dim."""
    for latent_dim in (D, 3):
        model = tested.model("GenModel", latent_dim).eval()
        for name, inputs in (("encoder", tested.x[:B]), ("decoder", torch.randn(B, latent_dim))):
            check_label_room(name, model, inputs)


def encode_labels(tested: SubmissionUnderTest) -> None:
    """The conditional `encode` must use the label of each image."""
    model, x = tested.model("GenModel").eval(), tested.x[:B]
    mu, _ = check_encode(model, x, LABELS)
    check_labels(N_("the encoder"), lambda labels: model.encode(x, labels)[0])
    single = [model.encode(x[i : i + 1], LABELS[i : i + 1])[0] for i in range(B)]
    check_independent("encode", mu, single)
    check_label_vectors(
        N_("the encoder"), model, lambda labels: model.encode(x[:1].expand(10, -1, -1), labels)
    )


def decode_labels(tested: SubmissionUnderTest) -> None:
    """The conditional `decode` must use the label of each code."""
    model, z = tested.model("GenModel").eval(), torch.randn(B, D)
    images = model.decode(z, LABELS)
    check_tensor(N_("the output of decode"), images, (B, 28, 28))
    check_range("decode", model.decode(1000 * torch.randn(64, D), torch.arange(64) % 10))
    check_labels(N_("the decoder"), lambda labels: model.decode(z, labels))
    check_independent("decode", images, [model.decode(z[i : i + 1], LABELS[i : i + 1]) for i in range(B)])
    check_label_vectors(N_("the decoder"), model, lambda labels: model.decode(z[:1].expand(10, -1), labels))


def forward_labels(tested: SubmissionUnderTest) -> None:
    """`forward` must pass the labels to encode and decode, and every weight must have a gradient."""
    check_passes_labels(tested.model("GenModel"))
    check_every_weight(tested, "GenModel", LABELS)


def generate(tested: SubmissionUnderTest) -> None:
    """`generate` must return a new image in each call, of the label that was asked for."""
    model = tested.model("GenModel").eval()
    images = model.generate(LABELS)
    check_tensor(N_("the output of generate"), images, (B, 28, 28))
    if torch.equal(images, model.generate(LABELS)):
        raise CheckFailed(
            "generate returns the same images in each call", "Which quantity in generate should be random?"
        )

    def seeded(labels: Tensor) -> Tensor:
        torch.manual_seed(1)
        return model.generate(labels)

    if torch.equal(seeded(LABELS), seeded((LABELS + 1) % 10)):
        raise CheckFailed(
            "generate ignores the labels",
            "Which of the two networks does generate call, and with which arguments?",
        )


# --- The device ---------------------------------------------------------------------------------


def device(tested: SubmissionUnderTest) -> None:
    """All outputs must be on the device of the input.

    It uses PyTorch's `meta` device, whose tensors have a shape but no values: an operation of a meta tensor
    and a CPU tensor raises an error or has a result on the CPU.
    """
    x = tested.x[:B].to("meta")
    for name, labels in (("VAE", None), ("GenModel", LABELS.to("meta"))):
        model = tested.model(name).to("meta").train()
        try:
            recon, mu, logvar = model(x, labels)
            outputs = [recon, mu, logvar, *tested.loss(recon, x, mu, logvar, 0.1)]
        except (RuntimeError, NotImplementedError) as error:
            if "device" in str(error):
                raise
            continue  # the code needs values, which meta tensors don't have: it can't be checked in this way
        if any(value.device.type != "meta" for value in outputs):
            raise CheckFailed("wrong device: an output is on another device than the input", DEVICE_HINT)
