"""Grade submissions whose code is not trusted: a whole class's, or one's own in the same way.

    python autograde.py SUBMISSIONS --split test --output_dir grades

Every step of a submission runs in a sandbox without network or data (see `sandbox.py` and `grader.py`). What
is done is not done again: after an interruption the same command goes on, and a submission that has changed
is graded anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.grader import STATUSES, Grader, Steps, failed, secret_seed
from apps.autograde.limits import STOP, Limits
from apps.autograde.sandbox import why_no_sandbox
from apps.autograde.submissions import Submission, find_submissions, fingerprint, stage
from vaelab.cli import LabError, Parser, number
from vaelab.data.options import DATASETS, ROOT, SPLITS, add_data_dir_option
from vaelab.data.splits import load_split, prepare
from vaelab.files import lock, make_folder
from vaelab.images import image_grid, png_bytes
from vaelab.metrics.score import max_score
from vaelab.tasks import TASKS

REPO = Path(__file__).resolve().parents[2]
# The files of the lab that a sandboxed step imports, or that a submission may import.
LAB_FILES = (
    "model.py",
    "apps/__init__.py",
    *(f"apps/autograde/{name}.py" for name in ("__init__", "arrays", "limits", "sandboxed_step")),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add, limits, cores = parser.add_argument, Limits(), os.cpu_count() or 1
    add("submissions", type=Path, help="a folder of submissions (folders or zip files), or one submission")
    add("--split", choices=SPLITS, default="valid", help="the images to grade on (default: valid)")
    add("--dataset", choices=DATASETS, default="auto", help="as in train.py (default: auto)")
    add_data_dir_option(parser)
    add("--output_dir", type=Path, default="grades", help="where the grades are written (default: grades)")
    add("--only", metavar="NAME", help="grade this one again, changed or not, and no other")
    add(
        "--share",
        type=share,
        metavar="K/N",
        help="grade the K-th of N parts of the class, while others grade theirs, and write no tables: in the "
        "end, the same command without --share does",
    )
    add(
        "--jobs",
        type=number(int, 1, 256),
        default=cores,
        help=f"submissions at once; the cores are shared out (default: {cores}, the cores of this machine)",
    )
    add(
        "--time_limit",
        type=number(float, 1),
        default=limits.seconds,
        help=f"seconds for each step of a submission (default: {limits.seconds:g})",
    )
    add(
        "--memory_mb",
        type=number(int, 512),
        default=limits.memory_mb,
        help=f"megabytes of memory for each step (default: {limits.memory_mb})",
    )
    add(
        "--latent_precision",
        choices=("float16", "float32"),
        default="float16",
        help="float32: also decode the codes unrounded, and flag a score that gains by it. The grade is that "
        "of float16 in either case: honest codes don't notice, packed ones do (default: float16)",
    )
    add("--salt", help="decides the leaderboard's pseudonyms (default: drawn once and kept in --output_dir)")
    add(
        "--sandbox",
        choices=("bubblewrap", "none"),
        default="bubblewrap",
        help="none: run their code unprotected, with your rights (default: bubblewrap)",
    )
    return parser.parse_args(argv)


def share(text: str) -> tuple[int, int]:
    """`K/N`, for `argparse`. Raises: ArgumentTypeError."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"expected K/N with K from 1 to N, as 3/10, got '{text}'")
    return int(k), int(n)


@contextmanager
def own_folder(output_dir: Path, part: tuple[int, int] | None) -> Iterator[Path]:
    """A folder to work in, that no other process uses. part: this process's share of the class, if any.

    The whole class is not graded while a share is, nor a share while the whole class is.
    """
    make_folder(output_dir)
    with ExitStack() as stack:
        if part is None:
            stack.enter_context(lock(output_dir))
            shares = list(output_dir.glob(".share-*"))
            for share_folder in shares:
                stack.enter_context(lock(share_folder))
            folder, leftovers = output_dir, [*output_dir.glob(".work-*"), *shares]
        else:
            folder = make_folder(output_dir / ".share-{}-of-{}".format(*part))
            stack.enter_context(lock(folder))
            with lock(output_dir, wait=True):  # until a process that grades the whole class has finished
                leftovers = list(folder.glob(".work-*"))
        for leftover in leftovers:  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".work-", dir=folder)))


def grade_submission(grader: Grader, submission: Submission, folder: Path) -> tuple[str, dict, dict]:
    """A submission's fingerprint, its grades by task, and its pictures, as PNG files, by task.

    folder: an empty one, to stage it in. Whatever goes wrong concerns this submission alone.
    """
    mark = ""
    try:
        stage(submission, folder)
        mark = fingerprint(folder)
        grades, pictures = grader.grade(folder, secret_seed(mark, grader.images))
    except LabError as error:
        return mark, {task: failed("invalid", str(error)) for task in TASKS}, {}
    except Exception as error:  # a fault of ours must not stop the class
        why = f"the grader failed on it, which is not the student's fault ({type(error).__name__}: {error})"
        return mark, {task: failed("error", why) for task in TASKS}, {}
    return mark, grades, {task: png_bytes(image_grid(each, columns=10)) for task, each in pictures.items()}


