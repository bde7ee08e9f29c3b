"""`explore.py discrete`: discrete codes beside Gaussian ones. `discrete_colour.py` is for images in colour.

The rate of a code is counted in bits an image: for the Gaussian model the mean KL of its posterior from the
prior, for indices their entropy under the prior, -log2 p(s), and beside it log2 K for each index. The
distortion of the Gaussian model is that of a sampled code, since the KL is the price of a sample.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apps.explore.comparisons import score_model, show_rows
from apps.explore.context import ExploreContext
from apps.explore.discrete_colour import draw_colour
from beyond.discrete.quantizer import code_frequencies, perplexity
from data_utils import MNISTDataset
from vaelab.checkpoint import LoadedModel
from vaelab.config import SUBMISSION_MODEL
from vaelab.inference import BATCH
from vaelab.metrics.classifier import classify, load_classifier
from vaelab.metrics.likelihood import kl_by_latent
from vaelab.metrics.reconstruction import mse, to_uint8
from vaelab.plotting import new_figure, show_images

EPOCHS = 10
TASK = {"task": "Genwithlabel", "channels": 16}
INDICES = TASK | {"prior_share": 0.5}  # small networks need fewer steps than the prior
# `var` small enough that the size of the code decides the rate.
GAUSSIAN = TASK | {"arch": "conv", "hidden_dim": 256, "hidden_layers": 1, "recon": "mse", "var": 0.002}
LATENT_DIMS, NUM_CODES = (8, 16, 32, 64), (16, 64, 256, 1024)
SHOWN_CODES = 64  # the size whose images are shown
NAMES = {SUBMISSION_MODEL: "VAE", "vq": "VQ", "fsq": "FSQ"}


def discrete(context: ExploreContext) -> None:
    """Draw the figures: reconstructions, rate and distortion, usage, single indices, samples."""
    if context.dataset == "cifar10":
        draw_colour(context)
        return
    models = [context.trained(f"discrete-vae-d{d}", EPOCHS, **GAUSSIAN, latent_dim=d) for d in LATENT_DIMS]
    models += [
        context.trained(f"discrete-{model}-k{codes}", EPOCHS, **INDICES, model=model, num_codes=codes)
        for model in ("vq", "fsq")
        for codes in NUM_CODES
    ]
    largest = f"k{NUM_CODES[-1]}"
    options = INDICES | {"model": "vq", "num_codes": NUM_CODES[-1], "restart_below": 0.0}
    without = context.trained(f"discrete-vq-{largest}-norestarts", EPOCHS, **options)
    vq, fsq = (find(models, f"discrete-{name}-{largest}") for name in ("vq", "fsq"))
    valid = context.data("valid")
    rates = {model.name: rate_and_distortion(model, valid) for model in models}
    equal = at_equal_rate(models, rates)
    about = {"epochs": models[0].epoch, "training_images": context.train_size()}
    draw_rates(context, models, rates, about)
    draw_reconstructions(context, equal, rates, about)
    draw_usage(context, [vq, without, fsq], valid, about)
    draw_single_indices(context, equal[1:], valid, about)
    draw_samples(context, equal, valid, about)


# --- Rate and distortion ------------------------------------------------------------------------


@torch.no_grad()
def rate_and_distortion(model: LoadedModel, data: MNISTDataset) -> dict[str, Any]:
    """Bits and MSE of an image, means over the data. `log2 K` is the rate without a prior, "" for a VAE."""
    torch.manual_seed(0)  # of the sampled codes
    bits, errors = [], []
    for batch in data.batches(BATCH):
        x, labels = batch.images, batch.labels
        mu, logvar = model.model.encode(x, model.labels(labels))  # [B, d] each
        if model.config.model == SUBMISSION_MODEL:
            bits.append(kl_by_latent(mu, logvar).sum(dim=1).mean()[None] / math.log(2))
            z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)  # [B, d]
        else:
            bits.append(model.model.prior.bits(mu.long(), model.model.classes(labels, len(x))).mean()[None])
            z = mu
        recon = to_uint8(model.model.decode(z, model.labels(labels)))  # [B, 28, 28]
        errors.append(mse(recon, to_uint8(x)).mean()[None])
    rate, error = (torch.cat(values).mean().item() for values in (bits, errors))
    fixed: float | str = ""
    if model.config.model != SUBMISSION_MODEL:
        fixed = model.latent_dim * math.log2(model.model.quantizer.num_codes)
    return {
        "model": NAMES[model.config.model],
        "size": size_of(model),
        "bits": rate,
        "bits, log2 K": fixed,
        "mse": error,
    }


def size_of(model: LoadedModel) -> str:
    """What the size of a code is chosen by."""
    if model.config.model == SUBMISSION_MODEL:
        return f"d = {model.latent_dim}"
    return f"K = {model.model.quantizer.num_codes}"


def find(models: list[LoadedModel], name: str) -> LoadedModel:
    """The model of this name."""
    return next(model for model in models if model.name == name)


def at_equal_rate(models: list[LoadedModel], rates: dict[str, dict]) -> list[LoadedModel]:
    """A VAE, a VQ and an FSQ model: VQ with `SHOWN_CODES` codes, and of the others the nearest in rate."""
    shown = find(models, f"discrete-vq-k{SHOWN_CODES}")
    target = rates[shown.name]["bits"]

    def nearest(kind: str) -> LoadedModel:
        own = [model for model in models if model.config.model == kind]
        return min(own, key=lambda model: abs(math.log(rates[model.name]["bits"] / target)))

    return [nearest(SUBMISSION_MODEL), shown, nearest("fsq")]


def draw_rates(
    context: ExploreContext, models: list[LoadedModel], rates: dict[str, dict], about: dict
) -> None:
    """Draw rate against distortion, for all sizes."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for i, (kind, name) in enumerate(NAMES.items()):
        rows = [rates[model.name] for model in models if model.config.model == kind]
        errors = [row["mse"] for row in rows]
        label = f"{name}: {'KL' if kind == SUBMISSION_MODEL else 'entropy under the prior'}"
        axes.plot([row["bits"] for row in rows], errors, "o-", color=f"C{i}", label=label)
        if kind != SUBMISSION_MODEL:
            fixed = [row["bits, log2 K"] for row in rows]
            axes.plot(fixed, errors, "x:", color=f"C{i}", label=f"{name}: log2 K an index")
        for row in rows:
            axes.annotate(row["size"], (row["bits"], row["mse"]), fontsize=7, xytext=(4, 4),
                          textcoords="offset points")  # fmt: skip
    axes.set(xlabel="rate, bits per image", ylabel="MSE (valid)", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    rows = [rates[model.name] for model in models]
    context.save(figure, rows, part="rate", split="valid", **about)


@torch.no_grad()
def draw_reconstructions(
    context: ExploreContext, equal: list[LoadedModel], rates: dict[str, dict], about: dict
) -> None:
    """Draw the same images by three models of about the same rate."""
    valid = context.data("valid")
    chosen = torch.cat([(valid.labels == label).nonzero()[:2, 0] for label in range(10)])  # [20]
    batch = valid.__getitems__(chosen.tolist())
    images, names = [to_uint8(batch.images).cpu().numpy()], ["original"]
    for model in equal:
        mu, logvar = model.model.encode(batch.images, model.labels(batch.labels))
        torch.manual_seed(0)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)  # of indices: mu itself
        images.append(context.decode(model, z, batch.labels))
        row = rates[model.name]
        names.append(f"{row['model']}, {row['size']}\n{row['bits']:.0f} bits, MSE {row['mse']:.4f}")
    figure = new_figure(12, 2.6)
    show_rows(figure.subplots(), images, names)
    context.save(figure, [rates[model.name] for model in equal], part="recon", split="valid", **about)


