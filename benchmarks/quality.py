"""Quality against latent_dim, task and prior: three seeds each, to a CSV, a Markdown table and a plot.

    python benchmarks/quality.py --data_dir FOLDER_OF_MNIST

trains VAE0label, and Genwithlabel with each of the three priors, for latent_dim 4 to 32, and grades them on
`valid`. A run that is done is not done again, so an interrupted benchmark goes on where it was; --jobs runs
share the cores. Training is shorter than train.py's default (--epochs): the rows compare with each other.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from bench import REPO, machine, train_and_grade
from tqdm import tqdm

from vaelab.cli import Parser, markdown, number, run
from vaelab.data.options import SPLITS, add_data_dir_option, add_dataset_option
from vaelab.data.splits import prepare
from vaelab.files import make_folder, write_file

LATENT_DIMS = (4, 8, 12, 16, 20, 24, 32)
# Name, task, prior. VAE0label's score knows no generation, so its prior changes nothing.
MODELS = [
    ("VAE0label", "VAE0label", "learned"),
    ("Genwithlabel, standard", "Genwithlabel", "standard"),
    ("Genwithlabel, class_mean", "Genwithlabel", "class_mean"),
    ("Genwithlabel, learned", "Genwithlabel", "learned"),
]
# The values of a grade, and the digits after the point that the Markdown table gives of each.
VALUES = {"ssim": 4, "mse": 5, "fid": 2, "score": 2, "score_uncapped": 2}


def parse_args() -> Any:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--epochs", type=number(int, 1), default=3, help="of each run (default: 3)")
    add("--seeds", type=number(int, 1, 100), default=3, help="runs of each configuration (default: 3)")
    add("--latent_dims", type=number(int, 1, 784), nargs="+", default=LATENT_DIMS, help="(default: 4 to 32)")
    add("--split", choices=SPLITS, default="valid", help="the split to grade (default: valid)")
    add("--jobs", type=number(int, 1, 64), default=1, help="runs at once; the cores are shared (default: 1)")
    add_dataset_option(parser)
    add("--name", default="quality", help="of the files in benchmarks/results/ (default: quality)")
    add_data_dir_option(parser)
    return parser.parse_args()


def one_run(args: Any, task: str, prior: str, latent_dim: int, seed: int) -> dict[str, float]:
    """The grade of one configuration, from its folder if it is done."""
    name = f"{args.dataset}-{task}-{prior}-d{latent_dim}-epochs{args.epochs}-seed{seed}"
    folder = REPO / "outputs" / "quality" / name
    result = folder / f"{args.split}.json"
    if not result.exists():
        options = ("--task", task, "--dataset", args.dataset, "--prior", prior, "--latent_dim", latent_dim)
        options += ("--epochs", args.epochs, "--seed", seed)
        threads = max(1, torch.get_num_threads() // args.jobs)
        train_and_grade(folder, args.split, args.data_dir, *options, threads=threads)
        (folder / "grade_result.json").replace(result)
    return json.loads(result.read_text())[task]


def summary(grades: list[dict[str, float]], key: str) -> tuple[float, float] | None:
    """Mean and sample standard deviation of a value over the seeds; None if the task has no such value."""
    values = [grade[key] for grade in grades if key in grade]
    if not values:
        return None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def to_csv(results: dict[tuple[str, int], list[dict[str, float]]]) -> str:
    """A row a configuration: the mean and the standard deviation of each value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [f"{key}_{what}" for key in VALUES for what in ("mean", "std")]
    writer.writerow(["model", "latent_dim", "runs", *columns])
    for (name, latent_dim), grades in results.items():
        cells = [summary(grades, key) or ("", "") for key in VALUES]
        cells = [f"{cell:.6f}" if cell != "" else "" for pair in cells for cell in pair]
        writer.writerow([name, latent_dim, len(grades), *cells])
    return buffer.getvalue()


def as_markdown(results: dict[tuple[str, int], list[dict[str, float]]]) -> str:
    """The same as a table to read."""

    def cell(grades: list[dict[str, float]], key: str) -> str:
        pair = summary(grades, key)
        return "" if pair is None else f"{pair[0]:.{VALUES[key]}f} ± {pair[1]:.{VALUES[key]}f}"

    rows = [(*key, *(cell(grades, value) for value in VALUES)) for key, grades in results.items()]
    return markdown(("model", "latent_dim", *VALUES), rows)


def draw(results: dict[tuple[str, int], list[dict[str, float]]], path: Path) -> None:
    """SSIM, MSE, FID and the uncapped scores against latent_dim; bars are standard deviations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.8), layout="constrained")
    panels = [
        ("ssim", "SSIM", None),
        ("mse", "MSE", None),
        ("fid", "FID", None),
        ("score_uncapped", "VAE0label, uncapped score", "VAE0label"),
        ("score_uncapped", "Genwithlabel, uncapped score", "Genwithlabel"),
    ]
    for axes, (key, title, task) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for i, (name, of_task, _) in enumerate(MODELS):
            points = [(d, summary(grades, key)) for (model, d), grades in results.items() if model == name]
            points = [(d, *pair) for d, pair in points if pair is not None]
            if points and task in (None, of_task):
                style = {"color": f"C{i}", "marker": "osD^"[i], "markersize": 4, "capsize": 3}
                axes.errorbar(*zip(*points, strict=True), label=name if key == "ssim" else None, **style)
        axes.set(title=title, xlabel="latent_dim", xticks=sorted({d for _, d in results}))
        axes.grid(alpha=0.3)
        if key in ("mse", "fid"):
            axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=len(MODELS))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    write_file(path, buffer.getvalue())


def main() -> None:
    """Run what isn't done, then write and print the table."""
    args = parse_args()
    args.dataset, _ = prepare(args.dataset, args.data_dir)
    grid = list(itertools.product(MODELS, args.latent_dims, range(args.seeds)))
    results: dict[tuple[str, int], list[dict[str, float]]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(one_run, args, *model[1:], latent_dim, seed) for model, latent_dim, seed in grid]
        try:
            for (model, latent_dim, _), done in zip(grid, tqdm(runs, disable=None, unit="run"), strict=True):
                results.setdefault((model[0], latent_dim), []).append(done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    about = (
        f"{machine()}; {args.dataset} {args.split}, {args.epochs} epochs, {args.seeds} runs each, mean ± std"
    )
    table = f"{about}\n\n{as_markdown(results)}\n"
    path = make_folder(REPO / "benchmarks" / "results") / args.name
    write_file(path.with_suffix(".csv"), to_csv(results))
    write_file(path.with_suffix(".md"), table)
    draw(results, path.with_suffix(".png"))
    print(table)


if __name__ == "__main__":
    run(main)
