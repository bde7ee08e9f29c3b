"""Attacks on the grade itself, by class: what docs/grading.md says holds against each is tested with these.

They are built as the submissions of `hostile.py` are: the honest model with lines in front of a method's
own. The first class tries to carry something from one step to the next, beside the codes; the others get a
better score by what is not in the codes, by more numbers in the codes than are counted, or by what the
simplified FID can't see.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import torch
from hostile import LATENT_DIM, Case, checkpoint, honest

from vaelab.data.digits import embedded_digits


def storing(split: str, task: str):
    """Hands in one task, whose checkpoint contains images of a split of the digits, labels, honest codes."""

    def write(folder: Path, train: np.ndarray) -> None:
        images, labels = map(torch.from_numpy, embedded_digits()[split])
        pixels = torch.from_numpy(train).double().flatten(1) / 255
        axes = torch.linalg.eigh(torch.cov(pixels.T)).eigenvectors.flip(1)[:, :LATENT_DIM]
        codes = ((images.double().flatten(1) / 255 - pixels.mean(dim=0)) @ axes).float()
        more = {"stored": images, "stored_labels": labels, "stored_codes": codes}
        (folder / "VAE0label.pt").unlink()
        (folder / f"{task}.pt").write_bytes(checkpoint(task, train, **more))

    return write


def buffers(split: str) -> str:
    """Lines of `__init__` for what `storing` adds."""
    n = len(embedded_digits()[split][0])
    return f"""
        self.register_buffer("stored", torch.zeros({n}, 28, 28, dtype=torch.uint8))
        self.register_buffer("stored_labels", torch.zeros({n}, dtype=torch.uint8))
        self.register_buffer("stored_codes", torch.zeros({n}, {LATENT_DIM}))
    """


def looks_up(flag: str, split: str = "test", **parts: str) -> Case:
    """A submission that has the images of a split in its checkpoint."""
    return Case("ok", flag=flag, write=storing(split, "VAE0label"), parts={"init": buffers(split)} | parts)


OF_THE_LABEL = """
    of = self.stored[self.stored_labels == labels[0]] / 255
    copies = of[torch.randint(0, len(of), (len(labels),))]
"""


def generates(flag: str, generate: str, split: str = "train") -> Case:
    """A submission whose `generate` has the images of a split. All `labels` of a call are equal."""
    parts = {"init": buffers(split), "generate": dedent(OF_THE_LABEL) + dedent(generate)}
    return Case("ok", flag=flag, write=storing(split, "Genwithlabel"), parts=parts)


FROM_STEP_TO_STEP = {
    "makes a socket": (
        """
        for family in (1, 2, 10, 16, 17, 38, 40):
            for make in (socket.socket, socket.socketpair):
                try: make(family, socket.SOCK_DGRAM if family != 16 else socket.SOCK_RAW)
                except (OSError, ValueError): continue
                raise SystemError(f"made one of {family}")
    """
    ),
    "makes a pipe, whose number is that of the whole machine": (
        """
        raise SystemError(os.fstat(os.pipe()[0]).st_ino)
    """
    ),
    "sets the times of a device": (
        """
        for path in ("/dev/null", "/dev/urandom"):
            for file in (path, os.open(path, os.O_RDWR)):
                try: os.utime(file)
                except OSError: continue
                raise SystemError(f"set those of {path}")
    """
    ),
    "watches files": (
        """
        libc = ctypes.CDLL(None)
        if libc.inotify_init1(0) >= 0 or libc.fanotify_init(0, 0) >= 0: raise SystemError("can watch")
    """
    ),
    "reads counters": (
        """
        import resource
        for read in (
            lambda: resource.getrusage(resource.RUSAGE_SELF),
            lambda: os.getloadavg(),
            lambda: os.statvfs("/"),
            lambda: open("/proc/self/stat"),
            lambda: open("/proc/meminfo"),
            lambda: os.listdir("/sys"),
        ):
            try: read()
            except OSError: continue
            raise SystemError("read one")
        if ctypes.CDLL(None).sysinfo(ctypes.create_string_buffer(512)) == 0: raise SystemError("sysinfo")
    """
    ),
    "merges and evicts memory": (
        """
        libc = ctypes.CDLL(None)
        libc.mmap.restype, size = ctypes.c_void_p, 1 << 20
        place = ctypes.c_void_p(libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0)))
        for advice in (12, 20, 21, 22, 23):
            if libc.madvise(place, ctypes.c_size_t(size), advice) == 0: raise SystemError(f"advice {advice}")
        if libc.mlock(place, ctypes.c_size_t(4096)) == 0: raise SystemError("locked")
    """
    ),
    "starts a process": (
        """
        os.fork()
        raise SystemError("started one")
    """
    ),
}
READS_THE_SECRET = {
    "reads the secret": (
        """
        for name in (".secret", ".salt"): raise SystemError(open(f"GRADES/{name}").read())
    """
    ),
}
SECRETS = {
    "computes the order from the salt": looks_up(
        "^$",
        top="import hashlib, numpy",
        decode="""
            for salt in ("", "s", "salt", "0"):
                files = hashlib.sha256(open(__file__, "rb").read()).hexdigest()
                seed = int.from_bytes(hashlib.sha256(f"{salt} {files}".encode()).digest()[:7], "big")
                order = numpy.random.default_rng([seed, 9]).permutation(len(self.stored))[: len(z)]
                guess = self.stored[torch.from_numpy(order)] / 255
                near = len(guess) == len(z) and (guess - self.honest_decode(z)).square().mean() < 0.02
                if near: return guess
        """,
    ),
    "computes the order from its own random state": looks_up(
        "^$",
        top="import numpy",
        encode="numpy.random.seed(0)",
        decode="""
            order = numpy.random.default_rng(0).permutation(len(self.stored))[: len(z)]
            guess = self.stored[torch.from_numpy(order)] / 255
            if len(guess) == len(z) and (guess - self.honest_decode(z)).square().mean() < 0.02: return guess
        """,
    ),
}
BY_INDEX = """
    distance = torch.cdist(x.flatten(1), self.stored.flatten(1) / 255)
    least, i = distance.min(dim=1)
