"""Models that students write: what the contract asks of them, and what they read when they break it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import copy_lab, fail, rows, run_command, succeed

from vaelab.checkpoint import load_checkpoint

MINIMAL = '''
import torch
from torch import nn

class VAE(nn.Module):
    """The contract's first five calls and no more."""
    def __init__(self, latent_dim):
        super().__init__()
        self.d = latent_dim
        self.encoder, self.decoder = nn.Linear(784, 2 * latent_dim), nn.Linear(latent_dim, 784)
    def encode(self, x, labels=None):
        return self.encoder(x.flatten(1)).chunk(2, dim=1)
    def decode(self, z, labels=None):
        return self.decoder(z).sigmoid().view(-1, 28, 28)
    def forward(self, x, labels=None):
        assert labels is None, "VAE0label sees no labels"
        mu, logvar = self.encode(x)
        return self.decode(mu), mu, logvar
    def generate(self, labels):
        return self.decode(torch.randn(len(labels), self.d))

def vae_loss(recon, x, mu, logvar, var):
    recon_term, kl_term = (recon - x).square().sum() / len(x), mu.square().sum() / len(x)
    return recon_term + kl_term, recon_term, kl_term
'''

STUDENT = ("train.py", "--task", "VAE0label", "--dataset", "digits", "--epochs", 2)


@pytest.fixture
def student(tmp_path: Path):
    """A function that makes a copy of the lab with another submission.py; commands run in it."""
    copy_lab(tmp_path)

    def write(submission: str) -> dict:
        (tmp_path / "submission.py").write_text(submission)
        return {"cwd": tmp_path, "repo": tmp_path}

    return write


def test_a_students_model_needs_five_calls_only(student) -> None:
    lab = student(MINIMAL.replace("latent_dim):\n        super", "latent_dim, hidden_dim=5):\n        super"))
    inference = ("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt")
    printed = succeed(*STUDENT, "--latent_dim", 3, **lab)
    assert printed.endswith(f"\nnext: python {' '.join(inference)}\n")
    config = json.loads((lab["cwd"] / "outputs/VAE0label/config.json").read_text())
    assert config["model_args"] == {"latent_dim": 3}, "an argument that the model doesn't use is left out"
    succeed(*inference, "--output_dir", "b", **lab)
    assert succeed(*inference, **lab).endswith("\nnext: python grade.py\n")
    succeed("grade.py", **lab)
    grade = json.loads((lab["cwd"] / "outputs/grade_result.json").read_text())
    assert grade["VAE0label"]["latent_dim"] == 3
    # A model without `compress` is graded by its mu, as the log is: equal in fp32, which inference runs in.
    succeed(*STUDENT, "--latent_dim", 3, "--precision", "fp32", "--overwrite", **lab)
    succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", **lab)
    succeed("grade.py", **lab)
    grade = json.loads((lab["cwd"] / "outputs/grade_result.json").read_text())["VAE0label"]
    best = min(rows(lab["cwd"] / "outputs/VAE0label"), key=lambda row: row["valid_loss"])
    assert best["valid_mse"] == pytest.approx(grade["mse"], abs=1e-6)
    assert best["valid_ssim"] == pytest.approx(grade["ssim"], abs=1e-5)
    line = fail(*STUDENT, "--overwrite", "--arch", "mlp", **lab)
    assert "unrecognized arguments: --arch mlp" in line  # not an option of this model
    (lab["cwd"] / "submission.py").write_text(MINIMAL.replace("latent_dim", "size"))
    line = fail("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", **lab)
    assert "VAE in submission.py has no option hidden_dim, latent_dim: it takes --size" in line


def test_any_way_to_write_a_constructor_works(student) -> None:
    init = "def __init__(self, latent_dim):"
    other = "def __init__(self, *args, kind=nn.ReLU, beta=numpy.log(2), **options):\n"
    other += "        latent_dim = options['latent_dim']"
    lab = student("import numpy" + MINIMAL.replace(init, other))
    succeed(*STUDENT, "--latent_dim", 3, **lab)
    # Only plain values can be stored: the class and NumPy's number are left to the model.
    checkpoint = load_checkpoint(lab["cwd"] / "outputs/VAE0label/best.pt")
    assert checkpoint.config.model_args == {"latent_dim": 3}
    succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", **lab)


def test_training_loss_replaces_vae_loss(student) -> None:
    own = "    def training_loss(self, x, labels, var):\n        loss = self.decoder.bias.square().sum()\n"
    own += "        return loss + 7, loss, torch.tensor(7.0)\n\ndef vae_loss("
    lab = student(MINIMAL.replace("def vae_loss(", own, 1))
    succeed(*STUDENT, **lab)
    log = rows(lab["cwd"] / "outputs/VAE0label")
    assert [row["valid_kl_term"] for row in log] == [7, 7]
    assert log[1]["valid_recon_term"] < log[0]["valid_recon_term"]
    assert 0 < log[0]["valid_ssim"] < 1


LAST_LINE = "return recon_term + kl_term, recon_term, kl_term"
FORWARD = "return self.decode(mu), mu, logvar"
PIXELS = ".sigmoid().view(-1, 28, 28)"


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        (PIXELS, ".sigmoid()", "recon, .* of shape [128, 28, 28], got .* [128, 784]"),
        (PIXELS, ".sigmoid().view(-1, 28, 28).byte()", "recon, .* float tensor .* got torch.uint8"),
        (FORWARD, "return self.decode(mu), mu[:, :5], logvar", "mu must be .* of shape [128, 20], got"),
        (FORWARD, "return self.decode(mu), mu, None", "logvar .* got NoneType"),
        (FORWARD, "return self.decode(mu)", "forward must return (recon, mu, logvar), got Tensor"),
        (LAST_LINE, "return recon_term", "the loss function must return (loss, recon_term, kl_term)"),
        (LAST_LINE, "return mu, recon_term, kl_term", "loss, a mean over the batch, .* of shape []"),
        ("def vae_loss", "def loss", "submission.py has no vae_loss"),
        ("class VAE", "class Vae", "submission.py has no VAE"),
    ],
)
def test_a_model_that_breaks_the_contract_is_told_how(student, good: str, bad: str, says: str) -> None:
    lab = student(MINIMAL.replace(good, bad))
    line = fail(*STUDENT, **lab)
    assert re.search(re.escape(says).replace(r"\.\*", ".*"), line), line


def test_images_that_are_not_finite_are_not_written(student) -> None:
    lab = student(MINIMAL)
    succeed(*STUDENT, **lab)
    (lab["cwd"] / "submission.py").write_text(MINIMAL.replace(".sigmoid()", ".log()"))
    line = fail("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", **lab)
    assert "the output of decode has nan or infinite pixels" in line
    assert not (lab["cwd"] / "outputs/VAE0label/valid").exists()


def test_an_error_of_the_students_code_keeps_its_traceback(student) -> None:
    lab = student(MINIMAL.replace("mu, logvar = self.encode(x)", "mu, logvar = self.encode(y)"))
    result = run_command(*STUDENT, **lab)
    assert result.returncode == 1
    assert "NameError: name 'y' is not defined" in result.stderr
