"""The folder of the grades: a record for each student, from which a later run continues.

<name>.json             the record, in the format of Gradescope's results.json pictures/               the
images of each hand-in log.txt                 a line for each submission that was graded .salt, .secret
what the pseudonyms, and the inputs of submissions, are drawn from; readable by its owner only grades.csv
...          the tables and pages that `tables.py` and `pages.py` write
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from apps.autograde.exports import results_json
from apps.autograde.record import Attempt, Record, merge_again, rescored, today
from apps.autograde.secret import stored_secret
from apps.autograde.submissions import file_name
from vaelab.cli import LabError, printable
from vaelab.files import make_folder, read_json, write_file, write_json

# The characters by which a formula begins in a spreadsheet, also the wide ones; at the beginning of a cell,
# or behind what separates cells in other languages.
FORMULA = re.compile(r"^[=+\-@＝＋－＠]|(?<=[;|])\s*[=+\-@＝＋－＠]|(?<=,)\s*[=@＝＠]")


def one_line(text: str, max_length: int = 500) -> str:
    """Text from a submission made safe for a cell of a table: printable, short, and not a formula."""
    return FORMULA.sub(lambda match: f"'{match[0].strip()}", printable(text, max_length))


class Gradebook:
    """The records in a folder."""

    def __init__(self, folder: Path, salt: str | None = None) -> None:
        """salt: for the pseudonyms; None for the one stored in the folder."""
        self.folder = make_folder(folder)
        self.salt = salt or stored_secret(self.folder / ".salt")
        self.secret = stored_secret(self.folder / ".secret")  # never the option: others could know that
        self.records: dict[str, Record] = {}
        self.damaged: list[str] = []  # names of records that could not be read

    def path(self, name: str, suffix: str) -> Path:
        """The path of a file of a student."""
        return self.folder / f"{file_name(name)}{suffix}"

    def picture(self, name: str, attempt: Attempt, task: str) -> Path:
        """The path of the picture of a hand-in's task. A kept grade has that of the files it is of."""
        graded = attempt.grades[task].get("graded_files", attempt.fingerprint)
        return self.folder / "pictures" / f"{file_name(name)}-{task}-{graded[:12] or 'none'}.png"

    def load(self, name: str) -> Record:
        """The record of a student; an empty one if there is none. A damaged one is named in `damaged`."""
        path = self.path(name, ".json")
        record = Record(name)
        if path.exists():
            try:
                record = Record.from_dict(read_json(path)["extra_data"])
                if record.name != name:
                    raise ValueError("the record of another student")
            except (LabError, KeyError, TypeError, ValueError, AttributeError):
                record = Record(name)
                self.damaged.append(name)
        self.records[name] = record
        return record

    def rescore(self, name: str, formula: str) -> bool:
        """Compute the scores of a record by today's formula. Returns: whether it has changed."""
        record = self.records[name]
        changed = [rescored(attempt, formula) for attempt in record.attempts]
        if any(changed):
            self.save(record)
        return any(changed)

    def add(self, name: str, attempt: Attempt, pictures: dict[str, bytes], note: str = "") -> None:
        """Record a hand-in that was graded. pictures: PNG files by task. note: of an appeal."""
        record = self.records.setdefault(name, Record(name))
        for grade in attempt.grades.values():
            grade["reason"] = one_line(grade["reason"])
            grade["flags"] = [one_line(flag) for flag in grade["flags"]]
        for check in attempt.checks.values():
            check["why"] = one_line(check["why"])
        attempt = replace(attempt, label=one_line(attempt.label, 120), found=one_line(attempt.found, 1000))
        for task, picture in pictures.items():
            make_folder(self.folder / "pictures")
            write_file(self.picture(name, attempt, task), picture)
        merged = merge_again(record.attempt(attempt.fingerprint), attempt)
        others = [each for each in record.attempts if each.fingerprint != attempt.fingerprint]
        record.attempts = sorted([*others, merged], key=lambda each: each.handed_in)
        if note:
            record.notes.append({"date": today(), "text": one_line(note)})
        self.save(record)

    def handed_in_again(self, record: Record, attempt: Attempt, label: str, time: float) -> None:
        """Note that graded files were handed in at another time: they may be the newest ones again."""
        if abs(attempt.handed_in - time) > 1:
            attempt.handed_in, attempt.label = time, one_line(label, 120)
            record.attempts.sort(key=lambda each: each.handed_in)
            self.save(record)

    def save(self, record: Record) -> None:
        """Write a record."""
        write_json(self.path(record.name, ".json"), results_json(record))

    def pseudonym(self, name: str) -> str:
        """The name of a student on the leaderboard."""
        return f"student-{hashlib.sha256(f'{self.salt} {name}'.encode(errors='replace')).hexdigest()[:8]}"
