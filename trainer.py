"""The training loop: epochs, validation, checkpoints, resuming, log and sample images.

A run writes into its folder: `config.json`, `log.jsonl` (a JSON object per epoch), `last.pt` (all that
resuming needs), `best.pt` (the model with the lowest validation loss), `samples/` (the same codes decoded
after each epoch) and `loss_curve.png`.

A resumed run is bit-identical to an uninterrupted one on the same CPU with the same number of threads:
the random state of an epoch depends on (seed, epoch) only and the learning rate on the step only, so
`last.pt` contains the weights, the optimizer's state and the number of finished epochs, and no random state.

A model may ask for several stages of training, each with a learning rate schedule of its own: see
`vaelab/schedule.py`.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaelab.checkpoint import Checkpoint, load_weights, model_entries, save_checkpoint
from vaelab.cli import LabError
from vaelab.config import TrainConfig
from vaelab.contract import check_output, check_triple, generate
from vaelab.data.augmentation import BINARIZE_SEED, augment, binarize
from vaelab.device import autocast, keep_memory
from vaelab.distributed import World
from vaelab.files import make_folder, write_file, write_json
from vaelab.images import image_grid, png_bytes, with_caption
from vaelab.language import N_, Message, _, in_english
from vaelab.metrics.reconstruction import mse, ssim, to_uint8
from vaelab.model_arguments import used_arguments
from vaelab.run_files import QUALITY, TERMS, draw_loss_curve, read_log
from vaelab.schedule import Schedule
from vaelab.tasks import TASKS
from vaelab.threads import PaceMonitor

CHECK_EVERY = 20  # steps between two checks of the loss: each check waits for the GPU
VALID_BATCH = 1000  # images


class Trainer:
    """Trains a model, and writes the files of the run into `folder`.

    loss_fn: `submission.vae_loss`. A model with a method `training_loss(x, labels, var)`, which returns the
    same three terms, is trained with that instead. train_set, valid_set: `data_utils.MNISTDataset`s.
    keep_epochs: the epochs after which the model is also saved as `epoch_NNN.pt`. callbacks: see
    `vaelab/callbacks.py`. world: the processes that train this model together, each on a part of every batch.
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
        callbacks: Sequence[Callable[[Trainer], None]] = (),
        world: World = World(),  # noqa: B008 it is immutable
    ) -> None:
        self.model, self.loss_fn, self.config = model.to(device), loss_fn, config
        self.train_set, self.valid_set = train_set.to(device), valid_set.to(device)
        self.folder, self.device, self.keep_epochs = folder, device, keep_epochs
        self.callbacks, self.world = callbacks, world
        self.conditional = TASKS[config.task].conditional
        # Fused: one kernel updates all weights instead of several for each.
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.steps_per_epoch = math.ceil(len(train_set) / config.batch_size)
        self.schedule = Schedule.of(model, config.epochs * self.steps_per_epoch)
        self.epoch, self.best_loss, self.log = 0, math.inf, []
        self.terms_of: Callable = self.loss_terms
        self.pace = PaceMonitor()
        keep_memory()

    @property
    def parameter_count(self) -> int:
        """The number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    # --- Epochs and steps ---

    def fit(self) -> None:
        """Train up to `config.epochs`. Raises: LabError if the loss is no longer finite."""
        if self.world.is_main_process:
            self.write_config()
            self.run_callbacks()
        self.terms_of = self.parallel_terms()
        total, done = (epochs * self.steps_per_epoch for epochs in (self.config.epochs, self.epoch))
        silent = None if self.world.is_main_process else True  # None: no bar if stderr is no terminal
        try:
            with tqdm(total=total, initial=done, disable=silent, unit=_("step")) as bar:
                while self.epoch < self.config.epochs:
                    self.fit_epoch(bar)
        except BaseException:
            with contextlib.suppress(LabError):  # report the first error, not one of the drawing
                self.draw_loss_curve()
            raise
        self.draw_loss_curve()

    def fit_epoch(self, bar: tqdm) -> None:
        """Train and validate for one epoch, then write its files."""
        start = time.perf_counter()
        self.seed_epoch()
        bar.set_description(_("epoch {epoch}/{epochs}", epoch=self.epoch + 1, epochs=self.config.epochs))
        train = self.train_epoch(bar)
        valid = self.validate()
        self.check_finite(torch.tensor([valid["loss"]]), (self.epoch + 1) * self.steps_per_epoch - 1)
        self.epoch += 1
        row = {"epoch": self.epoch, "step": self.epoch * self.steps_per_epoch}
        row |= {f"train_{key}": value for key, value in train.items()}
        row |= {f"valid_{key}": value for key, value in valid.items()}
        row["seconds"] = round(time.perf_counter() - start, 3)
        if not self.world.is_main_process:
            return
        self.finish_epoch(row)
        bar.write(
            _(
                "epoch {epoch:>3}/{epochs}  loss {train_loss:.2f}  valid: loss {loss:.2f}  "
                "recon {recon_term:.2f}  kl {kl_term:.2f}  mse {mse:.5f}  ssim {ssim:.4f}  {seconds:.1f} s",
                **{"epoch": self.epoch, "epochs": self.config.epochs, "seconds": row["seconds"]},
                **{"train_loss": train["loss"], **valid},
            )
        )

    def train_epoch(self, bar: tqdm) -> dict[str, float]:
        """One pass over the training images. Returns: the mean of each loss term."""
        self.model.train()
        sums, window = np.zeros(len(TERMS)), []
        step, start = self.epoch * self.steps_per_epoch, time.perf_counter()
        order = torch.randperm(len(self.train_set))
        for batch in self.train_set.batches(self.config.batch_size, order):
            self.set_stage(step)
            window.append(self.train_step(batch, self.schedule.progress(step), self.learning_rate(step)))
            step += 1
            if len(window) == CHECK_EVERY or step % self.steps_per_epoch == 0:
                values = self.world.sum(torch.stack(window)).cpu()  # [steps, 3], sums over a batch
                self.check_finite(values[:, 0], step - len(window))
                sums += values.double().sum(dim=0).numpy()
                bar.update(len(window))
                bar.set_postfix({_("loss"): f"{values[-1, 0] / len(batch):.2f}"})
                if note := self.pace.update((time.perf_counter() - start) / len(window)):
                    bar.write(note)
                window, start = [], time.perf_counter()
        return dict(zip(TERMS, (sums / len(self.train_set)).tolist(), strict=True))

    def train_step(self, batch, progress: float, lr: float) -> Tensor:
        """One step on a batch. progress: the finished part of the stage, 0 to 1.

        Returns: the loss terms, [3], times the number of this process's images.
        """
        rows, count = self.world.rows(len(batch))
        with self.world.noise(len(batch)):
            x = augment(batch.images[rows], self.config.augment * (1 - progress))  # [B, 28, 28]
            x = binarize(x, self.config.pixels)  # [B, 28, 28]
            terms, _ = self.terms_of(x, self.labels_for_model(batch.labels[rows]))  # [3]
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        # The loss is a mean over this process's rows. With this factor, the average of all processes'
        # gradients is the gradient of the mean over the whole batch.
        (terms[0] * (count * self.world.size / len(batch))).backward()
        self.clip_gradient()
        self.optimizer.step()
        return terms.detach() * count

    def seed_epoch(self) -> None:
        """Set every random state as a function of (seed, epoch); see the module's docstring."""
        seed = (self.config.seed * 1_000_003 + self.epoch) % 2**32
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def set_stage(self, step: int) -> None:
        """Tell a model of several stages which one a step belongs to."""
        if len(self.schedule.ends) > 1:
            self.model.stage = self.schedule.stage(step)
            if step == self.schedule.start(step):
                self.pace = PaceMonitor()  # the steps of another stage have another pace

    def learning_rate(self, step: int) -> float:
        """A linear warm-up, then half a cosine down to zero, in each stage."""
        warmup = min(1.0, (step - self.schedule.start(step) + 1) / self.config.warmup_steps)
        return self.config.lr * warmup * 0.5 * (1 + math.cos(math.pi * self.schedule.progress(step)))

    def clip_gradient(self) -> None:
        """Clip the norm of the gradient to grad_clip / (2 var)."""
        weights, limit = list(self.model.parameters()), self.config.grad_clip / (2 * self.config.var)
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        # On a CPU, the comparison saves a pass over all gradients in most steps. On a GPU it is left out: it
        # would wait for the device.
        if self.device.type != "cpu" or norm > limit:
            nn.utils.clip_grads_with_norm_(weights, limit, norm)

    # --- The loss ---

    def labels_for_model(self, labels: Tensor) -> Tensor | None:
        """The labels for a conditional model, None for the others."""
        return labels if self.conditional else None

    def loss_terms(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(loss, recon_term, kl_term) as one tensor [3], in nats per image; and recon, if it was computed."""
        with autocast(self.config.precision, self.device):
            if hasattr(self.model, "training_loss"):
                return self.checked_terms(self.model.training_loss(x, labels, self.config.var)), None
            output = self.model(x, labels)
        recon, mu, logvar = check_triple("forward", output, "(recon, mu, logvar)")  # [B, 28, 28], 2 x [B, d]
        check_output(N_("recon, the first output of forward,"), recon, x.shape)
        for name, value in (("mu", mu), ("logvar", logvar)):
            check_output(name, value, (len(x), self.config.latent_dim))
        recon, mu, logvar = recon.float(), mu.float(), logvar.float()  # bf16 is too coarse for sums
        return self.checked_terms(self.loss_fn(recon, x, mu, logvar, self.config.var)), recon

    def checked_terms(self, terms: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The output of a loss function as one tensor [3]. Raises: LabError if it isn't three scalars."""
        terms = check_triple(N_("the loss function"), terms, "(loss, recon_term, kl_term)")
        for name, term in zip(TERMS, terms, strict=True):
            check_output(Message("{name}, a mean over the batch,", name=name), term, ())
        return torch.stack(terms)

    def parallel_terms(self) -> Callable:
        """`loss_terms`, with gradients averaged over all processes."""
        self.model.eval()
        first = self.train_set.__getitems__([0])
        example = (first.images, self.labels_for_model(first.labels))
        return self.world.parallel(self.model, self.loss_terms, example)

    def check_finite(self, losses: Tensor, first_step: int) -> None:
        """Raise LabError if a loss is nan or infinite. losses: [n], of the steps from `first_step` on."""
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            step = first_step + int(bad[0])
            raise LabError(
                "the loss became {loss} at step {step}, in epoch {epoch}; {path} still contains epoch "
                "{done}. Start again with --overwrite and a lower --lr (it was {lr:g}) or a higher --var "
                "(it was {var:g})",
                loss=losses[bad[0]].item(),
                step=step,
                epoch=self.epoch + 1,
                path=self.folder / "last.pt",
                done=self.epoch,
                lr=self.config.lr,
                var=self.config.var,
            )

    # --- Validation ---

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Means over `valid` of the loss terms in eval mode (z = mu), and of MSE and SSIM on uint8 images."""
        self.model.eval()
        sums = torch.zeros(len(TERMS) + len(QUALITY), device=self.device)
        generator = torch.Generator(self.device).manual_seed(BINARIZE_SEED)
        for batch in self.valid_set.batches(VALID_BATCH):
            rows, count = self.world.rows(len(batch))
            x = binarize(batch.images, self.config.pixels, generator)[rows]  # [B, 28, 28]
            labels = self.labels_for_model(batch.labels[rows])
            with self.world.noise(len(batch)):
                terms, recon = self.loss_terms(x, labels)
            if recon is None:
                with autocast(self.config.precision, self.device):
                    recon = self.model(x, labels)[0]  # [B, 28, 28]
            saved, images = to_uint8(recon), batch.images[rows]  # uint8 and float32 [B, 28, 28]
            quality = [mse(saved, to_uint8(images)).mean(), ssim(saved.float() / 255, images).mean()]
            quality = torch.stack(quality)
            sums += torch.cat([terms, quality]) * count
        means = self.world.sum(sums) / len(self.valid_set)
        return dict(zip((*TERMS, *QUALITY), means.tolist(), strict=True))

    # --- The files of a run ---

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Write the epoch's files. `last.pt` comes last: a run killed before that repeats the epoch."""
        self.draw_samples()
        last = self.epoch * self.steps_per_epoch - 1
        if self.schedule.stage(last) != self.schedule.stage(last - self.steps_per_epoch):
            self.best_loss = math.inf  # `best.pt` is to be of the last stage
        if row["valid_loss"] < self.best_loss:
            self.best_loss = row["valid_loss"]
            self.save("best.pt")
        if self.epoch in self.keep_epochs:
            self.save(f"epoch_{self.epoch:03d}.pt")
        self.log.append(row)
        write_file(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in self.log))
        self.save("last.pt")
        self.run_callbacks()

    def run_callbacks(self) -> None:
        """Run the callbacks on the files of the finished epoch."""
        for callback in self.callbacks:
            callback(self)

    def save(self, name: str) -> None:
        """Write a checkpoint. `best.pt` has no optimizer state: nothing is resumed from it."""
        optimizer = self.optimizer.state_dict() if name == "last.pt" else None
        entries = model_entries(self.model)
        checkpoint = Checkpoint(self.config, self.epoch, self.best_loss, optimizer=optimizer, **entries)
        save_checkpoint(self.folder / name, checkpoint)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a `last.pt`."""
        path = self.folder / "last.pt"
        load_weights(self.model, checkpoint, path)
        try:
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.epoch, self.best_loss = checkpoint.epoch, float(checkpoint.best_loss)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LabError(
                "{path} can't be resumed ({error}): start again with --overwrite", path=path, error=error
            ) from error
        self.log = [row for row in read_log(self.folder / "log.jsonl") if row["epoch"] <= self.epoch]

    @torch.no_grad()
    def draw_samples(self) -> None:
        """Write `samples/epoch_NNN.png`: ten samples of each label, from the same noise in every epoch."""
        self.model.eval()
        torch.manual_seed(self.config.seed)
        labels = torch.arange(10, device=self.device).repeat_interleave(10)  # [100]
        images = to_uint8(generate(self.model, labels))  # [100, 28, 28]
        path = make_folder(self.folder / "samples") / f"epoch_{self.epoch:03d}.png"
        grid = image_grid(images.cpu().numpy(), columns=10)
        caption = Message("Samples after epoch {epoch}, from the same noise in every epoch", epoch=self.epoch)
        write_file(path, png_bytes(with_caption(grid, in_english(caption))))

    def draw_loss_curve(self) -> None:
        """Draw `loss_curve.png` from the log, if there is one."""
        if self.log:  # empty in all processes but the main one
            draw_loss_curve(self.log, self.folder / "loss_curve.png")

    def write_config(self) -> None:
        """Write `config.json`: the configuration, the device, torch's version, the number of parameters."""
        config = self.config.to_dict() | {"model_args": used_arguments(self.config)}
        about = {"device": str(self.device), "torch": torch.__version__, "parameters": self.parameter_count}
        write_json(self.folder / "config.json", config | about)
