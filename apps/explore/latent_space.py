"""Commands of `explore.py` that draw a latent space: `line`, `plane`, `scatter`, `balance`, `walk`, `codes`.

Each trains or loads its models, and saves a figure and its numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from torch import Tensor

from apps.explore.context import ExploreContext
from vaelab.checkpoint import LoadedModel
from vaelab.cli import LabError
from vaelab.language import N_
from vaelab.metrics.likelihood import kl_by_latent
from vaelab.metrics.memorization import nearest_distance
from vaelab.metrics.reconstruction import to_float
from vaelab.metrics.saved_images import reconstruction
from vaelab.plotting import figure_text, new_figure, show_codes, show_images

SCATTER_POINTS = 3000  # t-SNE of more takes minutes
PAIRS = ((7, 1), (3, 8), (4, 9), (0, 6))  # digits to interpolate between


def greyness(images: np.ndarray) -> float:
    """The mean of 4 p (1 - p) over the pixels p: 0 for black and white, larger for blurred images."""
    p = images / 255
    return float((4 * p * (1 - p)).mean())


def neighbour_and_random_mse(images: np.ndarray) -> tuple[float, float]:
    """The MSE between neighbours in a grid of images [rows, columns, H, W], and between random pairs."""
    p = images / 255
    steps = [np.square(np.diff(p, axis=axis)).mean() for axis in (0, 1) if p.shape[axis] > 1]
    flat = p.reshape(-1, *p.shape[2:])
    shuffled = flat[np.random.RandomState(0).permutation(len(flat))]
    return float(np.mean(steps)), float(np.square(flat - shuffled).mean())


def sharpness_row(epoch: int, grid: np.ndarray) -> dict[str, Any]:
    """The numbers of a grid of decoded images [rows, columns, H, W]."""
    neighbours, random_pairs = neighbour_and_random_mse(grid)
    values = {"greyness": greyness(grid), "mse of neighbours": neighbours}
    return {"epoch": epoch, **values, "mse of random pairs": random_pairs}


def first_and_last(context: ExploreContext, model: LoadedModel) -> list[LoadedModel]:
    """The model after its first epoch, if that was kept, and as it is."""
    first = context.after_epoch(model, 1)
    return [model] if first is None or model.epoch == 1 else [first, model]


def vae_of(context: ExploreContext, latent_dim: int, epochs: int) -> LoadedModel:
    """The model of `--checkpoint_path`, or a trained VAE.

    Raises: LabError if its latent_dim is another one, or it is conditional.
    """
    model = context.given_or(f"d{latent_dim}", epochs, latent_dim=latent_dim)
    if model.latent_dim != latent_dim or model.task.conditional:
        raise LabError(
            "{command} draws a VAE0label of latent_dim {latent_dim}; {path} is a {name} of "
            "{found}: leave out --checkpoint_path to have one trained",
            command=context.settings.command,
            latent_dim=latent_dim,
            path=model.path,
            name=model.task.name,
            found=model.latent_dim,
        )
    return model


# --- line and plane -----------------------------------------------------------------------------


def line(context: ExploreContext) -> None:
    """Draw a one-dimensional latent space, decoded along [-3, 3]."""
    n = 25
    models = first_and_last(context, vae_of(context, 1, 20))
    z = torch.linspace(-3, 3, n, device=context.device)[:, None]  # [n, 1]
    figure = new_figure(12, 0.75 + 0.75 * len(models))
    axes_list = figure.subplots(len(models), 1, squeeze=False, sharex=True)[:, 0]
    rows = []
    for axes, model in zip(axes_list, models, strict=True):
        images = context.decode(model, z)
        half = 3 / (n - 1)  # half the width of an image, which is centred on its z
        title = figure_text("after epoch {epoch}", epoch=model.epoch)
        show_images(axes, images, n, title, extent=(-3 - half, 3 + half, 0, 1))
        axes.set_yticks([])
        rows.append(sharpness_row(model.epoch, images[None]))
    axes.set_xlabel("z")
    context.save(figure, rows, epochs=models[-1].epoch)


def plane(context: ExploreContext) -> None:
    """Draw a two-dimensional latent space, decoded on two grids."""
    n = 16
    models = first_and_last(context, vae_of(context, 2, 20))
    quantiles = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    grids = {N_("even steps"): torch.linspace(-5, 5, n), N_("normal quantiles"): quantiles}
    figure = new_figure(9.2, 4.8 * len(models))
    rows = []
    for row_of_axes, model in zip(figure.subplots(len(models), 2, squeeze=False), models, strict=True):
        for axes, (name, ticks) in zip(row_of_axes, grids.items(), strict=True):
            z2, z1 = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")  # z2 increases upwards
            z = torch.stack([z1, z2], dim=-1).reshape(-1, 2).to(context.device)  # [n * n, 2]
            images = context.decode(model, z)
            title = figure_text("after epoch {epoch}, {grid}", epoch=model.epoch, grid=figure_text(name))
            show_images(axes, images, n, title, extent=(0, n, 0, n), gap=0)
            label_grid(axes, ticks)
            numbers = sharpness_row(model.epoch, images.reshape(n, n, *images.shape[1:]))
            rows.append({"epoch": model.epoch, "spacing": name} | numbers)
    context.save(figure, rows, epochs=models[-1].epoch)


def label_grid(axes: Axes, values: Tensor) -> None:
    """Label the axes of a square grid of images with some of the values of z1 and z2."""
    n = len(values)
    at = np.linspace(0, n - 1, 6).round().astype(int)
    labels = [f"{values[i]:.1f}" for i in at]
    axes.set(xticks=at + 0.5, yticks=at + 0.5, xticklabels=labels, yticklabels=labels)
    axes.set(xlabel="z1", ylabel="z2", aspect="equal")


# --- scatter ------------------------------------------------------------------------------------


def scatter(context: ExploreContext) -> None:
    """Draw the codes of `valid`, coloured by digit."""
    models = context.given_or_two()
    valid = context.data("valid")
    chosen = torch.linspace(0, len(valid) - 1, min(len(valid), SCATTER_POINTS)).long()
    labels = valid.labels.cpu()[chosen].numpy()
    panels, rows, summary = [], [], []
    for model in models:
        mu = context.posterior(model, valid)[0].cpu()[chosen].numpy()
        for name, points in views(mu).items():
            view, accuracy = f"{name}, latent_dim {model.latent_dim}", neighbour_accuracy(points, labels)
            summary.append({"view": view, "neighbour's digit right": f"{accuracy:.1%}"})
            title = figure_text(
                "{view}, latent_dim {latent_dim}\nneighbour's digit right: {accuracy:.1%}",
                view=figure_text(name),
                latent_dim=model.latent_dim,
                accuracy=accuracy,
            )
            panels.append((name, title, points))
            rows += [
                {"view": view, "x": float(x), "y": float(y), "label": int(label)}
                for (x, y), label in zip(points, labels, strict=True)
            ]
    figure = new_figure(5 * len(panels), 5.2)
    axes_list = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, title, points) in zip(axes_list, panels, strict=True):
        show_codes(axes, points, labels, title)
        axes.set(xlabel=f"{figure_text(name)} 1", ylabel=f"{figure_text(name)} 2")
    context.save(figure, rows, summary, points=len(chosen))


def views(mu: np.ndarray) -> dict[str, np.ndarray]:
    """Codes [N, d] as points [N, 2]: the codes if d is 2, else their projections by PCA and by t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if mu.shape[1] == 1:
        raise LabError("scatter needs a latent_dim of at least 2, got 1: use the command line instead")
    if mu.shape[1] == 2:
        return {N_("code"): mu}
    return {
        "PCA": PCA(2, random_state=0).fit_transform(mu),
        "t-SNE": TSNE(2, init="pca", random_state=0).fit_transform(mu),
    }


