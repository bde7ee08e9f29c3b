"""A third task needs an entry in vaelab/tasks.py and nothing else: trained, run and graded here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import fail, rows, succeed

from vaelab.tasks import TASKS, Task

THIRD = Task(
    name="Small",
    model_class="VAE",
    conditional=False,
    ssim_weight=20.0,
    mse_weight=100.0,
    cap=17.0,
    var=0.02,
    epochs=3,
    digits_epochs=2,
    latent_dim=9,
    aliases=("Tiny",),
)


def test_a_third_task_is_trained_run_and_graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, THIRD.name, THIRD)
    train = ("train.py", "--task", "Tiny", "--dataset", "digits", "--arch", "mlp")
    out = succeed(*train, cwd=tmp_path)
    assert "VAE(latent_dim=9, arch=mlp, " in out
    assert len(rows(tmp_path / "outputs/Small")) == 2
    config = json.loads((tmp_path / "outputs/Small/config.json").read_text())
    assert (config["task"], config["var"]) == ("Small", 0.02)
    succeed("inference.py", "--task", "Tiny", "--checkpoint_path", "outputs/Small/best.pt", cwd=tmp_path)
    out = succeed("grade.py", cwd=tmp_path)
    (grade,) = json.loads((tmp_path / "outputs/grade_result.json").read_text()).values()
    bonus = 0.2 + 1 - 9 / 784
    uncapped = (20 * grade["ssim"] + 100 * max(0.1 - grade["mse"], 0)) * bonus
    assert grade["score_uncapped"] == pytest.approx(uncapped)
    assert grade["score"] == pytest.approx(min(uncapped, 17))
    assert f"total {grade['score']:.2f} of 57" in out
    assert "Genwithlabel is not there. To make it: python train.py --task Genwithlabel" in out
    assert "Small" in (tmp_path / "outputs/report.html").read_text()
    line = fail("train.py", "--task", "Large", cwd=tmp_path)
    assert "unknown task 'Large': choose one of VAE0label, Genwithlabel, Small" in line
