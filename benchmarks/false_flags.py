"""How often honest submissions are flagged, and what the probes of the autograder give for them.

    python benchmarks/false_flags.py --data_dir FOLDER_OF_MNIST

It trains the models of `honest_models.py` (once, into outputs/honest/), grades each by the autograder's own
code, in this process, and prints the distribution of each statistic and all flags. `--checkpoints FOLDER`
adds all best.pt below a folder, such as those of `quality.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from helpers import REPO, machine
from honest_models import Setting, settings, trained
from torch import nn

import submission
from apps.autograde.generated import RealImages
from apps.autograde.grader import Grader
from apps.autograde.limits import Limits
from apps.autograde.secret import SubmissionSecret
from apps.autograde.steps import Steps
from data_utils import MNISTDataset
from vaelab.checkpoint import load_checkpoint, load_weights
from vaelab.cli import Parser, markdown, number, run
from vaelab.config import SUBMISSION_MODEL
from vaelab.contract import build_submission
from vaelab.data.options import add_data_dir_option
from vaelab.data.splits import load_split, prepare
from vaelab.files import make_folder, write_json
from vaelab.inference import decode, encode, generate_images
from vaelab.metrics.fid import GEN_PER_LABEL

FOLDER = REPO / "outputs" / "honest"


class DirectSteps(Steps):
    """Runs the steps of a model in this process: for models that are trusted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(Path(), (28, 28), Limits(), None, False)
        self.model = model

    @torch.no_grad()
    def run(
        self, step: str, task: str, folder: Path, arrays: dict[str, np.ndarray], batches: list[int]
    ) -> np.ndarray:
        """As the sandboxed step."""
        results, end = [], 0
        torch.manual_seed(0)
        for size in batches:
            start, end = end, end + size
            batch = {name: torch.from_numpy(array[start:end]) for name, array in arrays.items()}
            labels = batch.get("labels")
            if step == "encode":
                results.append(encode(self.model, batch["x"].float() / 255, labels).numpy())
            elif step == "decode":
                results.append(decode(self.model, batch["z"].float(), labels, (28, 28)))
            else:
                results.append(generate_images(self.model, labels, (28, 28)))
        result = np.concatenate(results)
        self.check_result(result, step, len(result))
        return result


@dataclass(frozen=True)
class Trained:
    """A checkpoint that the lab's train.py wrote, graded as the autograder does: without additions."""

    path: Path
    kind = "checkpoint"

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def task(self) -> str:
        """Its task."""
        return load_checkpoint(self.path).config.task

    @property
    def dataset(self) -> str:
        """What it was trained on."""
        return load_checkpoint(self.path).config.dataset

    def model(self) -> nn.Module:
        """The submission's model."""
        checkpoint = load_checkpoint(self.path)
        model = build_submission(submission, self.task, checkpoint.config.model_args).eval()
        load_weights(model, checkpoint, self.path)
        return model


def real_images(dataset: str, split: str, data_dir: Path | None, most: int) -> RealImages:
    """What generated images are compared with."""
    prepare(dataset, data_dir)
    images, labels = load_split(dataset, split)
    return RealImages(images[:most], labels[:most], MNISTDataset("train", dataset, data_dir))


def grade_directly(
    model: nn.Module, task: str, real: RealImages, seed: str, per_label: int = GEN_PER_LABEL
) -> dict:
    """The grade of a model, without a sandbox."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("submission.py", f"{task}.pt"):
            Path(folder, name).touch()
        grader = Grader(DirectSteps(model), real, per_label=per_label)
        return grader.grade_task(task, Path(folder), SubmissionSecret(seed, "files"), "")[0]


def statistics_of(grade: dict) -> dict[str, float]:
    """The numbers that flags are made of."""
    return grade["probes"] | grade.get("generated", {}) | {k: grade[k] for k in ("mse", "fid") if k in grade}


def main() -> None:
    """Train, grade, print."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--models", type=number(int, 1), default=1000, help="the first of the models only (default: all)")
    add("--images", type=number(int, 300), default=10_000, help="images of the split (default: 10000)")
    add("--checkpoints", type=Path, nargs="*", default=[], metavar="FOLDER", help="also best.pt of these")
    add("--generated", type=number(int, 200), default=1000, help="images of each label (default: 1000)")
    add("--minutes", type=number(float, 0), default=1e6, help="stop then, and go on in the next run")
    add_data_dir_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start, real = time.monotonic(), {}
    path = make_folder(FOLDER) / f"grades-{args.images}.json"
    grades = json.loads(path.read_text()) if path.exists() else {}
    for model in [*map(Trained, checkpoints(args.checkpoints)), *settings()[: args.models]]:
        if time.monotonic() - start > 60 * args.minutes:
            print(f"stopped after {len(grades)} models: run it again to go on")
            break
        if model.name in grades:
            continue
        if model.dataset not in real:
            real[model.dataset] = real_images(model.dataset, "test", args.data_dir, args.images)
        grades[model.name] = grade_one(model, real[model.dataset], args.generated)
        write_json(path, grades)
    report(grades)


def checkpoints(folders: list[Path]) -> list[Path]:
    """The checkpoints of submissions below some folders."""
    paths = [path for folder in folders for path in sorted(folder.rglob("best.pt"))]
    return [path for path in paths if load_checkpoint(path).config.model == SUBMISSION_MODEL]


def grade_one(about: Setting | Trained, real: RealImages, per_label: int) -> dict:
    """The grade of an honest model."""
    if isinstance(about, Trained):
        model = about.model()
    else:
        model = trained(about, FOLDER, *load_split(about.dataset, "train"))
    grade = grade_directly(model, about.task, real, about.name, per_label) | {"kind": about.kind}
    print(
        f"{about.name}: {grade['status']} {grade.get('score_uncapped', 0):.2f} {grade['flags']}", flush=True
    )
    return grade


def report(grades: dict[str, dict]) -> None:
    """Print the distributions, and the share that is flagged. Discrete codes, not graded, come last."""
    found = {name: grade for name, grade in grades.items() if grade["status"] == "ok"}
    for discrete in (False, True):
        some = {name: grade for name, grade in found.items() if (grade["kind"] == "discrete") == discrete}
        if not some:
            continue
        rows = []
        for name in dict.fromkeys(name for grade in some.values() for name in statistics_of(grade)):
            values = np.array([s[name] for s in map(statistics_of, some.values()) if name in s])
            quantiles = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
            rows.append([name, len(values), *(f"{value:.4g}" for value in quantiles)])
        print(markdown(["statistic", "models", "least", "5%", "median", "95%", "most"], rows))
        flags = {name: grade["flags"] for name, grade in some.items()}
        flagged, n = sum(map(bool, flags.values())), len(some)
        kinds = ", ".join(f"{kind} {k}" for kind, k in Counter(g["kind"] for g in some.values()).items())
        bound = f" (95% bound: {1 - 0.05 ** (1 / n):.1%})" if not flagged else ""
        print(f"{flagged} of {n} honest submissions ({kinds}) are flagged{bound}; {machine()}")
        for name, why in flags.items():
            if why:
                print(f"  {name}: {'; '.join(why)}")


if __name__ == "__main__":
    sys.exit(run(main))
