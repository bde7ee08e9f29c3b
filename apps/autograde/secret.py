"""The grader's secret, and the random numbers that are drawn from it.

The secret is drawn by the operating system, once for a folder of grades, and kept there, readable by its
owner only. All that a submission must not know in advance follows from the secret and the submission's
files: the order of images and codes, the canary inputs, the inputs of the probes and of the checks. So
grading the same files again gives the same result, and nobody without the secret can compute any of it.

Each purpose has random numbers of its own. They are derived by HMAC-SHA256, which can't be inverted: a step
that sees all images that it was sent, and so the order of its own, learns nothing about the order of the
next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np


def stored_secret(path: Path) -> str:
    """The secret in a file of mode 0600; if there is none, one is drawn at random and stored."""
    if path.exists() and not path.read_bytes().strip():
        path.unlink()
    if not path.exists():
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}-")  # of mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another share of the class was quicker
            os.link(beside, path)
        os.unlink(beside)  # noqa: PTH108
    path.chmod(0o600)  # an earlier version left it readable by all
    return path.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class SubmissionSecret:
    """What random numbers for one submission are drawn from."""

    secret: str  # the folder's
    fingerprint: str  # of the submission's files

    def integer(self, *purpose: str) -> int:
        """A random integer of 256 bits, always the same for the same purpose."""
        text = "\0".join((self.fingerprint, *purpose)).encode(errors="surrogatepass")
        digest = hmac.digest(self.secret.encode(errors="surrogatepass"), text, hashlib.sha256)
        return int.from_bytes(digest, "big")

    def rng(self, *purpose: str) -> np.random.Generator:
        """A generator of random numbers, always with the same numbers for the same purpose."""
        return np.random.default_rng(self.integer(*purpose))
