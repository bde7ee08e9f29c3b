"""The blanks of submission.py and discrete.py: their TODOs, and finding the solutions that they replace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vaelab.cli import LabError, wrap
from vaelab.language import N_, _

HANDOUT = N_("docs/handout.md")  # translated: each language has its own
DISCRETE_HANDOUT = N_("docs/discrete.md")  # part 6
WIDTH = 105  # maximum length of a line of a TODO, in characters


class Blank(NamedTuple):
    """A blank of submission.py or discrete.py."""

    name: str
    task: str  # the text of its TODO, with shapes
    handout: str = HANDOUT
    section: str = ""  # of the handout, if it is not the number of the blank


# By number, which is the part of the handout.
BLANKS = {
    "2.2.1": Blank(
        N_("the layers"),
        N_(
            "create self.encoder, from images [B, 28, 28] to 2 d numbers [B, 2 d], and self.decoder, from"
            " codes [B, d] to images [B, 28, 28] in [0, 1]; d is latent_dim. Start from the layers of "
            "DemoVAE in model.py, and import what you use from there. You need not use the other arguments, "
            "such as arch: they become options of train.py."
        ),
    ),
    "2.2.2": Blank(
        N_("encode"),
        N_(
            "split the encoder's 2 d numbers. x: [B, 28, 28]. Return (mu, logvar), each [B, d], any real "
            "numbers."
        ),
    ),
    "2.2.3": Blank(N_("decode"), N_("z: [B, d]. Return images [B, 28, 28] in [0, 1].")),
    "2.2.4": Blank(
        N_("forward"),
        N_(
            "call self.encode; in train mode (self.training) sample z [B, d] by the reparameterization "
            "trick, in eval mode use the mean; call self.decode. Pass labels to both: part 3 needs them. "
            "Return (recon [B, 28, 28], mu [B, d], logvar [B, d])."
        ),
    ),
    "2.3": Blank(
        N_("vae_loss"),
        N_(
            "the two terms of the loss above, each a scalar []: sums over pixels and latents, means over the "
            "batch. Return (loss, recon_term, kl_term)."
        ),
    ),
    "3.1": Blank(
        N_("the conditional layers"),
        N_(
            "create self.encoder and self.decoder again, each with a vector [B, label_dim] as a second input "
            "(cond_dim in model.py), and the layers that turn labels [B] into such vectors."
        ),
    ),
    "3.2": Blank(
        N_("encode with labels"),
        N_(
            "as 2.2.2, from the image and its label. x: [B, 28, 28]; labels: [B]. Return (mu, logvar), each "
            "[B, d]."
        ),
    ),
    "3.3": Blank(
        N_("decode with labels"),
        N_(
            "as 2.2.3, from the code and its label. z: [B, d]; labels: [B]. Return images [B, 28, 28] "
            "in [0, 1]."
        ),
    ),
}

# Of discrete.py, part 6: shipped only on request.
DISCRETE_BLANKS = {
    "6.1": Blank(
        N_("nearest_code"),
        N_(
            "z: [..., D], codebook: [K, D]. Return the index of the nearest code vector for each vector, "
            "int64 [...], from one matrix product, without a tensor [..., K, D] of all differences."
        ),
        DISCRETE_HANDOUT,
        "6.6",
    ),
    "6.2": Blank(
        N_("straight_through"),
        N_(
            "z, codes: [..., D]. Return [..., D] with the value of codes, whose gradient goes to z unchanged."
        ),
        DISCRETE_HANDOUT,
        "6.6",
    ),
    "6.3": Blank(
        N_("codebook_losses"),
        N_(
            "z, codes: [B, ..., D]. Return (codebook_loss, commitment_loss), each a scalar []: sum over the "
            "grid and over D, mean over the batch. The first trains the codes only, the second z only."
        ),
        DISCRETE_HANDOUT,
        "6.6",
    ),
    "6.4": Blank(
        N_("round_to_levels"),
        N_("z: [..., D]. Return whole numbers [..., D], float32, with the gradient of the bounded numbers."),
        DISCRETE_HANDOUT,
        "6.6",
    ),
}
ALL_BLANKS = BLANKS | DISCRETE_BLANKS

MARKER = re.compile(r"(?P<indent> *)# (?P<kind>BEGIN|END) SOLUTION (?P<number>\d+(\.\d+)+)")
LIKE_A_MARKER = re.compile(r"^\s*#.*\b(BEGIN|END)\b.*\bSOLUTION", re.IGNORECASE)


class Block(NamedTuple):
    """One solution: lines [start, end) of the file, including its two markers."""

    number: str
    indent: str
    start: int
    end: int


def find_blocks(lines: list[str], name: str = "submission.py") -> list[Block]:
    """The solution blocks in the lines of a file. Raises: LabError that names the line of a wrong marker."""
    blocks, opened = [], None
    for i, line in enumerate(lines):
        if not LIKE_A_MARKER.match(line):
            continue
        marker, place = MARKER.fullmatch(line), f"{name} line {i + 1}"
        if not marker:
            raise LabError(
                "{place}: '{line}' is not a marker: write '# BEGIN SOLUTION 2.2.1' or '# END ...'",
                place=place,
                line=line.strip(),
            )
        number = marker["number"]
        if marker["kind"] == "END":
            if opened is None or opened[0] != number:
                raise LabError("{place}: END SOLUTION {number} without its BEGIN", place=place, number=number)
            blocks.append(Block(number, marker["indent"], opened[1], i + 1))
            opened = None
            continue
        if opened is not None:
            raise LabError(
                "{place}: SOLUTION {number} begins inside SOLUTION {opened}: they can't be nested",
                place=place,
                number=number,
                opened=opened[0],
            )
        if number not in ALL_BLANKS:
            raise LabError(
                "{place}: unknown SOLUTION {number}: add it to BLANKS in {name}",
                place=place,
                number=number,
                name=Path(__file__).name,
            )
        if number in [block.number for block in blocks]:
            raise LabError("{place}: SOLUTION {number} occurs twice", place=place, number=number)
        opened = number, i
    if opened is not None:
        raise LabError(
            "{name} line {line}: SOLUTION {opened} has no END",
            name=name,
            line=opened[1] + 1,
            opened=opened[0],
        )
    return blocks


def blank_lines(number: str, indent: str) -> list[str]:
    """The lines that replace a solution: the task as a comment, and an error that names the blank."""
    blank = ALL_BLANKS[number]
    about = {"number": blank.section or number, "handout": _(blank.handout)}
    about |= {"blank": number, "name": _(blank.name), "task": _(blank.task)}
    todo = _("TODO {blank}: {task} See part {number} of {handout}.", **about)
    lines = wrap(todo, WIDTH, f"{indent}# ").split("\n")
    message = _("{blank} {name}: see part {number} of {handout}", **about)
    return [*lines, f'{indent}raise NotImplementedError("{message}")']


def without_solutions(text: str, blanks: Mapping[str, Blank] = BLANKS, name: str = "submission.py") -> str:
    """The students' version of a file. Raises: LabError for wrong markers, or a blank without a solution."""
    lines = text.splitlines()
    blocks = find_blocks(lines, name)
    missing = blanks.keys() - {block.number for block in blocks}
    if missing:
        raise LabError("{name} has no SOLUTION {missing}", name=name, missing=", ".join(sorted(missing)))
    for block in reversed(blocks):
        lines[block.start : block.end] = blank_lines(block.number, block.indent)
    return "\n".join(lines) + "\n"
