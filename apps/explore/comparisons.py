"""Commands of `explore.py` that hold models against each other.

`likelihood`, `dims`, `classes`, `compare`, `colour`. Each takes a `Experiment`, trains or loads what it
needs, and saves a figure and its numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from apps.explore.models import Experiment
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError
from vaelab.data.augmentation import BINARIZE_SEED, binarize
from vaelab.inference import generate_all, reconstruct
from vaelab.metrics.classifier import load_classifier, read
from vaelab.metrics.fid import GEN_PER_LABEL, fid
from vaelab.metrics.likelihood import kl_by_latent, log_cross_entropy, log_gaussian
from vaelab.metrics.likelihood import likelihood as estimate_likelihood
from vaelab.metrics.reconstruction import reconstruction
from vaelab.metrics.score import score as compute_score
from vaelab.plotting import new_figure, show_images

DIMS = (1, 2, 5, 10, 20, 40, 100)
# The written material's table: hidden_dim, latent_dim, ELBO, log p(x) (nats per image), MSE; test images.
PUBLISHED = [
    (400, 20, -104.7, -98.3, 0.0163),
    (200, 20, -118.0, -107.0, 0.0224),
    (400, 10, -113.5, -104.7, 0.0207),
]
PUBLISHED_EPOCHS = 10
# 784-400-400-d with ReLU: the network of that table.
PUBLISHED_MODEL = {"hidden_layers": 2, "activation": "relu"}
# Ten epochs are few: more and shorter steps than train.py's defaults keep more latent dimensions in use.
PUBLISHED_TRAINING = {"batch_size": 32, "lr": 1e-3}
COLOUR_EPOCHS = 50  # on a part of CIFAR-10; the whole of it needs fewer
COLOUR_MODELS = {
    "MLP, MNIST's sizes": {"arch": "mlp", "activation": "relu", "hidden_dim": 400, "latent_dim": 20},
    "MLP, wider": {"arch": "mlp", "activation": "relu", "hidden_dim": 1600, "latent_dim": 100},
    "conv, ReLU": {"arch": "conv", "activation": "relu", "hidden_dim": 512, "latent_dim": 100},
    "conv, LeakyReLU": {"arch": "conv", "activation": "leaky_relu", "hidden_dim": 512, "latent_dim": 100},
}


# --- Likelihoods --------------------------------------------------------------------------------


def prior_mean(model: LoadedModel, labels: Tensor) -> Tensor | None:
    """The mean of p(z|y) for each image, [N, d]; None for N(0, I). Raises: LabError for a learned prior."""
    prior = model.config.beyond.get("prior", "standard")
    if prior == "learned":
        raise LabError(
            f"{model.path} has a learned prior, whose density is not known: train --prior standard"
        )
    with torch.no_grad():
        return model.model.prior.mean(labels) if prior == "class_mean" else None


def log_p_of(model: LoadedModel) -> Callable[[Tensor, Tensor], Tensor]:
    """log p(x|z) of the model's decoder: what its reconstruction loss is the negative of."""
    recon = model.config.beyond.get("recon", "mse")
    if recon == "ssim_mse":
        raise LabError(f"{model.path} minimises SSIM, which is no log-likelihood: train --recon bce")
    if recon == "bce":
        return log_cross_entropy
    return partial(log_gaussian, var=model.config.var)


def pixels_of(model: LoadedModel) -> str:
    """What the model's loss saw: see `binarize`."""
    return model.config.pixels


def as_trained(model: LoadedModel, dataset: MNISTDataset) -> Tensor:
    """All images as the model's loss sees them, [N, ...]; binarized once, with a stored seed."""
    generator = torch.Generator().manual_seed(BINARIZE_SEED)
    return binarize(dataset.images.cpu().float() / 255, pixels_of(model), generator).to(dataset.images.device)


def observation(model: LoadedModel) -> str:
    """The observation model that a likelihood is one of."""
    if model.config.beyond.get("recon", "mse") == "mse":
        return f"Gaussian of variance {model.config['var']:g} on {pixels_of(model)} pixels"
    name = {
        "grey": "cross-entropy on grey pixels (not a likelihood of them)",
        "binarized": f"Bernoulli on pixels binarized once, seed {BINARIZE_SEED}",
        "threshold": "Bernoulli on pixels above 1/2",
    }
    return name[pixels_of(model)]


