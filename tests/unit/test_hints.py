"""The next steps on the report: each number is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from apps.report.hints import fid_parts, next_steps
from vaelab.grading import grade_outputs
from vaelab.metrics.score import score
from vaelab.outputs import Hyperparams, Outputs


def outputs_of(task: str, gen_shift: int = 0, gen_label: int | None = None) -> Outputs:
    """Two hundred images of ten labels; generated images of one label may be darker."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = rng.integers(100, 200, (200, 28, 28)).astype(np.uint8)
    recon = images.copy()
    recon[:20] = 255 - recon[:20]  # a tenth of the images is bad
    gen = np.stack([images[rng.choice(np.flatnonzero(labels == label), 1000)] for label in range(10)])
    if gen_label is not None:
        gen[gen_label] = gen[gen_label] - np.uint8(gen_shift)
    conditional = task == "Genwithlabel"
    return Outputs(
        images, labels, recon, gen if conditional else None, Hyperparams(task, 20, "mnist", "valid")
    )


def row(epoch: int, ssim: float, mse: float) -> dict[str, float]:
    return {"epoch": epoch, "valid_ssim": ssim, "valid_mse": mse}


def test_parts_of_the_fid_add_up_to_it() -> None:
    outputs = outputs_of("Genwithlabel", gen_shift=40, gen_label=7)
    mean_part, spread_part, ratio = fid_parts(outputs)
    assert mean_part + spread_part == pytest.approx(grade_outputs("Genwithlabel", outputs)["fid"])
    assert ratio == pytest.approx(1, abs=0.1)


def test_the_worst_label_and_the_mean_images_come_first() -> None:
    outputs = outputs_of("Genwithlabel", gen_shift=40, gen_label=7)
    grade = grade_outputs("Genwithlabel", outputs)
    hints = next_steps("Genwithlabel", grade, outputs, [])
    assert [hint.points for hint in hints] == sorted((hint.points for hint in hints), reverse=True)
    assert "the label 7" in " ".join(hint.text for hint in hints[:2])
    mean_part = fid_parts(outputs)[0]
    better = score("Genwithlabel", grade | {"fid": grade["fid"] - mean_part}, 20)
    gain = better["score_uncapped"] - grade["score_uncapped"]
    assert any(hint.points == pytest.approx(gain) and "mean images" in hint.text for hint in hints)


def test_training_longer_is_measured_from_the_log() -> None:
    outputs = outputs_of("VAE0label")
    grade = grade_outputs("VAE0label", outputs)
    log = [row(1, 0.5, 0.05), row(2, 0.6, 0.04), row(3, 0.7, 0.03), row(4, 0.8, 0.02)]
    values = [grade | {"ssim": entry["valid_ssim"], "mse": entry["valid_mse"]} for entry in (log[1], log[3])]
    then, now = (score("VAE0label", value, 20)["score_uncapped"] for value in values)
    longer = next(
        hint for hint in next_steps("VAE0label", grade, outputs, log) if "Train longer" in hint.text
    )
    assert longer.points == pytest.approx(now - then)
    assert "epochs 3 to 4" in longer.text
    flat = [row(epoch, 0.8, 0.02) for epoch in range(1, 9)]
    texts = [hint.text for hint in next_steps("VAE0label", grade, outputs, flat)]
    assert not [text for text in texts if "Train longer" in text], "a training that has converged"
    assert "a tenth of the images has 100% of the squared error" in texts[0]
