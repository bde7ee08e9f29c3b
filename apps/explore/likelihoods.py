"""Commands of `explore.py` that estimate likelihoods: `likelihood`, `dims`.

`evaluate` gives the ELBO, log p(x) and MSE of one model.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from apps.explore.context import ExploreContext
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError
from vaelab.data.augmentation import BINARIZE_SEED, binarize
from vaelab.language import N_
from vaelab.metrics.likelihood import kl_by_latent, log_cross_entropy, log_gaussian
from vaelab.metrics.likelihood import likelihood as estimate_likelihood
from vaelab.metrics.saved_images import reconstruction
from vaelab.plotting import figure_text, new_figure, show_images

# A published table: hidden_dim, latent_dim, ELBO, log p(x) (nats per image), MSE; on the test images.
PUBLISHED = [
    (400, 20, -104.7, -98.3, 0.0163),
    (200, 20, -118.0, -107.0, 0.0224),
    (400, 10, -113.5, -104.7, 0.0207),
]
PUBLISHED_EPOCHS, SEEDS = 10, 3
# The network of that table: 784-400-400-d with ReLU.
PUBLISHED_MODEL = {"hidden_layers": 2, "activation": "relu"}
# Ten epochs are few. More and smaller steps than with train.py's defaults keep more latents active.
PUBLISHED_TRAINING = {"batch_size": 32, "lr": 1e-3}


def prior_mean(model: LoadedModel, labels: Tensor) -> Tensor | None:
    """The mean of p(z|y) for each image, [N, d]; None for N(0, I). Raises: LabError for a learned prior."""
    prior = model.config.beyond.get("prior", "standard")
    if prior == "learned":
        raise LabError(
            "{path} has a learned prior, whose density is not known: train --prior standard", path=model.path
        )
    with torch.no_grad():
        return model.model.prior.mean(labels) if prior == "class_mean" else None


def log_likelihood(model: LoadedModel) -> Callable[[Tensor, Tensor], Tensor]:
    """The function (recon, x) to log p(x|z). Raises: LabError if the model's loss is no log-likelihood."""
    recon = model.config.beyond.get("recon", "mse")
    if recon == "ssim_mse":
        raise LabError(
            "{path} was trained with SSIM in its loss, which is not a log-likelihood: train with --recon "
            "bce or mse",
            path=model.path,
        )
    if recon == "bce":
        return log_cross_entropy
    return partial(log_gaussian, var=model.config.var)


def observation_model(model: LoadedModel) -> str:
    """The observation model p(x|z) of a likelihood, in words."""
    pixels = model.config.pixels
    if model.config.beyond.get("recon", "mse") == "mse":
        return f"Gaussian of variance {model.config.var:g} on {pixels} pixels"
    names = {
        "grey": "cross-entropy on grey pixels (not a likelihood of them)",
        "binarized": f"Bernoulli on pixels binarized once, seed {BINARIZE_SEED}",
        "threshold": "Bernoulli on pixels above 1/2",
    }
    return names[pixels]


def training_pixels(model: LoadedModel, dataset: MNISTDataset) -> Tensor:
    """The images that the model's loss is computed on, [N, ...]; if binarized, with a fixed seed."""
    generator = torch.Generator().manual_seed(BINARIZE_SEED)
    x = binarize(dataset.images.cpu().float() / 255, model.config.pixels, generator)
    return x.to(dataset.images.device)


def evaluate(
    context: ExploreContext, model: LoadedModel, dataset: MNISTDataset, k: int
) -> tuple[dict[str, Any], Tensor]:
    """The means of ELBO, log p(x) and MSE (of the grey images); and log p(x) of each image."""
    x = training_pixels(model, dataset)
    labels, means = model.labels(dataset.labels), prior_mean(model, dataset.labels)
    log_p, chunk = log_likelihood(model), context.settings.chunk
    elbo, log_px = estimate_likelihood(model.model, x, labels, log_p, k, chunk, means)
    mu, _ = context.posterior(model, dataset)
    recon = context.decode(model, mu, dataset.labels)
    mse = reconstruction(recon, dataset.images.cpu().numpy())["mse"]
    return {"elbo": elbo.mean().item(), "log p(x)": log_px.mean().item(), "mse": mse}, log_px


