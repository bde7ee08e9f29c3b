"""Grades a class: finds the submissions that are not graded yet, grades them, and writes the tables."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.grader import STATUSES, Grader, Steps, failed, secret_seed
from apps.autograde.limits import STOP, Limits
from apps.autograde.sandbox import sandbox_problem
from apps.autograde.submissions import Submission, find_submissions, fingerprint, stage
from vaelab.cli import LabError
from vaelab.data.options import ROOT
from vaelab.data.splits import load_split, prepare
from vaelab.files import lock, make_folder
from vaelab.images import image_grid, png_bytes
from vaelab.metrics.score import max_score
from vaelab.tasks import TASKS

REPO = Path(__file__).resolve().parents[2]
# The files that a sandboxed step imports, or that a submission may import; and the folder vaelab/.
LAB_FILES = (
    "model.py",
    "apps/__init__.py",
    *(f"apps/autograde/{name}.py" for name in ("__init__", "arrays", "limits", "request", "sandboxed_step")),
)


@dataclass(frozen=True)
class GradingSettings:
    """The options of `autograde.py`; see `command.parse_args`."""

    submissions: Path
    split: str
    dataset: str
    data_dir: Path | None
    output_dir: Path
    only: str | None
    share: tuple[int, int] | None
    jobs: int
    time_limit: float
    memory_mb: int
    latent_precision: str
    salt: str | None
    sandbox: str


def grade_class(settings: GradingSettings) -> None:
    """Grade the submissions that are new or have changed, then write the tables of all."""
    if settings.sandbox == "none":
        print("warning: --sandbox none runs the submissions' code with your rights and your files")
    elif problem := sandbox_problem():
        raise LabError(f"{problem}. Or, only for code that you trust: --sandbox none")
    submissions = select_submissions(settings)
    dataset, source = prepare(settings.dataset, settings.data_dir, ["train", settings.split])
    relevant = {"dataset": dataset, "split": settings.split, "latent_precision": settings.latent_precision}
    with work_folder(settings.output_dir, settings.share) as work:
        book = Gradebook(settings.output_dir, relevant, settings.salt)
        pending = find_pending(book, submissions, settings.only, work)
        counts = f"{len(submissions)} submissions, {len(pending)} to grade"
        print(f"{counts}, on the {settings.split} split of {source}")
        jobs = min(settings.jobs, max(1, len(pending)))
        threads = max(1, settings.jobs // jobs)
        grader = make_grader(settings, dataset, make_folder(work / "lab"), threads)
        try:
            grade_pending(grader, book, pending, jobs, work)
        finally:
            if settings.share is None:
                book.write_tables()
    if settings.share is None:
        print(summary(book))


# --- What is graded -----------------------------------------------------------------------------


def select_submissions(settings: GradingSettings) -> list[Submission]:
    """The submissions of this process's share. Raises: LabError if there are none, or `only` is not one."""
    exclude = {settings.output_dir.resolve(), ROOT.resolve()}
    submissions = find_submissions(settings.submissions, exclude)
    if settings.share is not None:
        k, n = settings.share
        submissions = submissions[k - 1 :: n]
    if settings.only is not None and settings.only not in {submission.name for submission in submissions}:
        raise LabError(f"there is no submission '{settings.only}' in {settings.submissions}")
    return submissions


@contextmanager
def work_folder(output_dir: Path, share: tuple[int, int] | None) -> Iterator[Path]:
    """A temporary folder in `output_dir` for this process alone.

    Locks make sure that the whole class is not graded while a share is, nor a share while the whole class is.
    """
    make_folder(output_dir)
    with ExitStack() as stack:
        if share is None:
            stack.enter_context(lock(output_dir))
            shares = list(output_dir.glob(".share-*"))
            for share_folder in shares:
                stack.enter_context(lock(share_folder))
            folder, leftovers = output_dir, [*output_dir.glob(".work-*"), *shares]
        else:
            folder = make_folder(output_dir / ".share-{}-of-{}".format(*share))
            stack.enter_context(lock(folder))
            with lock(output_dir, wait=True):  # until a process that grades the whole class has finished
                leftovers = list(folder.glob(".work-*"))
        for leftover in leftovers:  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".work-", dir=folder)))


