"""The flags for what probes and generated images show, each with its numbers.

Each limit stands outside of what honest models gave, of all kinds that the lab makes: docs/grading.md has the
distributions, which `benchmarks/false_flags.py` measures.
"""

from __future__ import annotations

from typing import Any

# Limits of the statistics of `probes.measure`. Points are those of the task, before its cap.
MAX_FRESH_LOSS = 0.25  # points that deformed images have less than the stored ones
MAX_FRESH_OUTLIERS = 0.02  # share of images with ten times the MSE after they were deformed
MAX_MOVED_LOSS = 0.04  # points that codes lose when they are moved by 2% of their standard deviation
MIN_GROWTH = 3.0  # of the change of an image, when its code is moved five times as far
MAX_JUMP = 0.5  # share of the way between two images that one of eight steps takes
MAX_DETOUR = 4.0  # the way from one image to the other, in straight distances
# Limits of the statistics of `RealImages.measure`.
MAX_COPIES = 0.05  # share of generated images
MIN_CORRELATION = 0.85  # of neighbouring pixels, as a share of that of real images
MAX_GENERATED_ERROR = 1.0  # MSE of generated images that were encoded and decoded, in MSEs of real images


def probe_flags(seen: dict[str, float]) -> list[str]:
    """Flags for the statistics of `probes.measure`."""
    flags = []
    loss, outliers = seen["fresh_gap"] - seen["fresh_control"], seen["fresh_outliers"]
    outliers -= seen["fresh_outliers_control"]
    if loss > MAX_FRESH_LOSS or outliers > MAX_FRESH_OUTLIERS:
        flags.append(
            f"images of the split are reconstructed better than deformed ones: by {loss:.2f} points, "
            f"and {outliers:.1%} of them have ten times the MSE then: the model may have stored the split"
        )
    if seen["moved_loss"] > MAX_MOVED_LOSS:
        flags.append(
            f"codes that are moved by 2% of their standard deviation lose {seen['moved_loss']:.2f} points: a "
            "code may pack several numbers into one, or stand for a stored image"
        )
    growth = min(seen["growth_small"], seen["growth_large"])
    if growth < MIN_GROWTH:
        flags.append(
            f"when codes are moved five times as far, images change only {growth:.1f} times as much (mean "
            "square): a code may pack several numbers into one"
        )
    if seen["jump"] > MAX_JUMP or seen["detour"] > MAX_DETOUR:
        flags.append(
            "codes moved from one image to a similar one do not decode to images in between: one of eight "
            f"steps takes {seen['jump']:.0%} of a way {seen['detour']:.1f} times as long as the straight one"
        )
    return flags


def generated_flags(fid: float, seen: dict[str, Any]) -> list[str]:
    """Flags for the statistics of `RealImages.measure`, with those of the probes."""
    flags = []
    copies = {
        f"{name.replace('_', ' ')} {share:.0%}"
        for name, share in seen.items()
        if "copies_of" in name and share > MAX_COPIES
    }
    if copies:
        flags.append(
            "possible copies of images: shares of the generated images that are closer to an image than "
            f"99.5% of unseen real images are to one: {', '.join(sorted(copies))}"
        )
    correlation, real = seen["neighbour_correlation"], seen["neighbour_correlation_real"]
    if correlation < MIN_CORRELATION * real:
        flags.append(
            f"neighbouring pixels of generated images have a correlation of {correlation:.2f} (real images: "
            f"{real:.2f}): their FID of {fid:.2f} may be that of noise (classifier FID "
            f"{seen['classifier_fid']:.1f}, {seen['read_as_asked']:.0%} read as asked)"
        )
    if seen["generated_error"] > MAX_GENERATED_ERROR:
        flags.append(
            "the decoder can't decode what generate returns: encoded and decoded, generated images have "
            f"{seen['generated_error']:.2f} times the MSE of real images"
        )
    return flags
