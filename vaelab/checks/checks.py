"""The rungs of the ladder that `check.py` climbs: each looks at one thing that a submission must get right.

A rung is a function of a `Lab`. It raises `CheckFailed` if it can name what is wrong, and lets the errors of the
submission's own code pass. What it looks at is what the code does, not how it is written.
`probes.py` has what several of them need.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaelab.checks.diagnosis import CheckFailed, check_term, draws
from vaelab.checks.test_doubles import (
    LABELS,
    B,
    D,
    Lab,
    check_apart,
    check_encode,
    check_every_weight,
    check_labels,
    check_range,
    check_tensor,
    trace_forward,
    training_terms,
)

OVERFIT_STEPS, OVERFIT_MSE = 80, 0.01

# --- 2.2 The model ------------------------------------------------------------------------------


def layers(lab: Lab) -> None:
    for latent_dim in (D, 3):
        lab.model("VAE", latent_dim)


def encode(lab: Lab) -> None:
    model, x = lab.model("VAE").eval(), lab.x[:B]
    mu, logvar = check_encode(model, x, None)
    if not torch.equal(mu, model.encode(x)[0]):
        raise CheckFailed(
            "encode draws at random", "encode gives q(z|x), its two vectors. forward draws from it."
        )
    check_apart("encode", mu, [model.encode(image)[0] for image in x.split(1)])
    if torch.allclose(mu[:1], mu[1:], atol=1e-7):
        raise CheckFailed("encode gives every image the same mu", "Does x reach the layers?")
    _, wide = lab.model("VAE", 20).eval().encode(lab.x)
    if (wide >= 0).all():
        raise CheckFailed(
            "logvar can't be negative: taken as std, or cut off by relu, exp or softplus",
            "sigma is positive. What values may log sigma^2 have, and which for a sigma of 0.1? The last "
            "layer gives any number: nothing more is needed.",
        )


def decode(lab: Lab) -> None:
    model, z = lab.model("VAE").eval(), torch.randn(B, D)
    images = model.decode(z)
    check_tensor("what decode returns", images, (B, 28, 28))
    check_range("decode", model.decode(1000 * torch.randn(64, D)))
    check_apart("decode", images, [model.decode(code) for code in z.split(1)])
    if torch.allclose(images[:1], images[1:], atol=1e-7):
        raise CheckFailed("decode gives every code the same image", "Does z reach the layers?")


def forward_eval(lab: Lab) -> None:
    model, x = lab.model("VAE").eval(), lab.x[:B]
    output = model(x)
    if not isinstance(output, tuple) or len(output) != 3:
        raise CheckFailed(
            "forward returns no triple", "The trainer expects (recon, mu, logvar), in this order."
        )
    for name, value, shape in zip(
        ("recon, the first output,", "mu, the second output,", "logvar, the third output,"),
        output,
        ((B, 28, 28), (B, D), (B, D)),
        strict=True,
    ):
        check_tensor(name, value, shape)
    mu, logvar = torch.randn(2, B, D)
    found = trace_forward(model, mu, logvar)
    if not torch.equal(found.z, mu):
        raise CheckFailed(
            "sampling at eval: z is not mu in eval mode",
            "Chance is for training. In eval mode an image should have one reconstruction, the best: "
            "model.train() and model.eval() set self.training.",
        )
    if torch.equal(found.output[1], logvar):
        raise CheckFailed("forward returns mu and logvar swapped", "The trainer expects (recon, mu, logvar).")
    if not torch.equal(found.output[2], logvar) or not torch.equal(found.output[1], mu):
        raise CheckFailed(
            "forward returns something else than encode's mu and logvar",
            "The loss needs them as they came out of encode: not sigma, and not z.",
        )
    if not torch.equal(found.output[0], found.given):
        raise CheckFailed(
            "forward returns other images than decode gave, or in another order",
            "The loss holds image i of recon against image i of x.",
        )


def forward_pairs(lab: Lab) -> None:
    model = lab.model("VAE").train()
    places = torch.arange(1.0, B + 1)
    z = trace_forward(model, 100 * places[:, None].expand(B, D), torch.full((B, D), -4.0)).z
    if z.isnan().any():
        raise CheckFailed(
            "logvar taken as variance: z is nan",
            "log sigma^2 is negative for every sigma below 1, and a negative number has no root.",
        )
    nearest = (z / 100).round()
    if (nearest == 0).all():
        raise CheckFailed(
            "mu missing from z", "A draw from N(mu, sigma^2) lies around mu. Around what does yours lie?"
        )
    if not (nearest == nearest[:, :1]).all() or not torch.equal(nearest[:, 0], places):
        raise CheckFailed(
            "a latent is paired with another image's",
            "Row i of z must be drawn from the posterior of image i, or decode(z)[i] is held against the "
            "wrong image: then the best that the decoder can do is the mean of all. Look for a flip, a "
            "shuffle, a reshape or a transpose on the way from mu to z.",
        )


def forward_train(lab: Lab) -> None:
    model = lab.model("VAE").train()
    row = torch.tensor([-4.0, -2.0, 0.5, 1.5, 2.5, 3.0])
    mu, logvar = torch.randn(2000, D), row.expand(2000, D)
    z = trace_forward(model, mu, logvar).z
    if torch.equal(z, mu):
        raise CheckFailed(
            "no sampling in train mode: z is mu",
            "Without the noise this is an autoencoder: nothing makes the space between the codes decode "
            "well.",
        )
    noise = (z - mu).detach()
    std = noise.std(dim=0)  # [D]
    scaled = noise / row.div(2).exp()
    if (std < 1e-6).all():
        raise CheckFailed(
            "the same noise for every image", "Which shape must eps have so that each code has its own?"
        )
    if torch.allclose(scaled, scaled[:, :1].expand_as(scaled), rtol=1e-2, atol=1e-2):
        raise CheckFailed(
            "the same noise for every latent", "Which shape must eps have so that each number has its own?"
        )
    if (scaled.mean(dim=0) - 0.5).abs().max() < 0.1 and (scaled.std(dim=0) - 12**-0.5).abs().max() < 0.05:
        raise CheckFailed(
            "uniform noise (rand) in place of normal noise", "Which distribution does eps have?"
        )
    takes = {
        "logvar taken as std": row.abs(),
        "logvar taken as log sigma, not log sigma^2: the noise has the variance as its std": row.exp(),
        "logvar taken as variance": row.abs().sqrt(),
        "the noise is not scaled by sigma": torch.ones(D),
    }
    if not torch.allclose(std, row.div(2).exp(), rtol=0.1):
        found = [name for name, wrong in takes.items() if torch.allclose(std, wrong, rtol=0.1)]
        raise CheckFailed(
            found[0] if found else "z has the wrong standard deviation",
            f"For logvar = {row[0]:g} the noise of your z has a standard deviation of {std[0]:.3f}, for "
            f"logvar = {row[-1]:g} of {std[-1]:.3f}. logvar is log sigma^2: which sigma do these two mean?",
        )
    if scaled.mean(dim=0).abs().max() > 0.15:
        raise CheckFailed("the noise is not centred at mu", "What is the mean of eps?")


def gradient(lab: Lab) -> None:
    model = lab.model("VAE").train()
    mu, logvar = torch.zeros(2, 64, D).unbind()
    mu, logvar = mu.requires_grad_(), logvar.requires_grad_()
    z = trace_forward(model, mu, logvar).z
    slopes = (None, None)
    if z.requires_grad:
        slopes = torch.autograd.grad(z.square().sum(), (mu, logvar), allow_unused=True)
    missing = [
        name
        for name, slope in zip(("mu", "logvar"), slopes, strict=True)
        if slope is None or not slope.abs().sum() > 0
    ]
    if missing:
        raise CheckFailed(
            f"reparameterization without gradient: none reaches {' and '.join(missing)}",
            "A draw has no derivative: torch.normal and .sample() end the gradient, as detach, no_grad and "
            "NumPy do. What is z a function of, if the chance in it is drawn beforehand?",
        )


# --- 2.3 The loss -------------------------------------------------------------------------------


def loss_shape(lab: Lab) -> None:
    draw = draws()[0]
    mu = draw.mu.clone().requires_grad_()
    recon = draw.recon.clone().requires_grad_()
    output = lab.loss(recon, draw.x, mu, draw.logvar, draw.var)
    if not isinstance(output, tuple) or len(output) != 3:
        raise CheckFailed("vae_loss returns no triple", "The trainer expects (loss, recon_term, kl_term).")
    for name, term in zip(("loss", "recon_term", "kl_term"), output, strict=True):
        if isinstance(term, Tensor) and tuple(term.shape) == (B,):
            raise CheckFailed(f"{name} is one number for each image", "It should be their mean: one number.")
        check_tensor(name, term, (), finite=False)
    if not all(slope.requires_grad for slope in output):
        raise CheckFailed(
            "vae_loss returns numbers without gradient",
            ".item(), detach and NumPy end the gradient: then the optimizer moves nothing.",
        )


def terms(lab: Lab) -> list[list[float]]:
    """(loss, recon_term, kl_term) of each of `draws()`."""
    return [[term.item() for term in lab.loss(*draw)] for draw in draws()]


def swapped(values: list[list[float]]) -> None:
    """Raises: CheckFailed if the two terms are right and in each other's place."""
    try:
        check_term("KL", [value[1] for value in values])
        check_term("reconstruction", [value[2] for value in values])
    except CheckFailed:
        return
    raise CheckFailed(
        "vae_loss returns the KL term before the reconstruction's", "The order is in its docstring."
    )


