"""Several processes train the same model as one: torchrun's commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPO, copy_lab, finish, rows, start_process, succeed, without_data

from vaelab.checkpoint import load_checkpoint

# 1283 training images in batches of 100: the last has 83, which neither two nor three processes share evenly.
SMALL = ("--task", "Genwithlabel", "--dataset", "digits", "--arch", "mlp", "--batch_size", "100")
SMALL += ("--precision", "fp32", "--pixels", "binarized")
KEYS = ("train_loss", "train_recon_term", "train_kl_term", "valid_loss", "valid_kl_term", "valid_mse")


def torchrun(*args: object, cwd: Path, repo: Path = REPO) -> subprocess.Popen:
    """`torchrun <args>`, started."""
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=without_data(), text=True, **pipes)


def processes(n: int, *args: object, cwd: Path, repo: Path = REPO) -> list[subprocess.CompletedProcess]:
    """train.py by n processes, with the variables that torchrun sets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    env = without_data() | {"WORLD_SIZE": f"{n}", "LOCAL_WORLD_SIZE": f"{n}", "TORCHELASTIC_RUN_ID": "test"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "TORCHELASTIC_RESTART_COUNT": "0"}
    ranks = [{"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"} for rank in range(n)]
    started = [start_process("train.py", *args, cwd=cwd, repo=repo, env=env | rank) for rank in ranks]
    return [finish(process) for process in started]


def assert_same_curves(one: Path, other: Path) -> None:
    """Every loss of every epoch equal to 1e-4 of its size, and so the weights."""
    a, b = rows(one), rows(other)
    assert [row["epoch"] for row in a] == [row["epoch"] for row in b]
    for row, same in zip(a, b, strict=True):
        assert {key: row[key] for key in KEYS} == pytest.approx({key: same[key] for key in KEYS}, rel=1e-4)
    a, b = (load_checkpoint(folder / "best.pt").model for folder in (one, other))
    for name, weight in a.items():
        assert (weight - b[name]).norm() <= 1e-3 * weight.norm(), name


def test_from_one_process_to_two_and_to_three_and_back(tmp_path: Path) -> None:
    """The same global batch gives the same loss curve, and --resume doesn't mind how many go on."""
    for epochs in (1, 2, 3):
        options = (*SMALL, "--resume", "--epochs", epochs, "--output_dir")
        succeed("train.py", *options, "one", cwd=tmp_path)
        if epochs == 2:
            succeed("train.py", *options, "changing", cwd=tmp_path)
        else:
            results = processes(2 if epochs == 1 else 3, *options, "changing", cwd=tmp_path)
            assert [result.returncode for result in results] == [0] * len(results), results
            assert f"{len(results)} processes" in results[0].stdout
            assert [result.stdout + result.stderr for result in results[1:]] == [""] * (len(results) - 1)
    one, changing = tmp_path / "one/Genwithlabel", tmp_path / "changing/Genwithlabel"
    assert_same_curves(one, changing)
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (one, changing)
    ]
    assert names[0] == names[1]


STUDENT = """
import torch
from torch import nn

class VAE(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(784, 2 * latent_dim), nn.Linear(latent_dim, 784)
        self.drop, self.forgotten = nn.Dropout(0.1), nn.Linear(5, 5)

    def encode(self, x, labels=None):
        return self.encoder(self.drop(x.flatten(1))).chunk(2, dim=1)

    def decode(self, z, labels=None):
        return self.decoder(z).sigmoid().view(-1, 28, 28)

    def forward(self, x, labels=None):
        mu, logvar = self.encode(x, labels)
        return self.decode(mu + (0.5 * logvar).exp() * torch.randn_like(mu)), mu, logvar

    def generate(self, labels):
        return self.decode(torch.randn(len(labels), self.decoder.in_features))

def vae_loss(recon, x, mu, logvar, var):
    recon_term = (x - recon).square().flatten(1).sum(dim=1).mean() / (2 * var)
    kl_term = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(dim=1).mean()
    return recon_term + kl_term, recon_term, kl_term
"""


def test_a_students_model_with_an_unused_layer_trains_too(tmp_path: Path) -> None:
    copy_lab(tmp_path)
    (tmp_path / "submission.py").write_text(STUDENT)
    # A batch of one: the second process has a row that doesn't count.
    options = ("--task", "VAE0label", "--dataset", "digits", "--epochs", 2, "--batch_size", 641)
    results = processes(2, *options, cwd=tmp_path, repo=tmp_path)
    assert [result.returncode for result in results] == [0, 0], results[0].stderr
    log = rows(tmp_path / "outputs/VAE0label")
    assert log[1]["valid_loss"] < log[0]["valid_loss"]


def test_a_mistake_is_said_once(tmp_path: Path) -> None:
    for options in (("--lr", "x"), ("--task", "VAE0label", "--prior", "class_mean")):
        results = processes(2, *SMALL, *options, cwd=tmp_path)
        assert [result.returncode for result in results] == [2, 2], results
        assert results[0].stderr.startswith("error: ")
        assert results[0].stderr.count("\n") == 1
        assert results[1].stdout + results[1].stderr == ""


def workers(pid: int) -> list[int]:
    """The processes that torchrun has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in Linux's /proc")
def test_torchrun_starts_again_where_a_killed_worker_left_off(tmp_path: Path) -> None:
    options = (*SMALL, "--epochs", 12)
    run = torchrun("--nproc_per_node", 2, "--max_restarts", 1, REPO / "train.py", *options, cwd=tmp_path)
    log = tmp_path / "outputs/Genwithlabel/log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    os.kill(max(workers(run.pid)), signal.SIGKILL)
    out, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    resumed = int(out.partition("resumed: ")[2].partition(" of")[0])
    assert 3 <= resumed < 12
    succeed("train.py", *options, "--output_dir", "one", cwd=tmp_path)
    assert_same_curves(tmp_path / "one/Genwithlabel", log.parent)
