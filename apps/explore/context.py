"""The models, data and files of one command of `explore.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import submission
from beyond import options as beyond_options
from data_utils import MNISTDataset
from trainer import Trainer
from vaelab.checkpoint import Checkpoint, LoadedModel, load_checkpoint, load_model
from vaelab.cli import LabError
from vaelab.config import SUBMISSION_MODEL, TRAINING_OPTIONS
from vaelab.data.splits import prepare
from vaelab.device import choose_device
from vaelab.files import lock, make_folder, write_file, write_json
from vaelab.inference import BATCH, decode
from vaelab.language import _
from vaelab.plotting import figure_png, to_csv, to_table
from vaelab.run import LabModules, RunRequest, train

# The default model of a figure: a plain VAE that trains in seconds per epoch. Its loss is the negative ELBO,
# with cross-entropy as the reconstruction term.
PLAIN = {"task": "VAE0label", "arch": "mlp", "hidden_dim": 512, "hidden_layers": 2, "recon": "bce"}
PLAIN |= {"channels": 64}  # of the figures with arch="conv"
DIGITS_FACTOR = 10  # times as many epochs on scikit-learn's digits, which has 40 times fewer images


@dataclass(frozen=True)
class ExploreSettings:
    """The options of a command; see `command.add_options`. Not every command has all of them."""

    command: str
    dataset: str
    data_dir: Path | None
    output_dir: Path
    device: str
    seed: int
    epochs: int | None
    overwrite: bool
    checkpoint_path: list[Path] | None = None
    chunk: int = 2000
    k: int = 500
    split: str = "test"
    table: bool = False
    arch: list[str] = field(default_factory=list)
    latent_dims: list[int] = field(default_factory=list)
    images: int | None = None


class ExploreContext:
    """The models and data of one command, and the folder that it writes to."""

    def __init__(self, settings: ExploreSettings) -> None:
        self.settings, self.device = settings, choose_device(settings.device)
        self.root = make_folder(settings.output_dir)
        paths = settings.checkpoint_path or []
        checkpoints = [load_checkpoint(path) for path in paths]
        if settings.command != "compare":  # the other figures are of Gaussian codes
            for path, checkpoint in zip(paths, checkpoints, strict=True):
                checkpoint.require_submission(path, f"explore.py {settings.command}")
        dataset = self._choose_dataset([checkpoint.config.dataset for checkpoint in checkpoints])
        self.dataset, _source = prepare(dataset, settings.data_dir)
        # Named by their folders, since their files have the same names.
        self.given = [
            self._load(path, f"{path.parent.parent.name}/{path.parent.name}", checkpoint)
            for path, checkpoint in zip(paths, checkpoints, strict=True)
        ]
        torch.manual_seed(settings.seed)

    def _choose_dataset(self, of_checkpoints: list[str]) -> str:
        """The data set: that of the checkpoints, if any are given. Raises: LabError if they differ."""
        names = set(of_checkpoints)
        if len(names) > 1:
            raise LabError(
                "the checkpoints were trained on different data ({names}): choose checkpoints of one data "
                "set",
                names=", ".join(sorted(names)),
            )
        dataset = names.pop() if names else self.settings.dataset
        if self.settings.dataset not in ("auto", dataset):
            raise LabError(
                "the checkpoints are of {dataset}: leave out --dataset {given}",
                dataset=dataset,
                given=self.settings.dataset,
            )
        return dataset

    # --- Models ---

    def trained(self, name: str, epochs: int, seed: int | None = None, **options: Any) -> LoadedModel:
        """A model with the options of `PLAIN` and `options`; trained now, unless there is one from before."""
        seed = self.settings.seed if seed is None else seed
        epochs = self.settings.epochs or epochs * (DIGITS_FACTOR if self.dataset == "digits" else 1)
        part = f"-images{self.settings.images}" if self.settings.images else ""
        folder = make_folder(self.root / "models" / f"{self.dataset}-{name}-epochs{epochs}-seed{seed}{part}")
        builder = options.pop("model", SUBMISSION_MODEL)
        defaults = PLAIN if builder == SUBMISSION_MODEL else {"task": PLAIN["task"]}
        options = defaults | options | {"epochs": epochs, "seed": seed}
        task = options.pop("task")
        training = {key: value for key, value in options.items() if key in TRAINING_OPTIONS}
        additions = {key: value for key, value in options.items() if key in beyond_options.OPTIONS}
        request = RunRequest(
            task,
            folder,
            training=training,
            model={key: options[key] for key in options.keys() - training.keys() - additions.keys()},
            builder=builder,
            beyond=beyond_options.read_options(additions),
            beyond_given=additions | {"model": builder},
            defaults=beyond_options.changed_defaults(additions | {"model": builder}, task),
            dataset=self.dataset,
            data_dir=self.settings.data_dir,
            device=self.settings.device,
            resume=not self.settings.overwrite,
            overwrite=self.settings.overwrite,
            keep_epochs=(1,),
        )
        with lock(folder):
            train(request, LabModules(submission, Trainer, self._training_data))
        loaded = self._load(folder / "last.pt", name, load_checkpoint(folder / "last.pt"))
        torch.manual_seed(
            self.settings.seed
        )  # so that the figure does not depend on whether a model was trained
        return loaded

    def given_or(self, name: str, epochs: int, **options: Any) -> LoadedModel:
        """The model of `--checkpoint_path`, or else a trained one; see `trained`."""
        if len(self.given) > 1:
            raise LabError(
                "expected one checkpoint, got {count}: compare accepts several", count=len(self.given)
            )
        return self.given[0] if self.given else self.trained(name, epochs, **options)

    def given_or_two(self) -> list[LoadedModel]:
        """The models of `--checkpoint_path`, or else one of latent_dim 2 and one of 20."""
        return self.given or [self.trained("d2", 20, latent_dim=2), self.trained("d20", 10, latent_dim=20)]

    def after_epoch(self, model: LoadedModel, epoch: int) -> LoadedModel | None:
        """The same model after an earlier epoch; None if no checkpoint of that epoch was kept."""
        path = model.path.with_name(f"epoch_{epoch:03d}.pt")
        return self._load(path, model.name, load_checkpoint(path)) if path.exists() else None

    def _load(self, path: Path, name: str, checkpoint: Checkpoint) -> LoadedModel:
        return load_model(submission, checkpoint, path, name, self.device)

    # --- Data and codes ---

    def _training_data(self, split: str, dataset: str, data_dir: Path | None) -> MNISTDataset:
        data = MNISTDataset(split, dataset, data_dir)
        if split == "train" and self.settings.images:
            data.keep_first(self.settings.images)
        return data

    def train_size(self) -> int:
        """The number of images that the models are trained on."""
        return len(self._training_data("train", self.dataset, self.settings.data_dir))

    def data(self, split: str) -> MNISTDataset:
        """A split of the data, on the device."""
        return MNISTDataset(split, self.dataset, self.settings.data_dir).to(self.device)

    @torch.no_grad()
    def posterior(self, model: LoadedModel, dataset: MNISTDataset) -> tuple[Tensor, Tensor]:
        """mu and logvar of all images: [N, d] each."""
        parts = [
            model.model.encode(batch.images, model.labels(batch.labels)) for batch in dataset.batches(BATCH)
        ]
        return tuple(torch.cat(values).float() for values in zip(*parts, strict=True))

    @torch.no_grad()
    def decode(self, model: LoadedModel, z: Tensor, labels: Tensor | None = None) -> np.ndarray:
        """The images of codes [N, d]: uint8 [N, H, W] or [N, C, H, W]. labels: [N]; used if conditional."""
        shape = model.config.model_args.get("image_shape", (1, 28, 28))
        shape = shape[1:] if shape[0] == 1 else shape
        labels = None if labels is None else model.labels(labels)
        parts = [
            decode(
                model.model,
                z[i : i + BATCH],
                None if labels is None else labels[i:][:BATCH],
                shape,
            )
            for i in range(0, len(z), BATCH)
        ]
        return np.concatenate(parts)

    # --- Files ---

    def save(
        self,
        figure: Figure,
        rows: list[dict[str, Any]],
        summary: list[dict[str, Any]] | None = None,
        option: str = "",
        part: str = "",
        **about: Any,
    ) -> None:
        """Write <command>.png, .csv (`rows`) and .json (`summary`, by default `rows`, and `about`).

        option: an option of the command that changes the figure; part: one of several figures of a command.
        Both become a part of the file names.
        """
        command, summary = self.settings.command, rows if summary is None else summary
        path = self.root / "_".join([command, *option.replace("-", "").split(), *part.split()])
        write_file(path.with_suffix(".png"), figure_png(figure))
        write_file(path.with_suffix(".csv"), to_csv(rows))
        about = {"data": self.dataset, "seed": self.settings.seed, **about}
        command = f"{command} {option}".strip()
        write_json(path.with_suffix(".json"), {"command": command, **about, "rows": summary})
        print(to_table(summary))
        print(_("wrote {path}.png, {path}.csv, {path}.json", path=path))