def loss_kl(lab: Lab) -> None:
    values = terms(lab)
    swapped(values)
    check_term("KL", [value[2] for value in values])


def loss_recon(lab: Lab) -> None:
    check_term("reconstruction", [value[1] for value in terms(lab)])


def loss_sum(lab: Lab) -> None:
    for loss, recon_term, kl_term in terms(lab):
        for name, wrong in (
            ("loss is the reconstruction less the KL: wrong sign", recon_term - kl_term),
            ("loss is the KL less the reconstruction: wrong sign", kl_term - recon_term),
            ("loss is the ELBO, not its negative: wrong sign", -recon_term - kl_term),
            ("loss leaves out the KL term", recon_term),
            ("loss leaves out the reconstruction term", kl_term),
        ):
            if abs(loss - wrong) < 1e-4 * abs(wrong):
                raise CheckFailed(
                    name, "The loss is what is minimised. Which of its two terms should become small?"
                )
        if abs(loss - recon_term - kl_term) > 1e-4 * abs(loss):
            raise CheckFailed(
                "loss is not the sum of its two terms",
                f"They are {recon_term:.4f} and {kl_term:.4f}; loss is {loss:.4f}. Each has its "
                "weight already.",
            )


# --- It learns ----------------------------------------------------------------------------------


def every_weight(lab: Lab) -> None:
    check_every_weight(lab, "VAE", None)


