"""Similar submissions of a class, on this machine: for staff to look at, never points.

Code: by compare50 (winnowing), called as a program, without what was handed out; its pages show the passages.
Its score is relative: 10 is the most similar pair of the class. Weights: the share of the bytes in arrays
that are equal, and the cosine of the angle between all weights, which is near 1 for a copy that was changed a
little or trained further. Hidden units in another order are not put back: the cosine is then low. Outputs:
equal reconstructions or generated images. Honest runs with one seed and the same code have equal weights:
equal weights alone prove nothing.

compare50 needs an older `attrs` than the lab's tests, so `scripts/staff.sh` makes an environment for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from apps.autograde.results import StudentResult
from vaelab.cli import LabError, reason
from vaelab.files import make_folder

REPO = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(".venv", "compare50")  # made by scripts/staff.sh
MIN_BYTES = 1024  # smaller arrays may coincide
MAX_BYTES = 512 << 20  # of the arrays of a checkpoint
MAX_PAIRS = 50
SKETCH = 32  # numbers that stand for an array of weights
MIN_COSINE = 0.98  # of the weights of a pair that is listed; independent runs have 0 +- 0.1
MAX_GROUP = 10  # students with something in common, of whom all pairs are listed


@dataclass
class Pair:
    """Two students whose submissions have something in common."""

    a: str
    b: str
    code: float | None = None  # compare50's score, 10 for the most similar pair
    page: str = ""  # the passages, relative to the folder of the grades
    weights: float = 0.0  # the share of equal bytes
    cosine: float = 0.0  # of the angle between all weights; 0 if it is not near 1
    outputs: list[str] = field(default_factory=list)  # what is equal


# --- Weights and outputs ----------------------------------------------------------------------------


def stored_arrays(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each array in the checkpoints of a folder; nothing is unpickled."""
    for path in sorted(folder.glob("*.pt")):
        try:
            with zipfile.ZipFile(path) as archive:
                infos = [info for info in archive.infolist() if "/data/" in info.filename]
                plain = [info for info in infos if info.compress_type == zipfile.ZIP_STORED]
                if sum(info.file_size for info in plain) > MAX_BYTES:
                    continue
                for info in plain:
                    data = archive.read(info) if info.file_size >= MIN_BYTES else b""
                    if data.strip(data[:1]):  # not all bytes are one, as in an array of zeros
                        yield f"{path.stem}/{info.filename.rpartition('/')[2]}", data
        except Exception:  # noqa: S112  # a damaged file can raise anything; grading it names the damage
            continue


def weight_checksums(folder: Path) -> dict[str, int]:
    """Checksums of the arrays in the checkpoints of a folder, with their sizes in bytes."""
    return {hashlib.sha256(data).hexdigest()[:16]: len(data) for _, data in stored_arrays(folder)}


