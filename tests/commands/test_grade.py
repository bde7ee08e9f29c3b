"""The grade against an oracle written independently: plain NumPy and scikit-image, image by image."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MNIST_DIR, REPO, copy_lab, fail, run_command, succeed
from PIL import Image
from skimage.metrics import structural_similarity

GOOD = {"task": "VAE0label", "latent_dim": 12, "dataset": "digits", "split": "valid"}


# --- The oracle ---------------------------------------------------------------------------------


def oracle(cwd: Path, task: str, split: str = "valid") -> dict[str, float]:
    """The grade as design and handout state it, with a Python loop over the images."""
    folder = cwd / "outputs" / task / split
    hyperparams = json.loads((folder / "hyperparams.json").read_text())
    with np.load(cwd / "dataset" / hyperparams["dataset"] / f"{split}.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    recon, gen = np.load(folder / "recon.npy"), np.load(folder / "gen.npy")
    assert recon.shape == images.shape
    assert gen.shape == (10, 1000, 28, 28)
    mse = np.mean([np.mean((a / 255 - b / 255) ** 2) for a, b in zip(recon, images, strict=True)])
    ssim = np.mean([structural_similarity(a, b, data_range=255) for a, b in zip(recon, images, strict=True)])
    fids = []
    for label in range(10):
        g = np.array([image.ravel() / 255 for image in gen[label]])
        r = np.array([image.ravel() / 255 for image in images[labels == label]])
        fid = np.sum((np.mean(g, 0) - np.mean(r, 0)) ** 2)
        fid += np.sum(np.var(g, 0) + np.var(r, 0) - 2 * np.sqrt(np.var(g, 0) * np.var(r, 0)))
        fids.append(fid)
    bonus = 0.2 + (1 - hyperparams["latent_dim"] / 784)
    result = {"mse": mse, "ssim": ssim, "bonus": bonus}
    if task == "VAE0label":
        result["score_uncapped"] = (ssim * 5 + max(0.1 - mse, 0) * 50) * bonus
        return result | {"score": min(result["score_uncapped"], 10)}
    result["fid"] = np.mean(fids)
    result["score_uncapped"] = (ssim * 10 + max(0.1 - mse, 0) * 100 + max(10 - result["fid"], 0)) * bonus
    return result | {"score": min(result["score_uncapped"], 30)}


def assert_graded_as_the_oracle(cwd: Path) -> None:
    result = json.loads((cwd / "outputs/grade_result.json").read_text())
    assert list(result) == ["VAE0label", "Genwithlabel"]
    for task, grade in result.items():
        for key, value in oracle(cwd, task).items():
            assert grade[key] == pytest.approx(value, abs=1e-6), (task, key)


def test_grading_needs_no_torch(change, main_job: Path) -> None:
    """To load it takes longer than to grade."""
    code = f"import sys; sys.path.insert(0, {str(REPO)!r}); import grade; grade.main([]); "
    command = [sys.executable, "-c", code + "assert 'torch' not in sys.modules"]
    result = subprocess.run(command, cwd=change(main_job), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "total" in result.stdout


def test_grade_is_the_oracles(main_job: Path) -> None:
    assert_graded_as_the_oracle(main_job)
    result = json.loads((main_job / "outputs/grade_result.json").read_text())
    assert {grade["dataset"] for grade in result.values()} == {"digits"}
    assert {grade["latent_dim"] for grade in result.values()} == {12}


@pytest.mark.mnist
def test_grade_is_the_oracles_on_mnist_and_one_epoch_scores_well(tmp_path: Path) -> None:
    for task, arch in (("VAE0label", "mlp"), ("Genwithlabel", "conv")):
        options = ("--beyond", "--arch", arch, "--epochs", 1, "--data_dir", MNIST_DIR)
        succeed("train.py", "--task", task, *options, cwd=tmp_path)
        succeed("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", cwd=tmp_path)
    out = succeed("grade.py", cwd=tmp_path)
    assert "not MNIST" not in out
    assert_graded_as_the_oracle(tmp_path)
    result = json.loads((tmp_path / "outputs/grade_result.json").read_text())
    # One epoch of Genwithlabel with --beyond gave 31.97 when this was written.
    assert result["VAE0label"]["score_uncapped"] > 10.0
    assert result["Genwithlabel"]["score_uncapped"] > 30.5


# --- What it reads ------------------------------------------------------------------------------


def test_png_folders_give_the_same_grade_and_a_bad_file_is_named(main_job: Path, change) -> None:
    cwd = change(main_job)
    folder = cwd / "outputs/Genwithlabel/valid"
    before = json.loads((cwd / "outputs/grade_result.json").read_text())
    for task in before:
        succeed("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", "--save_png", cwd=cwd)
    np.testing.assert_array_equal(
        np.asarray(Image.open(folder / "gen/7/42.png")), np.load(folder / "gen.npy")[7, 42]
    )
    for path in [*cwd.glob("outputs/*/valid/*.npy"), cwd / "outputs/grade_result.json"]:
        path.unlink()
    succeed("grade.py", cwd=cwd)
    assert json.loads((cwd / "outputs/grade_result.json").read_text()) == before

    path = folder / "gen/0/1.png"
    path.unlink()
    assert f"can't read {path.relative_to(cwd)}" in fail("grade.py", cwd=cwd)
    path.write_text("not a picture")
    assert f"can't read {path.relative_to(cwd)}" in fail("grade.py", cwd=cwd)
    for bad, kind in (
        (np.zeros((28, 28, 3), np.uint8), "mode RGB and size [28, 28]"),
        (np.zeros((29, 28), np.uint8), "mode L and size [29, 28]"),
    ):
        Image.fromarray(bad).save(path)
        assert f"and size [28, 28], got PNG of {kind}" in fail("grade.py", cwd=cwd)
    Image.new("L", (12_000, 12_000)).save(path)  # enough for Pillow to warn of a decompression bomb
    assert "gen/0/1.png" in fail("grade.py", cwd=cwd)
    # Outputs made anew are of one model: no picture of an earlier one is left.
    succeed("inference.py", "--checkpoint_path", "outputs/Genwithlabel/best.pt", cwd=cwd)
    assert not (folder / "gen").exists()


def test_table_shows_every_term_and_what_is_missing(main_job: Path, change) -> None:
    cwd = change(main_job)
    shutil.rmtree(cwd / "outputs/Genwithlabel/valid")
    out = " ".join(succeed("grade.py", cwd=cwd).split())
    grade = json.loads((cwd / "outputs/grade_result.json").read_text())["VAE0label"]
    for text in (
        f"5 ssim {5 * grade['ssim']:.3f} 5.00",
        f"50 max(0.1 - mse, 0) {50 * (0.1 - grade['mse']):.3f} 5.00",
        f"score {grade['score']:.2f} 10.00 ({grade['score_uncapped']:.2f} before the cap)",
        "This is digits, not MNIST: the score can't be compared with one on MNIST.",
        "Genwithlabel is not there. To make it: python train.py --task Genwithlabel, then python",
        f"total {grade['score']:.2f} of 40",
    ):
        assert text in out, out


def test_outputs_of_an_older_model_are_noticed(main_job: Path, change) -> None:
    cwd = change(main_job)
    assert "has changed" not in succeed("grade.py", cwd=cwd)
    succeed("train.py", "--task", "VAE0label", "--resume", "--epochs", 25, cwd=cwd)
    out = succeed("grade.py", cwd=cwd)
    assert (
        "note: outputs/VAE0label/best.pt has changed since inference.py made the outputs of VAE0label" in out
    )


def test_nothing_to_grade(tmp_path: Path) -> None:
    line = fail("grade.py", cwd=tmp_path)
    assert "python train.py --task VAE0label, then python inference.py --checkpoint_path" in line
    line = fail("grade.py", "--split", "test", "--output_dir", "o", cwd=tmp_path)
    assert "--checkpoint_path o/VAE0label/best.pt --output_dir o --split test" in line


def spoil(folder: Path, kind: str) -> str:
    """Break one thing in the outputs. Returns: a text that the error must hold."""
    recon, gen = folder / "recon.npy", folder / "gen.npy"
    match kind:
        case "shape":
            np.save(recon, np.load(recon)[:-1])
            return "recon.npy should contain uint8 [257, 28, 28], got uint8 [256, 28, 28]"
        case "dtype":
            np.save(recon, np.load(recon) / 255)
            return "got float64 [257, 28, 28]"
        case "objects":
            np.save(recon, np.array([{}], dtype=object), allow_pickle=True)
            return "recon.npy is damaged, or not an array"
        case "truncated":
            gen.write_bytes(gen.read_bytes()[:1000])
            return "gen.npy is damaged, or not an array"
        case "header":
            shape = (10**14,)
            header = str({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
            gen.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
            return "gen.npy is damaged, or not an array"
        case "deep":
            (folder / "hyperparams.json").write_text("[" * 100_000)
            return "can't read"
        case "archive":
            with gen.open("wb") as file:
                np.savez(file, x=np.zeros(2))
            return "gen.npy should contain uint8 [10, 1000, 28, 28], got an archive"
        case "missing":
            gen.unlink()
            return "gen.npy"
        case "json":
            (folder / "hyperparams.json").write_text("{")
            return "can't read"
        case _:
            values = GOOD | {"task": "Genwithlabel"} | json.loads(kind)
            (folder / "hyperparams.json").write_text(json.dumps(values))
            return "hyperparams.json should contain"


@pytest.mark.parametrize(
    "kind",
    ["shape", "dtype", "objects", "truncated", "header", "archive", "missing", "json", "deep"]
    + ['{"latent_dim": 0}', '{"latent_dim": 785}', '{"latent_dim": 1.5}', '{"latent_dim": true}']
    + ['{"task": "VAE0label"}', '{"split": "test"}', '{"dataset": "../../etc"}'],
)
def test_bad_outputs_are_named_and_the_old_grade_stays(main_job: Path, change, kind: str) -> None:
    cwd = change(main_job)
    says = spoil(cwd / "outputs/Genwithlabel/valid", kind)
    before = (cwd / "outputs/grade_result.json").read_bytes()
    assert says in fail("grade.py", cwd=cwd)
    assert (cwd / "outputs/grade_result.json").read_bytes() == before


def test_no_code_of_a_submission_runs_in_the_grader(main_job: Path, change, tmp_path: Path) -> None:
    cwd = change(main_job)
    (tmp_path / "repo").mkdir()
    repo = copy_lab(tmp_path / "repo")
    (repo / "submission.py").write_text("raise SystemExit('the submission ran')")
    assert run_command("grade.py", cwd=cwd, repo=repo).returncode == 0
    assert (
        "the submission ran"
        in run_command("inference.py", "--checkpoint_path", "x", cwd=cwd, repo=repo).stderr
    )


def test_a_trained_model_without_outputs_needs_inference_only(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "Genwithlabel").mkdir(parents=True)
    (tmp_path / "outputs" / "Genwithlabel" / "best.pt").touch()
    line = fail("grade.py", cwd=tmp_path)
    assert "is trained, but has no outputs for valid yet" in line
    assert "python inference.py --checkpoint_path outputs/Genwithlabel/best.pt" in line
    assert "train.py" not in line
