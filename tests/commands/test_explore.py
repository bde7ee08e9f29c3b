"""`explore.py`: every command leaves a picture and numbers, and the numbers say what the picture shows."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import fail, succeed
from PIL import Image

import train
from apps.explore import command as explore
from vaelab.cli import LabError

# Commands that train on the embedded digits, with options that make them short.
COMMANDS = {
    "line": (),
    "plane": (),
    "scatter": (),
    "balance": (),
    "walk": (),
    "codes": (),
    "dims": ("--latent_dims", 2, 20, "--epochs", 2),
    "likelihood": ("--k", 20),
    "compare": (),
    "classes": ("--epochs", 1),
}


def run(command: str, *options: object, module: ModuleType = explore) -> None:
    """Run a command in this process and folder."""
    options = ("--epochs", 20, "--dataset", "digits", *options)
    module.main([command, *map(str, options)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A working folder that the tests share, so that a model is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("explore"))
        patch.delenv("VAE_LAB_DATA", raising=False)
        yield Path.cwd()


def numbers(name: str) -> list[dict]:
    """The rows of a command's JSON."""
    return json.loads(Path(f"outputs/explore/{name}.json").read_text())["rows"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_leaves_a_picture_and_its_numbers(folder: Path, command: str, capsys) -> None:
    run(command, *COMMANDS[command])
    path = folder / "outputs/explore" / command
    picture = np.asarray(Image.open(path.with_suffix(".png")).convert("L"))
    assert min(picture.shape) > 100
    assert picture.std() > 20  # something is drawn
    with path.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    summary = numbers(command)
    assert rows
    assert summary
    for row in summary:
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float)), row
    out = capsys.readouterr().out
    assert f"wrote outputs/explore/{command}.png" in out
    assert " | ".join(summary[0]) in out


def test_a_trained_model_is_used_again_and_gives_the_same_numbers(folder: Path) -> None:
    run("line")
    log = folder / "outputs/explore/models/digits-d1-epochs20-seed0/log.jsonl"
    before = log.stat().st_mtime_ns, numbers("line"), Path("outputs/explore/line.png").read_bytes()
    run("line")
    after = log.stat().st_mtime_ns, numbers("line"), Path("outputs/explore/line.png").read_bytes()
    assert after == before
    run("line", "--overwrite")
    assert log.stat().st_mtime_ns != before[0]
    assert numbers("line") == before[1]


def test_latent_spaces_are_continuous_and_sharpen(folder: Path) -> None:
    run("line")
    run("plane")
    first, last = numbers("line")
    assert (first["epoch"], last["epoch"]) == (1, 20)
    assert last["greyness"] < first["greyness"]
    for row in (last, *numbers("plane")[2:]):
        assert row["mse of neighbours"] < 0.3 * row["mse of random pairs"]


def test_balance_shows_what_each_half_of_the_loss_does(folder: Path) -> None:
    run("balance")
    recon, kl, both = numbers("balance")
    assert kl["kl"] < 0.01 < both["kl"] < recon["kl"]
    assert recon["mse"] < kl["mse"]
    assert both["mse"] < kl["mse"]
    assert kl["standard deviation of the codes"] == pytest.approx(1, abs=0.1)


def test_likelihood_is_above_the_elbo_and_rises_with_k(folder: Path) -> None:
    values = []
    for k in (1, 10, 100):
        run("likelihood", "--k", k)
        (row,) = numbers("likelihood")
        values.append(row["log p(x)"])
        assert row["log p(x)"] >= row["elbo"] - 1e-9
    assert values == sorted(values)
    assert values[0] == pytest.approx(row["elbo"], abs=2)


def test_the_published_table(folder: Path) -> None:
    run("likelihood", "--table", "--k", 5, "--epochs", 2)
    rows = numbers("likelihood_table")
    assert [(row["hidden_dim"], row["latent_dim"]) for row in rows] == [(400, 20), (200, 20), (400, 10)]
    assert [row["elbo, published"] for row in rows] == ["-104.7", "-118.0", "-113.5"]
    with Path("outputs/explore/likelihood_table.csv").open() as file:
        of_seeds = [float(row["elbo"]) for row in csv.DictReader(file) if row["latent_dim"] == "10"]
    mean, std = rows[2]["elbo, ours"].split(" ± ")
    assert float(mean) == pytest.approx(np.mean(of_seeds), abs=0.05)
    assert float(std) == pytest.approx(np.std(of_seeds, ddof=1), abs=0.05)


