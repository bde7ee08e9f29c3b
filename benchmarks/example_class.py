"""An invented class, to rehearse a term with docs/staff.md: hand-ins as Moodle gives them, and staff's files.

    python benchmarks/example_class.py --students 60 --out term
    python benchmarks/example_class.py --students 600 --out term --tiny    # PCA of the digits, no training

It writes `class/` (the download), `roster.csv` (Moodle's grading worksheet), `points.csv` and `policy.toml`
into the folder. A few models are trained for one epoch; each student gets one of them with weights that are
slightly changed. Answers, layouts and mistakes vary: see ANSWERS, LAYOUTS and `Plan`.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from os import utime
from pathlib import Path

import numpy as np
import torch
from helpers import REPO, lab

sys.path.insert(0, str(REPO / "tests"))
import hostile

from vaelab.cli import Parser, number, run
from vaelab.data.options import add_data_dir_option
from vaelab.data.splits import load_split, prepare
from vaelab.tasks import TASKS

DEADLINE = datetime(2026, 11, 20, 23, 59)
TRAINED = (("conv", 1), ("mlp", 1), ("mlp", 2))  # --arch, --seed
WORKSHEET = ("Identifier", "Full name", "Email address", "Status", "Grade", "Maximum grade")
WORKSHEET += ("Grade can be changed", "Last modified (submission)", "Last modified (grade)")
WORKSHEET += ("Feedback comments",)

# Other answers than the reference's, by the number of the blank. The last of 2.3 has no KL term, the last of
# 2.2.4 also samples when it should not, the last of 3.3 leaves the blank as it was.
ANSWERS = {
    "2.3": (
        """
        n = len(x)
        error = nn.functional.mse_loss(recon, x, reduction="sum") / n
        kl = -0.5 * torch.sum(1 + logvar - mu**2 - torch.exp(logvar)) / n
        return error / (2 * var) + kl, error / (2 * var), kl
        """,
        """
        posterior = torch.distributions.Normal(mu, torch.exp(logvar / 2))
        prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
        divergence = torch.distributions.kl_divergence(posterior, prior).sum(1).mean()
        likelihood = ((recon - x) ** 2).sum(dim=(1, 2)).mean() * 0.5 / var
        return likelihood + divergence, likelihood, divergence
        """,
        """
        recon_term = ((recon - x) ** 2).flatten(1).sum(1).mean() / (2 * var)
        kl_term = 0 * (mu + logvar).sum()
        return recon_term + kl_term, recon_term, kl_term
        """,
    ),
    "2.2.4": (
        """
        mu, logvar = self.encode(x, labels)
        if not self.training:
            return self.decode(mu, labels), mu, logvar
        noise = torch.randn(mu.shape, device=mu.device)
        return self.decode(mu + noise * (logvar / 2).exp(), labels), mu, logvar
        """,
        """
        mu, logvar = self.encode(x, labels)
        z = torch.distributions.Normal(mu, (logvar / 2).exp()).rsample()
        return self.decode(z, labels), mu, logvar
        """,
    ),
    "3.3": ("""raise NotImplementedError("3.3")""",),
}


@dataclass(frozen=True)
class Plan:
    """What a student of the class does, which depends on the student's number alone."""

    number: int

    @property
    def name(self) -> str:
        """The name in the LMS."""
        return f"Student {self.number:03}"

    @property
    def moodle(self) -> int:
        """The number of the participant in Moodle."""
        return 10_000 + self.number

    @property
    def handed_in(self) -> datetime:
        """In the ten days before the deadline; every seventh student hands in late."""
        hours = 30 if self.number % 7 == 0 else -(self.number * 37 % 240) - 1
        return DEADLINE + timedelta(hours=hours)

    @property
    def answers(self) -> dict[str, str]:
        """The answers that differ from the reference's: right ones, and every tenth student a wrong one."""
        chosen = {"2.3": self.number % 3, "2.2.4": self.number // 3 % 2}
        wrong = {3: ("2.3", 3), 13: ("2.2.4", 2), 23: ("3.3", 1)}.get(self.number % 30)
        chosen |= dict([wrong]) if wrong else {}
        return {blank: ANSWERS[blank][i - 1] for blank, i in chosen.items() if i}


def submission(plan: Plan) -> str:
    """The submission.py of a student: the reference with other answers, without its markers."""
    text = (REPO / "submission.py").read_text(encoding="utf-8")
    for blank, code in plan.answers.items():
        block = re.compile(rf"( *)# BEGIN SOLUTION {re.escape(blank)}\n.*?# END SOLUTION [^\n]*\n", re.DOTALL)
        lines = [line[8:] for line in code.strip("\n").splitlines()] if "\n" in code else [code]
        text = block.sub(
            lambda match, lines=lines: "".join(f"{match[1]}{line}\n" for line in lines if line.strip()), text
        )
    return re.sub(r" *# (BEGIN|END) SOLUTION [^\n]*\n", "", text)


def changed_weights(checkpoint: bytes, seed: int) -> bytes:
    """A checkpoint whose weights are multiplied by 1 + noise of 0.1 %."""
    values = torch.load(io.BytesIO(checkpoint), weights_only=True)
    generator = torch.Generator().manual_seed(seed)
    for weight in values["model"].values():
        if weight.is_floating_point():
            weight.mul_(1 + 1e-3 * torch.randn(weight.shape, generator=generator))
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


# --- How hand-ins are packed ------------------------------------------------------------------------

Files = dict[str, bytes]


def zipped(files: Files, inside: str = "") -> bytes:
    """The files as a zip file. inside: a folder in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{inside}{name}", content)
    return buffer.getvalue()


def tarred(files: Files) -> bytes:
    """The files as a tar.gz archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"lab/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def as_run(files: Files) -> Files:
    """The files in the places where training leaves them."""
    places = {f"{task}.pt": f"outputs/{task}/best.pt" for task in TASKS}
    return {places.get(name, name): content for name, content in files.items()}


LAYOUTS: tuple[Callable[[Files], Files], ...] = (
    lambda files: {"hand_in.zip": zipped(files)},
    lambda files: {"hand_in.zip": zipped(files), "answers.pdf": b"%PDF-1.4"},
    lambda files: {"lab.tar.gz": tarred(files)},
    lambda files: {"lab.zip": zipped(files | {".DS_Store": b"\0"}, "vae/lab/")},
    lambda files: files,
    lambda files: {"vae-lab.zip": zipped(as_run(files), "vae-lab/")},
    lambda files: {
        "Submission.py" if name == "submission.py" else name: content for name, content in files.items()
    },
    lambda files: (
        {"code.zip": zipped({name: data for name, data in files.items() if not name.endswith(".pt")})}
        | {name: data for name, data in files.items() if name.endswith(".pt")}
    ),
)


def write_hand_in(folder: Path, plan: Plan, files: Files) -> None:
    """Write a hand-in into the folder of the class, as Moodle names it; some were sent by mail instead."""
    entry = f"{plan.name}_{plan.moodle}_assignsubmission_file_"
    if plan.number % 25 == 11:
        paths = {folder / f"{plan.name}.tar.gz": tarred(files)}
    elif plan.number % 15 == 9:  # the option without folders
        paths = {folder / f"{entry}hand_in.zip": zipped(files)}
    else:
        layout = LAYOUTS[plan.number % len(LAYOUTS)]
        paths = {folder / entry / name: content for name, content in layout(files).items()}
    if plan.number % 20 == 17:  # an earlier hand-in, which was sent by mail
        earlier = folder / f"{plan.name}.zip"
        earlier.write_bytes(zipped(files | {"submission.py": b"import nothing_of_this_name\n"}))
        utime(earlier, (1e9, 1e9))
    for path, content in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        utime(path, (plan.handed_in.timestamp(),) * 2)


# --- The class --------------------------------------------------------------------------------------


def trained_files(out: Path, data_dir: Path | None) -> list[Files]:
    """The checkpoints of the trained models, which are kept in `out`/trained."""
    found = []
    for arch, seed in TRAINED:
        folder = out / "trained" / f"{arch}-{seed}"
        for task in TASKS:
            options = ["--task", task, "--arch", arch, "--seed", seed, "--epochs", 1, "--output_dir", folder]
            options += ["--dataset", "mnist", *(["--data_dir", data_dir] if data_dir else [])]
            if not (folder / task / "best.pt").exists():
                lab("train.py", *options, "--overwrite")
        found.append({f"{task}.pt": (folder / task / "best.pt").read_bytes() for task in TASKS})
    return found


def tiny_files(train: np.ndarray) -> list[Files]:
    """The checkpoints of PCA, of several sizes of the code."""
    return [
        {f"{task}.pt": hostile.checkpoint(task, train, latent_dim) for task in TASKS}
        for latent_dim in (4, 8, 16)
    ]


def student_files(plan: Plan, models: list[Files], tiny: bool) -> Files:
    """The files of a student. Every 30th copies those of the student before; some lack a checkpoint.

    tiny: of 60 students one hands in PCA, one hands in code that fails, 58 hand in no code.
    """
    copied = Plan(plan.number - 1) if plan.number % 30 == 20 else plan
    if tiny and plan.number % 60 not in (1, 2):
        return {"report.pdf": f"%PDF-1.4 {plan.name}".encode()}
    code = hostile.source() if tiny else submission(copied)
    if tiny and plan.number % 60 != 1:
        code = f"raise ValueError('student {plan.number}')\n"
    files = {"submission.py": code.encode()}
    for name, checkpoint in models[copied.number % len(models)].items():
        files[name] = changed_weights(checkpoint, copied.number)
    if plan.number % 30 == 5:
        del files["Genwithlabel.pt"]
    return files


def write_staff_files(out: Path, plans: list[Plan], absent: list[Plan]) -> None:
    """Write the roster, the points of the written parts, and the policy."""
    with (out / "roster.csv").open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(WORKSHEET)
        for plan in [*plans, *absent]:
            time = "-" if plan in absent else plan.handed_in.strftime("%A, %d %B %Y, %I:%M %p")
            status = "No submission" if plan in absent else "Submitted for grading"
            mail = f"s{plan.number:03}@example.org"
            row = (f"Participant {plan.moodle}", plan.name, mail, status, "", "130.00", "Yes", time, "-", "")
            rows.writerow(row)
    with (out / "points.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "0.1", "0.2", "1.1", "comment"))
        for plan in plans:
            points = (20 - plan.number % 9, 10 - plan.number % 4, 10 - plan.number % 3)
            rows.writerow((plan.name, *points, "Clear derivations" if plan.number % 5 == 0 else ""))
    policy = f"deadline = {DEADLINE.isoformat()}\ngrace_hours = 2\npercent_per_day = 10\nmax_days = 5\n"
    (out / "policy.toml").write_text(f'{policy}counts = "last"\n[extensions]\n"Student 014" = 3\n')


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--students", type=number(int, 2, 5000), default=60, help="who hand in (default: 60)")
    add("--out", type=Path, default=Path("term"), help="the folder to write (default: term)")
    add("--tiny", action="store_true", help="PCA of the digits; 59 of 60 hand-ins fail at once")
    add_data_dir_option(parser)
    return parser.parse_args()


def main() -> None:
    """Write the class."""
    args = parse_args()
    out = args.out.resolve()
    (out / "class").mkdir(parents=True, exist_ok=True)
    if args.tiny:
        dataset, _ = prepare("digits", args.data_dir)
        models = tiny_files(load_split(dataset, "train")[0])
    else:
        models = trained_files(out, args.data_dir and args.data_dir.resolve())
    plans = [Plan(i) for i in range(1, args.students + 1)]
    absent = [Plan(args.students + i + 1) for i in range(max(1, args.students // 20))]
    for plan in plans:
        write_hand_in(out / "class", plan, student_files(plan, models, args.tiny))
    write_staff_files(out, plans, absent)
    print(f"wrote {args.out}: {len(plans)} hand-ins, {len(absent)} absent, roster, points and policy")


if __name__ == "__main__":
    run(main)
