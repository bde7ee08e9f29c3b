"""Submissions for the tests of `autograde.py`: an honest one, and all the others.

The honest model is PCA of the digits, so that what a code is worth is known, and no training is needed. Each
hostile one is the honest one with lines put in front of a method's own. `CASES` says how each must end.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import torch

from vaelab.config import TrainConfig

LATENT_DIM = 8

BASE = """\
import atexit, ctypes, os, pathlib, signal, socket, subprocess, sys, threading, time
import torch
from torch import nn

TOP
class VAE(nn.Module):
    def __init__(self, latent_dim=8):
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("mean", torch.zeros(784))
        self.register_buffer("axes", torch.zeros(784, latent_dim))
INIT
    def honest_encode(self, x):
        mu = (x.flatten(1) - self.mean) @ self.axes
        return mu, torch.zeros_like(mu)

    def honest_decode(self, z):
        return (self.mean + z @ self.axes.T).clamp(0, 1).view(-1, 28, 28)

    def encode(self, x, labels=None):
ENCODE
        return self.honest_encode(x)

    def decode(self, z, labels=None):
DECODE
        return self.honest_decode(z)

    def generate(self, labels):
GENERATE
        return self.honest_decode(2 * torch.randn(len(labels), self.latent_dim))


class GenModel(VAE):
    pass
"""


def source(**parts: str) -> str:
    """The honest submission.py with lines put into some of its parts: top, init, encode, decode, generate."""
    code = BASE
    for part in ("top", "init", "encode", "decode", "generate"):
        lines = indent(dedent(parts.get(part, "")).strip("\n"), "" if part == "top" else " " * 8)
        code = code.replace(f"{part.upper()}\n", f"{lines}\n")
    return code


def checkpoint(task: str, train: np.ndarray, latent_dim: int = LATENT_DIM, **more: object) -> bytes:
    """A checkpoint of the honest model: the principal axes of the training images."""
    pixels = torch.from_numpy(train).double().flatten(1) / 255
    axes = torch.linalg.eigh(torch.cov(pixels.T)).eigenvectors.flip(1)[:, :latent_dim]
    weights = {"mean": pixels.mean(dim=0).float(), "axes": axes.float().contiguous()} | more
    config = TrainConfig(task, "digits", {"latent_dim": latent_dim}, var=0.1, epochs=1).to_dict()
    buffer = io.BytesIO()
    torch.save({"task": task, "config": config, "epoch": 1, "best_loss": 0.0, "model": weights}, buffer)
    return buffer.getvalue()


Write = Callable[[Path, np.ndarray], None]


@dataclass
class Case:
    """A hostile submission, and how it must end."""

    status: str  # a regular expression of it, as the others are of theirs
    reason: str = ""
    flag: str = ""
    honest_score: bool = False  # it must get what the honest one gets, to the last digit
    write: Write | None = None  # changes the folder, given the training images
    parts: dict[str, str] = field(default_factory=dict)


def ends(status: str, reason: str = "", **parts: str) -> Case:
    """Ends without a grade."""
    return Case(status, reason, parts=parts)


def honest(**parts: str) -> Case:
    """Gets the honest score, whatever it tries."""
    return Case("ok", honest_score=True, parts=parts)


def must_not(code: str) -> Case:
    """Tries something when it is imported, and says how it ended: `code` raises SystemError if it worked."""
    lines = indent(dedent(code).strip("\n"), "    ")
    top = f"def attack():\n{lines}\n\ntry: attack()\nexcept OSError: pass\nraise RuntimeError('held back')"
    return ends("error", "^RuntimeError: held back", top=top)


def handed_in(status: str, reason: str, write: Write) -> Case:
    """What was handed in is changed after it was written."""
    return Case(status, reason, write=write)


def side_channel(keep: str, find: str) -> Case:
    """Leaves the images somewhere while it encodes (`keep`, which gets them as `data`), and looks for them
    while it decodes (`find`, which returns them)."""
    top = f"""\
KEPT = []
libc = ctypes.CDLL(None)

def keep(data):
{indent(dedent(keep).strip(chr(10)), "    ")}