def test_checkpoints_of_the_main_job_can_be_looked_at(folder: Path, main_job: Path) -> None:
    paths = [main_job / f"outputs/{task}/best.pt" for task in ("VAE0label", "Genwithlabel")]
    run("compare", "--checkpoint_path", *paths)
    assert [row["latent_dim"] for row in numbers("compare")] == [12, 12]
    run("walk", "--checkpoint_path", paths[1])
    run("codes", "--checkpoint_path", paths[1])
    run("scatter", "--checkpoint_path", paths[0])
    assert [row["view"] for row in numbers("scatter")] == ["PCA, latent_dim 12", "t-SNE, latent_dim 12"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("--recon", "ssim_mse", "--prior", "standard"),
            "SSIM in its loss, which is not a log-likelihood",
        ),
        (("--recon", "bce", "--prior", "learned"), "has a learned prior, whose density is not known"),
    ],
)
def test_models_without_a_likelihood_are_refused(folder: Path, options: tuple, says: str) -> None:
    name = f"m-{options[1]}"
    small = ("--arch", "mlp", "--hidden_dim", 16, "--epochs", 1, "--output_dir", name)
    run("--task=VAE0label", *small, *options, module=train)
    with pytest.raises(LabError, match=says):
        run("likelihood", "--checkpoint_path", f"{name}/VAE0label/best.pt")


def test_observation_models_are_never_mixed(folder: Path) -> None:
    small = ("--arch", "mlp", "--hidden_dim", 16, "--epochs", 2, "--recon", "bce", "--prior", "class_mean")
    paths = []
    for pixels in ("grey", "binarized", "threshold"):
        run("--task=Genwithlabel", *small, "--pixels", pixels, "--output_dir", pixels, module=train)
        paths.append(f"{pixels}/Genwithlabel/last.pt")
        run("likelihood", "--k", 3, "--checkpoint_path", paths[-1])
    about = json.loads(Path("outputs/explore/likelihood.json").read_text())
    assert about["observation"] == "Bernoulli on pixels above 1/2"
    with pytest.raises(LabError, match="can't be compared: Bernoulli .* seed 0; cross-entropy on grey"):
        run("likelihood", "--checkpoint_path", *paths[:2])
    run("likelihood", "--k", 3, "--checkpoint_path", paths[1], paths[1])
    first, second = numbers("likelihood")
    assert first["elbo"] == pytest.approx(second["elbo"], abs=3)  # binarized once: the same images


def test_the_page_holds_every_figure(folder: Path) -> None:
    run("line")
    run("compare")
    explore.main(["page", "--to", "book"])
    text = Path("book/gallery.md").read_text()
    assert "`python explore.py line`; data digits" in text
    for name in ("line", "compare"):
        assert f"(gallery/{name}.png)" in text
        for ending in ("png", "csv", "json"):
            content = Path(f"outputs/explore/{name}.{ending}").read_bytes()
            assert Path(f"book/gallery/{name}.{ending}").read_bytes() == content


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("sphere",), "invalid choice: 'sphere'"),
        ((), "the following arguments are required: COMMAND"),
        (("line", "--k", 3), "unrecognized arguments: --k 3"),
        (("line", "--epochs", 0), "--epochs: expected an integer from 1"),
        (("likelihood", "--k", 0), "--k: expected an integer from 1"),
        (("likelihood", "--table", "--checkpoint_path", "{best}"), "--table trains its own models"),
        (("line", "--checkpoint_path", "no.pt"), "there is no checkpoint no.pt"),
        (("line", "--checkpoint_path", "{best}"), "line draws a VAE0label of latent_dim 1;"),
        (("walk", "--checkpoint_path", "{best}", "--dataset", "mnist"), "the checkpoints are of digits"),
        (("compare", "--checkpoint_path", "{damaged}"), "is damaged, or not a checkpoint of this lab"),
        (("page", "--output_dir", "nowhere"), "nowhere contains no figures"),
        (("colour", "--data_dir", "."), "has no cifar-10-batches-py/ or cifar10*.npz"),
    ],
)
def test_mistakes(tmp_path: Path, main_job: Path, command: tuple, says: str) -> None:
    (tmp_path / "damaged.pt").write_bytes(b"nonsense")
    places = {"{best}": main_job / "outputs/VAE0label/best.pt", "{damaged}": tmp_path / "damaged.pt"}
    assert says in fail("explore.py", *(places.get(part, part) for part in command), cwd=tmp_path)


def test_help_lists_the_commands(tmp_path: Path) -> None:
    out = succeed("explore.py", "--help", cwd=tmp_path)
    for name, about in explore.COMMANDS.items():
        assert f"    {name}" in out
        assert about.title.split()[0] in out
