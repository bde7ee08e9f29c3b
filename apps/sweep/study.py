"""The studies of a sweep in Optuna's storage, one for each task, which processes on any machine share.

A trial is taken under the lock of the sweep's folder, and runs under the lock of its configuration's folder,
which the system releases when the process ends, however it ends. A trial that is "running" in the storage
while its folder is not locked was left by such a process: the next one that asks for a trial takes it up.
(Optuna's own heartbeat works inside `study.optimize` only, and starts a lost trial again from nothing.)
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from apps.sweep.space import Configuration, Range, Settings, Space
from vaelab.cli import LabError
from vaelab.files import lock, make_folder, read_json, write_json
from vaelab.sweep_results import RESULT, SETTLED

VERSION = 1  # of what a study stores; others can't be continued
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, SQLAlchemyError)
LOCK_TIMEOUT = 60  # seconds that SQLite waits for another process
POLL = 0.3  # seconds between two looks for a trial that another process has left
MAX_STARTS = 5  # of a trial at the same epoch: then it is the trial that ends its processes
PRUNERS = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}
SAMPLERS = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "random": optuna.samplers.RandomSampler,
}


@dataclass
class Claim:
    """A trial that this process runs: it has locked the folder of its configuration."""

    study: optuna.Study
    trial: Trial
    configuration: Configuration
    folder: Path
    locks: ExitStack

    def count_start(self) -> int:
        """Record a start of the trial. Returns: how often it has started at its present epoch."""
        frozen = self.study._storage.get_trial(self.trial._trial_id)
        key = f"starts at epoch {max(frozen.intermediate_values, default=0)}"
        starts = frozen.user_attrs.get(key, 0) + 1
        self.trial.set_user_attr(key, starts)
        return starts


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a configuration that is done or pruned; None if it has failed or has no result."""
    try:
        result = read_json(folder / RESULT)
        return result if result["status"] in SETTLED else None
    except (LabError, KeyError):
        return None


def suggest(trial: Trial | FrozenTrial, name: str, values: list[Any] | Range) -> Any:
    """The value of an option in a trial; Optuna draws it if the trial has none."""
    if not isinstance(values, Range):
        return trial.suggest_categorical(name, values)
    if isinstance(values.low, int):
        return trial.suggest_int(name, values.low, values.high, step=values.step or 1, log=values.log)
    return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


