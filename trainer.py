"""The training loop: epochs, validation, checkpoints, resume, log and pictures.

A run leaves in its folder: `config.json`, `log.jsonl` (an object an epoch), `last.pt` (all that is needed
to go on), `best.pt` (the model of the epoch with the lowest validation loss), `samples/` (the same codes
decoded after each epoch) and `loss_curve.png`.

A resumed run is bit-identical to an uninterrupted one on the same CPU with the same number of threads:
the random state of an epoch depends on (seed, epoch) alone and the learning rate on the step alone, so
`last.pt` needs to hold no more than the weights, the optimizer's state and the number of epochs done.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import metrics
from checkpoint import autocast, check_output, check_triple, generate, load_weights, save_checkpoint
from common import LabError, image_grid, make_folder, png_bytes, write_file, write_json
from data_utils import BINARIZE_SEED, as_pixels, distort
from distributed import World

TERMS = ("loss", "recon_term", "kl_term")
QUALITY = ("mse", "ssim")
# A row of log.jsonl: train_loss, ..., valid_loss, ..., valid_mse, valid_ssim and these three.
LOG_KEYS = {f"train_{key}" for key in TERMS} | {f"valid_{key}" for key in (*TERMS, *QUALITY)}
LOG_KEYS |= {"epoch", "step", "seconds"}
CHECK_EVERY = 20  # steps between two looks at the losses: a look makes a GPU wait
VALID_BATCH = 1000


@dataclass
class TrainConfig:
    """All that decides the result of a run; `train.py --help` says why the values are what they are."""

    task: str
    dataset: str
    model_args: dict[str, Any]  # what the model is built with
    var: float
    epochs: int
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 1e-2
    grad_clip: float = 20.0  # in units of 1 / (2 var), which the gradient is proportional to
    warmup_steps: int = 100
    distort: float = 1.0  # the share of the training images distorted at first; falls to none at the end
    pixels: str = "grey"  # or binarized (drawn anew each time in training), or threshold
    precision: str = "fp32"  # or bf16: what the layers multiply in
    seed: int = 0


# --- The trainer --------------------------------------------------------------------------------


class Trainer:
    """Trains one model into one folder.

    loss_fn: `submission.vae_loss`; a model with a method `training_loss(x, labels, var)` that returns the
    same three terms is minimised by that instead. train_set, valid_set: `data_utils.MNISTDataset`s.
    keep_epochs: after which epochs to keep the model as `epoch_NNN.pt` as well. watchers: see `watch.py`.
    world: the processes that train this model together; the batch size is that of all of them.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., tuple[Tensor, Tensor, Tensor]],
        config: TrainConfig,
        train_set,
        valid_set,
        folder: Path,
        device: torch.device,
        keep_epochs: Sequence[int] = (),
        watchers: Sequence[Callable[[Trainer], None]] = (),
        world: World = World(),  # noqa: B008 it can't be changed
    ) -> None:
        self.model, self.loss_fn, self.config = model.to(device), loss_fn, config
        self.train_set, self.valid_set = train_set.to(device), valid_set.to(device)
        self.folder, self.device, self.keep_epochs = folder, device, keep_epochs
        self.watchers, self.world = watchers, world
        # Fused: one kernel updates all weights instead of several for each.
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.steps_per_epoch = math.ceil(len(train_set) / config.batch_size)
        self.epoch, self.best_loss, self.log = 0, math.inf, []
        keep_memory()

    def fit(self) -> None:
        """Train up to `config.epochs`. Raises: LabError if the loss is no longer finite."""
        if self.world.first:
            self.write_config()
            self.tell_watchers()
        terms_of = self.parallel_terms()
        total, done = (epochs * self.steps_per_epoch for epochs in (self.config.epochs, self.epoch))
        silent = None if self.world.first else True  # None: where the output is no terminal
        try:
            with tqdm(total=total, initial=done, disable=silent, unit="step") as bar:
                while self.epoch < self.config.epochs:
                    self.fit_epoch(bar, terms_of)
        except BaseException:
            with contextlib.suppress(LabError):  # what stopped the run is what the user should read
                self.draw_loss_curve()
            raise
        self.draw_loss_curve()

    def parallel_terms(self) -> Callable:
        """`loss_terms`, with gradients averaged over all processes."""
        self.model.eval()
        one = self.train_set.__getitems__([0])
        example = (one.images, self.labels_for_model(one.labels))
        return self.world.parallel(self.model, self.loss_terms, example)

    def fit_epoch(self, bar: tqdm, terms_of: Callable) -> None:
        """One epoch of training, its validation, and what it leaves in the folder."""
        start = time.perf_counter()
        self.seed_epoch()
        bar.set_description(f"epoch {self.epoch + 1}/{self.config.epochs}")
        train = self.train_epoch(bar, terms_of)
        valid = self.validate()
        self.check_finite(torch.tensor([valid["loss"]]), (self.epoch + 1) * self.steps_per_epoch - 1)
        self.epoch += 1
        row = {"epoch": self.epoch, "step": self.epoch * self.steps_per_epoch}
        row |= {f"train_{key}": value for key, value in train.items()}
        row |= {f"valid_{key}": value for key, value in valid.items()}
        row["seconds"] = round(time.perf_counter() - start, 3)
        if not self.world.first:
            return
        self.finish_epoch(row)
        bar.write(
            f"epoch {self.epoch:>3}/{self.config.epochs}  loss {train['loss']:.2f}  "
            f"valid: loss {valid['loss']:.2f}  recon {valid['recon_term']:.2f}  kl {valid['kl_term']:.2f}  "
            f"mse {valid['mse']:.5f}  "
            f"ssim {valid['ssim']:.4f}  {row['seconds']:.1f} s"
        )

    def seed_epoch(self) -> None:
        """Set every random state as a function of (seed, epoch); see the module's docstring."""
        seed = (self.config.seed * 1_000_003 + self.epoch) % 2**32
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def learning_rate(self, step: int) -> float:
        """A linear warm-up, then half a cosine down to zero."""
        warmup = min(1.0, (step + 1) / self.config.warmup_steps)
        return self.config.lr * warmup * 0.5 * (1 + math.cos(math.pi * self.progress(step)))

    def progress(self, step: int) -> float:
        """How much of the training lies before a step: from 0 to 1."""
        return step / (self.config.epochs * self.steps_per_epoch)

    def labels_for_model(self, labels: Tensor) -> Tensor | None:
        """The labels, for the task that is given them."""
        return labels if self.config.task == "Genwithlabel" else None

    def loss_terms(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(loss, recon_term, kl_term) as one tensor [3], in nats per image, and recon if it was made."""
        with autocast(self.config.precision, self.device):
            if hasattr(self.model, "training_loss"):
                return self.checked_terms(self.model.training_loss(x, labels, self.config.var)), None
            output = self.model(x, labels)
        output = check_triple("forward", output, "(recon, mu, logvar)")
        recon, mu, logvar = output  # [B, 28, 28], [B, d], [B, d]
        check_output("recon, the first output of forward,", recon, x.shape)
        for name, value in (("mu", mu), ("logvar", logvar)):
            check_output(name, value, (len(x), self.config.model_args["latent_dim"]))
        recon, mu, logvar = recon.float(), mu.float(), logvar.float()  # sums need more than bf16's 8 bits
        return self.checked_terms(self.loss_fn(recon, x, mu, logvar, self.config.var)), recon

    def checked_terms(self, terms: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """What the loss function returned as one tensor [3]. Raises: LabError if it isn't three scalars."""
        terms = check_triple("the loss function", terms, "(loss, recon_term, kl_term)")
        for name, term in zip(TERMS, terms, strict=True):
            check_output(f"{name}, a mean over the batch,", term, ())
        return torch.stack(terms)

    def train_epoch(self, bar: tqdm, terms_of: Callable | None = None) -> dict[str, float]:
        """One pass over the training images. Returns: the mean of each loss term.

        terms_of: `parallel_terms()`; not needed by a process on its own.
        """
        terms_of = terms_of or self.loss_terms
        self.model.train()
        sums, window = np.zeros(3), []
        step = self.epoch * self.steps_per_epoch
        order = torch.randperm(len(self.train_set))
        for batch in self.train_set.batches(self.config.batch_size, order):
            rows, counted = self.world.rows(len(batch))
            with self.world.noise(len(batch)):
                x = distort(batch.images[rows], self.config.distort * (1 - self.progress(step)))
                x = as_pixels(x, self.config.pixels)
                terms, _ = terms_of(x, self.labels_for_model(batch.labels[rows]))
            self.optimizer.param_groups[0]["lr"] = self.learning_rate(step)
            self.optimizer.zero_grad()
            # A mean over this process's rows; over all processes, their mean is to be that over the batch.
            (terms[0] * (counted * self.world.size / len(batch))).backward()
            self.clip_gradient()
            self.optimizer.step()
            step += 1
            window.append(terms.detach() * counted)
            if len(window) == CHECK_EVERY or step % self.steps_per_epoch == 0:
                values = self.world.sum(torch.stack(window)).cpu()
                self.check_finite(values[:, 0], step - len(window))
                sums += values.double().sum(dim=0).numpy()
                bar.update(len(window))
                bar.set_postfix(loss=f"{values[-1, 0] / len(batch):.2f}")
                window = []
        return dict(zip(TERMS, (sums / len(self.train_set)).tolist(), strict=True))

    def clip_gradient(self) -> None:
        """Scale the gradient down to the norm `grad_clip`, where it is longer."""
        weights, limit = list(self.model.parameters()), self.config.grad_clip / (2 * self.config.var)
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        # A CPU can look, and spare most steps a pass over all gradients; a GPU would have to wait for it.
        if self.device.type != "cpu" or norm > limit:
            nn.utils.clip_grads_with_norm_(weights, limit, norm)

    def check_finite(self, losses: Tensor, first_step: int) -> None:
        """Stop at the first loss that is nan or infinite. losses: [n], of the steps from `first_step` on."""
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            at = first_step + int(bad[0])
            raise LabError(
                f"the loss became {losses[bad[0]].item()} at step {at}, in epoch {self.epoch + 1}; "
                f"{self.folder / 'last.pt'} still holds epoch {self.epoch}. Start again with --overwrite and "
                f"a lower --lr (it was {self.config.lr:g}) or a higher --var (it was {self.config.var:g})"
            )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss terms in eval mode (z = mu), and MSE and SSIM on uint8 as in the grade; all means."""
        self.model.eval()
        sums = torch.zeros(5, device=self.device)
        generator = torch.Generator(self.device).manual_seed(BINARIZE_SEED)
        for batch in self.valid_set.batches(VALID_BATCH):
            rows, counted = self.world.rows(len(batch))
            x = as_pixels(batch.images, self.config.pixels, generator)[rows]
            labels = self.labels_for_model(batch.labels[rows])
            with self.world.noise(len(batch)):
                terms, recon = self.loss_terms(x, labels)
            if recon is None:
                with autocast(self.config.precision, self.device):
                    recon = self.model(x, labels)[0]
            saved = metrics.to_uint8(recon).float() / 255
            quality = torch.stack(
                [of(saved, batch.images[rows]).mean() for of in (metrics.mse, metrics.ssim)]
            )
            sums += torch.cat([terms, quality]) * counted
        means = self.world.sum(sums) / len(self.valid_set)
        return dict(zip((*TERMS, *QUALITY), means.tolist(), strict=True))

    # --- What a run leaves ---

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Write the epoch's files. `last.pt` comes last: a run killed before it does the epoch again."""
        self.draw_samples()
        if row["valid_loss"] < self.best_loss:
            self.best_loss = row["valid_loss"]
            self.save("best.pt")
        if self.epoch in self.keep_epochs:
            self.save(f"epoch_{self.epoch:03d}.pt")
        self.log.append(row)
        write_file(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in self.log))
        self.save("last.pt")
        self.tell_watchers()

    def tell_watchers(self) -> None:
        """Let those who look on show what the files hold by now."""
        for watch in self.watchers:
            watch(self)

    def save(self, name: str) -> None:
        """Write a checkpoint. `best.pt` has no optimizer: nothing is resumed from it."""
        checkpoint = {
            "task": self.config.task,
            "config": asdict(self.config),
            "epoch": self.epoch,
            "best_loss": self.best_loss,
            "model": self.model.state_dict(),
        }
        if name == "last.pt":
            checkpoint["optimizer"] = self.optimizer.state_dict()
        save_checkpoint(self.folder / name, checkpoint)

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a `last.pt` that `load_checkpoint` read."""
        path = self.folder / "last.pt"
        load_weights(self.model, checkpoint, path)
        try:
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.epoch, self.best_loss = checkpoint["epoch"], checkpoint["best_loss"]
        except (KeyError, TypeError, ValueError) as error:
            raise LabError(f"{path} can't be resumed ({error}): start again with --overwrite") from error
        self.log = [row for row in read_log(self.folder / "log.jsonl") if row["epoch"] <= self.epoch]

    @torch.no_grad()
    def draw_samples(self) -> None:
        """`samples/epoch_NNN.png`: ten samples of each label, a row each, of the same noise every epoch."""
        self.model.eval()
        torch.manual_seed(self.config.seed)
        labels = torch.arange(10, device=self.device).repeat_interleave(10)
        images = metrics.to_uint8(generate(self.model, labels))
        path = make_folder(self.folder / "samples") / f"epoch_{self.epoch:03d}.png"
        write_file(path, png_bytes(image_grid(images.cpu().numpy(), columns=10)))

    def draw_loss_curve(self) -> None:
        """`loss_curve.png` from the log: the loss and its two terms; MSE; SSIM."""
        if not self.log:  # also of the processes that keep none
            return
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter

        figure = Figure(figsize=(12, 3.4), layout="constrained")
        loss_axes, mse_axes, ssim_axes = figure.subplots(1, 3)
        epochs = [row["epoch"] for row in self.log]

        def plot(axes, key: str, style: str, color: str, label: str | None = None) -> None:
            values = [row[key] for row in self.log]
            marker = "." if len(epochs) <= 30 else None  # more would hide the dashes
            axes.plot(epochs, values, style, color=color, label=label, marker=marker)

        for key, label, style in (
            ("loss", "loss", "-"),
            ("recon_term", "recon", "--"),
            ("kl_term", "KL", ":"),
        ):
            for part, color in (("train", "tab:blue"), ("valid", "tab:orange")):
                plot(loss_axes, f"{part}_{key}", style, color, f"{part} {label}")
        plot(mse_axes, "valid_mse", "-", "tab:orange")
        plot(ssim_axes, "valid_ssim", "-", "tab:orange")
        loss_axes.set(ylabel="nats per image (valid: at z = mu)", yscale="log")
        loss_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss_axes.yaxis.set_major_formatter("{x:g}")
        loss_axes.yaxis.set_minor_formatter(NullFormatter())
        mse_axes.set(ylabel="MSE (valid)", ylim=(0, None))
        ssim_axes.set(ylabel="SSIM (valid)")
        figure.legend(loc="outside right upper", fontsize=8)
        for axes in (loss_axes, mse_axes, ssim_axes):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        write_file(self.folder / "loss_curve.png", buffer.getvalue())

    def write_config(self) -> None:
        """`config.json`: the configuration, and what it ran on."""
        count = sum(parameter.numel() for parameter in self.model.parameters())
        about = {"device": str(self.device), "torch": torch.__version__, "parameters": count}
        write_json(self.folder / "config.json", asdict(self.config) | about)


def keep_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of handing it back to the system.

    A step's tensors are freed and asked for again, and fresh pages cost more than filling them: up to a
    third of a step's time on a CPU. Other C libraries have no `mallopt`, and nothing is done.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 1 << 30)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl` up to the first that is damaged; none where there is none."""
    rows = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if set(row) != LOG_KEYS:
                break
            rows.append(row)
    except (FileNotFoundError, ValueError, TypeError):
        pass  # whatever was read so far is what the curves can be drawn from
    return rows
