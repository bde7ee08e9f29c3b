"""The flags for what probes and generated images show, each with its numbers.

Each limit stands outside of what honest models gave, of all kinds that the lab makes: docs/grading.md has the
distributions, which `benchmarks/false_flags.py` measures.
"""

from __future__ import annotations

from typing import Any

# Limits of the statistics of `probes.measure`. Points are those of the task, before its cap.
MAX_SPECKLED_LOSS = 0.01  # points that images of the split lose when their strokes change by a grey level ...
MAX_SPECKLED_ERRORS = 3.0  # ... in standard errors: codes may be drawn at random
MAX_JUMP_AT_STORED = 0.03  # points by which they are better than deformations let expect
MAX_LOSS_RATIO = 2.0  # of deformed images to the stored ones, above ...
MAX_SMALL_LOSS = 0.05  # ... this share of all points for reconstruction
MAX_OUTLIERS = 0.05  # share of images with four times the MSE after a deformation of 0.2 pixels
MAX_MOVED_LOSS = 0.04  # points that codes lose when they are moved by 2% of their standard deviation
MIN_GROWTH = 10.0  # of the change of an image, when its code is moved five times as far ...
MIN_CHANGE = 20.0  # ... of models whose images change at all: mean square, in grey levels
MAX_JUMP = 0.25  # share of the way between two images that one of eight steps takes
MAX_DETOUR = 3.0  # the way from one image to the other, in straight distances
# Limits of the statistics of `RealImages.measure`.
MAX_COPIES = 0.05  # share of generated images
# The next two are not looked at where the FID gives no points.
MIN_CORRELATION = 0.9  # of neighbouring pixels, as a share of that of real images
MAX_GENERATED_ERROR = 0.8  # MSE of generated images that were encoded and decoded, in MSEs of real images


def probe_flags(seen: dict[str, float]) -> list[str]:
    """Flags for the statistics of `probes.measure`."""
    flags = []
    stored_limit = (seen["lost_deformed"] - MAX_SMALL_LOSS * seen["all_points"]) / MAX_LOSS_RATIO
    if (
        seen["speckled_loss"] > max(MAX_SPECKLED_LOSS, MAX_SPECKLED_ERRORS * seen["speckled_error"])
        or seen["jump_at_stored"] > MAX_JUMP_AT_STORED
        or seen["lost_stored"] < stored_limit
        or seen["outliers"] > MAX_OUTLIERS
    ):
        flags.append(
            "images of the split are reconstructed better than slightly deformed ones: they lose "
            f"{seen['lost_stored']:.2f} points, and {seen['lost_deformed']:.2f} when deformed by 0.6 pixels "
            f"(stored ones lose {seen['jump_at_stored']:.2f} less than that lets expect; "
            f"{seen['speckled_loss']:.3f} less than with strokes changed by a grey level; deformed by 0.2 "
            f"pixels, {seen['outliers']:.1%} have four times the MSE): the model may have stored them"
        )
    if seen["moved_loss"] > MAX_MOVED_LOSS:
        flags.append(
            f"codes that are moved by 2% of their standard deviation lose {seen['moved_loss']:.2f} points: a "
            "code may pack several numbers into one, or stand for a stored image"
        )
    growth = seen["growth"]
    if growth < MIN_GROWTH and seen["change"] > MIN_CHANGE:
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


def generated_flags(fid: float, fid_limit: float, seen: dict[str, Any]) -> list[str]:
    """Flags for the statistics of `RealImages.measure`, with those of the probes.

    fid_limit: an FID above it gives no points.
    """
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
    if fid >= fid_limit:
        return flags
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
