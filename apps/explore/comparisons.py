"""Commands of `explore.py` that draw images of several models: `classes`, `compare`, `colour`."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from tqdm import tqdm

from apps.explore.context import ExploreContext
from apps.explore.likelihoods import evaluate, observation_model
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel
from vaelab.inference import generate_all, reconstruct
from vaelab.language import N_, _
from vaelab.metrics.classifier import classify, load_classifier
from vaelab.metrics.fid import GEN_PER_LABEL, fid
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import score as compute_score
from vaelab.plotting import figure_text, new_figure, show_images

COLOUR_EPOCHS = 50  # for a part of CIFAR-10; all of CIFAR-10 needs fewer
COLOUR_MODELS = {
    "MLP, MNIST's sizes": {"arch": "mlp", "activation": "relu", "hidden_dim": 400, "latent_dim": 20},
    "MLP, wider": {"arch": "mlp", "activation": "relu", "hidden_dim": 1600, "latent_dim": 100},
    "conv, ReLU": {"arch": "conv", "activation": "relu", "hidden_dim": 512, "latent_dim": 100},
    "conv, LeakyReLU": {"arch": "conv", "activation": "leaky_relu", "hidden_dim": 512, "latent_dim": 100},
}


def classes(context: ExploreContext) -> None:
    """Draw samples of each label from models with three different priors."""
    valid, rows, samples = context.data("valid"), [], []
    classifier = load_classifier(MNISTDataset("train", context.dataset, context.settings.data_dir))
    # The convolutional network, trained for a few epochs.
    options = {"task": "Genwithlabel", "arch": "conv", "hidden_layers": 1, "latent_dim": 20}
    options |= {"recon": "ssim_mse", "augment": 1.0}
    for prior in ("standard", "class_mean", "learned"):
        model = context.trained(f"classes-{prior}", 2, **options, prior=prior)
        values, gen = score_model(context, model, valid)
        predicted, _features = classify(classifier, gen.reshape(-1, *gen.shape[2:]))
        accuracy = float(np.mean(predicted == np.arange(10).repeat(gen.shape[1])))
        rows.append({"prior": prior, **values, "label accuracy": accuracy})
        samples.append(np.concatenate(gen[:, :10]))
    figure = new_figure(13, 4.9)
    for axes, row, images in zip(figure.subplots(1, 3), rows, samples, strict=True):
        score, accuracy = row["score_uncapped"], row["label accuracy"]
        text = N_("{prior}\nscore {score:.2f} before the cap, label accuracy {accuracy:.1%}")
        title = figure_text(text, prior=row["prior"], score=score, accuracy=accuracy)
        show_images(axes, images, 10, title)
    context.save(figure, rows, split="valid", epochs=model.epoch)


def score_model(
    context: ExploreContext, model: LoadedModel, valid: MNISTDataset
) -> tuple[dict[str, float], np.ndarray]:
    """`ssim`, `mse`, `fid` and `score_uncapped` of a conditional model; and its generated images."""
    images, labels = valid.images.cpu().numpy(), valid.labels.cpu().numpy()
    with tqdm(total=len(valid) + 10 * GEN_PER_LABEL, disable=None, unit=_("image")) as bar:
        recon = reconstruct(model, valid, False, bar)
        gen = generate_all(model.model, images.shape[1:], context.device, bar)
    values = reconstruction(recon, images) | {"fid": float(np.mean(fid(gen, images, labels)))}
    score = compute_score(model.task.name, values, model.latent_dim)
    return values | {"score_uncapped": score["score_uncapped"]}, gen


def compare(context: ExploreContext) -> None:
    """Draw the reconstructions of the same images by several models, a row for each model."""
    valid = context.data("valid")
    x = valid.images.cpu().numpy()
    chosen = torch.tensor([int((valid.labels == y).nonzero()[i]) for y in range(10) for i in range(2)])
    rows, images, names = [], [x[chosen]], [figure_text("original")]
    for model in context.given_or_two():
        with tqdm(total=len(valid), disable=None, unit=_("image")) as bar:
            recon = reconstruct(model, valid, False, bar)
        values = reconstruction(recon, x)
        rows.append({"model": model.name, "latent_dim": model.latent_dim, **values})
        images.append(recon[chosen])
        names.append(f"{model.name}\nMSE {values['mse']:.4f}, SSIM {values['ssim']:.3f}")
    figure = new_figure(12, 0.3 + 0.54 * len(images))
    axes = figure.subplots()
    show_rows(axes, images, names)
    context.save(figure, rows, split="valid")


def colour(context: ExploreContext) -> None:
    """Draw reconstructions and samples of four networks on images in colour."""
    test = context.data("test")
    chosen = np.linspace(0, len(test) - 1, 12).astype(int)
    recons, samples, rows = [test.images.cpu().numpy()[chosen]], [], []
    common = {"recon": "mse", "var": 0.01, "hidden_layers": 1, "augment": 1.0}
    for i, (name, options) in enumerate(COLOUR_MODELS.items()):
        model = context.trained(f"colour-{i}", COLOUR_EPOCHS, **options | common)
        values, _log_px = evaluate(context, model, test, k=10)
        row = {"model": name, "latent_dim": model.latent_dim, "elbo": values["elbo"], "mse": values["mse"]}
        rows.append(row)
        mu, _logvar = context.posterior(model, test)
        recons.append(context.decode(model, mu[chosen], test.labels[chosen]))
        samples.append(context.decode(model, torch.randn(12, model.latent_dim, device=context.device)))
    figure = new_figure(13, 3.2)
    left, right = figure.subplots(1, 2)
    names = [f"{row['model']}\nELBO {row['elbo']:,.0f}, MSE {row['mse']:.4f}" for row in rows]
    show_rows(left, recons, [figure_text("original"), *names], figure_text("test images, reconstructed"))
    show_rows(right, samples, [""] * len(samples), figure_text("samples"))
    for axes in (left, right):
        axes.set(anchor="S")
    about = {"training_images": len(context.data("train"))}
    context.save(
        figure, rows, split="test", epochs=model.epoch, observation=observation_model(model), **about
    )


def show_rows(axes: Axes, rows: list[np.ndarray], names: list[str], title: str = "") -> None:
    """Draw rows of images, uint8 [columns, ...] each, with a name beside each row."""
    extent = (0, len(rows[0]), 0, len(rows))
    show_images(axes, np.concatenate(rows), len(rows[0]), title, extent=extent)
    axes.set_yticks(np.arange(len(rows))[::-1] + 0.5, names, fontsize=8)
    axes.set(xticks=[], aspect="equal")
    if not any(names):
        axes.set_yticks([])