def neighbour_accuracy(points: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """The accuracy of a k-nearest-neighbour classifier. points: [N, 2]; labels: [N]."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k + 1).fit(points)
    nearest = search.kneighbors(return_distance=False, X=points)[:, 1:]
    votes = np.stack([(labels[nearest] == label).sum(axis=1) for label in range(10)], axis=1)  # [N, 10]
    return float((votes.argmax(axis=1) == labels).mean())


# --- balance ------------------------------------------------------------------------------------


def balance(context: ExploreContext) -> None:
    """Draw the codes and the samples of VAEs with a very small, a very large and a usual var."""
    # Reconstruction has the weight 1 / (2 var), the KL term the weight 1: at var = 1e-6 the KL term is
    # negligible, at 1e6 reconstruction is. Its weight must not be 0: the decoder has no other gradient.
    # The gradient is clipped in units of 1 / (2 var), hence the larger limit at 1e6.
    both = N_("var 0.5 (both)")
    models = {
        N_("var 1e-6 (reconstruction dominates)"): context.trained("d2-recon", 20, latent_dim=2, var=1e-6),
        N_("var 1e6 (KL dominates)"): context.trained("d2-kl", 20, latent_dim=2, var=1e6, grad_clip=1e8),
        both: context.trained("d2", 20, latent_dim=2, var=0.5),
    }
    valid = context.data("valid")
    eps = torch.randn(len(valid), 2, device=context.device)
    normal = torch.randn(100, 2, device=context.device)
    figure = new_figure(13, 8.6)
    upper, lower = figure.subplots(2, 3, height_ratios=(1.1, 1))
    rows = []
    for i, (name, model) in enumerate(models.items()):
        mu, logvar = context.posterior(model, valid)
        z = mu + torch.exp(0.5 * logvar) * eps
        kl = kl_by_latent(mu, logvar).sum(dim=1).mean().item()
        mse = reconstruction(context.decode(model, mu), valid.images.cpu().numpy())["mse"]
        title = figure_text("{model}: codes z ~ q(z|x)", model=figure_text(name))
        draw_posterior(upper[i], z, valid.labels, title)
        text = N_("samples of z ~ N(0, I)\nKL {kl:,.2f} nats, MSE of reconstruction {mse:.4f}")
        title = figure_text(text, kl=kl, mse=mse)
        show_images(lower[i], context.decode(model, normal), 10, title)
        std = z.std(dim=0).mean().item()
        rows.append({"model": name, "kl": kl, "mse": mse, "standard deviation of the codes": std})
    figure.suptitle(figure_text("dashed: two standard deviations of N(0, I)"), fontsize=9)
    context.save(figure, rows, epochs=models[both].epoch)


def draw_posterior(axes: Axes, z: Tensor, labels: Tensor, title: str) -> None:
    """Draw up to 4,000 codes, [N, 2], and the circle of two standard deviations of N(0, I)."""
    show_codes(axes, z.cpu().numpy()[:4000], labels.cpu().numpy()[:4000], title)
    axes.add_patch(Circle((0, 0), 2, fill=False, linestyle="--", color="black"))
    axes.set(xlabel="z1", ylabel="z2")
    axes.set_aspect("equal", adjustable="datalim")


# --- walk ---------------------------------------------------------------------------------------


def walk(context: ExploreContext) -> None:
    """Draw interpolations between digits, and a digit with one latent changed at a time."""
    model = context.given_or("d20", 10, latent_dim=20)
    valid = context.data("valid")
    mu, logvar = context.posterior(model, valid)
    kl = kl_by_latent(mu, logvar).mean(dim=0)  # [d]
    figure = new_figure(13, 6.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    show_pairs(context, left, model, valid, mu)
    show_traversal(context, right, model, valid, mu, kl)
    rows = [{"dimension": int(i) + 1, "mean KL, nats": kl[i].item()} for i in kl.argsort(descending=True)]
    context.save(figure, rows, rows[:10], model=str(model.path))


def show_traversal(
    context: ExploreContext, axes: Axes, model: LoadedModel, valid: Any, mu: Tensor, kl: Tensor
) -> None:
    """Draw a digit while one latent changes from -3 to 3: a row for each of the ten of largest KL."""
    top = kl.argsort(descending=True)[:10]
    values = torch.linspace(-3, 3, 11, device=context.device)
    start = int((valid.labels == 3).nonzero()[0])
    z = mu[start].repeat(len(top), len(values), 1)  # [rows, columns, d]
    for row, dimension in enumerate(top):
        z[row, :, dimension] = values
    labels = valid.labels[start].repeat(len(top) * len(values))
    images = context.decode(model, z.flatten(0, 1), labels)
    extent = (0, len(values), 0, len(top))
    title = figure_text("a digit, one latent dimension at a time")
    show_images(axes, images, len(values), title, extent=extent)
    ticks = [f"{value:.1f}" for value in values[::2]]
    axes.set(
        xticks=np.arange(0.5, len(values), 2), xticklabels=ticks, xlabel=figure_text("value of the latent")
    )
    axes.set_yticks(
        np.arange(len(top))[::-1] + 0.5,
        [figure_text("z{i}: {kl:.2f} nats", i=int(i) + 1, kl=kl[i]) for i in top],
    )
    axes.set_aspect("equal")


def show_pairs(context: ExploreContext, axes: Axes, model: LoadedModel, valid: Any, mu: Tensor) -> None:
    """Draw interpolations between pairs of images: in latent space, and below it in pixels."""
    t = torch.linspace(0, 1, 11, device=context.device)[:, None]
    rows = []
    for first, second in PAIRS:
        # A conditional model decodes a code to the digit of its label: both images are of one digit.
        ends = [first, first] if model.task.conditional else [first, second]
        places = [(valid.labels == label).nonzero()[:, 0] for label in ends]
        a, b = int(places[0][0]), int(places[1][-1])
        rows.append(context.decode(model, (1 - t) * mu[a] + t * mu[b], valid.labels[a].repeat(len(t))))
        share = t.reshape([-1] + [1] * (valid.images.ndim - 1))
        mixed = (1 - share) * valid.images[a].float() + share * valid.images[b].float()
        rows.append(mixed.round().byte().cpu().numpy())
    extent = (0, len(t), 0, len(rows))
    title = figure_text("between two digits: in latent space, and in pixels")
    show_images(axes, np.concatenate(rows), len(t), title, extent=extent)
    axes.set_yticks(
        np.arange(len(rows))[::-1] + 0.5, [figure_text("latent"), figure_text("pixels")] * len(PAIRS)
    )
    ticks = [0.5, len(t) / 2, len(t) - 0.5]
    axes.set(xticks=ticks, xticklabels=["0", "1/2", "1"], xlabel=figure_text("share of the second"))
    axes.set_aspect("equal")


# --- codes --------------------------------------------------------------------------------------


def codes(context: ExploreContext) -> None:
    """Draw samples and interpolations of an autoencoder and of a VAE."""
    # With a var near zero the KL term is negligible: this VAE is an autoencoder.
    autoencoder = context.trained("d10-recon", 10, latent_dim=10, var=1e-6)
    vae = context.given_or("d10", 10, latent_dim=10)
    valid = context.data("valid")
    reference = context.data("train").images[:10_000].float() / 255
    figure = new_figure(12, 6)
    rows = []
    for column, (name, model) in enumerate({N_("autoencoder"): autoencoder, "VAE": vae}.items()):
        mu, _ = context.posterior(model, valid)
        images, paths = decode_kinds(context, model, mu, valid.labels)
        samples = images["samples of N(0, I)"][:50]
        titles = [
            figure_text(text, model=figure_text(name))
            for text in (N_("{model}: z ~ N(0, I)"), N_("{model}: from one code to another"))
        ]
        show_images(figure.add_subplot(2, 2, 1 + column), samples, 10, titles[0])
        show_images(figure.add_subplot(2, 2, 3 + column), paths, 10, titles[1])
        row = {"model": name, "spread of codes": mu.std(dim=0).mean().item()}
        for what, of_codes in images.items():
            near = nearest_distance(to_float(of_codes).to(context.device), reference)
            row[f"distance to a real image: {what}"] = near.mean().item()
        rows.append(row)
    context.save(figure, rows, epochs=vae.epoch)


def decode_kinds(
    context: ExploreContext, model: LoadedModel, mu: Tensor, labels: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images of three kinds of codes, up to 1,000 each; and five interpolations of ten images each."""
    half = min(1000, len(mu) // 2)
    order = torch.randperm(len(mu), generator=torch.Generator().manual_seed(1)).to(mu.device)
    a, b = order[:half], order[half:][:half]
    t = torch.linspace(0, 1, 10, device=mu.device)[:, None]  # [10, 1]
    paths = [
        context.decode(model, (1 - t) * mu[i] + t * mu[j], labels[i].repeat(10))
        for i, j in zip(a[:5], b[:5], strict=True)
    ]
    kinds = {
        "reconstructions": mu[a],
        "halfway between codes": 0.5 * (mu[a] + mu[b]),
        "samples of N(0, I)": torch.randn_like(mu[a]),
    }
    return {kind: context.decode(model, z, labels[a]) for kind, z in kinds.items()}, np.concatenate(paths)