def find():
{indent(dedent(find).strip(chr(10)), "    ")}
"""
    encode = """
        try:
            keep((x * 255).byte().numpy().tobytes())
        except Exception as error:
            print(error)
    """
    decode = """
        try:
            data = torch.frombuffer(bytearray(find()), dtype=torch.uint8)
            return (data[: len(z) * 784].view(-1, 28, 28) / 255)
        except Exception as error:
            print(error)
    """
    return honest(top=top, encode=encode, decode=decode)


# --- Folders and zip files ----------------------------------------------------------------------


def as_zip(fill: Callable[[zipfile.ZipFile], None]) -> Write:
    """A zip file instead of the folder, with something more in it."""

    def write(folder: Path, train: np.ndarray) -> None:
        with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
            fill(archive)
        empty(folder, train)
        folder.rmdir()

    return write


def link_in_zip(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("model.py")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def billion_zeros(archive: zipfile.ZipFile) -> None:
    with archive.open("zeros.py", "w", force_zip64=True) as file:
        for _ in range(1000):
            file.write(bytes(1_000_000))


def empty(folder: Path, _: np.ndarray) -> None:
    for path in folder.iterdir():
        path.unlink()


def damaged_zip(folder: Path, train: np.ndarray) -> None:
    empty(folder, train)
    folder.rmdir()
    folder.with_suffix(".zip").write_bytes(b"PK\3\4 broken")


def damaged_lzma(folder: Path, train: np.ndarray) -> None:
    as_zip(lambda archive: archive.writestr("model.py", os.urandom(3000), zipfile.ZIP_LZMA))(folder, train)
    content = bytearray(folder.with_suffix(".zip").read_bytes())
    start = content.index(b"model.py") + 20
    content[start : start + 80] = bytes(80)
    folder.with_suffix(".zip").write_bytes(content)


def pipe_as_zip(folder: Path, train: np.ndarray) -> None:
    empty(folder, train)
    folder.rmdir()
    os.mkfifo(folder.with_suffix(".zip"))


class Bomb:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch /tmp/pickle-bomb-went-off",)


def pickle_bomb(folder: Path, _: np.ndarray) -> None:
    torch.save({"model": Bomb()}, folder / "VAE0label.pt")


def damaged_checkpoint(folder: Path, _: np.ndarray) -> None:
    (folder / "VAE0label.pt").write_bytes(b"PK\3\4 broken")


def no_checkpoint(folder: Path, _: np.ndarray) -> None:
    (folder / "VAE0label.pt").unlink()


def other_task(folder: Path, train: np.ndarray) -> None:
    (folder / "VAE0label.pt").write_bytes(checkpoint("Genwithlabel", train))


def lie_about_latent_dim(folder: Path, train: np.ndarray) -> None:
    (folder / "VAE0label.pt").write_bytes(checkpoint("VAE0label", train, latent_dim=40))
    (folder / "hyperparams.json").write_text('{"latent_dim": 1}')


def store_training_set(folder: Path, train: np.ndarray) -> None:
    for task in ("VAE0label", "Genwithlabel"):
        (folder / f"{task}.pt").write_bytes(checkpoint(task, train, stored=torch.from_numpy(train)))


def link(folder: Path, _: np.ndarray) -> None:
    (folder / "model.py").symlink_to("/etc/passwd")


def fifo(folder: Path, _: np.ndarray) -> None:
    os.mkfifo(folder / "model.py")


def own_grade_py(folder: Path, _: np.ndarray) -> None:
    (folder / "grade.py").write_text("print('total 40.00 of 40')")


# --- The cases ----------------------------------------------------------------------------------

TAKES_ALL = {
    "endless loop": ends("timeout", "exceeded the time limit", encode="while True: pass"),
    "endless loop that nothing stops": ends(
        "timeout",
        "exceeded the time limit",
        encode="""
            for number in range(1, 64):
                try: signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError): pass
            while True:
                try: time.sleep(0.01)
                except BaseException: pass
        """,
    ),
    "import that takes for ever": ends("timeout", "exceeded the time limit", top="time.sleep(10 ** 6)"),
    "fork bomb": ends("error|memory", "processes|memory|temporarily", encode="while True: os.fork()"),
    "thread bomb": ends(
        "error|memory",
        "processes|thread",
        encode="while True: threading.Thread(target=time.sleep, args=(99,)).start()",
    ),
    "100 GB of memory": ends("memory", "memory", encode="torch.ones(25 * 10 ** 9)"),
    "memory bit by bit": ends(
        "memory", "memory", encode="kept = []\nwhile True: kept.append(torch.ones(10 ** 7))"
    ),
    "100 GB file": ends(
        "error",
        "File too large|No space",
        encode="""
            with open("/tmp/f", "wb") as file:
                while True: file.write(bytes(10 ** 6))
        """,
    ),
    "many files": ends(
        "error|memory",
        "No space|memory",
        encode="""
            for i in range(10 ** 6):
                with open(f"/tmp/{i}", "wb") as file: file.write(bytes(10 ** 6))
        """,
    ),
    "many empty files": ends(
        "error", "limit of 1000 files", encode="for i in range(10 ** 7): open(f'/tmp/{i}', 'wb').close()"
    ),
    "many busy processes": ends(
        "error",
        "processes and threads|temporarily",
        encode="while True: subprocess.Popen([sys.executable, '-I', '-S', '-c', 'while 1: pass'])",
    ),
    "prints 200 megabytes": honest(encode="for _ in range(200): print('x' * 10 ** 6)"),
    "deep recursion": ends("error", "RecursionError", encode="return self.encode(x)"),
}
ENDS_TOO_SOON = {
    "sys.exit": ends("error", "ended the process.*SystemExit", encode="sys.exit(0)"),
    "os._exit": ends("error", "ended with code 0 and without a result", encode="os._exit(0)"),
    "os.abort": ends("error", "ended with code", encode="os.abort()"),
    "segfault": ends("error", "ended with code", encode="ctypes.string_at(0)"),
    "kills all it can": ends(
        "error",
        "ended with code",
        encode="""
            for pid in (1, os.getppid(), -1, os.getpid()):
                try: os.kill(pid, signal.SIGKILL)
                except OSError: pass
        """,
    ),
    "syntax error": ends("error", "submission.py, line 5: SyntaxError.*def broken", top="\ndef broken(:"),
    "missing module": ends("error", "ModuleNotFoundError.*import tensorflow", top="import tensorflow"),
    "an error of its own": ends("error", "ZeroDivisionError.*submission.py, line .*1 / 0", decode="1 / 0"),
    "an endless message": ends("error", "ValueError: x+", encode="raise ValueError('x' * 10 ** 8)"),
    "markup in a message": ends("error", "<script>", encode="raise ValueError('<script>alert(1)</script>')"),
}
LOOKS_AROUND = {
    "reads the data": must_not("""
        for place in ("DATA", "/data", "/srv", "/home", "/root", "/mnt"):
            for path in pathlib.Path(place).rglob("*.npz"):
                if "site-packages" not in str(path): raise SystemError(f"sees {path}")
    """),
    "reads a neighbour": must_not("""
        raise SystemError(open("NEIGHBOUR").read())
    """),
    "reads other processes": must_not("""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            command = open(f"/proc/{pid}/cmdline", "rb").read()
            if b"autograde.py" in command: raise SystemError("sees the grader")
    """),
    "reads passwords": must_not("""
        for path in ("/etc/passwd", "/etc/shadow"):
            if os.path.exists(path): raise SystemError(f"sees {path}")
    """),
    "calls out": must_not("""
        for host in (("127.0.0.1", PORT), ("1.1.1.1", 53)):
            try: socket.create_connection(host, timeout=2)
            except OSError: continue
            raise SystemError(f"reached {host}")
    """),
    "runs a shell": must_not("""
        for shell in ("/bin/sh", "/usr/bin/bash", "sh"):
            try: subprocess.run([shell, "-c", "true"])
            except OSError: continue
            raise SystemError(f"ran {shell}")
    """),
    "writes everywhere": must_not("""
        for top, folders, _ in os.walk("/"):
            folders[:] = [name for name in folders if name not in ("proc", "tmp", "shm")]
            try: open(os.path.join(top, "written-by-a-submission"), "w")
            except OSError: continue
            raise SystemError(f"wrote into {top}")
    """),
    "overwrites the grades": must_not("""
        open("GRADES/grades.csv", "w")
        raise SystemError("wrote")
    """),
    "becomes root": must_not("""
        for become in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.chroot("/tmp")):
            try: become()
            except OSError: continue
            raise SystemError("became root")
    """),
    "makes namespaces": must_not("""
        for flag in (0x10000000, 0x10020000, 0x40000000):
            if ctypes.CDLL(None).unshare(flag) == 0: raise SystemError("made one")
    """),
    "reads the packages' data": must_not("""
        import sklearn
        path = os.path.join(os.path.dirname(sklearn.__file__), "datasets", "data", "digits.csv.gz")
        if os.path.exists(path): raise SystemError(f"sees {path}")
    """),
    "takes memory that no limit counts": must_not("""
        import mmap
        def zeros(): return mmap.mmap(os.open("/dev/zero", os.O_RDWR), 10 ** 6)
        def segment():
            if ctypes.CDLL(None).shmget(77, 10 ** 6, 0o1666) < 0: raise OSError
        for take in (lambda: os.memfd_create("x"), lambda: mmap.mmap(-1, 10 ** 6), zeros, segment):
            try: take()
            except OSError: continue
            raise SystemError("took some")
    """),
    "leaves marks on files that others see": must_not("""
        import fcntl
        file = open(torch.__file__)
        for mark in (
            lambda: os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED),
            lambda: os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT),
            lambda: fcntl.flock(file, fcntl.LOCK_SH),
            lambda: fcntl.lockf(file, fcntl.LOCK_SH),
            lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK),
            lambda: os.utime(torch.__file__),
        ):
            try: mark()
            except OSError: continue
            raise SystemError("left one")
    """),
}
FORGES = {
    "prints a score": honest(top="""print('{"status": "ok", "score": 10}\\ntotal 40.00 of 40')"""),
    "writes to every file it holds": ends(
        "invalid|error",
        encode="""
            for fd in range(3, 64):
                try: os.write(fd, b'{"status": "ok"}\\n' + bytes(99))
                except OSError: pass
        """,
    ),
    "writes far more than was asked for": ends(
        "invalid|error",
        encode="""
            for fd in range(3, 64):
                try:
                    for _ in range(100): os.write(fd, bytes(10 ** 6))
                except OSError: pass
        """,
    ),
    "replaces numpy and torch": honest(
        encode="""
            import numpy
            from vaelab.metrics import reconstruction
            numpy.mean = numpy.square = lambda *args, **options: 0
            torch.Tensor.mean = lambda *args, **options: torch.ones(())
            reconstruction.ssim = reconstruction.mse = lambda *args: 1
        """
    ),
    "brings its own grade.py": Case(
        "ok", flag="contains a changed grade.py", honest_score=True, write=own_grade_py
    ),
}
HANDS_BACK = {
    "nan codes": ends("invalid", "codes contain nan", encode="return x.new_full((len(x), 4), torch.nan), x"),
    "codes too large": ends("invalid", "float16's maximum", encode="return x.new_full((len(x), 4), 1e9), x"),
    "infinite images": ends(
        "invalid", "nan or infinite", decode="return z.new_full((len(z), 28, 28), torch.inf)"
    ),
    "wrong shape": ends("invalid", "shape", decode="return z"),
    "wrong number of codes": ends("invalid", "shape", encode="return x.flatten(1)[:7], x"),
    "integers": ends("invalid", "float tensor", encode="return x.flatten(1).long(), x"),
    "complex numbers": ends("invalid", "float tensor", encode="return x.flatten(1).to(torch.complex64), x"),
    "a list of objects": ends("invalid", "float tensor", decode="return [object()] * len(z)"),
    "785 numbers": ends("invalid", "from 1 to 784", encode="return torch.zeros(len(x), 785), x"),
    "no numbers": ends("invalid", "from 1 to 784", encode="return torch.zeros(len(x), 0), x"),
    "images out of range": honest(decode="return (self.mean + z @ self.axes.T).view(-1, 28, 28)"),
}
WIDENS_THE_CODES = {
    "lies about latent_dim": Case("ok", write=lie_about_latent_dim, parts={"init": "self.latent_dim = 1"}),
    "the identity": Case(
        "ok", parts={"encode": "return x.flatten(1), x", "decode": "return z.view(-1, 28, 28)"}
    ),
    "two numbers in one": Case(
        "ok",
        flag="moved",
        parts={
            "encode": """
                mu, logvar = self.honest_encode(x)
                mu = (mu * 8).round().clamp(-100, 100) + 100
                return mu[:, ::2] * 256 + mu[:, 1::2], logvar[:, ::2]
            """,
            "decode": """
                low = z % 256
                z = (torch.stack([(z - low) / 256, low], dim=2).flatten(1) - 100) / 8
            """,
        },
    ),
    "a code of its batch": Case(
        "ok",
        flag="depends on the other images of its batch",
        parts={"encode": "return self.honest_encode(x - x.mean(dim=0))"},
    ),
    "decodes by chance": Case(
        "ok",
        flag="equal codes decode to different images",
        parts={"decode": "return self.honest_decode(z + torch.randn_like(z))"},
    ),
    "stores the training set": Case(
        "ok",
        flag="possible copies",
        write=store_training_set,
        parts={
            "init": "self.register_buffer('stored', torch.zeros(1283, 28, 28, dtype=torch.uint8))",
            "encode": """
                i = torch.cdist(x.flatten(1), self.stored.flatten(1) / 255).argmin(dim=1, keepdim=True)
                return torch.cat([i // 128, i % 128], dim=1).float(), i.float()
            """,
            "decode": "return self.stored[(z[:, 0] * 128 + z[:, 1]).long().clamp(0, 1282)] / 255",
            "generate": "return self.stored[torch.randint(0, 1283, (len(labels),))] / 255",
        },
    ),
}
PASSES_BY_THE_CODES = {
    "a variable": side_channel("KEPT.append(data)", "return KEPT[0]"),
    "a file": side_channel("open('/tmp/x', 'wb').write(data)", "return open('/tmp/x', 'rb').read()"),
    "shared memory": side_channel(
        "open('/dev/shm/x', 'wb').write(data)", "return open('/dev/shm/x', 'rb').read()"
    ),
    "its own folder": side_channel(
        "open(os.path.dirname(__file__) + '/x', 'wb').write(data)",
        "return open(os.path.dirname(__file__) + '/x', 'rb').read()",
    ),
    "the environment": side_channel("os.environ['X'] = data.hex()", "return bytes.fromhex(os.environ['X'])"),
    "the kernel's key ring": side_channel(
        "KEPT.append(libc.syscall(248, b'user', b'x', data[:15000], 15000, -4))",
        """
        kept = ctypes.create_string_buffer(15000)
        if libc.syscall(250, 11, libc.syscall(249, b'user', b'x', None, -4), kept, 15000) > 0: return kept.raw
        """,
    ),
    "a process left running": side_channel(
        """
        if os.fork() == 0:
            try:
                server = socket.socket(socket.AF_UNIX)
                server.bind("\\0images")
                server.listen()
                while True: server.accept()[0].sendall(data)
            finally: os._exit(0)
        """,
        """
        client = socket.socket(socket.AF_UNIX)
        client.connect("\\0images")
        return client.recv(10 ** 6)
        """,
    ),
    "a thread": side_channel(
        "threading.Thread(target=lambda: [time.sleep(0.1) or KEPT.append(data) for _ in range(99)]).start()",
        "return KEPT[0]",
    ),
    "atexit": side_channel(
        "atexit.register(lambda: open('/tmp/x', 'wb').write(data))", "return open('/tmp/x', 'rb').read()"
    ),
    "other processes' memory": side_channel(
        "KEPT.append(data)",
        """
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) not in (1, os.getpid()): return open(f"/proc/{pid}/mem", "rb").read(10 ** 6)
        """,
    ),
}
IS_NO_SUBMISSION = {
    "a pickle bomb": handed_in("invalid", "damaged, or not a checkpoint", pickle_bomb),
    "a damaged checkpoint": handed_in("invalid", "damaged, or not a checkpoint", damaged_checkpoint),
    "a checkpoint of the other task": handed_in("invalid", "is of the task Genwithlabel", other_task),
    "no checkpoint": handed_in("missing", "there is no VAE0label.pt", no_checkpoint),
    "an empty folder": handed_in("missing", "there is no submission.py", empty),
    "a link": handed_in("invalid", "not a regular file", link),
    "a pipe": handed_in("invalid", "not a regular file", fifo),
    "a zip file that leads outside": handed_in(
        "invalid", "a path outside of it", as_zip(lambda archive: archive.writestr("../../outside.py", "x"))
    ),
    "a zip file with a link": handed_in("invalid", "contains a link", as_zip(link_in_zip)),
    "a zip file of a billion zeros": handed_in("invalid", "larger than", as_zip(billion_zeros)),
    "a zip file with a nameless file": handed_in(
        "invalid", "a path outside of it", as_zip(lambda archive: archive.writestr(".", "x"))
    ),
    "a zip file whose compression is damaged": handed_in("invalid", "can't be read", damaged_lzma),
    "a zip file that is a pipe": handed_in("invalid", "not a regular file", pipe_as_zip),
    "a damaged zip file": handed_in("invalid", "not a zip file", damaged_zip),
    "an honest zip file": Case("ok", honest_score=True, write=as_zip(lambda archive: None)),
    'new\nline, "quotes" & <b>ünï 学生': honest(),
    "=HYPERLINK(1)": honest(),
}
CASES = {
    **TAKES_ALL,
    **ENDS_TOO_SOON,
    **LOOKS_AROUND,
    **FORGES,
    **HANDS_BACK,
    **WIDENS_THE_CODES,
    **PASSES_BY_THE_CODES,
    **IS_NO_SUBMISSION,
}


def write_class(root: Path, train: np.ndarray, cases: dict[str, Case], places: dict[str, str]) -> None:
    """Write the submissions of `cases` into `root`. places: what stands in their code for real paths."""
    for name, case in cases.items():
        folder = root / name
        folder.mkdir(parents=True)
        code = source(**case.parts)
        for placeholder, place in places.items():
            code = code.replace(placeholder, place)
        (folder / "submission.py").write_text(code)
        (folder / "VAE0label.pt").write_bytes(checkpoint("VAE0label", train))
        if case.write:
            case.write(folder, train)