def find_pending(
    book: Gradebook, submissions: list[Submission], only: str | None, work: Path
) -> list[Submission]:
    """The submissions that are not graded yet, or have changed. Earlier grades are loaded into the book."""
    pending = []
    for submission in submissions:
        record = book.load(submission.name)
        if record:
            book.records[submission.name] = record
        if only not in (None, submission.name):
            continue
        recorded = record.fingerprint if record else ""
        if only is not None or not recorded or recorded != current_fingerprint(submission, work):
            pending.append(submission)
    return pending


def current_fingerprint(submission: Submission, work: Path) -> str | None:
    """The fingerprint of a submission's files now; None if they can't be read."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            stage(submission, Path(folder))
        except LabError:
            return None  # grading it will report the error
        return fingerprint(Path(folder))


# --- Grading ------------------------------------------------------------------------------------


def make_grader(settings: GradingSettings, dataset: str, lab: Path, threads: int) -> Grader:
    """A grader on the split of the settings. lab: an empty folder. threads: of each step."""
    for name in LAB_FILES:
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, lab / name)
    shutil.copytree(REPO / "vaelab", lab / "vaelab", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (lab, *(path for path in lab.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    images, labels = load_split(dataset, settings.split)
    train, _ = load_split(dataset, "train")
    limits = Limits(seconds=settings.time_limit, memory_mb=settings.memory_mb, threads=threads)
    limits = replace(limits, processes=limits.processes + 4 * threads)
    steps = Steps(lab, images.shape[1:], limits, settings.sandbox == "bubblewrap")
    return Grader(steps, images, labels, train, settings.latent_precision == "float32")


def grade_pending(grader: Grader, book: Gradebook, pending: list[Submission], jobs: int, work: Path) -> None:
    """Grade submissions, `jobs` at once; each is recorded as soon as it is graded."""

    def grade_one(submission: Submission) -> None:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            book.add(submission.name, *grade_submission(grader, submission, Path(folder)))

    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(pending), disable=None, unit="submission") as bar:
        futures = {pool.submit(grade_one, submission): submission for submission in pending}
        try:
            for future in as_completed(futures):
                future.result()
                bar.set_postfix_str(one_line(futures[future].name, 30))
                bar.update()
        except BaseException:
            STOP.set()
            pool.shutdown(cancel_futures=True)
            raise


def grade_submission(grader: Grader, submission: Submission, folder: Path) -> tuple[str, dict, dict]:
    """A submission's fingerprint, its grades by task, and its pictures, as PNG files, by task.

    folder: an empty one, to copy the submission's files to. No error leaves this function: it becomes the
    grade of this submission.
    """
    mark = ""
    try:
        stage(submission, folder)
        mark = fingerprint(folder)
        grades, pictures = grader.grade(folder, secret_seed(mark, grader.images))
    except LabError as error:
        return mark, {task: failed("invalid", str(error)) for task in TASKS}, {}
    except Exception as error:  # an error of the grader must not stop the grading of the class
        why = f"the grader failed, which is not the student's fault ({type(error).__name__}: {error})"
        return mark, {task: failed("error", why) for task in TASKS}, {}
    return mark, grades, {task: png_bytes(image_grid(each, columns=10)) for task, each in pictures.items()}


def summary(book: Gradebook) -> str:
    """The results in a few lines."""
    grades = [
        (name, task, grade)
        for name, record in sorted(book.records.items())
        for task, grade in record.grades.items()
    ]
    counts = Counter(grade["status"] for _, _, grade in grades)
    lines = [", ".join(f"{status} {counts[status]}" for status in STATUSES if counts[status]) + " (grades)"]
    if len(book.records) == 1:
        for _, task, grade in grades:
            lines.append(f"{task}: {grade['score']:.2f} of {max_score(task):.0f} {grade['reason']}".rstrip())
    flagged = sorted({name for name, _, grade in grades if grade["flags"]})
    if flagged:
        lines.append(f"flagged, please review: {', '.join(map(one_line, flagged))}")
    lines.append(f"wrote {book.folder}/: grades.csv, leaderboard.md, a page and a JSON file per submission")
    return "\n".join(lines)