def weight_sketches(folder: Path) -> dict[str, list[float]]:
    """SKETCH numbers for each float32 array: their cosine estimates that of two arrays of this size.

    A count sketch: Charikar, Chen & Farach-Colton, Finding Frequent Items in Data Streams (2002). It is
    linear, so that a small change of the weights is a small change of it. The mean is subtracted.
    """
    found = {}
    for name, data in stored_arrays(folder):
        values = np.frombuffer(data[: len(data) // 4 * 4], "<f4").astype(np.float64)
        values = values - values.mean()
        norm = float(np.linalg.norm(values))
        if not 0 < norm < np.inf:  # nan: not float32
            continue
        rng = np.random.default_rng(len(values))  # the same for all arrays of a size
        buckets, signs = rng.integers(0, SKETCH, len(values)), rng.choice([-1.0, 1.0], len(values))
        sketch = np.bincount(buckets, signs * values / norm, SKETCH)
        found[f"{name}:{len(values)}"] = [round(float(value), 5) for value in sketch]
    return found


def pairs_of(names: list[str]) -> Iterable[tuple[str, str]]:
    """The pairs of students who have something in common; of a large group each with the next one only.

    All pairs of a group would be more than anybody looks at, and their number grows with its square.
    """
    ordered = sorted(names)
    return combinations(ordered, 2) if len(ordered) <= MAX_GROUP else pairwise(ordered)


def equal_weights(results: list[StudentResult]) -> dict[tuple[str, str], float]:
    """The share of equal bytes of each pair that has equal arrays."""
    arrays = {
        result.name: result.counted.attempt.weights
        for result in results
        if result.counted.attempt is not None
    }
    owners: dict[str, list[str]] = {}
    for name, checksums in arrays.items():
        for checksum in checksums:
            owners.setdefault(checksum, []).append(name)
    common: Counter[tuple[str, str]] = Counter()
    for checksum, names in owners.items():
        if len(names) <= max(2, len(arrays) // 4):  # what many have was handed out
            for pair in pairs_of(names):
                common[pair] += arrays[pair[0]][checksum]
    sizes = {name: sum(checksums.values()) for name, checksums in arrays.items()}
    return {pair: size / max(1, min(sizes[pair[0]], sizes[pair[1]])) for pair, size in common.items()}


def near_weights(results: list[StudentResult]) -> dict[tuple[str, str], float]:
    """The cosine of the weights of each pair where it is near 1. Compared are models with the same arrays."""
    alike: dict[tuple[str, ...], list[tuple[str, np.ndarray]]] = {}
    for result in results:
        attempt = result.counted.attempt
        if attempt is not None and attempt.sketches:
            rows = np.array([attempt.sketches[name] for name in sorted(attempt.sketches)])  # [arrays, SKETCH]
            rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12
            alike.setdefault(tuple(sorted(attempt.sketches)), []).append((result.name, rows.ravel()))
    found = {}
    for arrays, group in alike.items():
        names, matrix = [name for name, _ in group], np.stack([row for _, row in group])
        cosines = np.triu(matrix @ matrix.T / len(arrays), k=1)
        for i, j in np.argwhere(cosines >= MIN_COSINE):
            found[min(names[i], names[j]), max(names[i], names[j])] = float(cosines[i, j])
    return found


def equal_outputs(results: list[StudentResult]) -> dict[tuple[str, str], list[str]]:
    """What is equal in the outputs of each pair that has equal ones."""
    owners: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        for task, grade in result.counted.grades.items():
            for key, title in (("recon_sha256", "reconstructions"), ("gen_sha256", "generated images")):
                if grade.get(key):
                    owners.setdefault((task, title, grade[key]), []).append(result.name)
    found: dict[tuple[str, str], list[str]] = {}
    for (task, title, _), names in owners.items():
        for pair in pairs_of(names):
            found.setdefault(pair, []).append(f"{task} {title}")
    return found


# --- Code -------------------------------------------------------------------------------------------


def compare50_python() -> Path:
    """The interpreter of the environment that has compare50. Raises: LabError."""
    for folder in ("bin", "Scripts"):
        for name in ("python", "python.exe"):
            if (path := REPO / ENVIRONMENT / folder / name).exists():
                return path
    raise LabError(
        "compare50 is not installed: bash scripts/staff.sh installs it (or leave out --similarity)"
    )


def write_sources(folder: Path, sources: Mapping[str, Path]) -> dict[str, str]:
    """Copy each student's Python files into a folder with a number. Returns: number to name."""
    numbers = {}
    for i, (name, source) in enumerate(sorted(sources.items()), start=1):
        numbers[f"s{i:04}"] = name
        for path in source.rglob("*.py"):
            target = folder / f"s{i:04}" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        make_folder(folder / f"s{i:04}")
    return numbers


def similar_code(sources: Mapping[str, Path], handed_out: Path | None, out: Path) -> list[Pair]:
    """The pairs that compare50 found, and its pages in `out`. sources: each student's folder of Python files.

    handed_out: the students' version, whose code is ignored. Raises: LabError.
    """
    python = compare50_python()
    if len(sources) < 2:
        return []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        numbers = write_sources(work, sources)
        command = [str(python), "-m", "compare50", "-p", "structure", "-n", str(MAX_PAIRS), "-o", "out"]
        if handed_out is not None:
            (work / "handed_out").mkdir()
            for name in ("submission.py", "model.py"):
                if (handed_out / name).is_file():
                    shutil.copy(handed_out / name, work / "handed_out" / name)
            command += ["-d", "handed_out"]
        # Its own environment sees no variables of ours, and it needs no network.
        run = subprocess.run(
            [*command, "-i", "*.py", "--", *numbers],
            cwd=work,
            env={"PATH": os.environ.get("PATH", ""), "HOME": temporary, "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode or not (work / "out/index.html").is_file():
            last = (run.stderr.strip() or run.stdout.strip() or "no message").splitlines()[-1]
            raise LabError(f"compare50 failed: {last}")
        links = links_in((work / "out/index.html").read_text(encoding="utf-8"))
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(work / "out", out)
    pairs = []
    for link in links:
        names = sorted((numbers[link["source"]], numbers[link["target"]]))
        page = f"{out.parent.name}/{out.name}/match_{link['index'] + 1}.html"
        pairs.append(Pair(*names, code=float(link["value"]), page=page))
    return pairs


def links_in(page: str) -> list[dict]:
    """The pairs in the data of compare50's page. Raises: LabError if they are not where they were."""
    start = page.find('"links": [')
    try:
        return json.JSONDecoder().raw_decode(page, page.index("[", start))[0] if start >= 0 else []
    except ValueError as error:
        raise LabError(f"compare50's page has another form than expected ({reason(error)})") from error


# --- All together -----------------------------------------------------------------------------------


def similar_pairs(results: list[StudentResult], code: list[Pair]) -> list[Pair]:
    """The pairs that have something in common, those with equal outputs or weights first."""
    pairs = {(pair.a, pair.b): pair for pair in code}
    for (a, b), share in equal_weights(results).items():
        pairs.setdefault((a, b), Pair(a, b)).weights = share
    for (a, b), cosine in near_weights(results).items():
        pairs.setdefault((a, b), Pair(a, b)).cosine = cosine
    for (a, b), outputs in equal_outputs(results).items():
        pairs.setdefault((a, b), Pair(a, b)).outputs = outputs
    ranked = sorted(
        pairs.values(),
        key=lambda pair: (
            -len(pair.outputs),
            -round(pair.weights, 2),
            -round(pair.cosine, 2),
            -(pair.code or 0),
            pair.a,
        ),
    )
    return ranked[:MAX_PAIRS]
