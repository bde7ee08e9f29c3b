"""The blanks of submission.py and discrete.py: their TODOs, and the solution blocks that they replace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vaelab.cli import LabError

WIDTH = 105  # of the lines of a TODO


class Blank(NamedTuple):
    """A blank of submission.py or discrete.py."""

    name: str
    task: str  # the text of its TODO, with shapes
    place: str = "part {number} of docs/handout.md"  # where the handout explains it


# By number, which is the part of the handout.
BLANKS = {
    "2.2.1": Blank(
        "the layers",
        "create self.encoder, from images [B, 28, 28] to 2 d numbers [B, 2 d], and self.decoder, from codes "
        "[B, d] to images [B, 28, 28] in [0, 1]; d is latent_dim. Start from the layers of DemoVAE in "
        "model.py; ARCHITECTURES there has an encoder and a decoder for each --arch.",
    ),
    "2.2.2": Blank(
        "encode",
        "split the encoder's 2 d numbers. x: [B, 28, 28]. Return (mu, logvar), each [B, d], any real "
        "numbers.",
    ),
    "2.2.3": Blank("decode", "z: [B, d]. Return images [B, 28, 28] in [0, 1]."),
    "2.2.4": Blank(
        "forward",
        "call self.encode; in train mode (self.training) sample z [B, d] by the reparameterization trick, in "
        "eval mode use the mean; call self.decode. Pass labels to both: part 3 needs them. Return (recon "
        "[B, 28, 28], mu [B, d], logvar [B, d]).",
    ),
    "2.3": Blank(
        "vae_loss",
        "the two terms of the loss above, each a scalar []: sums over pixels and latents, means over the "
        "batch. Return (loss, recon_term, kl_term).",
    ),
    "3.1": Blank(
        "the conditional layers",
        "create self.encoder and self.decoder again, each with a vector [B, label_dim] as a second input "
        "(cond_dim in model.py), and the layers that turn labels [B] into such vectors.",
    ),
    "3.2": Blank(
        "encode with labels",
        "as 2.2.2, from the image and its label. x: [B, 28, 28]; labels: [B]. Return (mu, logvar), each "
        "[B, d].",
    ),
    "3.3": Blank(
        "decode with labels",
        "as 2.2.3, from the code and its label. z: [B, d]; labels: [B]. Return images [B, 28, 28] in [0, 1].",
    ),
}

# Of discrete.py, part 6: shipped only on request.
DISCRETE_PLACE = "section 6.6 of docs/discrete.md"
DISCRETE_BLANKS = {
    "6.1": Blank(
        "nearest_code",
        "z: [..., D], codebook: [K, D]. Return the index of the nearest code vector for each vector, int64 "
        "[...], from one matrix product, without a tensor [..., K, D] of all differences.",
        DISCRETE_PLACE,
    ),
    "6.2": Blank(
        "straight_through",
        "z, codes: [..., D]. Return [..., D] with the value of codes, whose gradient goes to z unchanged.",
        DISCRETE_PLACE,
    ),
    "6.3": Blank(
        "codebook_losses",
        "z, codes: [B, ..., D]. Return (codebook_loss, commitment_loss), each a scalar []: sum over the grid "
        "and over D, mean over the batch. The first trains the codes only, the second z only.",
        DISCRETE_PLACE,
    ),
    "6.4": Blank(
        "round_to_levels",
        "z: [..., D]. Return whole numbers [..., D], float32, with the gradient of the bounded numbers.",
        DISCRETE_PLACE,
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
                f"{place}: '{line.strip()}' is not a marker: write '# BEGIN SOLUTION 2.2.1' or '# END ...'"
            )
        number = marker["number"]
        if marker["kind"] == "END":
            if opened is None or opened[0] != number:
                raise LabError(f"{place}: END SOLUTION {number} without its BEGIN")
            blocks.append(Block(number, marker["indent"], opened[1], i + 1))
            opened = None
            continue
        if opened is not None:
            raise LabError(
                f"{place}: SOLUTION {number} begins inside SOLUTION {opened[0]}: they can't be nested"
            )
        if number not in ALL_BLANKS:
            raise LabError(f"{place}: unknown SOLUTION {number}: add it to BLANKS in {Path(__file__).name}")
        if number in [block.number for block in blocks]:
            raise LabError(f"{place}: SOLUTION {number} occurs twice")
        opened = number, i
    if opened is not None:
        raise LabError(f"{name} line {opened[1] + 1}: SOLUTION {opened[0]} has no END")
    return blocks


def blank_lines(number: str, indent: str) -> list[str]:
    """The lines that replace a solution: the task as a comment, and an error that names the blank."""
    blank = ALL_BLANKS[number]
    place = blank.place.format(number=number)
    text, lines = f"TODO {number}: {blank.task} See {place}.", []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}# {word}")
    message = f"{number} {blank.name}: see {place}"
    return [*lines, f'{indent}raise NotImplementedError("{message}")']


def without_solutions(text: str, blanks: Mapping[str, Blank] = BLANKS, name: str = "submission.py") -> str:
    """The students' version of a file. Raises: LabError for wrong markers, or a blank without a solution."""
    lines = text.splitlines()
    blocks = find_blocks(lines, name)
    missing = blanks.keys() - {block.number for block in blocks}
    if missing:
        raise LabError(f"{name} has no SOLUTION {', '.join(sorted(missing))}")
    for block in reversed(blocks):
        lines[block.start : block.end] = blank_lines(block.number, block.indent)
    return "\n".join(lines) + "\n"
