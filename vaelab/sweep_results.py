"""The results of a sweep: a table of all configurations, the best ones, and two figures for each task."""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes

from vaelab.cli import LabError
from vaelab.files import read_json, write_file
from vaelab.language import _
from vaelab.metrics.score import max_score, score_terms
from vaelab.plotting import figure_png, figure_text, new_figure, to_csv, to_table
from vaelab.tasks import TASKS

RESULT = "result.json"  # of a configuration that is done, pruned or failed
SETTLED = ("done", "pruned")  # statuses that are not tried again
QUALITY = ("score", "score_uncapped", "ssim", "mse", "fid", "bonus")
BEST = 10  # rows of the printed table
MAX_TICKS = 12  # values of a variable that are drawn side by side
SEED = "seed"


def read_results(root: Path) -> list[dict[str, Any]]:
    """The results in a folder of `sweep.py`: a row with task, options, status, reason and quality for each,
    and `finished`, the time at which it was written.

    Raises: LabError if there are none.
    """
    rows = []
    for path in sorted(root.glob(f"*/{RESULT}")):
        try:
            result = read_json(path)
            row = {"task": result["task"], **result["options"], "status": result["status"]}
            row |= {"reason": result["reason"]}
            row |= {key: result[key] for key in QUALITY if key in result}
            row["finished"] = result.get("finished", 0.0)
            good = row["task"] in TASKS and (row["status"] != "done" or row["score_uncapped"] >= 0)
        except (LabError, KeyError, TypeError):
            good = False
        if good:
            rows.append(row)
        else:
            text = _(
                "note: {path} is damaged and left out: the same sweep will run this configuration again",
                path=path,
            )
            print(text)
    if not rows:
        raise LabError("{root} contains no results of a sweep: run bash scripts/sweep.sh first", root=root)
    last = ("status", "reason", *QUALITY, "finished")
    options = [key for row in rows for key in row if key not in ("task", *last)]
    columns = ["task", *dict.fromkeys(options), *last]
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
    title = figure_text("score\nbefore the cap of {maximum:g}", maximum=max_score(task))
    lines = {title: [row["score_uncapped"] for row in rows]}
    terms = [score_terms(task, row) for row in rows]
    for i, term in enumerate(terms[0]):
        lines[term.formula] = [each[i].points for each in terms]
    return lines | {figure_text("bonus"): [row["bonus"] for row in rows]}


# --- Figures ------------------------------------------------------------------------------------


def is_continuous(values: list[Any]) -> bool:
    """Whether values are drawn on a numeric axis: numbers, many of them, or few repeats as in a search."""
    count = len(set(values))
    many = count > MAX_TICKS or (count > 3 and 2 * count > len(values))
    return many and not any(isinstance(value, str) for value in values)


def place(values: list[Any], axes: Axes | None = None) -> list[float]:
    """The positions of values on an axis: one for each, or the values themselves if they are continuous.

    axes: get the scale and the ticks of this axis, which is logarithmic over several magnitudes.
    """
    if is_continuous(values):
        log = min(values) > 0 and max(values) > 10 * min(values)
        if axes is not None and log:
            axes.set_xscale("log")
        return [math.log(value) for value in values] if log and axes is None else values
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    if axes is not None:
        axes.set(xticks=range(len(distinct)), xlim=(-0.5, len(distinct) - 0.5))
        axes.set_xticklabels([f"{value:g}" if isinstance(value, float) else value for value in distinct])
    return [distinct.index(value) for value in values]