def overfit(lab: Lab) -> None:
    model = lab.model("VAE").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(OVERFIT_STEPS):
        loss = training_terms(lab, model, lab.x, None)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = (model.eval()(lab.x)[0] - lab.x).square().mean().item()
    if not error < OVERFIT_MSE:
        raise CheckFailed(
            f"the VAE can't learn sixteen images by heart: MSE {error:.3f}",
            f"After {OVERFIT_STEPS} steps it should be below {OVERFIT_MSE}. Is a layer missing between two "
            "others, or an activation after the last one? Begin with the layers of DemoVAE, as they are.",
        )


# --- 3 Conditional generation -------------------------------------------------------------------


def conditional_layers(lab: Lab) -> None:
    for latent_dim in (D, 3):
        lab.model("GenModel", latent_dim)


def encode_labels(lab: Lab) -> None:
    model, x = lab.model("GenModel").eval(), lab.x[:B]
    mu, _ = check_encode(model, x, LABELS)
    check_labels("the encoder", lambda labels: model.encode(x, labels)[0])
    alone = [model.encode(x[i : i + 1], LABELS[i : i + 1])[0] for i in range(B)]
    check_apart("encode", mu, alone)


def decode_labels(lab: Lab) -> None:
    model, z = lab.model("GenModel").eval(), torch.randn(B, D)
    images = model.decode(z, LABELS)
    check_tensor("what decode returns", images, (B, 28, 28))
    check_range("decode", model.decode(1000 * torch.randn(64, D), torch.arange(64) % 10))
    check_labels("the decoder", lambda labels: model.decode(z, labels))
    check_apart("decode", images, [model.decode(z[i : i + 1], LABELS[i : i + 1]) for i in range(B)])


def forward_labels(lab: Lab) -> None:
    found = trace_forward(lab.model("GenModel").train(), *torch.randn(2, B, D), LABELS)
    for name, labels in zip(("encode", "decode"), found.labels, strict=True):
        if labels is None or not torch.equal(labels, LABELS):
            raise CheckFailed(
                f"forward drops the labels on the way to {name}",
                "forward is given labels. GenModel inherits it, and has no other way to learn them.",
            )
    check_every_weight(lab, "GenModel", LABELS)


def generate(lab: Lab) -> None:
    model = lab.model("GenModel").eval()
    images = model.generate(LABELS)
    check_tensor("what generate returns", images, (B, 28, 28))
    if torch.equal(images, model.generate(LABELS)):
        raise CheckFailed("generate draws the same images each time", "Where does its chance come from?")

    def of(labels: Tensor) -> Tensor:
        torch.manual_seed(1)
        return model.generate(labels)

    if torch.equal(of(LABELS), of((LABELS + 1) % 10)):
        raise CheckFailed(
            "generate ignores the labels", "Which of the two networks is called here, and with what?"
        )


# --- Anywhere -----------------------------------------------------------------------------------


def device(lab: Lab) -> None:
    """PyTorch's `meta` device holds shapes and no numbers: what is made on another one shows at once."""
    x = lab.x[:B].to("meta")
    for name, labels in (("VAE", None), ("GenModel", LABELS.to("meta"))):
        model = lab.model(name).to("meta").train()
        try:
            recon, mu, logvar = model(x, labels)
            outputs = [recon, mu, logvar, *lab.loss(recon, x, mu, logvar, 0.1)]
        except (RuntimeError, NotImplementedError) as error:
            if "device" in str(error):
                raise
            continue  # it needs numbers, which are not there: nothing to say of devices
        if any(value.device.type != "meta" for value in outputs):
            raise CheckFailed("wrong device: an output is not where the input is", DEVICE_HINT)


DEVICE_HINT = (
    "The trainer moves the model and the images to one device. A tensor that your code makes by itself lies "
    "on the CPU unless it is told otherwise: how does randn learn where to draw, and randn_like?"
)
