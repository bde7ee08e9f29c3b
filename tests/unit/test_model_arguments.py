"""Options of a student's own model: those that its code never uses are refused, and left out of the help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import REPO, copy_lab, run_command
from torch import nn

from vaelab.cli import LabError
from vaelab.model_arguments import check_options, takes, unused_arguments
from vaelab.model_summary import model_summary

OWN = """
class VAE(nn.Module):
    def __init__(self, latent_dim=20, arch="conv", hidden_dim=256, image_shape=(1, 28, 28)):
        super().__init__()
        self.encoder = nn.Linear(784, 2 * latent_dim)

class GenModel(VAE):
    def __init__(self, latent_dim=20, arch="conv", hidden_dim=256, image_shape=(1, 28, 28), label_dim=16):
        super().__init__(latent_dim, arch, hidden_dim=hidden_dim)
        self.labels = nn.Embedding(10, label_dim)
"""


def unused(tmp_path: Path, text: str) -> list[set[str]]:
    path = tmp_path / "submission.py"
    path.write_text(text)
    return [unused_arguments(task, path) for task in ("VAE0label", "Genwithlabel")]


def test_arguments_that_no_line_uses(tmp_path: Path) -> None:
    rest = {"arch", "hidden_dim", "image_shape"}
    assert unused(tmp_path, OWN) == [rest, rest]
    used = OWN.replace("nn.Linear(784, 2", "nn.Linear(hidden_dim, 2")
    assert unused(tmp_path, used) == [rest - {"hidden_dim"}] * 2
    assert unused(tmp_path, OWN.replace("super().__init__(latent_dim, arch", "super().__init__(*[arch]"))[
        1
    ] == {
        "latent_dim",
        "image_shape",
    }


def test_nothing_is_refused_where_the_code_does_not_tell(tmp_path: Path) -> None:
    blank = OWN.replace("self.encoder = nn.Linear(784, 2 * latent_dim)", "raise NotImplementedError('2.2.1')")
    assert unused(tmp_path, blank)[0] == set()
    any_option = OWN.replace("image_shape=(1, 28, 28)):", "**options):", 1)
    assert unused(tmp_path, any_option) == [set(), {"image_shape"}]
    path = tmp_path / "submission.py"
    path.write_text("class VAE(Other): pass")
    check_options("VAE0label", ["anything"], path)
    assert takes("VAE0label", "anything", path)


def test_the_solved_submission_uses_all_its_arguments() -> None:
    for task in ("VAE0label", "Genwithlabel"):
        assert unused_arguments(task, REPO / "submission.py") == set()


def test_train_refuses_an_option_without_effect_and_prints_the_layers(tmp_path: Path) -> None:
    lab = copy_lab(tmp_path)
    text = (lab / "submission.py").read_text()
    own = text.replace("hidden_dim, **layers", "64").replace("hidden_dim, cond_dim", "64, cond_dim")
    (lab / "submission.py").write_text(own)
    train = ("train.py", "--task", "VAE0label", "--dataset", "digits", "--test_run")
    for option, says in (
        ("hidden_dim", "never uses its argument hidden_dim"),
        ("label_dim", "has no option"),
    ):
        result = run_command(*train, f"--{option}", 32, cwd=lab, repo=lab)
        assert result.returncode == 2
        assert says in result.stderr, result.stderr
    help_text = run_command("train.py", "--help", cwd=lab, repo=lab).stdout
    assert "--hidden_dim" not in help_text
    assert "Genwithlabel only" in " ".join(help_text.split())

    result = run_command(*train, "--arch", "mlp", "--latent_dim", 5, cwd=lab, repo=lab)
    assert result.returncode == 0, result.stderr
    assert "hidden_dim=" not in result.stdout
    assert "encoder      50,890  Linear 784-64, ReLU, Linear 64-10\n" in result.stdout


def test_summary_counts_every_parameter() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh())

    assert model_summary(Model()) == [
        "net          48  Conv2d 1-4, BatchNorm2d 4, Tanh",
        "(own)           3  parameters of the model itself",
    ]


def test_an_unknown_option_names_those_that_work(tmp_path: Path) -> None:
    (tmp_path / "submission.py").write_text(OWN)
    with pytest.raises(
        LabError, match="VAE in submission.py has no option label_dim: it takes --latent_dim$"
    ):
        check_options("VAE0label", ["label_dim"], tmp_path / "submission.py")
