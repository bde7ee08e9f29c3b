"""How often honest submissions are flagged, and what the probes of the autograder give for them.

    python benchmarks/false_flags.py --data_dir FOLDER_OF_MNIST

It trains the models of `honest_models.py` (once, into outputs/honest/), grades each by the autograder's own
code, in this process, and prints the distribution of each statistic and all flags.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from helpers import REPO, machine
from honest_models import Setting, settings, trained
from torch import nn

from apps.autograde.generated import RealImages
from apps.autograde.grader import Grader
from apps.autograde.limits import Limits
from apps.autograde.secret import SubmissionSecret
from apps.autograde.steps import Steps
from data_utils import MNISTDataset
from vaelab.cli import Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option
from vaelab.data.splits import load_split, prepare
from vaelab.files import make_folder, write_json
from vaelab.inference import decode, encode, generate_images
from vaelab.metrics.classifier import load_classifier

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


def real_images(dataset: str, split: str, data_dir: Path | None, most: int) -> RealImages:
    """What generated images are compared with."""
    prepare(dataset, data_dir)
    images, labels = load_split(dataset, split)
    train = MNISTDataset("train", dataset, data_dir)
    return RealImages(images[:most], labels[:most], train.images.numpy(), load_classifier(train))


def grade_directly(model: nn.Module, task: str, real: RealImages, seed: str) -> dict:
    """The grade of a model, without a sandbox."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("submission.py", f"{task}.pt"):
            Path(folder, name).touch()
        grader = Grader(DirectSteps(model), real)
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
    add("--minutes", type=number(float, 0), default=1e6, help="stop then, and go on in the next run")
    add_data_dir_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start, real = time.monotonic(), {}
    path = make_folder(FOLDER) / f"grades-{args.images}.json"
    grades = json.loads(path.read_text()) if path.exists() else {}
    for setting in settings()[: args.models]:
        if time.monotonic() - start > 60 * args.minutes:
            print(f"stopped after {len(grades)} models: run it again to go on")
            break
        if setting.name in grades:
            continue
        if setting.dataset not in real:
            real[setting.dataset] = real_images(setting.dataset, "test", args.data_dir, args.images)
        grades[setting.name] = grade_one(setting, real[setting.dataset])
        write_json(path, grades)
    report(grades)


def grade_one(setting: Setting, real: RealImages) -> dict:
    """The grade of an honest model."""
    model = trained(setting, FOLDER, *load_split(setting.dataset, "train"))
    grade = grade_directly(model, setting.task, real, str(setting.seed))
    grade["kind"] = setting.kind
    print(
        f"{setting.name}: {grade['status']} {grade.get('score_uncapped', 0):.2f} {grade['flags']}", flush=True
    )
    return grade


def report(grades: dict[str, dict]) -> None:
    """Print the distributions, and the share that is flagged."""
    rows, found = [], [grade for grade in grades.values() if grade["status"] == "ok"]
    names = dict.fromkeys(name for grade in found for name in statistics_of(grade))
    for name in names:
        values = np.array([s[name] for s in map(statistics_of, found) if name in s])
        quantiles = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
        rows.append([name, len(values), *(f"{value:.4g}" for value in quantiles)])
    print(markdown(["statistic", "models", "least", "5%", "median", "95%", "most"], rows))
    flagged = sum(bool(grade["flags"]) for grade in found)
    n = len(found)
    bound = 1 - 0.05 ** (1 / n) if not flagged else math.nan
    print(f"{flagged} of {n} honest submissions are flagged (95% bound if none is: {bound:.1%}); {machine()}")


if __name__ == "__main__":
    sys.exit(run(main))