def draw(task: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the score and each of its terms against each variable: all values, their means, and the noise."""
    keys, lines = varied_options(rows), score_lines(task, rows)
    others = [tuple(row[key] for key in keys if key != SEED) for row in rows]
    figure = new_figure(2 + 2.4 * len(keys), 1.7 * len(lines))
    grid = figure.subplots(len(lines), len(keys), sharex="col", sharey="row", squeeze=False)
    for column, key in enumerate(keys):
        values = [row[key] for row in rows]
        positions = place(values, grid[-1, column])
        for axes, heights in zip(grid[:, column], lines.values(), strict=True):
            axes.plot(positions, heights, ".", color="tab:blue", alpha=0.4)
            axes.grid(alpha=0.3)
            if len(keys) == 1 or not is_continuous(values):
                draw_means(axes, positions, heights, others)
        grid[-1, column].set_xlabel(key)
    for axes, label in zip(grid[:, 0], lines, strict=True):
        axes.set_ylabel(label.replace(" max", "\nmax"), fontsize=8)
    title = figure_text(
        "{task}: every configuration;\nfor each value the mean, and the standard deviation over seeds",
        task=task,
    )
    figure.suptitle(title, fontsize=9)
    write_file(path, figure_png(figure))


def draw_means(axes: Axes, positions: list[float], heights: list[float], others: list[tuple]) -> None:
    """Draw a line through the means at each position, and bars of the noise over seeds.

    others: the configuration of each point without its seed. The noise at a position is the root of the mean
    variance within its configurations.
    """
    groups: dict[float, dict[tuple, list[float]]] = {}
    for position, height, other in zip(positions, heights, others, strict=True):
        groups.setdefault(position, {}).setdefault(other, []).append(height)
    ordered = sorted(groups)
    means = [fmean(sum(groups[position].values(), [])) for position in ordered]
    noise = [math.sqrt(fmean(map(pvariance, groups[position].values()))) for position in ordered]
    axes.errorbar(ordered, means, noise if any(noise) else None, color="tab:orange", capsize=3)


def importances(rows: list[dict[str, Any]], keys: list[str]) -> dict[str, float]:
    """The share of each variable in the differences of the score, by Optuna (PED-ANOVA); empty without it."""
    try:
        import optuna
        from optuna.distributions import CategoricalDistribution, FloatDistribution
    except ImportError:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spaces = {}
    for key in keys:
        values = [row[key] for row in rows]
        spaces[key] = CategoricalDistribution(list(dict.fromkeys(values)))
        if is_continuous(values):
            spaces[key] = FloatDistribution(min(values), max(values))
    study = optuna.create_study(direction="maximize")
    for row in rows:
        params = {key: row[key] for key in keys}
        trial = optuna.trial.create_trial(params=params, distributions=spaces, value=row["score_uncapped"])
        study.add_trial(trial)
    return optuna.importance.get_param_importances(study)


def draw_search(task: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the history of the best score, the importance of each variable, and parallel coordinates."""
    keys, rows = varied_options(rows), sorted(rows, key=lambda row: row["finished"])
    scores = [row["score_uncapped"] for row in rows]
    figure = new_figure(13, 3.6)
    history, bars, parallel = figure.subplots(1, 3, width_ratios=(1, 0.8, 1.4))
    history.plot(range(1, len(rows) + 1), scores, ".", color="tab:blue", alpha=0.5)
    history.step(range(1, len(rows) + 1), list(accumulate(scores, max)), where="post", color="tab:orange")
    history.set_title(figure_text("score, and the best so far"))
    history.set_xlabel(figure_text("configurations, as they were finished"))
    history.xaxis.get_major_locator().set_params(integer=True)
    shares = importances(rows, keys)
    bars.barh(list(shares)[::-1], list(shares.values())[::-1], color="tab:blue")
    if shares:
        bars.set_title(figure_text("importance of each variable"))
    else:
        bars.set_title(figure_text("importance: needs optuna"))
    bars.set_xlim(0, 1)
    columns = {key: place([row[key] for row in rows]) for key in keys} | {"score": scores}
    ends = {key: (min(values), max(values)) for key, values in columns.items()}
    for i in sorted(range(len(rows)), key=lambda i: scores[i]):  # the best above the others
        heights = [(columns[key][i] - low) / ((high - low) or 1) for key, (low, high) in ends.items()]
        colour = colormaps["viridis"](heights[-1])
        parallel.plot(range(len(ends)), heights, color=colour, alpha=0.7, linewidth=1)
    for x, key in enumerate(columns):
        values = scores if key == "score" else [row[key] for row in rows]
        order = sorted(range(len(rows)), key=lambda i: columns[key][i])
        for i, y, side in ((order[0], -0.03, "top"), (order[-1], 1.03, "bottom")):
            text = f"{values[i]:.3g}" if isinstance(values[i], float) else str(values[i])
            parallel.text(x, y, text, ha="center", va=side, fontsize=8)
        parallel.axvline(x, color="black", linewidth=0.6)
    parallel.set_title(figure_text("every configuration"))
    parallel.set(ylim=(-0.15, 1.15), yticks=[])
    parallel.set_xticks(range(len(columns)), list(columns), fontsize=8)
    title = figure_text("{task}: score before the cap of {maximum:g}", task=task, maximum=max_score(task))
    figure.suptitle(title, fontsize=10)
    write_file(path, figure_png(figure))


def summarise(root: Path) -> None:
    """Write sweep.csv and two figures for each task; print the best configurations, and those that failed."""
    rows = read_results(root)
    table = [{key: value for key, value in row.items() if key != "finished"} for row in rows]
    write_file(root / "sweep.csv", to_csv(table))
    written = [root / "sweep.csv"]
    for task in TASKS:
        finished = [row for row in rows if row["task"] == task and row["status"] == "done"]
        if finished:
            heading = _("{task}, {count} configurations, the best:", task=task, count=len(finished))
            print(f"\n{heading}\n\n{best(finished)}")
        if finished and varied_options(finished):
            written += [root / f"sweep_{task}.png", root / f"sweep_{task}_search.png"]
            draw(task, finished, written[-2])
            draw_search(task, finished, written[-1])
    if pruned := sum(row["status"] == "pruned" for row in rows):
        print("\n" + _("pruned: {count}", count=pruned))
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        keys = ["task", *varied_options(rows), "reason"]
        print("\n" + _("failed: {count}; the same grid will try them again", count=len(failed)) + "\n")
        print(to_table([{key: row[key] for key in keys} for row in failed]))
    print("\n" + _("wrote {files}", files=", ".join(map(str, written))))
