"""What a sweep has found so far: a table of all configurations, the best ones, a plot of each variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaelab.cli import LabError
from vaelab.files import read_json, write_file
from vaelab.metrics.score import max_score, score_terms
from vaelab.plotting import figure_png, new_figure, to_csv, to_table
from vaelab.tasks import TASKS

RESULT = "result.json"  # of a configuration that is done, or has failed
QUALITY = ("score", "score_uncapped", "ssim", "mse", "fid", "bonus")
BEST = 10  # rows of the table that is printed


def read_results(root: Path) -> list[dict[str, Any]]:
    """The results in a folder of `sweep.py`, a row each: the task, the options, status, reason, quality.

    Raises: LabError if there is none.
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
            print(f"note: {path} is damaged and left out: the same sweep does this configuration again")
    if not rows:
        raise LabError(f"{root} holds no result of a sweep: bash scripts/sweep.sh makes some")
    options = [key for row in rows for key in row if key not in ("task", "status", "reason", *QUALITY)]
    columns = ["task", *dict.fromkeys(options), "status", "reason", *QUALITY]
    rows = [{key: row.get(key, "") for key in columns} for row in rows]
    # Numbers by their size, words by the alphabet.
    return sorted(rows, key=lambda row: [(isinstance(value, str), value) for value in row.values()])


def swept(rows: list[dict[str, Any]]) -> list[str]:
    """The options that have more than one value."""
    keys = list(rows[0])[1 : list(rows[0]).index("status")]
    return [key for key in keys if len({row[key] for row in rows}) > 1]


def best(rows: list[dict[str, Any]]) -> str:
    """The best configurations of a task as a Markdown table."""
    rows = sorted(rows, key=lambda row: -row["score_uncapped"])[:BEST]
    keys = [*swept(rows), "score_uncapped", "ssim", "mse", *(["fid"] if rows[0]["fid"] != "" else [])]
    return to_table([{key: row[key] for key in keys} for row in rows])


def draw(task: str, rows: list[dict[str, Any]], path: Path) -> None:
    """The score and each of its terms (rows) against each variable (columns): all values, and their mean."""
    keys = swept(rows)
    lines = {f"score\nbefore the cap of {max_score(task):g}": [row["score_uncapped"] for row in rows]}
    terms = [score_terms(task, row) for row in rows]
    for i, (formula, _, _) in enumerate(terms[0]):
        lines[formula] = [each[i][1] for each in terms]
    lines["bonus"] = [row["bonus"] for row in rows]
    figure = new_figure(2 + 2.4 * len(keys), 1.7 * len(lines))
    grid = figure.subplots(len(lines), len(keys), sharex="col", sharey="row", squeeze=False)
    for column, key in enumerate(keys):
        values = sorted({row[key] for row in rows}, key=lambda value: (isinstance(value, str), value))
        places = [values.index(row[key]) for row in rows]  # evenly spaced, be they numbers or words
        for axes, (label, heights) in zip(grid[:, column], lines.items(), strict=True):
            axes.plot(places, heights, ".", color="tab:blue", alpha=0.4)
            means = []
            for place in range(len(values)):
                here = [height for at, height in zip(places, heights, strict=True) if at == place]
                means.append(sum(here) / len(here))
            axes.plot(range(len(values)), means, "-", color="tab:orange")
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(label.replace(" max", "\nmax"), fontsize=8)
        grid[-1, column].set(xlabel=key, xticks=range(len(values)), xlim=(-0.5, len(values) - 0.5))
        grid[-1, column].set_xticklabels(
            [f"{value:g}" if isinstance(value, float) else value for value in values]
        )
    figure.suptitle(f"{task}: every configuration, and the mean of those that share a value", fontsize=10)
    write_file(path, figure_png(figure))


def summarise(root: Path) -> None:
    """Write sweep.csv and a plot for each task; print the best configurations, and those that failed."""
    rows = read_results(root)
    write_file(root / "sweep.csv", to_csv(rows))
    written = [root / "sweep.csv"]
    for task in TASKS:
        done = [row for row in rows if row["task"] == task and row["status"] == "done"]
        if done:
            print(f"\n{task}, {len(done)} configurations, the best of them:\n\n{best(done)}")
        if done and swept(done):
            written.append(root / f"sweep_{task}.png")
            draw(task, done, written[-1])
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        keys = ["task", *swept(rows), "reason"]
        print(f"\nfailed, to be tried again by the same sweep: {len(failed)}\n")
        print(to_table([{key: row[key] for key in keys} for row in failed]))
    print(f"\nwrote {', '.join(map(str, written))}")
