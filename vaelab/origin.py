"""Whether checkpoint, outputs and submission.py belong together, by checksums. No submitted code runs.

`inference.py` stores the checksums of the checkpoint and of the code in `hyperparams.json`, and `grade.py`
compares them with the files that are there now.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from vaelab.files import file_md5
from vaelab.language import _
from vaelab.outputs import Hyperparams
from vaelab.tasks import TASKS


def code_md5(folder: Path, task: str) -> str | None:
    """A checksum of the code that a task's model consists of: submission.py and model.py in `folder`.

    Comments, formatting and the model classes of other tasks are left out, and imports that only these use:
    part 3 of the handout, filled in later, leaves the VAE of part 2 as it was. Returns: None if a file can't
    be read.
    """
    checksum = hashlib.md5()
    try:
        for name in ("submission.py", "model.py"):
            tree = ast.parse((folder / name).read_text(encoding="utf-8"))
            classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
            wanted = TASKS[task].model_class
            needed = set()
            while wanted in classes and wanted not in needed:
                needed.add(wanted)
                wanted = next((base.id for base in classes[wanted].bases if isinstance(base, ast.Name)), "")
            others = {other.model_class for other in TASKS.values()} - needed
            kept = [node for node in tree.body if getattr(node, "name", None) not in others]
            names = {part.id for node in kept for part in ast.walk(node) if isinstance(part, ast.Name)}
            checksum.update(ast.unparse(ast.Module(without_imports(kept, names), [])).encode())
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    return checksum.hexdigest()


def without_imports(nodes: list[ast.stmt], names: set[str]) -> list[ast.stmt]:
    """The statements of a module, without the imports of what is not among `names`."""
    kept: list[ast.stmt] = []
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [
                alias
                for alias in node.names
                if (alias.asname or alias.name).partition(".")[0] in {"*", *names}
            ]
            if not node.names:
                continue
        kept.append(node)
    return kept


def checkpoint_note(task: str, root: Path, made_with: Hyperparams) -> str:
    """A note if the outputs are not of the run's best.pt; empty if they are, or if there is none."""
    best, checkpoint = root / task / "best.pt", Path(str(made_with.checkpoint))
    if made_with.checkpoint_md5 is None or file_md5(best) in (None, made_with.checkpoint_md5):
        return ""
    values = {"task": task, "again": f"python inference.py --checkpoint_path {best}"}
    others = [path for path in sorted((root / task).glob("*.pt")) if path != best]
    if same := [path for path in others if file_md5(path) == made_with.checkpoint_md5]:
        return _(
            "note: the outputs of {task} were made with {other}, and a hand-in contains best.pt: {again}",
            other=same[0],
            **values,
        )
    if checkpoint.resolve() == best.resolve():
        return _(
            "note: {checkpoint} has changed since inference.py made the outputs of {task}: run it again: "
            "{again}",
            checkpoint=checkpoint,
            **values,
        )
    return _(
        "note: the outputs of {task} were made with {checkpoint}, which is another run than {run}: this "
        "score does not belong to the curves, the configuration and the best.pt there. {again}",
        checkpoint=checkpoint,
        run=root / task,
        **values,
    )


def origin_notes(task: str, root: Path, made_with: Hyperparams, code: Path) -> list[str]:
    """Notes on what doesn't belong together: outputs in `root`, its checkpoint, submission.py in `code`."""
    notes = [checkpoint_note(task, root, made_with)]
    if made_with.code_md5 and code_md5(code, task) != made_with.code_md5:
        text = _(
            "note: the code of {model} has changed since inference.py made the outputs of {task}: run it "
            "again: {again}. If the checkpoint no longer loads, train again",
            model=TASKS[task].model_class,
            task=task,
            again=f"python inference.py --checkpoint_path {root / task / 'best.pt'}",
        )
        notes.append(text)
    return [note for note in notes if note]