def mark_of(submission: Submission, work: Path) -> str | None:
    """The fingerprint of what is handed in now; None if it can't be read: grading it will say why."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            stage(submission, Path(folder))
        except LabError:
            return None
        return fingerprint(Path(folder))


def make_grader(args: argparse.Namespace, dataset: str, lab: Path, threads: int) -> Grader:
    """A grader on the split that `args` name. lab: an empty folder. threads: of each step."""
    for name in LAB_FILES:
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, lab / name)
    shutil.copytree(REPO / "vaelab", lab / "vaelab", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (lab, *(path for path in lab.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    images, labels = load_split(dataset, args.split)
    train, _ = load_split(dataset, "train")
    limits = Limits(seconds=args.time_limit, memory_mb=args.memory_mb, threads=threads)
    limits = replace(limits, processes=limits.processes + 4 * threads)
    steps = Steps(lab, images.shape[1:], limits, args.sandbox == "bubblewrap")
    return Grader(steps, images, labels, train, args.latent_precision == "float32")


def main(argv: Sequence[str] | None = None) -> None:
    """Grade what is new or has changed, then write the tables of all."""
    args = parse_args(argv)
    if args.sandbox == "bubblewrap":
        if why := why_no_sandbox():
            raise LabError(f"{why}. Or, only for code that you trust: --sandbox none")
    else:
        print("warning: --sandbox none runs the submissions' code with your rights and your files")
    submissions = find_submissions(args.submissions, {args.output_dir.resolve(), ROOT.resolve()})
    if args.share is not None:
        k, n = args.share
        submissions = submissions[k - 1 :: n]
    if args.only is not None and args.only not in {submission.name for submission in submissions}:
        raise LabError(f"there is no submission '{args.only}' in {args.submissions}")
    dataset, source = prepare(args.dataset, args.data_dir, ["train", args.split])
    settings = {"dataset": dataset, "split": args.split, "latent_precision": args.latent_precision}
    with own_folder(args.output_dir, args.share) as work:
        book = Gradebook(args.output_dir, settings, args.salt)
        todo = what_to_do(book, submissions, args.only, work)
        print(f"{len(submissions)} submissions, {len(todo)} to grade, on the {args.split} split of {source}")
        jobs = min(args.jobs, max(1, len(todo)))
        grader = make_grader(args, dataset, make_folder(work / "lab"), threads=max(1, args.jobs // jobs))
        try:
            grade_all(grader, book, todo, jobs, work)
        finally:
            if args.share is None:
                book.write_tables()
    if args.share is None:
        print(summary(book))


def what_to_do(
    book: Gradebook, submissions: list[Submission], only: str | None, work: Path
) -> list[Submission]:
    """Those that are not graded yet, or have changed. Earlier grades are taken into the book."""
    todo = []
    for submission in submissions:
        record = book.load(submission.name)
        if record:
            book.records[submission.name] = record
        if only in (None, submission.name):
            same = record and record["fingerprint"] and record["fingerprint"] == mark_of(submission, work)
            todo += [] if same and only is None else [submission]
    return todo


def grade_all(grader: Grader, book: Gradebook, todo: list[Submission], jobs: int, work: Path) -> None:
    """Grade `todo`, `jobs` at once; each is recorded as soon as it is done."""

    def one(submission: Submission) -> None:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            book.add(submission.name, *grade_submission(grader, submission, Path(folder)))

    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(todo), disable=None, unit="submission") as bar:
        futures = {pool.submit(one, submission): submission for submission in todo}
        try:
            for future in as_completed(futures):
                future.result()
                bar.set_postfix_str(one_line(futures[future].name, 30))
                bar.update()
        except BaseException:
            STOP.set()
            pool.shutdown(cancel_futures=True)
            raise


def summary(book: Gradebook) -> str:
    """The outcome in a few lines."""
    grades = [
        (name, task, grade)
        for name, record in sorted(book.records.items())
        for task, grade in record["grades"].items()
    ]
    counts = Counter(grade["status"] for _, _, grade in grades)
    lines = [", ".join(f"{status} {counts[status]}" for status in STATUSES if counts[status]) + " (grades)"]
    if len(book.records) == 1:
        for _, task, grade in grades:
            lines.append(f"{task}: {grade['score']:.2f} of {max_score(task):.0f} {grade['reason']}".rstrip())
    flagged = sorted({name for name, _, grade in grades if grade["flags"]})
    if flagged:
        lines.append(f"flagged, to look into: {', '.join(map(one_line, flagged))}")
    lines.append(f"wrote {book.folder}/: grades.csv, leaderboard.md, a page and a JSON file a submission")
    return "\n".join(lines)
