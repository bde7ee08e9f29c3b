"""Grades a class: finds what must be graded, and why, grades it, and writes tables, pages and exports."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from apps.autograde.generated import RealImages
from apps.autograde.gradebook import Gradebook, one_line
from apps.autograde.grader import Grader, Result
from apps.autograde.interpreter import Interpreter, private_folder, ram_folder
from apps.autograde.limits import STOP, Limits
from apps.autograde.progress import Progress
from apps.autograde.record import Attempt, all_statuses, failed, today, what_decides, why_again
from apps.autograde.report import write_report
from apps.autograde.roster import Student, match_roster, read_roster
from apps.autograde.sandbox import sandbox_problem
from apps.autograde.secret import SubmissionSecret
from apps.autograde.settings import GradingSettings
from apps.autograde.similarity import weight_checksums, weight_sketches
from apps.autograde.steps import Steps
from apps.autograde.submissions import Source, Submission, find_submissions
from apps.autograde.verdicts import all_failed
from data_utils import MNISTDataset
from vaelab.cli import LabError
from vaelab.data.options import ROOT
from vaelab.data.splits import load_split, prepare
from vaelab.files import lock, make_folder
from vaelab.hand_in import fingerprint, stage
from vaelab.images import image_grid, png_bytes
from vaelab.tasks import TASKS

REPO = Path(__file__).resolve().parents[2]
# The files that a sandboxed step imports, or that a submission may import; and the folder vaelab/.
STEP_MODULES = ("__init__", "arrays", "check_steps", "limits", "request", "sandboxed_step")
LAB_FILES = ("model.py", "apps/__init__.py", *(f"apps/autograde/{name}.py" for name in STEP_MODULES))


@dataclass(frozen=True)
class Pending:
    """A hand-in that must be graded."""

    name: str  # of the student
    source: Source
    why: str


def grade_class(settings: GradingSettings) -> None:
    """Grade the hand-ins that are new or whose grade is not valid any more, then write the tables of all."""
    check_sandbox(settings.sandbox)
    submissions, roster = select_submissions(settings)
    dataset, source = prepare(settings.dataset, settings.data_dir, ["train", settings.split])
    with work_folder(settings.output_dir, settings.share) as work:
        book = Gradebook(settings.output_dir, settings.salt)
        arrays = load_split(dataset, settings.split)
        pending = find_pending(book, submissions, settings, work, arrays, dataset)
        counts = f"{len(submissions)} submissions, {len(pending)} to grade"
        print(f"{counts}, on the {settings.split} split of {source}", flush=True)
        for line in reasons(pending, book):
            print(line, flush=True)
        jobs = min(settings.jobs, max(1, len(pending)))
        limits = make_limits(settings, max(1, settings.jobs // jobs))
        decided = decisions(settings, arrays, dataset) | {"threads": limits.threads}
        try:
            with interpreter_for(settings.sandbox, work, bool(pending)) as interpreter:
                own_user = settings.sandbox != "none" and os.geteuid() == 0
                lab = copy_lab(make_folder(work / "lab"))
                steps = Steps(lab, arrays[0].shape[1:], limits, interpreter, own_user)
                real = RealImages(*arrays, MNISTDataset("train", dataset, settings.data_dir))
                grader = Grader(steps, real, settings.latent_precision == "float32")
                grade_pending(ClassRun(grader, book, decided, work, settings.note), pending, jobs)
        finally:
            if settings.share is None:
                results = write_report(book, submissions, roster, settings)
    if settings.share is None:
        print(summary(book, results))


def check_sandbox(kind: str) -> None:
    """Raise LabError if the sandbox can't be made; warn if there is none."""
    if kind == "none":
        print("warning: --sandbox none runs the submissions' code with your rights and your files")
    elif kind == "user":
        print("warning: --sandbox user protects files by their permissions only; the network is open")
    elif problem := sandbox_problem():
        raise LabError(f"{problem}. Or, only for code that you trust: --sandbox none")


