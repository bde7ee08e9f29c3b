"""A filter of system calls, made by libseccomp: a sandboxed step may use those that it needs, and no others.

What is not in `ALLOWED` fails with "operation not permitted". So there are no sockets, no pipes, no
namespaces, no key rings, no file locks, no change of a file's times, no control of the file cache, no
numbers about the whole machine: whatever one step could leave in the kernel for a later one, or read about
others. The numbers of the calls are libseccomp's (https://github.com/seccomp/libseccomp), for the
architecture that this runs on.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import tempfile

LIBRARY = "libseccomp.so.2"  # of Debian's and Ubuntu's libseccomp2, which apt and systemd need too

ALLOWED = """
# Files that are mounted, and those in /tmp.
access chdir close close_range creat dup dup2 dup3 faccessat faccessat2 fchdir fdatasync fstat fstatat64 fsync
ftruncate getcwd getdents getdents64 lseek lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv
pwrite64 pwritev read readlink readlinkat readv rename renameat renameat2 rmdir stat statx truncate umask
unlink unlinkat write writev
# Memory.
brk mprotect mremap munmap msync
# This process and its threads.
arch_prctl capget execve exit exit_group futex get_robust_list getegid geteuid getgid getgroups getpgrp getpid
getppid getresgid getresuid getrlimit gettid getuid kill membarrier prlimit64 restart_syscall rseq
sched_getaffinity sched_yield set_robust_list set_tid_address setrlimit tgkill tkill wait4 waitid
# Signals and timers.
alarm getitimer setitimer pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend
rt_sigtimedwait sigaltstack
# `apply_limits` becomes the user of the step. Without the capability, which no user has, they change nothing.
setgroups setresgid setresuid
# Waiting, time, random numbers, the name of the system.
clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time epoll_create1 epoll_ctl epoll_pwait
epoll_wait eventfd2 poll ppoll pselect6 select getrandom uname
"""
# Allowed with some values of an argument only, by its index.
ALLOWED_VALUES: dict[str, tuple[int, tuple[int, ...]]] = {
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: no locks, leases, sizes of pipes.
    "fcntl": (1, (0, 1, 2, 3, 4, 1030)),
    # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
    "ioctl": (1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    # MADV_NORMAL, RANDOM, SEQUENTIAL, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, DONTDUMP: not MERGEABLE, PAGEOUT.
    "madvise": (2, (0, 1, 2, 4, 8, 14, 15, 16)),
    # PR_{GET,SET}_DUMPABLE, PR_{SET,GET}_NAME, PR_{SET,GET}_NO_NEW_PRIVS.
    "prctl": (0, (3, 4, 15, 16, 38, 39)),
}
CLONE_THREAD, NEW_NAMESPACES = 0x0001_0000, 0x7E02_0080
MAP_SHARED, MAP_ANONYMOUS, MAP_LOCKED, MAP_HUGETLB = 0x01, 0x20, 0x2000, 0x4_0000

# Of seccomp.h.
ALLOW, FAIL = 0x7FFF_0000, 0x0005_0000
EQUAL, MASKED_EQUAL = 4, 7
UNKNOWN = -1  # __NR_SCMP_ERROR


class Argument(ctypes.Structure):
    """`struct scmp_arg_cmp`: a condition on an argument of a system call."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def masked(arg: int, mask: int, value: int) -> Argument:
    """The condition that the bits `mask` of an argument are `value`."""
    return Argument(arg, MASKED_EQUAL, mask, value)


@functools.cache
def library() -> ctypes.CDLL:
    """libseccomp. Raises: OSError if it is not installed."""
    lib = ctypes.CDLL(LIBRARY)
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = (ctypes.c_uint32,)
    lib.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_rule_add_array.argtypes = (
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.POINTER(Argument),
    )
    lib.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    lib.seccomp_release.argtypes = (ctypes.c_void_p,)
    lib.seccomp_release.restype = None
    return lib


def library_problem() -> str | None:
    """The reason why libseccomp can't be used, and what to do; None if it can."""
    try:
        library()
    except OSError as error:
        return f"libseccomp is not installed ({error}): on Debian or Ubuntu, apt install libseccomp2"
    return None


class Filter:
    """A filter that is being built. Calls without a rule fail with EPERM."""

    def __init__(self) -> None:
        self.lib = library()
        self.context = self.lib.seccomp_init(FAIL | errno.EPERM)
        if not self.context:
            raise OSError("libseccomp could not make a filter")

    def add(self, name: str, *conditions: Argument, action: int = ALLOW) -> None:
        """Add a rule for a system call. Calls that this architecture doesn't have are left out."""
        number = self.lib.seccomp_syscall_resolve_name(name.encode())
        if number == UNKNOWN:
            return
        array = (Argument * len(conditions))(*conditions)
        code = self.lib.seccomp_rule_add_array(self.context, action, number, len(conditions), array)
        if code:
            raise OSError(-code, f"libseccomp refused the rule for {name}")

    def program(self) -> bytes:
        """The filter as a program for the kernel, in classic BPF."""
        with tempfile.TemporaryFile() as file:
            if code := self.lib.seccomp_export_bpf(self.context, file.fileno()):
                raise OSError(-code, "libseccomp could not export the filter")
            file.seek(0)
            return file.read()

    def close(self) -> None:
        """Free the memory."""
        self.lib.seccomp_release(self.context)


@functools.cache
def program() -> bytes:
    """The filter for bubblewrap's --seccomp. Raises: OSError without libseccomp."""
    made = Filter()
    try:
        for line in ALLOWED.strip().splitlines():
            for name in () if line.startswith("#") else line.split():
                made.add(name)
        for name, (index, values) in ALLOWED_VALUES.items():
            for value in values:
                made.add(name, Argument(index, EQUAL, value, 0))
        # Threads, but no processes: "try again", which is what a limit of one process answers.
        made.add("clone", masked(0, CLONE_THREAD | NEW_NAMESPACES, CLONE_THREAD))
        made.add("clone", masked(0, CLONE_THREAD, 0), action=FAIL | errno.EAGAIN)
        made.add("clone3", action=FAIL | errno.ENOSYS)  # its flags are in memory; libc then uses clone
        for name in ("fork", "vfork", "pipe", "pipe2"):  # a pipe is what Python makes before a process
            made.add(name, action=FAIL | errno.EAGAIN)
        # Memory that no limit counts, or that is taken from a pool of the whole machine, is refused.
        for bits in (MAP_SHARED, MAP_ANONYMOUS, 0):
            mask = MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED | MAP_HUGETLB
            made.add("mmap", masked(3, mask, bits))
        return made.program()
    finally:
        made.close()
