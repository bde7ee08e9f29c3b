"""`check.py --hand_in`, and what `grade.py` says about files that don't belong together."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import REPO, copy_lab, run_command, succeed

from vaelab.hand_in import stage
from vaelab.origin import code_md5

TASKS = ("VAE0label", "Genwithlabel")
SMALL = ("--dataset", "digits", "--arch", "mlp", "--epochs", 1, "--hidden_dim", 32)


@pytest.fixture
def lab(main_job: Path, tmp_path: Path) -> Path:
    """A copy of the lab in which both tasks were trained, run and graded."""
    shutil.copytree(main_job, tmp_path / "lab")
    return copy_lab(tmp_path / "lab")


def check_hand_in(lab: Path, code: int, *options: object) -> str:
    result = run_command("check.py", "--hand_in", *options, cwd=lab, repo=lab)
    assert (result.returncode, result.stderr) == (code, "")
    return result.stdout


def test_a_complete_hand_in_passes_and_is_what_the_grader_takes(lab: Path, tmp_path: Path) -> None:
    out = check_hand_in(lab, 0)
    assert "ok   VAE0label: the model of epoch " in out
    assert "codes of 12 numbers" in out
    assert f"16 reconstructions are those in {Path('outputs/Genwithlabel/valid')}" in out
    assert "Hand in hand_in.zip" in out
    assert not (lab / "hand_in_not_accepted.zip").exists()
    with zipfile.ZipFile(lab / "hand_in.zip") as archive:
        assert sorted(archive.namelist()) == ["Genwithlabel.pt", "VAE0label.pt", "model.py", "submission.py"]
    (tmp_path / "staged").mkdir()
    stage(lab / "hand_in.zip", tmp_path / "staged")
    for task in TASKS:
        best = (lab / "outputs" / task / "best.pt").read_bytes()
        assert (tmp_path / "staged" / f"{task}.pt").read_bytes() == best


def test_modules_that_the_submission_imports_are_in_it_and_others_are_not(lab: Path) -> None:
    text = (lab / "submission.py").read_text()
    (lab / "submission.py").write_text(text.replace("import torch\n", "import torch\nimport mine\n", 1))
    (lab / "mine.py").write_text("from parts.inner import ONE\n")
    (lab / "parts").mkdir()
    (lab / "parts/inner.py").write_text("ONE = 1\n")
    (lab / "tune.py").write_text("raise SystemExit\n")
    out = check_hand_in(lab, 0)
    with zipfile.ZipFile(lab / "hand_in.zip") as archive:
        names = archive.namelist()
    assert {"mine.py", "parts/inner.py"} < set(names), out
    assert not {"tune.py", "train.py"} & set(names)


def test_what_would_lose_points_is_said(lab: Path) -> None:
    check_hand_in(lab, 0)
    accepted = (lab / "hand_in.zip").read_bytes()
    (lab / "outputs/Genwithlabel/best.pt").unlink()
    out = check_hand_in(lab, 1)
    assert "ok   VAE0label" in out
    assert "FAIL Genwithlabel: there is no checkpoint: python train.py --task Genwithlabel makes" in out

    text = (lab / "submission.py").read_text()
    wider = text.replace("image_shape, hidden_dim, **layers", "image_shape, hidden_dim + 1, **layers")
    assert wider != text
    (lab / "submission.py").write_text(wider)
    out = check_hand_in(lab, 1)
    assert "FAIL VAE0label: the weights in " in out
    assert "don't fit VAE in submission.py" in out

    (lab / "submission.py").write_text(text.replace("class VAE(nn.Module):", "1 / 0\nclass VAE(nn.Module):"))
    out = check_hand_in(lab, 1)
    assert "ZeroDivisionError" in out
    assert "don't hand in this zip file, hand_in_not_accepted.zip" in out
    assert (lab / "hand_in.zip").read_bytes() == accepted, "a failed one does not replace it"
    assert (lab / "hand_in_not_accepted.zip").is_file()


def test_outputs_of_another_run_are_noticed(lab: Path) -> None:
    """The dead end: a second run in outputs/b, whose outputs replaced those of the first."""
    for task in TASKS:
        succeed("train.py", "--task", task, *SMALL, "--output_dir", "outputs/b", cwd=lab, repo=lab)
        succeed("inference.py", "--checkpoint_path", f"outputs/b/{task}/best.pt", cwd=lab, repo=lab)
    assert "note:" not in succeed("grade.py", "--output_dir", "outputs/b", cwd=lab, repo=lab)
    assert "note:" not in succeed("grade.py", cwd=lab, repo=lab), "inference.py wrote beside its checkpoint"

    checkpoint = "outputs/b/VAE0label/best.pt"
    succeed("inference.py", "--checkpoint_path", checkpoint, "--output_dir", "outputs", cwd=lab, repo=lab)
    note = (
        f"note: the outputs of VAE0label were made with {checkpoint}, which is another run than outputs/VAE"
    )
    assert note in succeed("grade.py", cwd=lab, repo=lab)
    assert note in (lab / "outputs/report.html").read_text().replace("&#39;", "'")
    out = check_hand_in(lab, 1)
    assert "FAIL VAE0label" in out
    assert "are of another model: run inference.py and grade.py again" in " ".join(out.split())
    assert "ok   Genwithlabel" in out

    succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/last.pt", cwd=lab, repo=lab)
    if (lab / "outputs/VAE0label/last.pt").read_bytes() != (lab / "outputs/VAE0label/best.pt").read_bytes():
        assert "were made with outputs/VAE0label/last.pt, and a hand-in contains best.pt" in succeed(
            "grade.py", cwd=lab, repo=lab
        )


def test_changed_code_is_noticed_but_not_comments_or_part_3(tmp_path: Path) -> None:
    shutil.copy(REPO / "model.py", tmp_path)
    text = (REPO / "submission.py").read_text()
    path = tmp_path / "submission.py"

    def sums(changed: str) -> list[str | None]:
        path.write_text(changed)
        return [code_md5(tmp_path, task) for task in TASKS]

    first = sums(text)
    assert None not in first
    assert sums(text.replace("# [B, d]", "# codes").replace("\n\n\n", "\n\n")) == first
    vae, gen = sums(text.replace("nn.Embedding(10, label_dim)", "nn.Embedding(11, label_dim)"))
    assert (vae == first[0], gen == first[1]) == (True, False)
    vae, gen = sums(text.replace("torch.exp(0.5 * logvar)", "torch.exp(logvar)"))
    assert (vae == first[0], gen == first[1]) == (False, False)
    one_hot = text.replace(
        "from torch import Tensor, nn", "import torch.nn.functional as F\nfrom torch import Tensor, nn"
    )
    assert sums(one_hot) == first  # which nothing uses yet
    vae, gen = sums(one_hot.replace("self.encoder_labels(labels)", "F.one_hot(labels, 10)"))
    assert (vae == first[0], gen == first[1]) == (True, False)
    assert sums("class VAE(") == [None, None]