@contextmanager
def interpreter_for(kind: str, work: Path, needed: bool) -> Iterator[Interpreter | None]:
    """The interpreter's files for the sandboxes: in memory, or on disk, in `work`, if there is no tmpfs."""
    if kind != "bubblewrap" or not needed:
        yield None
        return
    parent = ram_folder()
    if parent is None:
        print(
            "warning: no tmpfs with 3 GB free, such as /dev/shm: a step can see what an earlier one has read"
        )
    with private_folder(parent or work) as folder:
        yield Interpreter.copy(folder)


# --- What is graded -----------------------------------------------------------------------------


def select_submissions(settings: GradingSettings) -> tuple[list[Submission], dict[str, Student]]:
    """The submissions of this process's share, and the roster by name. Raises: LabError."""
    files = [path for path in (settings.roster, settings.points, settings.policy) if path is not None]
    exclude = {settings.output_dir.resolve(), ROOT.resolve(), *(path.resolve() for path in files)}
    submissions, roster = find_submissions(settings.submissions, exclude, settings.single), {}
    if settings.roster is not None:
        submissions, roster = match_roster(submissions, read_roster(settings.roster))
    known = {submission.name for submission in submissions}
    for name in settings.only:
        if name not in known:
            raise LabError(f"there is no submission '{name}' in {settings.submissions}")
    if settings.share is not None:
        k, n = settings.share
        submissions = submissions[k - 1 :: n]
    return submissions, roster


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
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".work-", dir=folder)))
        work.chmod(0o711)  # with --sandbox user, the user without rights passes through it
        yield work


def decisions(settings: GradingSettings, arrays: tuple, dataset: str) -> dict:
    """All that decides a grade of this run besides the hand-in."""
    limits = {
        key: getattr(settings, key) for key in ("time_limit", "memory_mb", "sandbox", "latent_precision")
    }
    return what_decides(dataset, settings.split, arrays, limits)


def find_pending(
    book: Gradebook,
    submissions: list[Submission],
    settings: GradingSettings,
    work: Path,
    arrays: tuple,
    dataset: str,
) -> list[Pending]:
    """What must be graded, and why. Earlier records are loaded into the book, and rescored."""
    now, pending = decisions(settings, arrays, dataset), []
    rescored = []
    for submission in submissions:
        record = book.load(submission.name)
        if book.rescore(submission.name, now["formula"]):
            rescored.append(submission.name)
        if settings.only and submission.name not in settings.only:
            continue
        sources = submission.sources if settings.every_hand_in else submission.sources[-1:]
        for source in sources:
            attempt = record.attempt(current_fingerprint(source, work))
            if attempt is not None:
                book.handed_in_again(record, attempt, source.label, source.time)
            why = why_again(attempt, now)
            statuses = all_statuses(attempt) if attempt else set()
            if settings.only:
                why = why or "named by --only"
            elif statuses & set(settings.regrade):
                why = why or f"--regrade {','.join(sorted(statuses & set(settings.regrade)))}"
            if why:
                pending.append(Pending(submission.name, source, why))
    if rescored:
        print(
            f"the formula of the score has changed: {len(rescored)} rescored from stored numbers", flush=True
        )
    return pending


def current_fingerprint(source: Source, work: Path) -> str:
    """The fingerprint of a hand-in's files now; if they can't be read, that of the reason."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            stage(source.path, Path(folder))
        except LabError as error:
            return unreadable(str(error))
        return fingerprint(Path(folder))


def unreadable(why: str) -> str:
    """What stands in the place of a fingerprint where the files can't be read."""
    return f"unreadable: {why}"[:300]


def reasons(pending: list[Pending], book: Gradebook) -> list[str]:
    """Lines that say how many hand-ins are graded for each reason."""
    counts = Counter(each.why for each in pending)
    lines = [f"  {count} to grade: {why}" for why, count in counts.most_common()]
    if book.damaged:
        lines.append(f"  damaged records, graded again: {', '.join(map(one_line, book.damaged))}")
    return lines


# --- Grading ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassRun:
    """What is needed to grade one hand-in after the other."""

    grader: Grader
    book: Gradebook
    decided: dict
    work: Path
    note: str = ""