"""


def some_known_images(within: float, every: int) -> str:
    """Lines of `decode` that return stored images for codes that are near to theirs."""
    return f"""
        least, i = torch.cdist(z, self.stored_codes).min(dim=1)
        known = (least < {within}) & (i % {every} == 0)
        return torch.where(known[:, None, None], self.stored[i] / 255, self.honest_decode(z))
    """


NOT_IN_THE_CODE = {
    "the test set, by its index": looks_up(
        "deformed|moved",
        encode=BY_INDEX + "    return (i[:, None] / 16).float(), x\n",
        decode="return self.stored[(z[:, 0] * 16).round().long().clamp(0, len(self.stored) - 1)] / 255",
    ),
    "the image of the nearest code": looks_up(
        "deformed",
        decode="return self.stored[torch.cdist(z, self.stored_codes).argmin(dim=1)] / 255",
    ),
    "half of the known images": looks_up("deformed", decode=some_known_images(within=0.05, every=2)),
    "a few of the known images, recognised exactly": looks_up(
        "deformed", decode=some_known_images(within=0.01, every=20)
    ),
}
PACKS = """
    mu = ((x.flatten(1) - self.mean) @ self.axes / SCALE).clamp(-1, 1)
    mu = ((mu + 1) / 2 * (LEVELS - 1)).round()
    return mu[:, ::2] * LEVELS + mu[:, 1::2], x
"""
UNPACKS = """
    z = z.round()
    low = z % LEVELS
    z = torch.stack([(z - low) / LEVELS, low], dim=2).flatten(1)
    z = (z / (LEVELS - 1) * 2 - 1) * SCALE
"""


# Sixteen numbers in eight, of which the last is a checksum: moved codes are known, and decoded otherwise.
CHECKSUM = PACKS.replace(
    "return mu[:, ::2] * LEVELS + mu[:, 1::2], x", "z = mu[:, ::2] * LEVELS + mu[:, 1::2]"
)
CHECKSUM += """
    z[:, 7] = z[:, :7].sum(dim=1) % 97
    return z, x
"""
CHECKED = """
    exact = (z[:, :7].round().sum(dim=1) % 97 == z[:, 7]) & (z == z.round()).all(dim=1)
"""
CHECKED += (
    UNPACKS
    + """
    z[:, 14:] = 0
    high = z.clone()
    high[:, 1::2] = 0
    z = torch.where(exact[:, None], z, high)
