"""`report.html`: the grades and the trainings of all tasks, on one page in one file.

`grade.py` writes it after each grade. Text reaches the page escaped, and its content security policy allows
no script but the page's own and no request to any host.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apps.report import charts
from apps.report.hints import Hint, next_steps
from apps.report.pictures import Picture, ReconstructionGrid, generated_grid, reconstruction_grids
from apps.report.run_data import RunData, Setting, read_run, settings
from vaelab.language import _
from vaelab.metrics.score import ScoreTerm, bonus, max_score, score_terms
from vaelab.metrics.score_sensitivity import Sensitivity, sensitivities
from vaelab.outputs import Outputs, other_data
from vaelab.tasks import TASKS
from vaelab.templates import template_environment


@dataclass(frozen=True)
class Section:
    """The part of the page about one task."""

    task: str
    grade: dict[str, Any]  # the task's entry in grade_result.json
    class_word: str  # digit or class
    metrics: str  # ssim, mse and, if there is one, fid
    warning: str  # that the data is not MNIST, or empty
    notes: list[str]  # printed by grade.py below the table
    tables: list[str]  # of the extended metrics, as printed by grade.py
    terms: list[ScoreTerm]
    cap: float
    max_bonus: float
    max_uncapped: float
    sensitivities: list[Sensitivity]
    next_steps: list[Hint]
    reconstructions: list[ReconstructionGrid]
    generated: Picture | None
    hyperparams: list[Setting]
    run: RunData


def make_section(
    task: str, grade: dict[str, Any], outputs: Outputs, run: RunData, printed: list[str]
) -> Section:
    """The section about a task. printed: the texts that `grade.py` prints below the task's table."""
    class_word = _("digit") if grade["dataset"] in ("mnist", "digits") else _("class")
    terms = score_terms(task, grade)
    return Section(
        task=task,
        grade=grade,
        class_word=class_word,
        metrics=", ".join(f"{key} {grade[key]:.4f}" for key in ("ssim", "mse", "fid") if key in grade),
        warning=other_data(grade["dataset"]),
        notes=[text for text in printed if "\n" not in text],
        tables=[text for text in printed if "\n" in text],
        terms=terms,
        cap=max_score(task),
        max_bonus=bonus(0),
        max_uncapped=sum(term.most for term in terms) * bonus(0),
        sensitivities=sensitivities(task, grade),
        next_steps=next_steps(task, grade, outputs, run.rows),
        reconstructions=reconstruction_grids(outputs, class_word),
        generated=None if outputs.gen is None else generated_grid(outputs.gen),
        hyperparams=settings(asdict(outputs.hyperparams)),
        run=run,
    )


def csp_hash(script: str) -> str:
    """The source expression that allows `script` in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()


def report_page(
    output_dir: Path,
    grades: dict[str, dict[str, Any]],
    outputs: dict[str, Outputs],
    commands: dict[str, tuple[str, str]],
    printed: dict[str, list[str]],
) -> str:
    """The HTML of the page on some tasks' grades.

    output_dir: the folder of the runs; grades: as in grade_result.json; commands: for every task, the command
    that trains it and the one that infers from it; printed: for each graded task, the texts that `grade.py`
    prints below its table.
    """
    sections = [
        make_section(
            task, grade, outputs[task], read_run(output_dir / task, commands[task][0]), printed[task]
        )
        for task, grade in grades.items()
    ]
    environment = template_environment(Path(__file__).parent)
    environment.filters["csp_hash"] = csp_hash
    return environment.get_template("report.html").render(
        layout=charts,
        sections=sections,
        missing={task: pair for task, pair in commands.items() if task not in grades},
        total=sum(grade["score"] for grade in grades.values()),
        max_total=sum(map(max_score, TASKS)),
    )