def copy_lab(lab: Path) -> Path:
    """Copy the lab's modules that a step needs into `lab`, an empty folder, readable for all users."""
    for name in LAB_FILES:
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, lab / name)
    shutil.copytree(REPO / "vaelab", lab / "vaelab", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (lab, *(path for path in lab.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    return lab


def make_limits(settings: GradingSettings, threads: int) -> Limits:
    """The limits of a step. threads: of each."""
    limits = Limits(seconds=settings.time_limit, memory_mb=settings.memory_mb, threads=threads)
    return replace(limits, processes=limits.processes + 4 * threads)


def grade_pending(run: ClassRun, pending: list[Pending], jobs: int) -> None:
    """Grade hand-ins, `jobs` at once; each is recorded, and logged, as soon as it is graded."""
    start, progress = time.monotonic(), Progress(len(pending), jobs, run.book.folder / "log.txt")

    def grade_one(each: Pending) -> Attempt:
        with tempfile.TemporaryDirectory(dir=run.work) as folder:
            attempt, pictures = grade_hand_in(run, each.source, Path(folder))
        run.book.add(each.name, attempt, pictures, run.note)
        return attempt

    with ThreadPoolExecutor(jobs) as pool, progress:
        futures = {pool.submit(grade_one, each): each for each in pending}
        try:
            for future in as_completed(futures):
                progress.finished(futures[future].name, future.result(), time.monotonic() - start)
        except BaseException:
            STOP.set()
            pool.shutdown(cancel_futures=True)
            raise


def grade_hand_in(run: ClassRun, source: Source, folder: Path) -> tuple[Attempt, dict[str, bytes]]:
    """A graded hand-in, and its pictures, as PNG files, by task.

    folder: an empty one, to copy the files to. No error leaves this function: it becomes the grade.
    """
    mark, found, weights, sketches = "", "", {}, {}
    try:
        hand_in = stage(source.path, folder)
        mark, found = fingerprint(folder), hand_in.describe()
        weights, sketches = weight_checksums(folder), weight_sketches(folder)
        result = run.grader.grade(folder, SubmissionSecret(run.book.secret, mark), "; ".join(hand_in.notes))
    except LabError as error:
        mark, found = mark or unreadable(str(error)), found or str(error)
        result = Result({task: failed("invalid", str(error)) for task in TASKS}, all_failed(str(error)), {})
    except Exception as error:  # an error of the grader must not stop the grading of the class
        why = f"the grader failed, which is not the student's fault ({type(error).__name__}: {error})"
        result = Result({task: failed("error", why) for task in TASKS}, {}, {})
    decided = run.decided | {"date": today()}
    attempt = Attempt(
        fingerprint=mark,
        label=source.label,
        handed_in=source.time,
        found=found,
        weights=weights,
        grades=result.grades,
        checks=result.checks,
        decided=decided,
        sketches=sketches,
    )
    if source.late:
        for grade in attempt.grades.values():
            grade["flags"].append("the LMS marked the hand-in as late")
    pictures = {task: png_bytes(image_grid(each, columns=10)) for task, each in result.pictures.items()}
    return attempt, pictures


def summary(book: Gradebook, results: list) -> str:
    """The results in a few lines."""
    counts = Counter(status for result in results for status in result.statuses.values())
    lines = [", ".join(f"{status} {count}" for status, count in counts.most_common()) + " (grades)"]
    if len(results) == 1:
        for task, grade in results[0].counted.grades.items():
            reason = grade.get("kept") or grade["reason"]
            lines.append(f"{task}: {grade['score']:.2f} of {TASKS[task].cap:.0f} {reason}".rstrip())
        failed_checks = results[0].failed_checks
        if failed_checks:
            lines.append(f"checks that failed: {', '.join(failed_checks)}")
    for result in results:
        for task, grade in result.counted.grades.items():
            if grade.get("kept"):
                lines.append(f"kept: {one_line(result.name)} {task}: {one_line(grade['kept'], 200)}")
    flagged = [result.name for result in results if any(g["flags"] for g in result.counted.grades.values())]
    if flagged:
        lines.append(f"flagged, please review: {', '.join(map(one_line, flagged))}")
    lines.append(
        f"wrote {book.folder}/: index.html, students.csv, grades.csv, checks.csv, leaderboard.md, ..."
    )
    return "\n".join(lines)