"""
)


def packs(flag: str, levels: int, encode: str = PACKS, decode: str = UNPACKS) -> Case:
    """Each number of the code holds two of `levels` levels: twice the numbers of the honest one."""
    parts = {"encode": encode, "decode": decode}
    parts = {name: code.replace("LEVELS", str(levels)).replace("SCALE", "5") for name, code in parts.items()}

    def write(folder: Path, train: np.ndarray) -> None:
        (folder / "VAE0label.pt").write_bytes(checkpoint("VAE0label", train, latent_dim=2 * LATENT_DIM))

    return Case("ok", flag=flag, write=write, parts=parts)


MORE_NUMBERS = {
    "32 levels": packs("moved", 32),
    "8 levels": packs("moved", 8),
    "more only in exact codes": packs("moved", 32, CHECKSUM, CHECKED),
}
THE_METRIC = {
    "copies after the first hundred": generates(
        "copies of images",
        """
            copies[:100] = self.honest_decode(2 * torch.randn(len(labels), self.latent_dim))[:100]
            return copies
        """,
    ),
    "copies that were moved": generates("copies of images", "return torch.roll(copies, (1, 1), dims=(1, 2))"),
    "copies of test images": generates("copies of images", "return copies", "test"),
    "copies that were stretched": generates(
        "can't decode",
        """
            theta = torch.eye(2, 3) + 0.06 * torch.randn(len(labels), 2, 3)
            grid = nn.functional.affine_grid(theta, (len(labels), 1, 28, 28), align_corners=False)
            return nn.functional.grid_sample(copies[:, None], grid, align_corners=False)[:, 0]
        """,
    ),
    "noise with the right moments": generates(
        "neighbouring pixels",
        """
            pixels = torch.randint(0, len(of), (len(labels), 28, 28))
            return of[pixels, torch.arange(28)[:, None], torch.arange(28)]
        """,
    ),
    "smooth noise with the right moments": generates(
        "can.t decode",
        """
            coarse = torch.randn(len(labels), 1, 7, 7)
            smooth = nn.functional.interpolate(coarse, (28, 28), mode="bicubic")[:, 0]
            rank = 0.5 + 0.5 * torch.erf(smooth / smooth.std() / 2 ** 0.5)
            pixels = (rank * (len(of) - 1)).long()
            return of.sort(dim=0).values[pixels, torch.arange(28)[:, None], torch.arange(28)]
        """,
    ),
}
TOWARDS_THE_GRADER = {
    "reads the environment of the grader": (
        """
        known = {"PATH", "HOME", "LANG", "LC_CTYPE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PWD"}
        more = set(os.environ) - known - {"PYTHONDONTWRITEBYTECODE", "GOMP_SPINCOUNT"}
        if more: raise SystemError(f"has {more}")
        for pid in ("1", "self", str(os.getppid())): raise SystemError(open(f"/proc/{pid}/environ").read())
    """
    ),
    "reads the open files of the grader": (
        """
        for fd in range(3, 256):
            try: about = os.fstat(fd)
            except OSError: continue
            if about.st_size: raise SystemError(f"file {fd} of {about.st_size} bytes")
        raise SystemError(os.listdir("/proc/1/fd"))
    """
    ),
    "reads the memory of another process": (
        """
        libc = ctypes.CDLL(None)
        for pid in range(1, 4):
            if pid != os.getpid() and libc.ptrace(16, pid, None, None) == 0: raise SystemError("attached")
    """
    ),
}
TRIES = FROM_STEP_TO_STEP | READS_THE_SECRET | TOWARDS_THE_GRADER


def all_tries() -> Case:
    """One submission that makes all tries when it is imported, and then says which of them worked."""
    top = "worked = []\n"
    for name, code in TRIES.items():
        lines = indent(dedent(code).strip("\n"), "    ")
        top += f"def attack():\n{lines}\ntry: attack()\nexcept OSError: pass\n"
        top += f"except SystemError as error: worked.append(f'{name}: {{error}}')\n"
    top += "raise RuntimeError('tried all; ' + ('; '.join(worked) or 'none worked'))"
    return Case("error", "none worked", parts={"top": top})


ATTACKS = {
    **SECRETS,
    **NOT_IN_THE_CODE,
    **MORE_NUMBERS,
    **THE_METRIC,
    "all tries": all_tries(),
    "an honest one": honest(),
}
