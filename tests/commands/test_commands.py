"""The main job as a user runs it, and the mistakes a user makes: one clear line, exit code 2."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO, fail, start_process, succeed
from PIL import Image

from vaelab.origin import code_md5

TRAIN = ("train.py", "--task", "VAE0label", "--dataset", "digits")


# --- The main job -------------------------------------------------------------------------------


def test_outputs_of_the_main_job(main_job: Path) -> None:
    for task in ("VAE0label", "Genwithlabel"):
        folder = main_job / "outputs" / task / "valid"
        recon, gen = np.load(folder / "recon.npy"), np.load(folder / "gen.npy")
        assert (recon.dtype, recon.shape) == (np.uint8, (257, 28, 28))
        assert (gen.dtype, gen.shape) == (np.uint8, (10, 1000, 28, 28))
        assert json.loads((folder / "hyperparams.json").read_text()) == {
            "task": task, "latent_dim": 12, "dataset": "digits", "split": "valid", "seed": 0,
            "checkpoint": f"outputs/{task}/best.pt",
            "checkpoint_md5": hashlib.md5((main_job / f"outputs/{task}/best.pt").read_bytes()).hexdigest(),
            "code_md5": code_md5(REPO, task),
        }  # fmt: skip


def test_pictures_show_the_arrays(main_job: Path) -> None:
    folder = main_job / "outputs/Genwithlabel/valid"
    recon, gen = np.load(folder / "recon.npy"), np.load(folder / "gen.npy")
    with np.load(main_job / "dataset/digits/valid.npz") as file:
        images = file["images"]

    def cell(name: str, row: int, column: int) -> np.ndarray:
        """A cell of a grid: 28 pixels and a gap of 2, twice enlarged."""
        grid = np.asarray(Image.open(folder / name))[::2, ::2]
        assert grid.shape[1] == 302
        assert grid.shape[0] > 302, "the caption is below the grid"
        return grid[2 + 30 * row :, 2 + 30 * column :][:28, :28]

    np.testing.assert_array_equal(cell("gen.png", 6, 3), gen[6, 3])
    np.testing.assert_array_equal(cell("recon.png", 2, 5), images[15])
    np.testing.assert_array_equal(cell("recon.png", 3, 5), recon[15])


def test_conditional_samples_look_like_their_label(main_job: Path) -> None:
    """A classifier trained on real digits reads most of the asked-for labels."""
    from sklearn.linear_model import LogisticRegression

    with np.load(main_job / "dataset/digits/train.npz") as file:
        classifier = LogisticRegression(max_iter=1000).fit(
            file["images"].reshape(-1, 784) / 255, file["labels"]
        )
    gen = np.load(main_job / "outputs/Genwithlabel/valid/gen.npy")[:, :50].reshape(-1, 784) / 255
    assert classifier.score(gen, np.repeat(np.arange(10), 50)) > 0.8


def test_inference_repeats_itself_and_follows_its_seed(main_job: Path, change) -> None:
    cwd = change(main_job)
    before = {path: path.read_bytes() for path in cwd.glob("outputs/Genwithlabel/valid/*.npy")}
    infer = ("inference.py", "--checkpoint_path", "outputs/Genwithlabel/best.pt")
    succeed(*infer, cwd=cwd)
    assert {path: path.read_bytes() for path in before} == before
    succeed(*infer, "--seed", 1, cwd=cwd)
    changed = [path.name for path, data in before.items() if path.read_bytes() != data]
    assert changed == ["gen.npy"]


def test_codes_may_be_left_as_the_encoder_gives_them(beyond_job: Path, change) -> None:
    cwd = change(beyond_job)
    ssim = [json.loads((cwd / "outputs/grade_result.json").read_text())["VAE0label"]["ssim"]]
    succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", "--skip_compress", cwd=cwd)
    succeed("grade.py", cwd=cwd)
    ssim.append(json.loads((cwd / "outputs/grade_result.json").read_text())["VAE0label"]["ssim"])
    assert ssim[1] < ssim[0]


def test_outputs_of_a_killed_inference_are_not_graded(main_job: Path, change) -> None:
    cwd = change(main_job)
    folder = cwd / "outputs/Genwithlabel/valid"
    infer = ("inference.py", "--checkpoint_path", "outputs/Genwithlabel/best.pt", "--split", "valid")
    process = start_process(*infer, "--save_png", cwd=cwd, stdout=subprocess.DEVNULL)
    while not (folder / "recon").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (folder / ".gen.npy.1.tmp").write_bytes(b"what a kill during a write leaves")
    assert "Genwithlabel is not there. To make it:" in succeed("grade.py", cwd=cwd)
    succeed(*infer, cwd=cwd)
    assert "Genwithlabel on digits valid" in succeed("grade.py", cwd=cwd)
    assert not list(folder.glob(".*.tmp"))


def test_each_split_is_graded_on_its_own(main_job: Path, change) -> None:
    cwd = change(main_job)
    succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/last.pt", "--split", "test", cwd=cwd)
    out = succeed("grade.py", "--split", "test", cwd=cwd)
    assert "VAE0label on digits test: 257 images" in out
    assert list(json.loads((cwd / "outputs/grade_result.json").read_text())) == ["VAE0label"]


@pytest.mark.parametrize("spelling", ["VAEOlabel", "VAEwolabel"])
def test_commands_of_printed_handouts(tmp_path: Path, spelling: str) -> None:
    succeed("train.py", "--task", spelling, "--dataset", "digits", "--test_run", cwd=tmp_path)
    path = "outputs/test_run/VAE0label/best.pt"
    assert (tmp_path / path).exists()
    succeed("inference.py", "--task", spelling, "--latent_dim", 20, "--checkpoint_path", path, cwd=tmp_path)
    assert (tmp_path / "outputs/test_run/VAE0label/valid/hyperparams.json").exists()


def test_latent_dim_of_inference_is_a_check(main_job: Path, change) -> None:
    cwd = change(main_job)
    path = "outputs/VAE0label/best.pt"
    (cwd / "outputs/VAE0label/valid/hyperparams.json").unlink()
    line = fail("inference.py", "--latent_dim", 20, "--checkpoint_path", path, cwd=cwd)
    assert f"{path} has latent_dim 12, not 20: leave --latent_dim out, or name another" in line
    assert not (cwd / "outputs/VAE0label/valid/hyperparams.json").exists()
    line = fail("inference.py", "--latent_dim", 0, "--checkpoint_path", path, cwd=cwd)
    assert "--latent_dim: expected an integer from 1 to 784, got '0'" in line
    succeed("inference.py", "--latent_dim", 12, "--checkpoint_path", path, cwd=cwd)
    assert (cwd / "outputs/VAE0label/valid/hyperparams.json").exists()


def test_outputs_go_beside_their_checkpoint_unless_a_root_is_named(main_job: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").symlink_to(main_job / "dataset")
    for root in ("mine/of today", "elsewhere"):
        (tmp_path / root / "VAE0label").mkdir(parents=True)
        shutil.copy(main_job / "outputs/VAE0label/best.pt", tmp_path / root / "VAE0label")
    shutil.copy(main_job / "outputs/VAE0label/best.pt", tmp_path)

    def written(*options: object) -> list[str]:
        succeed("inference.py", "--checkpoint_path", *options, cwd=tmp_path)
        found = sorted(tmp_path.rglob("hyperparams.json"))
        for path in found:
            path.unlink()
        return [str(path.parent.relative_to(tmp_path)) for path in found]

    assert written("mine/of today/VAE0label/best.pt") == ["mine/of today/VAE0label/valid"]
    assert written(tmp_path / "elsewhere/VAE0label/best.pt") == ["elsewhere/VAE0label/valid"]
    assert written("best.pt") == ["outputs/VAE0label/valid"]  # not in a folder of its task
    assert written("mine/of today/VAE0label/best.pt", "--output_dir", "o") == ["o/VAE0label/valid"]


# --- Mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            ("train.py", "--task", "VAE1label"),
            "unknown task 'VAE1label': choose one of VAE0label, Genwithlabel",
        ),
        (("train.py",), "the following arguments are required: --task"),
        ((*TRAIN, "--latent_dims", 3), "unrecognized arguments: --latent_dims"),
        ((*TRAIN, "--latent", 3), "unrecognized arguments: --latent"),
        (("train.py", "--task", "VAE0label", "--dataset", "emnist"), "invalid choice: 'emnist'"),
        ((*TRAIN, "--latent_dim", 0), "--latent_dim: expected an integer from 1 to 784, got '0'"),
        ((*TRAIN, "--latent_dim", -3), "--latent_dim: expected an integer from 1 to 784, got '-3'"),
        ((*TRAIN, "--latent_dim", 785), "--latent_dim: expected an integer from 1 to 784, got '785'"),
        ((*TRAIN, "--latent_dim", "many"), "--latent_dim: expected an integer"),
        ((*TRAIN, "--var", 0), "--var: expected a number above 0 to 2147483647, got '0'"),
        ((*TRAIN, "--lr", "nan"), "--lr: expected a number above 0 to 2147483647, got 'nan'"),
        ((*TRAIN, "--lr", "inf"), "--lr: expected a number above 0 to 2147483647, got 'inf'"),
        ((*TRAIN, "--epochs", "1.5"), "--epochs: expected an integer from 1 to 2147483647, got '1.5'"),
        ((*TRAIN, "--seed", 10**20), "--seed: expected an integer from 0 to 2147483647"),
        ((*TRAIN, "--test_run", "--resume"), "argument --resume: not allowed with argument --test_run"),
        ((*TRAIN, "--device", "cuda"), "has no cuda device: use --device auto"),
        (
            ("train.py", "--task", "VAE0label", "--data_dir", "empty"),
            "empty has no train-images-idx3-ubyte",
        ),
        (("train.py", "--task", "VAE0label", "--data_dir", "nowhere"), "can't read the data folder nowhere"),
        (("train.py", "--task", "VAE0label", "--data_dir", "file"), "can't read the data folder file"),
        ((*TRAIN, "--output_dir", "file"), "can't make the folder file/VAE0label"),
        ((*TRAIN, "--output_dir", "/proc/x"), "can't make the folder /proc/x"),
        (("inference.py",), "the following arguments are required: --checkpoint_path"),
        (
            ("inference.py", "--checkpoint_path", "no.pt"),
            "there is no checkpoint no.pt: python train.py --task",
        ),
        (("inference.py", "--checkpoint_path", "empty"), "empty is a folder: name a file in it"),
        (("inference.py", "--checkpoint_path", "x" * 300), "File name too long"),
        (("inference.py", "--checkpoint_path", "no.pt", "--split", "all"), "invalid choice: 'all'"),
        (("inference.py", "--checkpoint_path", "no.pt", "--task", "GAN"), "unknown task 'GAN'"),
        (("grade.py", "--output_dir", "nowhere"), "nothing to grade in nowhere/<task>/valid/"),
        (("data_utils.py", "--dataset", "imagenet"), "invalid choice: 'imagenet'"),
    ],
)
def test_mistakes(tmp_path: Path, command: tuple, says: str) -> None:
    if command[-1] == "cuda" and __import__("torch").cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert says in fail(*command, cwd=tmp_path)
    assert not list(tmp_path.glob("**/*.pt"))


@pytest.mark.parametrize("script", ["train.py", "inference.py", "grade.py", "data_utils.py"])
def test_help_explains_every_option(tmp_path: Path, script: str) -> None:
    out = succeed(script, "--help", cwd=tmp_path)
    options = [line for line in out.splitlines() if line.startswith("  --")]
    assert len(options) >= 2
    wrapped = out.split("options:")[1].replace("\n                        ", " ")
    for line in (line for line in wrapped.splitlines() if line.startswith("  --")):
        assert len(line.split("  ")[-1]) > 15, line


def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "can't make the folder" in fail(*TRAIN, "--output_dir", "locked", cwd=tmp_path)


# --- The repository -----------------------------------------------------------------------------


def test_scripts_are_valid_shell() -> None:
    scripts = [*(REPO / "scripts").glob("*.sh"), REPO / ".ci/run"]
    assert len(scripts) >= 3
    for script in scripts:
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


@pytest.mark.skipif(not shutil.which("git") or not (REPO / ".git").exists(), reason="not a git checkout")
def test_what_the_scripts_make_is_ignored_by_git() -> None:
    ignored = [
        "dataset/digits/train.npz",
        "outputs/VAE0label/best.pt",
        ".venv/bin/python",
        "dataset/raw/x.gz",
    ]
    listed = subprocess.run(
        ["git", "check-ignore", *ignored], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert listed.stdout.split() == ignored
