"""Commands of `explore.py` that look at a latent space.

`line`, `plane`, `scatter`, `balance`, `walk`, `codes`. Each takes a `Workbench`, trains or loads what it
needs, and saves a figure and its numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.patches import Circle
from torch import Tensor

import metrics
from checkpoint import Subject
from common import LabError
from workbench import Workbench, new_figure, show_codes, show_images

SCATTER_POINTS = 3000  # t-SNE of more takes minutes
PAIRS = ((7, 1), (3, 8), (4, 9), (0, 6))  # digits to walk between


def greyness(images: np.ndarray) -> float:
    """The mean of 4 p (1 - p) over the pixels p: 0 for black and white, more the more is blurred."""
    p = images / 255
    return float((4 * p * (1 - p)).mean())


def step_and_chance(images: np.ndarray) -> tuple[float, float]:
    """The mean squared difference of neighbours in a grid [rows, columns, H, W], and of pairs at random."""
    p = images / 255
    steps = [np.square(np.diff(p, axis=axis)).mean() for axis in (0, 1) if p.shape[axis] > 1]
    flat = p.reshape(-1, *p.shape[2:])
    shuffled = flat[np.random.RandomState(0).permutation(len(flat))]
    return float(np.mean(steps)), float(np.square(flat - shuffled).mean())


def stages(bench: Workbench, subject: Subject) -> list[Subject]:
    """The model after its first epoch, where that was kept, and as it is."""
    first = bench.after_epoch(subject, 1)
    return [subject] if first is None or subject.epoch == 1 else [first, subject]


def of_dimensions(bench: Workbench, latent_dim: int, epochs: int) -> Subject:
    """The VAE to look at. Raises: LabError if its code is not of this size, or needs a label."""
    subject = bench.given_or(f"d{latent_dim}", epochs, latent_dim=latent_dim)
    if subject.latent_dim != latent_dim or subject.task != "VAE0label":
        raise LabError(
            f"{bench.args.command} draws a VAE0label of latent_dim {latent_dim}; {subject.path} is a "
            f"{subject.task} of {subject.latent_dim}: leave --checkpoint_path out to have one trained"
        )
    return subject


def line(bench: Workbench) -> None:
    """A one-dimensional latent space decoded along [-3, 3], after the first epoch and after the last."""
    n = 25
    models = stages(bench, of_dimensions(bench, 1, 20))
    z = torch.linspace(-3, 3, n, device=bench.device)[:, None]  # [n, 1]
    figure = new_figure(12, 0.75 + 0.75 * len(models))
    rows = []
    for axes, model in zip(
        figure.subplots(len(models), 1, squeeze=False, sharex=True)[:, 0], models, strict=True
    ):
        images = bench.decode(model, z)
        half = 3 / (n - 1)  # half the width of an image, so that each is centred on its z
        show_images(axes, images, n, f"after epoch {model.epoch}", extent=(-3 - half, 3 + half, 0, 1))
        axes.set_yticks([])
        step, chance = step_and_chance(images[None])
        rows.append(
            {
                "epoch": model.epoch,
                "greyness": greyness(images),
                "mse of neighbours": step,
                "mse of random pairs": chance,
            }
        )
    axes.set_xlabel("z")
    bench.save(figure, rows, epochs=models[-1].epoch)


def plane(bench: Workbench) -> None:
    """A two-dimensional latent space decoded over a square, and through the normal quantiles."""
    n = 16
    models = stages(bench, of_dimensions(bench, 2, 20))
    edge = torch.linspace(-5, 5, n)
    quantile = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    figure = new_figure(9.2, 4.8 * len(models))
    rows = []
    for row, model in zip(figure.subplots(len(models), 2, squeeze=False), models, strict=True):
        for axes, (name, ticks) in zip(
            row, {"even steps": edge, "normal quantiles": quantile}.items(), strict=True
        ):
            z2, z1 = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")  # z2 grows upwards
            z = torch.stack([z1, z2], dim=-1).reshape(-1, 2).to(bench.device)  # [n * n, 2]
            images = bench.decode(model, z)
            show_images(axes, images, n, f"after epoch {model.epoch}, {name}", extent=(0, n, 0, n), gap=0)
            at = np.linspace(0, n - 1, 6).round().astype(int)
            labels = [f"{ticks[i]:.1f}" for i in at]
            axes.set(xticks=at + 0.5, yticks=at + 0.5, xticklabels=labels, yticklabels=labels)
            axes.set(xlabel="z1", ylabel="z2", aspect="equal")
            step, chance = step_and_chance(images.reshape(n, n, *images.shape[1:]))
            rows.append(
                {
                    "epoch": model.epoch,
                    "spacing": name,
                    "greyness": greyness(images),
                    "mse of neighbours": step,
                    "mse of random pairs": chance,
                }
            )
    bench.save(figure, rows, epochs=models[-1].epoch)


def scatter(bench: Workbench) -> None:
    """Codes of `valid` coloured by digit: directly at latent_dim 2, by PCA and t-SNE above."""
    models = bench.given_or_two()
    valid = bench.data("valid")
    chosen = torch.linspace(0, len(valid) - 1, min(len(valid), SCATTER_POINTS)).long()
    labels = valid.labels.cpu()[chosen].numpy()
    panels, rows = [], []
    for model in models:
        mu = bench.posterior(model, valid)[0].cpu()[chosen].numpy()
        for name, points in views(mu).items():
            title = f"{name}, latent_dim {model.latent_dim}"
            accuracy = neighbour_accuracy(points, labels)
            panels.append((points, f"{title}\nneighbour's digit right: {accuracy:.1%}", name))
            rows += [
                {"view": title, "x": float(x), "y": float(y), "label": int(label)}
                for (x, y), label in zip(points, labels, strict=True)
            ]
    figure = new_figure(5 * len(panels), 5.2)
    for axes, (points, title, name) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        show_codes(axes, points, labels, title)
        axes.set(xlabel=f"{name} 1", ylabel=f"{name} 2")
    summary = [
        {"view": title.split("\n")[0], "neighbour's digit right": title.split(": ")[1]}
        for _, title, _ in panels
    ]
    bench.save(figure, rows, summary, points=len(chosen))


def views(mu: np.ndarray) -> dict[str, np.ndarray]:
    """Codes [N, d] as points [N, 2]: themselves where d is 2, else by PCA and by t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if mu.shape[1] == 1:
        raise LabError("scatter needs a latent_dim of at least 2, got 1: line draws such a model")
    if mu.shape[1] == 2:
        return {"code": mu}
    return {
        "PCA": PCA(2, random_state=0).fit_transform(mu),
        "t-SNE": TSNE(2, init="pca", random_state=0).fit_transform(mu),
    }


