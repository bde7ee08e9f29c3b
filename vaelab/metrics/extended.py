"""Metrics beyond the score: label accuracy, classifier FID, diversity, and copies of training images."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaelab.cli import display_width, pad
from vaelab.language import N_, _
from vaelab.metrics.classifier import classify, load_classifier
from vaelab.metrics.fid import frechet_distance
from vaelab.metrics.memorization import mean_pairwise_distance, nearest_distance, probability_closer
from vaelab.metrics.reconstruction import to_float
from vaelab.metrics.sharpness import neighbour_correlation
from vaelab.outputs import Outputs

BLIND = (
    N_("The simplified FID compares the mean and the variance of each pixel, and nothing else. Noise"),
    N_("with the right means and variances has an FID near 0, but its neighbouring pixels are unrelated."),
)
QUANTILES = (0.01, 0.1, 0.5, 0.9)  # of the distances to the nearest training image


def extended(outputs: Outputs, train_set) -> dict[str, Any]:
    """Metrics of the generated images that are not part of the score, each with its value for real images.

    outputs: of a split that neither the model nor the classifier was trained on. train_set: the
    `MNISTDataset` of the split `train`.
    """
    images, labels, recon, gen, _ = outputs
    train, classifier = train_set.images.numpy(), load_classifier(train_set)
    flat, requested = gen.reshape(-1, *gen.shape[2:]), np.arange(10).repeat(gen.shape[1])
    labels_gen, features_gen = classify(classifier, flat)
    labels_real, features_real = classify(classifier, images)
    n = min(len(flat), len(images), len(train))  # equal numbers, so that the distances can be compared
    _, features_train = classify(classifier, evenly_spaced(train, n))
    features_gen, features_real = evenly_spaced(features_gen, n), evenly_spaced(features_real, n)

    copy_gen, copy_real, copy_recon = (
        nearest_distance(to_float(some), to_float(train)) for some in (flat, images, recon)
    )
    diversity = [mean_pairwise_distance(to_float(group)) for group in gen]
    by_label = [images[labels == y][:1000] for y in range(10)]
    diversity_real = [mean_pairwise_distance(to_float(group)) for group in by_label]
    return {
        "neighbour_correlation": neighbour_correlation(list(gen)),
        "neighbour_correlation_real": neighbour_correlation(by_label),
        "label_accuracy": float(np.mean(labels_gen == requested)),
        "label_accuracy_real": float(np.mean(labels_real == labels)),
        "classifier_fid": frechet_distance(features_gen, features_real),
        "classifier_fid_real": frechet_distance(features_train, features_real),
        "classifier_fid_n": n,
        "diversity_by_class": diversity,
        "diversity_by_class_real": diversity_real,
        "copy_probability": probability_closer(copy_gen, copy_real),
        # Decoded images are smoother than real ones, and so closer to any image; so are reconstructions.
        "copy_probability_recon": probability_closer(copy_gen, copy_recon),
        "copy_distance": np.quantile(copy_gen.numpy(), QUANTILES).tolist(),
        "copy_distance_real": np.quantile(copy_real.numpy(), QUANTILES).tolist(),
    }


def evenly_spaced(items: Any, n: int) -> Any:
    """n of the items, at evenly spaced indices."""
    return items[np.linspace(0, len(items) - 1, n).astype(int)]


def extended_table(values: dict[str, Any], split: str) -> str:
    """The values of `extended` as a text table: generated images and real images."""
    diversity = list(zip(values["diversity_by_class"], values["diversity_by_class_real"], strict=True))
    keys = ("copy_distance", "copy_distance_real")
    distances = (" ".join(f"{distance:.2f}" for distance in values[key]) for key in keys)
    ratios = " ".join(f"{a / b:.2f}" if b else "-" for a, b in diversity)
    fid = _("classifier FID to {split}, N = {n:,}", split=split, n=values["classifier_fid_n"])
    rows = [
        (_("label accuracy by the classifier"), "label_accuracy", ".2%"),
        (fid, "classifier_fid", ".3f"),
        (_("correlation of neighbouring pixels"), "neighbour_correlation", ".3f"),
    ]

    def line(name: str, generated: str, real: str) -> str:
        numbers = (" " * (10 - display_width(text)) + text for text in (generated, real))
        return " ".join(["  " + pad(name, 44), *numbers])

    lines = [line(_("beyond the score"), _("generated"), _("real"))]
    lines += [
        line(name, f"{values[key]:{form}}", f"{values[key + '_real']:{form}}") for name, key, form in rows
    ]
    quantiles = ", ".join(f"{q:.0%}" for q in QUANTILES)
    smooth = N_(
        "the same, compared with reconstructions of real images, which are as smooth as generated ones:"
    )
    lines += [
        "  " + _("mean distance within a class, generated / real, 0 to 9: {ratios}", ratios=ratios),
        "  " + _("distance to the nearest training image, {quantiles} quantiles:", quantiles=quantiles),
        "    "
        + _("generated {generated}; real {real}", **dict(zip(("generated", "real"), distances, strict=True))),
        "  " + _("probability that a generated image is closer to a training image than a real image is:"),
        "    "
        + _(
            "{probability:.3f} (1/2: as close as real images; 1: copies)",
            probability=values["copy_probability"],
        ),
        "  " + _(smooth),
        f"    {values['copy_probability_recon']:.3f}",
    ]
    lines += ["  " + _(line) for line in BLIND]
    return "\n".join(lines)