# --- likelihood ---------------------------------------------------------------------------------


def likelihood(context: ExploreContext) -> None:
    """Draw the distribution of log p(x), and the images of highest and lowest log p(x)."""
    settings = context.settings
    if settings.table:
        likelihood_table(context)
        return
    models = context.given or [context.trained("published-h400-d20", PUBLISHED_EPOCHS, **published(400, 20))]
    kinds = {observation_model(model) for model in models}
    if len(kinds) > 1:
        raise LabError(
            "these models' likelihoods can't be compared: {kinds}. Choose models with the same one",
            kinds="; ".join(sorted(kinds)),
        )
    dataset = context.data(settings.split)
    results = [evaluate(context, model, dataset, settings.k) for model in models]
    rows = [
        {"model": model.name, "latent_dim": model.latent_dim, "epochs": model.epoch, **values}
        for model, (values, _) in zip(models, results, strict=True)
    ]
    figure = new_figure(12, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for i, (row, (_, log_px)) in enumerate(zip(rows, results, strict=True)):
        style = {"histtype": "step", "color": f"C{i}", "linestyle": ["-", "--", ":"][i % 3]}
        left.hist(log_px.numpy(), bins=80, label=row["model"], **style)
    left.set(xlabel=figure_text("log p(x), nats, K = {k}", k=settings.k), ylabel=figure_text("images"))
    left.legend(fontsize=8)
    order = results[0][1].argsort()
    extremes = torch.cat([order[-20:].flip(0), order[:20]])
    text = N_("{model}: the 20 images of highest log p(x), above the 20 of lowest")
    title = figure_text(text, model=models[0].name)
    show_images(right, dataset.images.cpu()[extremes].numpy(), 10, title)
    context.save(figure, rows, split=settings.split, k=settings.k, observation=kinds.pop())


# --- likelihood --table -------------------------------------------------------------------------


def published(hidden_dim: int, latent_dim: int) -> dict[str, Any]:
    """The options of a row of the published table."""
    return PUBLISHED_MODEL | PUBLISHED_TRAINING | {"hidden_dim": hidden_dim, "latent_dim": latent_dim}


def likelihood_table(context: ExploreContext) -> None:
    """Draw the published table and ours: means over three seeds."""
    if context.given:
        raise LabError("--table trains its own models: leave out --checkpoint_path")
    dataset = context.data("test")
    rows, summary = [], []
    for hidden_dim, latent_dim, *theirs in PUBLISHED:
        ours = []
        for seed in range(SEEDS):
            name = f"published-h{hidden_dim}-d{latent_dim}"
            model = context.trained(name, PUBLISHED_EPOCHS, seed, **published(hidden_dim, latent_dim))
            ours.append(evaluate(context, model, dataset, context.settings.k)[0])
            rows.append({"hidden_dim": hidden_dim, "latent_dim": latent_dim, "seed": seed, **ours[-1]})
        row = {"hidden_dim": hidden_dim, "latent_dim": latent_dim}
        for key, digits, value in zip(("elbo", "log p(x)", "mse"), (1, 1, 4), theirs, strict=True):
            values = [each[key] for each in ours]
            mean, std = statistics.mean(values), statistics.stdev(values)
            row[f"{key}, published"] = f"{value:.{digits}f}"
            row[f"{key}, ours"] = f"{mean:.{digits}f} ± {std:.{digits}f}"
        summary.append(row)
    figure = new_figure(9, 3.6)
    draw_table(figure.subplots(), rows)
    about = {"split": "test", "k": context.settings.k, "seeds": SEEDS}
    context.save(figure, rows, summary, "--table", **about, observation=observation_model(model))


def draw_table(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw bars of the published values and of our means. rows: SEEDS for each model, in order."""
    at = np.arange(len(PUBLISHED))
    for i, key in enumerate(("elbo", "log p(x)")):
        means = [statistics.mean(row[key] for row in rows[SEEDS * j :][:SEEDS]) for j in at]
        theirs = [row[2 + i] for row in PUBLISHED]
        for j, (values, label, hatch) in enumerate(
            ((theirs, N_("published"), "//"), (means, N_("ours"), ""))
        ):
            places, heights = at + 0.2 * (2 * i + j) - 0.3, [-value for value in values]
            style = {"color": f"C{i}", "alpha": 0.5 + 0.5 * j, "hatch": hatch}
            bars = axes.bar(
                places,
                heights,
                0.19,
                label=figure_text("-{key}, {source}", key=key, source=figure_text(label)),
                **style,
            )
            axes.bar_label(bars, fmt="%.1f", fontsize=7)
    text = N_("hidden {hidden_dim}, d = {latent_dim}")
    names = [figure_text(text, hidden_dim=row[0], latent_dim=row[1]) for row in PUBLISHED]
    axes.set(
        xticks=at, xticklabels=names, ylabel=figure_text("nats per image, lower is better"), ylim=(80, 125)
    )
    axes.legend(fontsize=8, ncols=2)


# --- dims ---------------------------------------------------------------------------------------


def dims(context: ExploreContext) -> None:
    """Draw reconstruction and ELBO against latent_dim, for each type of network."""
    valid, rows = context.data("valid"), []
    for arch in context.settings.arch:
        own = [evaluate_dim(context, valid, arch, latent_dim) for latent_dim in context.settings.latent_dims]
        base = next((row["loss (-elbo)"] for row, _ in own if row["latent_dim"] == 20), None)
        rows += [row | ({"loss to that at 20": row["loss (-elbo)"] / base} if base else {}) for row, _ in own]
    model = own[-1][1]
    figure = new_figure(11, 4)
    left, right = figure.subplots(1, 2)
    draw_dims(context, left, rows, ("loss (-elbo)", "recon", "kl"), figure_text("nats per image"))
    draw_dims(context, right, rows, ("mse",), "MSE")
    context.save(figure, rows, epochs=model.epoch, observation=observation_model(model))


def evaluate_dim(
    context: ExploreContext, valid: MNISTDataset, arch: str, latent_dim: int
) -> tuple[dict[str, Any], LoadedModel]:
    """The terms of the loss and the MSE of a network of this latent_dim; and the model."""
    options = {"arch": arch, "latent_dim": latent_dim, "hidden_dim": 400, **PUBLISHED_MODEL}
    if arch == "conv":
        options = {"arch": arch, "latent_dim": latent_dim, "hidden_layers": 1}
    model = context.trained(f"dims-{arch}-d{latent_dim}", 30, **options)
    values, _ = evaluate(context, model, valid, k=10)
    kl = kl_by_latent(*context.posterior(model, valid)).sum(dim=1).mean().item()
    loss = -values["elbo"]
    row = {"arch": arch, "latent_dim": latent_dim, "loss (-elbo)": loss, "recon": loss - kl, "kl": kl}
    return row | {"mse": values["mse"]}, model


def draw_dims(
    context: ExploreContext, axes: Axes, rows: list[dict[str, Any]], keys: tuple[str, ...], ylabel: str
) -> None:
    """Draw some values against latent_dim, a line for each and each type of network."""
    for i, arch in enumerate(context.settings.arch):
        own = [row for row in rows if row["arch"] == arch]
        for key, style in zip(keys, ("-o", "--s", ":^"), strict=False):
            points = [row["latent_dim"] for row in own], [row[key] for row in own]
            axes.plot(*points, style, color=f"C{i}", markersize=4, label=f"{arch}, {key}")
    ticks = context.settings.latent_dims
    axes.set(xscale="log", xlabel="latent_dim", xticks=ticks, xticklabels=ticks)
    axes.minorticks_off()
    axes.set(ylabel=ylabel, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