class Sweep:
    """A sweep's folder and its studies. Raises: LabError if the storage can't be used."""

    def __init__(self, space: Space, settings: Settings) -> None:
        self.space, self.settings, self.root = space, settings, make_folder(settings.root)
        self.lock = FileLock(self.root / ".study.lock")
        self.where = settings.storage or str(self.root)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self.lock, self.storage_errors():
            self.about = self.read_about()
            self.storage = self.open_storage()
            self.studies = {task: self.open_study(task) for task in space.tasks}

    @contextmanager
    def storage_errors(self) -> Iterator[None]:
        """Raise LabError with one line, without a password, if the storage can't be used."""
        try:
            yield
        except (*STORAGE_ERRORS, ImportError, RuntimeError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
            text = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
            raise LabError(
                "the storage {where} can't be used: {text}. Check STORAGE, then run the same command again "
                "to continue",
                where=self.where,
                text=text,
            ) from error

    def read_about(self) -> dict[str, Any]:
        """study.json: the id of the sweep, which its studies' names have, and the kind of its storage."""
        given = "server" if "://" in self.settings.storage else self.settings.storage
        path = self.root / "study.json"
        about = {"version": VERSION, "id": secrets.token_hex(4), "storage": given or "sqlite"}
        if path.exists():
            about = read_json(path)
        if about.get("version") != VERSION:
            raise LabError(
                "{folder} has a study of another version of the lab: name another OUTPUT_DIR",
                folder=self.root,
            )
        if about["storage"] not in ("sqlite", "journal", "server"):
            raise LabError("STORAGE: expected sqlite, journal or postgresql://..., got '{text}'", text=given)
        if (given or about["storage"]) != about["storage"] or (about["storage"] == "server" and not given):
            raise LabError(
                "STORAGE: the study of {folder} is in the storage {kind}, got '{text}': name the same one, "
                "or another OUTPUT_DIR",
                folder=self.root,
                kind=about["storage"],
                text=given,
            )
        if not path.exists():
            write_json(path, about)
        return about

    def open_storage(self) -> optuna.storages.BaseStorage:
        """The storage that study.json and STORAGE name."""
        if self.about["storage"] == "journal":
            return optuna.storages.JournalStorage(JournalFileBackend(str(self.root / "journal.log")))
        if self.about["storage"] == "sqlite":
            options = {"connect_args": {"timeout": LOCK_TIMEOUT}}
            return optuna.storages.RDBStorage(f"sqlite:///{self.root}/study.db", options)
        self.where = "STORAGE"  # if it can't be read
        self.where = make_url(self.settings.storage).render_as_string(hide_password=True)
        return optuna.storages.RDBStorage(self.settings.storage, {"pool_pre_ping": True})

    def open_study(self, task: str) -> optuna.Study:
        """The study of a task and this space. Another space in the same folder is another study."""
        text = str(Space([task], self.space.values))
        name = f"{task} {hashlib.md5((self.about['id'] + text).encode()).hexdigest()[:8]}"
        study = optuna.create_study(
            study_name=name,
            storage=self.storage,
            direction="maximize",
            load_if_exists=True,
            pruner=PRUNERS[self.settings.pruner](),
        )
        if "space" not in study.user_attrs:
            study.set_user_attr("space", text)
        return study

    # --- Trials ---

    def enqueue_grid(self) -> None:
        """Add each configuration of a grid that has no result and waits in no trial."""
        if self.space.is_search:
            return
        states = (TrialState.WAITING, TrialState.RUNNING)
        with self.lock, self.storage_errors():
            for task, study in self.studies.items():
                present = {each.user_attrs["name"] for each in study.get_trials(False, states)}
                for configuration in self.space.grid(task):
                    if configuration.name not in present and not read_result(self.folder(configuration)):
                        attributes = {"name": configuration.name}
                        study.enqueue_trial(configuration.options, attributes)

    def folder(self, configuration: Configuration) -> Path:
        """The folder of a configuration."""
        return self.root / configuration.name

    def counted(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The trials of a search that count: all but those that ended before they had their values."""
        return [each for each in trials if each.state != TrialState.FAIL or "reason" in each.user_attrs]

    def counts(self) -> tuple[int, int]:
        """The number of configurations, or trials of a search, and how many of them are finished."""
        if self.space.is_search:
            trials = [each for study in self.studies.values() for each in self.counted(study.get_trials())]
            return self.settings.trials * len(self.studies), sum(each.state.is_finished() for each in trials)
        grid = [each for task in self.studies for each in self.space.grid(task)]
        return len(grid), sum(read_result(self.folder(each)) is not None for each in grid)

    def has_more(self, trials: list[FrozenTrial]) -> bool:
        """Whether a study with these trials has another one to start."""
        if self.space.is_search:
            return len(self.counted(trials)) < self.settings.trials
        return any(each.state == TrialState.WAITING for each in trials)

    def is_running(self) -> bool:
        """Whether any process has a trial, or has left one."""
        return any(study.get_trials(False, (TrialState.RUNNING,)) for study in self.studies.values())

    def take(self) -> Claim | None:
        """A trial that another process has left, or the next one; None if there is none now."""
        with self.lock:
            for task, study in self.studies.items():
                trials = study.get_trials(deepcopy=False)
                for frozen in trials:
                    if frozen.state == TrialState.RUNNING and (claim := self.claim(task, study, frozen)):
                        return claim
                while self.has_more(trials):
                    # A search draws the same values after an interruption: the seed is of the trial's number.
                    seed = (self.settings.sampler_seed * 1_000_003 + len(trials)) % 2**32
                    study.sampler = SAMPLERS[self.settings.sampler](seed=seed)
                    if claim := self.claim(task, study, study.ask()):
                        return claim
                    trials = study.get_trials(deepcopy=False)
        return None

    def claim(self, task: str, study: optuna.Study, trial: Trial | FrozenTrial) -> Claim | None:
        """Lock the folder of a trial; None if another process has locked it, or has finished the trial."""
        if isinstance(trial, FrozenTrial) and trial.params.keys() != self.space.values.keys():
            trial = Trial(study, trial._trial_id)  # its process ended before it had all values
        options = {name: suggest(trial, name, values) for name, values in self.space.values.items()}
        configuration = Configuration(task, options)
        folder = make_folder(self.folder(configuration))
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(folder))
            except LabError as error:
                if isinstance(error.__cause__, Timeout):
                    return None
                raise
            if self.storage.get_trial(trial._trial_id).state.is_finished():
                return None
            return Claim(study, Trial(study, trial._trial_id), configuration, folder, stack.pop_all())

    def wait_and_take(self, wait: bool) -> Claim | None:
        """The next trial. wait: as long as other processes have trials, which they may leave."""
        while not (claim := self.take()) and wait and self.is_running():
            time.sleep(POLL)
        return claim

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Record the result of a trial."""
        if result["status"] == "failed":
            claim.trial.set_user_attr("reason", result["reason"])
        state = {"failed": TrialState.FAIL, "pruned": TrialState.PRUNED}.get(result["status"])
        claim.study.tell(claim.trial, None if state else result["score_uncapped"], state)
