"""The grader's secret: random, its owner's, and the source of all that a submission must not know."""

from __future__ import annotations

from pathlib import Path

from apps.autograde.canaries import random_order
from apps.autograde.gradebook import Gradebook
from apps.autograde.secret import SubmissionSecret, stored_secret


def test_the_secret_is_random_and_the_owners(tmp_path: Path) -> None:
    found = [stored_secret(tmp_path / name) for name in ("a", "b")]
    assert len(set(found)) == 2
    assert all(len(bytes.fromhex(text)) == 32 for text in found)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a").chmod(0o644)
    assert stored_secret(tmp_path / "a") == found[0]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a").write_bytes(b"")  # of a run that was killed
    assert stored_secret(tmp_path / "a") not in ("", found[0])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_option_of_the_pseudonyms_decides_no_input(tmp_path: Path) -> None:
    books = [Gradebook(tmp_path / name, salt="known to all") for name in ("one", "two", "one")]
    assert books[0].secret == books[2].secret != books[1].secret
    assert books[0].pseudonym("ann") == books[1].pseudonym("ann")


def test_each_purpose_has_random_numbers_of_its_own() -> None:
    def order(secret: str, files: str, *purpose: str) -> list[int]:
        return random_order(300, SubmissionSecret(secret, files).rng(*purpose)).tolist()

    same = order("s", "f", "VAE0label", "encode")
    assert same == order("s", "f", "VAE0label", "encode")
    others = [
        order("other", "f", "VAE0label", "encode"),
        order("s", "other", "VAE0label", "encode"),
        order("s", "f", "VAE0label", "decode"),
        order("s", "f", "Genwithlabel", "encode"),
    ]
    assert all(each != same for each in others)
    assert len({tuple(each) for each in others}) == 4