# --- The codes ----------------------------------------------------------------------------------


@torch.no_grad()
def all_indices(model: LoadedModel, data: MNISTDataset) -> Tensor:
    """The indices of all images: int64 [N, n]."""
    return torch.cat([model.model.indices(batch.images) for batch in data.batches(BATCH)])


def draw_usage(context: ExploreContext, models: list[LoadedModel], data: MNISTDataset, about: dict) -> None:
    """Draw how often each code is used, most used first, with and without restarts."""
    figure = new_figure(8, 4)
    axes, rows = figure.subplots(), []
    for model in models:
        name = NAMES[model.config.model]
        if model.config.model == "vq":
            restarts = model.config.model_args["restart_below"] > 0
            name += " with restarts" if restarts else " without restarts"
        codes = model.model.quantizer.num_codes
        frequencies = code_frequencies(all_indices(model, data), codes)  # [K]
        used = (frequencies > 0).double().mean().item()
        rows.append({"model": name, "codes": codes, "used": used, "perplexity": perplexity(frequencies)})
        label = f"{name}: {used:.0%} of {codes} used, perplexity {rows[-1]['perplexity']:.0f}"
        axes.plot(np.arange(1, codes + 1), np.sort(frequencies.cpu().numpy())[::-1], label=label)
    axes.set(xlabel="code, most used first", ylabel="frequency", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    context.save(figure, rows, part="usage", split="valid", **about)


@torch.no_grad()
def draw_single_indices(
    context: ExploreContext, models: list[LoadedModel], data: MNISTDataset, about: dict
) -> None:
    """Draw one grid decoded with a single index changed, and measure how far the change reaches."""
    image = int((data.labels == 3).nonzero()[0, 0])
    figure, rows = new_figure(13, 2.2), []
    for axes, model in zip(figure.subplots(1, len(models)), models, strict=True):
        indices = all_indices(model, data)  # [N, n]
        grid, side = indices[image], math.isqrt(indices.shape[1])
        frequencies = code_frequencies(indices, model.model.quantizer.num_codes)
        common = frequencies.argsort(descending=True)[:10]  # [10], the most used codes
        places = [side * row + side // 2 for row in (1, side // 2, side - 2)]
        shown, inside, beside, far = [], [], [], []
        before = model.model.decode(grid[None].float())[0]  # [28, 28]
        for place in places:
            changed = grid.repeat(len(common), 1)  # [10, n]
            changed[:, place] = common
            after = model.model.decode(changed.float())  # [10, 28, 28]
            shown += [before[None], after]
            distance = patch_distance(before.shape, place // side, place % side)  # [28, 28], in patches
            difference = (after - before).abs().mean(dim=0)  # [28, 28]
            inside.append(difference[distance == 0].mean().item())
            beside.append(difference[distance == 1].mean().item())
            far.append(difference[distance > 1].mean().item())
        images = to_uint8(torch.cat(shown)).cpu().numpy()
        name = NAMES[model.config.model]
        show_images(axes, images, 11, f"{name}, {size_of(model)}: the grid, and one index of it changed")
        rows.append(
            {
                "model": name,
                "change in the patch": float(np.mean(inside)),
                "in the patches around it": float(np.mean(beside)),
                "farther away": float(np.mean(far)),
            }
        )
    context.save(figure, rows, part="index", split="valid", **about)


def patch_distance(shape: torch.Size, row: int, column: int, patch: int = 4) -> Tensor:
    """For each pixel, how many patches away its patch is from one patch; diagonal steps count as one."""
    rows, columns = (torch.arange(size) // patch for size in shape)
    return torch.maximum((rows - row).abs()[:, None], (columns - column).abs())


def draw_samples(
    context: ExploreContext, models: list[LoadedModel], valid: MNISTDataset, about: dict
) -> None:
    """Draw samples of each label by the priors, with the score and the accuracy of the labels."""
    classifier = load_classifier(MNISTDataset("train", context.dataset, context.settings.data_dir))
    figure, rows = new_figure(13, 4.9), []
    for axes, model in zip(figure.subplots(1, len(models)), models, strict=True):
        values, gen = score_model(context, model, valid)
        seen, _ = classify(classifier, gen.reshape(-1, *gen.shape[2:]))
        accuracy = float(np.mean(seen == np.arange(10).repeat(gen.shape[1])))
        name = NAMES[model.config.model]
        rows.append({"model": name, "size": size_of(model), **values, "label accuracy": accuracy})
        title = f"{name}, {size_of(model)}: score {values['score_uncapped']:.2f} before the cap,\n"
        show_images(axes, np.concatenate(gen[:, :10]), 10, f"{title}label accuracy {accuracy:.1%}")
    context.save(figure, rows, part="samples", split="valid", **about)
