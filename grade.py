"""Grade the outputs of `inference.py` for each task that has some.

    python grade.py

It prints each term of the score, and writes outputs/grade_result.json and a page, outputs/report.html. It
reads arrays, images and JSON only: no code of a submission runs here.

    python grade.py --extended

This also measures whether an independent classifier recognises the requested digit in the generated images,
how much the images vary, and whether they are copies of training images.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelab.cli import LabError, Parser, reason, run
from vaelab.data.options import add_data_dir_option, add_split_option
from vaelab.language import _
from vaelab.tasks import TASKS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add_split_option(parser, "valid", "split to grade")
    add_data_dir_option(parser)
    parser.add_argument(
        "--output_dir", type=Path, default=Path("outputs"), help="root of the outputs (default: outputs)"
    )
    parser.add_argument(
        "--extended",
        action="store_true",
        help="measure label accuracy, diversity and copies too; the first time, this trains a classifier "
        "for about a minute",
    )
    return parser.parse_args(argv)


def commands_for(task: str, args: argparse.Namespace) -> tuple[str, str]:
    """The commands that make the outputs of a task: its training and its inference."""
    root = "" if args.output_dir == Path("outputs") else f" --output_dir {args.output_dir}"
    split = "" if args.split == "valid" else f" --split {args.split}"
    checkpoint = args.output_dir / task / "best.pt"
    return (
        f"python train.py --task {task}{root}",
        f"python inference.py --checkpoint_path {checkpoint}{root}{split}",
    )


def nothing_to_grade(commands: dict[str, tuple[str, str]], args: argparse.Namespace) -> LabError:
    """The error where no task has outputs. commands: of each task, those that make them."""
    for task, (_train, inference) in commands.items():
        if (args.output_dir / task / "best.pt").is_file():
            return LabError(
                "the model of {task} in {folder} is trained, but has no outputs for {split} yet. To make "
                "them: {inference}",
                task=task,
                folder=args.output_dir / task,
                split=args.split,
                inference=inference,
            )
    train, inference = next(iter(commands.values()))
    return LabError(
        "nothing to grade in {folder}/<task>/{split}/ (no hyperparams.json). To make it: {train}, then "
        "{inference}",
        folder=args.output_dir,
        split=args.split,
        train=train,
        inference=inference,
    )


def write_report(output_dir: Path, *args: Any) -> str:
    """Write the report. Returns: a line that says where it is, or why it could not be written.

    No error of the report is raised: the grade does not depend on it.
    """
    from apps.report.page import report_page
    from vaelab.files import write_file

    path = output_dir / "report.html"
    try:
        write_file(path, report_page(output_dir, *args))
        return _("report: {path}", path=path)
    except Exception as error:  # the files of a run can be damaged in any way
        with contextlib.suppress(OSError):
            path.unlink()  # an earlier report would show another grade
        return _("note: no report was written: {reason}", reason=reason(error))


def main(argv: Sequence[str] | None = None) -> None:
    """Grade the outputs of all tasks."""
    args = parse_args(argv)
    # Imported here, so that --help and a wrong option are answered at once. Without --extended, torch is not
    # needed: to load it takes longer than to grade.
    from vaelab.files import write_json
    from vaelab.grading import grade_outputs, notes, score_table
    from vaelab.outputs import read_outputs

    commands = {task: commands_for(task, args) for task in TASKS}
    folders = {task: args.output_dir / task / args.split for task in TASKS}
    present = [task for task in TASKS if (folders[task] / "hyperparams.json").is_file()]
    if not present:
        raise nothing_to_grade(commands, args)
    outputs = {task: read_outputs(folders[task], task, args.split, args.data_dir) for task in present}
    grades = {task: grade_outputs(task, outputs[task]) for task in present}
    if args.extended:
        from data_utils import MNISTDataset
        from vaelab.metrics.extended import extended

        for task, graded in outputs.items():
            if graded.gen is not None:
                train_set = MNISTDataset("train", graded.hyperparams.dataset, args.data_dir)
                grades[task]["extended"] = extended(graded, train_set)
    printed = {
        task: notes(task, grades[task], outputs[task].hyperparams, args.output_dir) for task in present
    }
    write_json(args.output_dir / "grade_result.json", grades)
    for task in TASKS:
        if task in present:
            print("\n".join([score_table(task, grades[task]), *printed[task]]) + "\n")
        else:
            print(
                _(
                    "{task} is not there. To make it: {train}, then {inference}",
                    task=task,
                    train=commands[task][0],
                    inference=commands[task][1],
                )
                + "\n"
            )
    total = sum(grade["score"] for grade in grades.values())
    print(_("total {total:.2f} of {most:.0f}", total=total, most=sum(task.cap for task in TASKS.values())))
    print(write_report(args.output_dir, grades, outputs, commands, printed))
    print(
        _(
            "This is the self-check. The final grade uses the same formula, with the code run in "
            "isolation on unseen images."
        )
    )


if __name__ == "__main__":
    run(main)
