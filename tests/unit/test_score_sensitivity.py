"""The sensitivities of the score, against the formula of the score written independently."""

from __future__ import annotations

import re

import pytest

from vaelab.metrics.score import score
from vaelab.metrics.score_sensitivity import Sensitivity, sensitivities

TASKS = ("VAE0label", "Genwithlabel")


def oracle(task: str, ssim: float, mse: float, fid: float, latent_dim: int) -> float:
    """The score before the cap, as the handout states it."""
    bonus = 0.2 + (1 - latent_dim / 784)
    if task == "VAE0label":
        return (ssim * 5 + max(0.1 - mse, 0) * 50) * bonus
    return (ssim * 10 + max(0.1 - mse, 0) * 100 + max(10 - fid, 0)) * bonus


def sensitivities_of(task: str, ssim: float, mse: float, fid: float, latent_dim: int) -> list[Sensitivity]:
    values = {"ssim": ssim, "mse": mse} | ({"fid": fid} if task == "Genwithlabel" else {})
    grade = values | {"latent_dim": latent_dim, **score(task, values, latent_dim)}
    assert grade["score_uncapped"] == pytest.approx(oracle(task, ssim, mse, fid, latent_dim))
    return sensitivities(task, grade)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "values",
    [
        (0.5, 0.05, 8.0, 40),  # far below the cap
        (0.83, 0.0178, 5.0, 20),  # a step of VAE0label reaches it
        (0.97, 0.003, 0.34, 20),  # above it
        (0.2, 0.3, 14.0, 784),  # where two terms are 0
        (0.995, 0.0001, 0.2, 1),
    ],
)
def test_sensitivities_are_differences_of_the_score(
    task: str, values: tuple[float, float, float, int]
) -> None:
    cap, before = (10 if task == "VAE0label" else 30), oracle(task, *values)
    found = sensitivities_of(task, *values)
    keys = ("ssim", "mse", "fid", "latent_dim")
    assert len(found) == (4 if task == "Genwithlabel" else 3) - (values[3] == 1)
    for sensitivity in found:
        at = keys.index(sensitivity.key)
        now, to = map(float, re.search(r"\(([\d.]+) to ([\d.]+)\)", sensitivity.sentence).groups())
        decimals = {"ssim": 4, "mse": 5, "fid": 2, "latent_dim": 0}[sensitivity.key]
        assert now == pytest.approx(values[at], abs=0.51 * 10**-decimals)
        step = {
            "ssim": min(values[0] + 0.01, 1),
            "mse": 0.9 * values[1],
            "fid": values[2] - min(values[2], 1),
            "latent_dim": values[3] - (8 if values[3] > 8 else 1),
        }[sensitivity.key]
        assert to == pytest.approx(step, abs=0.51 * 10**-decimals)
        after = oracle(task, *values[:at], step, *values[at + 1 :])
        assert sensitivity.uncapped == pytest.approx(after - before)
        assert sensitivity.added == pytest.approx(min(after, cap) - min(before, cap))
        said = re.findall(r"([\d.]+) points", sensitivity.sentence)
        expected = [value for value in (sensitivity.added, sensitivity.uncapped) if value > 1e-9]
        expected = expected[:1] if sensitivity.added == pytest.approx(sensitivity.uncapped) else expected
        shown = [max(value, 0.001) for value in expected]  # what is smaller is said to be less than that
        assert [float(number) for number in said] == pytest.approx(shown, rel=0.05), sensitivity.sentence
        assert ("would add nothing" in sensitivity.sentence) == (sensitivity.added < 1e-9), (
            sensitivity.sentence
        )
        assert sensitivity.sentence.endswith("if nothing else changed.")
    lacking = [sensitivity.tenth_uncapped for sensitivity in found]
    assert lacking == sorted(lacking, reverse=True)


def test_the_tenths_and_the_words() -> None:
    by_key = {
        sensitivity.key: sensitivity for sensitivity in sensitivities_of("Genwithlabel", 0.8, 0.02, 12.0, 40)
    }
    bonus = 1.2 - 40 / 784
    points = {"ssim": 10 * 0.02, "mse": 100 * 0.002, "fid": 1.0}
    for key, value in points.items():
        assert by_key[key].tenth_uncapped == pytest.approx(value * bonus)
    assert by_key["latent_dim"].tenth_uncapped == pytest.approx((8 + 8) * 4 / 784)
    assert by_key["fid"].tenth == f"A tenth of the gap to the best value (12.00 to 9.00): {bonus:.2f} points."
    assert by_key["fid"].sentence == (
        "An FID lower by 1 (12.00 to 11.00) would add nothing (its term is 0 until it is below 10) "
        "if nothing else changed."
    )
    assert by_key["latent_dim"].sentence == (
        "8 fewer latent dimensions (40 to 32) would add 0.16 points if nothing else changed."
    )
    capped = sensitivities_of("VAE0label", 0.97, 0.003, 0, 20)[0].sentence
    assert re.search(r"would add nothing under the cap \(0\.\d+ points before it\) if", capped)
    reaching = next(
        sensitivity
        for sensitivity in sensitivities_of("VAE0label", 0.836, 0.0136, 0, 20)
        if sensitivity.key == "ssim"
    ).sentence
    assert re.search(r"would add 0\.\d+ points up to the cap \(0\.059 points before it\) if", reaching)
    assert sensitivities_of("Genwithlabel", 1.0, 0.0, 0.0, 1) == []
