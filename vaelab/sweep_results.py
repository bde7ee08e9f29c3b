"""The results of a sweep: a table of all configurations, the best ones, and a plot of each variable."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from vaelab.cli import LabError
from vaelab.files import read_json, write_file
from vaelab.metrics.score import max_score, score_terms
from vaelab.plotting import figure_png, new_figure, to_csv, to_table
from vaelab.tasks import TASKS

RESULT = "result.json"  # of a configuration that is finished or has failed
QUALITY = ("score", "score_uncapped", "ssim", "mse", "fid", "bonus")
BEST = 10  # rows of the printed table


def read_results(root: Path) -> list[dict[str, Any]]:
    """The results in a folder of `sweep.py`: a row with task, options, status, reason and quality for each.

    Raises: LabError if there are none.
    """
    rows = []
    for path in sorted(root.glob(f"*/{RESULT}")):
        try:
            result = read_json(path)
            row = {"task": result["task"], **result["options"], "status": result["status"]}
            row |= {"reason": result["reason"]}
            row |= {key: result[key] for key in QUALITY if key in result}
            good = row["task"] in TASKS and (row["status"] == "failed" or row["score_uncapped"] >= 0)
        except (LabError, KeyError, TypeError):
            good = False
        if good:
            rows.append(row)
        else:
            print(f"note: {path} is damaged and left out: the same sweep will run this configuration again")
    if not rows:
        raise LabError(f"{root} contains no results of a sweep: run bash scripts/sweep.sh first")
    options = [key for row in rows for key in row if key not in ("task", "status", "reason", *QUALITY)]
    columns = ["task", *dict.fromkeys(options), "status", "reason", *QUALITY]
    rows = [{key: row.get(key, "") for key in columns} for row in rows]
    # Numbers by value, text alphabetically.
    return sorted(rows, key=lambda row: [(isinstance(value, str), value) for value in row.values()])


def varied_options(rows: list[dict[str, Any]]) -> list[str]:
    """The options that have more than one value."""
    keys = list(rows[0])[1 : list(rows[0]).index("status")]
    return [key for key in keys if len({row[key] for row in rows}) > 1]


def best(rows: list[dict[str, Any]]) -> str:
    """The best configurations of a task as a Markdown table."""
    rows = sorted(rows, key=lambda row: -row["score_uncapped"])[:BEST]
    keys = [
        *varied_options(rows),
        "score_uncapped",
        "ssim",
        "mse",
        *(["fid"] if rows[0]["fid"] != "" else []),
    ]
    return to_table([{key: row[key] for key in keys} for row in rows])


def score_lines(task: str, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The score, each of its terms, and the bonus, for each row."""
    lines = {f"score\nbefore the cap of {max_score(task):g}": [row["score_uncapped"] for row in rows]}
    terms = [score_terms(task, row) for row in rows]
    for i, term in enumerate(terms[0]):
        lines[term.formula] = [each[i].points for each in terms]
    return lines | {"bonus": [row["bonus"] for row in rows]}


def draw(task: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the score and each of its terms against each variable: all values, and their means."""
    keys, lines = varied_options(rows), score_lines(task, rows)
    figure = new_figure(2 + 2.4 * len(keys), 1.7 * len(lines))
    grid = figure.subplots(len(lines), len(keys), sharex="col", sharey="row", squeeze=False)
    for column, key in enumerate(keys):
        values = sorted({row[key] for row in rows}, key=lambda value: (isinstance(value, str), value))
        positions = [values.index(row[key]) for row in rows]  # evenly spaced, for numbers and text
        for axes, heights in zip(grid[:, column], lines.values(), strict=True):
            draw_means(axes, positions, heights)
        axes.set(xlabel=key, xticks=range(len(values)), xlim=(-0.5, len(values) - 0.5))
        axes.set_xticklabels([f"{value:g}" if isinstance(value, float) else value for value in values])
    for axes, label in zip(grid[:, 0], lines, strict=True):
        axes.set_ylabel(label.replace(" max", "\nmax"), fontsize=8)
    figure.suptitle(f"{task}: every configuration, and the mean for each value", fontsize=10)
    write_file(path, figure_png(figure))


def draw_means(axes: Axes, positions: list[int], heights: list[float]) -> None:
    """Draw points, and a line through their means at each position."""
    axes.plot(positions, heights, ".", color="tab:blue", alpha=0.4)
    groups: dict[int, list[float]] = {}
    for position, height in zip(positions, heights, strict=True):
        groups.setdefault(position, []).append(height)
    ordered = sorted(groups)
    axes.plot(ordered, [fmean(groups[position]) for position in ordered], "-", color="tab:orange")
    axes.grid(alpha=0.3)


def summarise(root: Path) -> None:
    """Write sweep.csv and a plot for each task; print the best configurations, and those that failed."""
    rows = read_results(root)
    write_file(root / "sweep.csv", to_csv(rows))
    written = [root / "sweep.csv"]
    for task in TASKS:
        finished = [row for row in rows if row["task"] == task and row["status"] == "done"]
        if finished:
            print(f"\n{task}, {len(finished)} configurations, the best:\n\n{best(finished)}")
        if finished and varied_options(finished):
            written.append(root / f"sweep_{task}.png")
            draw(task, finished, written[-1])
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        keys = ["task", *varied_options(rows), "reason"]
        print(f"\nfailed: {len(failed)}; the same sweep will try them again\n")
        print(to_table([{key: row[key] for key in keys} for row in failed]))
    print(f"\nwrote {', '.join(map(str, written))}")