def evaluate(
    experiment: Experiment, model: LoadedModel, dataset: MNISTDataset, k: int
) -> tuple[dict[str, Any], Tensor]:
    """ELBO, log p(x) and MSE of the grey images, averaged; and log p(x) of each image."""
    x = as_trained(model, dataset)
    labels = model.labels(dataset.labels)
    elbo, log_px = estimate_likelihood(
        model.model, x, labels, log_p_of(model), k, experiment.args.chunk, prior_mean(model, dataset.labels)
    )
    mu, _ = experiment.posterior(model, dataset)
    recon = experiment.decode(model, mu, dataset.labels)
    mse = reconstruction(recon, dataset.images.cpu().numpy())["mse"]
    return {"elbo": elbo.mean().item(), "log p(x)": log_px.mean().item(), "mse": mse}, log_px


def likelihood(experiment: Experiment) -> None:
    """ELBO, importance-sampled log p(x) and MSE, in nats per image."""
    if experiment.args.table:
        likelihood_table(experiment)
        return
    models = experiment.given or [
        experiment.trained("published-h400-d20", PUBLISHED_EPOCHS, **published(400, 20))
    ]
    kinds = {observation(model) for model in models}
    if len(kinds) > 1:
        raise LabError(
            f"these models' likelihoods can't be compared: {'; '.join(sorted(kinds))}. Name some of one"
        )
    dataset = experiment.data(experiment.args.split)
    results = [evaluate(experiment, model, dataset, experiment.args.k) for model in models]
    rows = [
        {"model": model.name, "latent_dim": model.latent_dim, "epochs": model.epoch, **values}
        for model, (values, _) in zip(models, results, strict=True)
    ]
    figure = new_figure(12, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for i, (row, (_, log_px)) in enumerate(zip(rows, results, strict=True)):
        style = {"histtype": "step", "color": f"C{i}", "linestyle": ["-", "--", ":"][i % 3]}
        left.hist(log_px.numpy(), bins=80, label=row["model"], **style)
    left.set(xlabel=f"log p(x), nats, K = {experiment.args.k}", ylabel="images")
    left.legend(fontsize=8)
    order = results[0][1].argsort()
    chosen = dataset.images.cpu()[torch.cat([order[-20:].flip(0), order[:20]])].numpy()
    show_images(right, chosen, 10, f"{models[0].name}: the likeliest 20, above the least likely 20")
    experiment.save(figure, rows, split=experiment.args.split, k=experiment.args.k, observation=kinds.pop())


def published(hidden_dim: int, latent_dim: int) -> dict[str, Any]:
    """Options of a row of the published table."""
    return PUBLISHED_MODEL | PUBLISHED_TRAINING | {"hidden_dim": hidden_dim, "latent_dim": latent_dim}


def likelihood_table(experiment: Experiment) -> None:
    """The published table, and ours beside it: means over three seeds."""
    if experiment.given:
        raise LabError("--table trains its own models: leave --checkpoint_path out")
    dataset = experiment.data("test")
    rows, summary = [], []
    for hidden_dim, latent_dim, *theirs in PUBLISHED:
        ours = []
        for seed in range(3):
            name = f"published-h{hidden_dim}-d{latent_dim}"
            model = experiment.trained(name, PUBLISHED_EPOCHS, seed, **published(hidden_dim, latent_dim))
            values, _ = evaluate(experiment, model, dataset, experiment.args.k)
            ours.append(values)
            rows.append({"hidden_dim": hidden_dim, "latent_dim": latent_dim, "seed": seed, **values})
        row = {"hidden_dim": hidden_dim, "latent_dim": latent_dim}
        for key, digits, value in zip(("elbo", "log p(x)", "mse"), (1, 1, 4), theirs, strict=True):
            of_seeds = [values[key] for values in ours]
            row[f"{key}, published"] = f"{value:.{digits}f}"
            row[f"{key}, ours"] = (
                f"{statistics.mean(of_seeds):.{digits}f} ± {statistics.stdev(of_seeds):.{digits}f}"
            )
        summary.append(row)
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    names = [f"hidden {hidden_dim}, d = {latent_dim}" for hidden_dim, latent_dim, *_ in PUBLISHED]
    at = np.arange(len(names))
    for i, key in enumerate(("elbo", "log p(x)")):
        means = [statistics.mean(row[key] for row in rows[3 * j : 3 * j + 3]) for j in range(len(names))]
        for j, (values, label, hatch) in enumerate(
            (([row[2 + i] for row in PUBLISHED], "published", "//"), (means, "ours", ""))
        ):
            bars = axes.bar(
                at + 0.2 * (2 * i + j) - 0.3,
                [-value for value in values],
                0.19,
                label=f"-{key}, {label}",
                color=f"C{i}",
                alpha=0.5 + 0.5 * j,
                hatch=hatch,
            )
            axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set(xticks=at, xticklabels=names, ylabel="nats per image, lower is better", ylim=(80, 125))
    axes.legend(fontsize=8, ncols=2)
    about = {"split": "test", "k": experiment.args.k, "seeds": 3, "observation": observation(model)}
    experiment.save(figure, rows, summary, "--table", **about)


def dims(experiment: Experiment) -> None:
    """Reconstruction and ELBO against latent_dim, for the MLP and the convolutional network."""
    valid = experiment.data("valid")
    rows = []
    for arch in experiment.args.arch:
        for latent_dim in experiment.args.latent_dims:
            options = {"arch": arch, "latent_dim": latent_dim, "hidden_dim": 400, **PUBLISHED_MODEL}
            if arch == "conv":
                options = {"arch": arch, "latent_dim": latent_dim, "hidden_layers": 1}
            model = experiment.trained(f"dims-{arch}-d{latent_dim}", 30, **options)
            values, _ = evaluate(experiment, model, valid, k=10)
            mu, logvar = experiment.posterior(model, valid)
            kl = kl_by_latent(mu, logvar).sum(dim=1).mean().item()
            rows.append(
                {
                    "arch": arch,
                    "latent_dim": latent_dim,
                    "loss (-elbo)": -values["elbo"],
                    "recon": -values["elbo"] - kl,
                    "kl": kl,
                    "mse": values["mse"],
                }
            )
        base = next(
            (row["loss (-elbo)"] for row in rows if (row["arch"], row["latent_dim"]) == (arch, 20)), None
        )
        for row in rows:
            if row["arch"] == arch and base:
                row["loss to that at 20"] = row["loss (-elbo)"] / base
    figure = new_figure(11, 4)
    for axes, keys in zip(figure.subplots(1, 2), (("loss (-elbo)", "recon", "kl"), ("mse",)), strict=True):
        for i, arch in enumerate(experiment.args.arch):
            of_arch = [row for row in rows if row["arch"] == arch]
            for key, style in zip(keys, ("-o", "--s", ":^"), strict=False):
                axes.plot(
                    [row["latent_dim"] for row in of_arch],
                    [row[key] for row in of_arch],
                    style,
                    color=f"C{i}",
                    markersize=4,
                    label=f"{arch}, {key}",
                )
        axes.set(
            xscale="log",
            xlabel="latent_dim",
            xticks=experiment.args.latent_dims,
            xticklabels=experiment.args.latent_dims,
        )
        axes.minorticks_off()
        axes.set(ylabel="nats per image" if len(keys) > 1 else "MSE", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    experiment.save(figure, rows, epochs=model.epoch, observation=observation(model))


# --- Pictures side by side ----------------------------------------------------------------------


def classes(experiment: Experiment) -> None:
    """Three ways to condition on a class, ten rows of samples each, with score and label accuracy."""
    valid = experiment.data("valid")
    images, labels = valid.images.cpu().numpy(), valid.labels.cpu().numpy()
    classifier = load_classifier(MNISTDataset("train", experiment.dataset, experiment.args.data_dir))
    # train.py's own model, trained for a little while.
    options = {
        "task": "Genwithlabel",
        "arch": "conv",
        "hidden_layers": 1,
        "recon": "ssim_mse",
        "augment": 1.0,
    }
    figure = new_figure(13, 4.9)
    rows = []
    for axes, prior in zip(figure.subplots(1, 3), ("standard", "class_mean", "learned"), strict=True):
        model = experiment.trained(f"classes-{prior}", 2, **options, prior=prior, latent_dim=20)
        with tqdm(total=len(valid) + 10 * GEN_PER_LABEL, disable=None, unit="image") as bar:
            recon = reconstruct(model, valid, False, bar)
            gen = generate_all(model.model, images.shape[1:], experiment.device, bar)
        values = reconstruction(recon, images) | {"fid": float(np.mean(fid(gen, images, labels)))}
        score = compute_score(model.task.name, values, model.latent_dim)["score_uncapped"]
        seen, _ = read(classifier, gen.reshape(-1, *gen.shape[2:]))
        accuracy = float(np.mean(seen.numpy() == np.arange(10).repeat(gen.shape[1])))
        rows.append({"prior": prior, **values, "score_uncapped": score, "label accuracy": accuracy})
        title = f"{prior}\nscore {score:.2f} before the cap, label accuracy {accuracy:.1%}"
        show_images(axes, np.concatenate(gen[:, :10]), 10, title)
    experiment.save(figure, rows, split="valid", epochs=model.epoch)


def compare(experiment: Experiment) -> None:
    """The same images reconstructed by any number of checkpoints."""
    models = experiment.given_or_two()
    valid = experiment.data("valid")
    x = valid.images.cpu().numpy()
    chosen = torch.tensor(
        [int((valid.labels == label).nonzero()[i]) for label in range(10) for i in range(2)]
    )
    rows = []
    recons = [x[chosen]]
    for model in models:
        with tqdm(total=len(valid), disable=None, unit="image") as bar:
            recon = reconstruct(model, valid, False, bar)
        rows.append({"model": model.name, "latent_dim": model.latent_dim, **reconstruction(recon, x)})
        recons.append(recon[chosen])
    figure = new_figure(12, 0.3 + 0.54 * len(recons))
    axes = figure.subplots()
    show_images(axes, np.concatenate(recons), len(chosen), extent=(0, len(chosen), 0, len(recons)))
    names = ["original"] + [f"{row['model']}\nMSE {row['mse']:.4f}, SSIM {row['ssim']:.3f}" for row in rows]
    axes.set_yticks(np.arange(len(recons))[::-1] + 0.5, names, fontsize=9)
    axes.set(xticks=[], aspect="equal")
    experiment.save(figure, rows, split="valid")


def colour(experiment: Experiment) -> None:
    """Four networks on images in colour: reconstructions, ELBO and MSE."""
    test = experiment.data("test")
    x = test.images.cpu().numpy()
    chosen = np.linspace(0, len(x) - 1, 12).astype(int)
    recons, samples, rows = [x[chosen]], [], []
    for i, (name, options) in enumerate(COLOUR_MODELS.items()):
        common = {"recon": "mse", "var": 0.01, "hidden_layers": 1, "augment": 1.0}
        model = experiment.trained(f"colour-{i}", COLOUR_EPOCHS, **options | common)
        values, _ = evaluate(experiment, model, test, k=10)
        rows.append(
            {"model": name, "latent_dim": model.latent_dim, "elbo": values["elbo"], "mse": values["mse"]}
        )
        mu, _ = experiment.posterior(model, test)
        recons.append(experiment.decode(model, mu[chosen], test.labels[chosen]))
        samples.append(experiment.decode(model, torch.randn(12, model.latent_dim, device=experiment.device)))
    figure = new_figure(13, 3.2)
    left, right = figure.subplots(1, 2)
    names = ["original"] + [f"{row['model']}\nELBO {row['elbo']:,.0f}, MSE {row['mse']:.4f}" for row in rows]
    for axes, parts, title in (
        (left, recons, "test images, reconstructed"),
        (right, [x[:0], *samples], "samples"),
    ):
        images = np.concatenate([part for part in parts if len(part)])
        count = len(images) // 12
        show_images(axes, images, 12, title, extent=(0, 12, 0, count))
        axes.set_yticks(np.arange(count)[::-1] + 0.5, names[-count:], fontsize=8)
        axes.set(xticks=[], aspect="equal", anchor="S")
    right.set_yticks([])
    experiment.save(
        figure,
        rows,
        split="test",
        epochs=model.epoch,
        observation=observation(model),
        training_images=len(experiment.data("train")),
    )