def neighbour_accuracy(points: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """How often most of a point's k nearest neighbours have its label."""
    from sklearn.neighbors import NearestNeighbors

    nearest = (
        NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(return_distance=False, X=points)[:, 1:]
    )
    votes = np.stack([(labels[nearest] == label).sum(axis=1) for label in range(10)], axis=1)  # [N, 10]
    return float((votes.argmax(axis=1) == labels).mean())


def balance(bench: Workbench) -> None:
    """Three VAEs at latent_dim 2 with a very small, a very large and a usual var: their codes and samples."""
    # The weight of reconstruction is 1 / (2 var): at 1e-6 the KL term has almost none, at 1e6 reconstruction
    # has almost none. It must not be zero: with the KL term alone the decoder gets no gradient. The gradient
    # is clipped in units of 1 / (2 var), hence the larger limit at 1e6.
    recon, kl, both = "var 1e-6 (reconstruction dominates)", "var 1e6 (KL dominates)", "var 0.5 (both)"
    ends = {recon: {"var": 1e-6}, kl: {"var": 1e6, "grad_clip": 1e8}, both: {"var": 0.5}}
    names = {recon: "d2-recon", kl: "d2-kl", both: "d2"}
    models = {name: bench.trained(names[name], 20, latent_dim=2, **options) for name, options in ends.items()}
    valid = bench.data("valid")
    labels, x = valid.labels.cpu().numpy(), valid.images.cpu().numpy()
    eps = torch.randn(len(valid), 2, device=bench.device)
    normal = torch.randn(100, 2, device=bench.device)
    figure = new_figure(13, 8.6)
    above, below = figure.subplots(2, 3, height_ratios=(1.1, 1))
    rows = []
    for i, (name, model) in enumerate(models.items()):
        mu, logvar = bench.posterior(model, valid)
        z = mu + torch.exp(0.5 * logvar) * eps
        kl = metrics.kl_by_latent(mu, logvar).sum(dim=1).mean().item()
        mse = metrics.reconstruction(bench.decode(model, mu), x)["mse"]
        show_codes(above[i], z.cpu().numpy()[:4000], labels[:4000], f"{name}: codes z ~ q(z|x)")
        above[i].add_patch(Circle((0, 0), 2, fill=False, linestyle="--", color="black"))
        above[i].set(xlabel="z1", ylabel="z2")
        above[i].set_aspect("equal", adjustable="datalim")
        title = f"samples of z ~ N(0, I)\nKL {kl:,.2f} nats, MSE of reconstruction {mse:.4f}"
        show_images(below[i], bench.decode(model, normal), 10, title)
        spread = z.std(dim=0).mean().item()
        rows.append({"model": name, "kl": kl, "mse": mse, "standard deviation of the codes": spread})
    figure.suptitle("dashed: two standard deviations of N(0, I)", fontsize=9)
    bench.save(figure, rows, epochs=models[both].epoch)


def walk(bench: Workbench) -> None:
    """From digit to digit, in latent space and by cross-fade; and along one latent dimension at a time."""
    model = bench.given_or("d20", 10, latent_dim=20)
    valid = bench.data("valid")
    mu, logvar = bench.posterior(model, valid)
    figure = new_figure(13, 6.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    show_pairs(bench, left, model, valid, mu)

    kl = metrics.kl_by_latent(mu, logvar).mean(dim=0)  # [d]
    top = kl.argsort(descending=True)[:10]
    columns = torch.linspace(-3, 3, 11, device=bench.device)
    start = int((valid.labels == 3).nonzero()[0])
    z = mu[start].repeat(len(top), len(columns), 1)  # [dimensions, columns, d]
    for row, dimension in enumerate(top):
        z[row, :, dimension] = columns
    labels = valid.labels[start].repeat(len(top) * len(columns))
    images = bench.decode(model, z.flatten(0, 1), labels)
    extent = (0, len(columns), 0, len(top))
    show_images(right, images, len(columns), "a digit, one latent dimension at a time", extent=extent)
    right.set(
        xticks=np.arange(0.5, 11, 2),
        xticklabels=[f"{value:.1f}" for value in columns[::2]],
        xlabel="its value",
    )
    right.set_yticks(np.arange(len(top))[::-1] + 0.5, [f"z{int(i) + 1}: {kl[i]:.2f} nats" for i in top])
    right.set_aspect("equal")
    rows = [{"dimension": int(i) + 1, "mean KL, nats": kl[i].item()} for i in kl.argsort(descending=True)]
    bench.save(figure, rows, rows[:10], model=str(model.path))


def show_pairs(bench: Workbench, axes: Any, model: Subject, valid: Any, mu: Tensor) -> None:
    """Rows of images between two digits: the decoded line between their codes, above the cross-fade."""
    t = torch.linspace(0, 1, 11, device=bench.device)[:, None]
    rows = []
    for first, second in PAIRS:
        # A model with labels decodes a code as its label says: it walks between two images of one digit.
        ends = [first, first] if model.task == "Genwithlabel" else [first, second]
        places = [(valid.labels == label).nonzero()[:, 0] for label in ends]
        a, b = int(places[0][0]), int(places[1][-1])
        path = bench.decode(model, (1 - t) * mu[a] + t * mu[b], valid.labels[a].repeat(len(t)))
        shape = [-1] + [1] * (valid.images.ndim - 1)
        fade = (1 - t.reshape(shape)) * valid.images[a].float() + t.reshape(shape) * valid.images[b].float()
        rows += [path, fade.round().byte().cpu().numpy()]
    images = np.concatenate(rows)
    count = 2 * len(PAIRS)
    show_images(
        axes, images, len(t), "between two digits: decoded, and cross-faded", extent=(0, len(t), 0, count)
    )
    axes.set_yticks(np.arange(count)[::-1] + 0.5, ["latent", "pixels"] * len(PAIRS))
    axes.set(
        xticks=[0.5, len(t) / 2, len(t) - 0.5], xticklabels=["0", "1/2", "1"], xlabel="share of the second"
    )
    axes.set_aspect("equal")


def codes(bench: Workbench) -> None:
    """An autoencoder against a VAE: samples of N(0, I), and the path between two codes."""
    # With a var near zero the loss is reconstruction alone: the VAE scales its noise away, an autoencoder.
    autoencoder = bench.trained("d10-recon", 10, latent_dim=10, var=1e-6)
    vae = bench.given_or("d10", 10, latent_dim=10)
    valid = bench.data("valid")
    reference = bench.data("train").images[:10_000].float() / 255
    figure = new_figure(12, 6)
    rows = []
    for column, (name, model) in enumerate({"autoencoder": autoencoder, "VAE": vae}.items()):
        mu, _ = bench.posterior(model, valid)
        images, paths = from_codes(bench, model, mu, valid.labels)
        samples = images["samples of N(0, I)"][:50]
        show_images(figure.add_subplot(2, 2, 1 + column), samples, 10, f"{name}: z ~ N(0, I)")
        show_images(figure.add_subplot(2, 2, 3 + column), paths, 10, f"{name}: from one code to another")
        row = {"model": name, "spread of codes": mu.std(dim=0).mean().item()}
        for what, of_codes in images.items():
            near = metrics.nearest_distance(metrics.to_float(of_codes).to(bench.device), reference)
            row[f"distance to a real image: {what}"] = near.mean().item()
        rows.append(row)
    bench.save(figure, rows, epochs=vae.epoch)


def from_codes(
    bench: Workbench, model: Subject, mu: Tensor, labels: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images of three kinds of codes, up to 1,000 each; and five paths of ten images from code to code."""
    half = min(1000, len(mu) // 2)
    order = torch.randperm(len(mu), generator=torch.Generator().manual_seed(1)).to(mu.device)
    a, b = order[:half], order[half:][:half]
    t = torch.linspace(0, 1, 10, device=mu.device)[:, None]  # [10, 1]
    paths = [
        bench.decode(model, (1 - t) * mu[i] + t * mu[j], labels[i].repeat(10))
        for i, j in zip(a[:5], b[:5], strict=True)
    ]
    kinds = {
        "reconstructions": mu[a],
        "halfway between codes": 0.5 * (mu[a] + mu[b]),
        "samples of N(0, I)": torch.randn_like(mu[a]),
    }
    return {kind: bench.decode(model, z, labels[a]) for kind, z in kinds.items()}, np.concatenate(paths)
