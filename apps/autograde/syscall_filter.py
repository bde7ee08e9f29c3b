"""A seccomp filter: the kernel refuses the system calls that running a model does not need.

These calls create namespaces, allocate memory that no limit counts, or use key rings, file locks and the page
cache, through which two sandboxes could communicate. They fail with "operation not permitted".
"""

from __future__ import annotations

import platform
import struct

# System call numbers on x86_64 and aarch64, of Linux's syscall_64.tbl and include/uapi/asm-generic/unistd.h.
CALLS = {
    # Namespaces, mounts, other processes.
    "chroot": (161, 51),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "mount": (165, 40),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "setns": (308, 268),
    "setsid": (112, 157),  # the scheduler gives each session an equal share of the CPU
    "umount2": (166, 39),
    "unshare": (272, 97),
    # Memory that is not counted as that of a process.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
    # State that the kernel keeps per user or per file, and so shares between sandboxes.
    "add_key": (248, 217),
    "cachestat": (451, 451),
    "fadvise64": (221, 223),
    "fanotify_init": (300, 262),
    "flock": (73, 32),
    "inotify_init1": (294, 26),
    "keyctl": (250, 219),
    "mincore": (27, 232),
    "preadv2": (327, 286),
    "readahead": (187, 213),
    "request_key": (249, 218),
    "syslog": (103, 116),
    # Large and rarely used parts of the kernel.
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
}
# Refused with some arguments only: file locks, new namespaces, shared anonymous memory.
CLONE = (56, 220)
FCNTL = (72, 25)
MMAP = (9, 222)
CLONE3 = 435
NEW_NAMESPACES = 0x7E02_0000  # CLONE_NEW*, of clone's flags
LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1026)  # of fcntl: F_GETLK ... F_OFD_SETLKW, F_SETLEASE, F_NOTIFY
SHARED, ANONYMOUS = 0x01, 0x20  # of mmap's flags
ARCHITECTURES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}  # column of CALLS, AUDIT_ARCH_*

# Of linux/seccomp.h, and of classic BPF, linux/bpf_common.h.
Instruction = tuple[int, int, int, int]  # operation, instructions to skip if true, if false, value
ALLOW, KILL, FAIL = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
EPERM, ENOSYS = 1, 38
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, (16, 24, 32, 40)  # offsets in struct seccomp_data


def program(machine: str | None = None) -> bytes | None:
    """The filter for bubblewrap's --seccomp; None if the system call numbers of `machine` are not known."""
    column, architecture = ARCHITECTURES.get(machine or platform.machine(), (None, 0))
    if column is None:
        return None
    fail = [(RETURN, 0, 0, FAIL | EPERM)]
    allow = [(RETURN, 0, 0, ALLOW)]

    def for_call(number: int, checks: list[Instruction]) -> list[Instruction]:
        """Instructions that run `checks` if the system call is `number`."""
        return [(EQUAL, 0, len(checks), number), *checks]

    code = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, 0x4000_0000),  # x32's numbers for the same calls
        (RETURN, 0, 0, KILL),
    ]
    code += for_call(
        CLONE3, [(RETURN, 0, 0, FAIL | ENOSYS)]
    )  # its flags are in memory, which a filter can't read; libc then uses clone
    namespaces = [(LOAD, 0, 0, ARGUMENT[0]), (ANY_BIT, 0, 1, NEW_NAMESPACES), *fail, *allow]
    code += for_call(CLONE[column], namespaces)
    locks = [(LOAD, 0, 0, ARGUMENT[1])]
    for command in LOCKS:
        locks += [(EQUAL, 0, 1, command), *fail]
    code += for_call(FCNTL[column], locks + allow)
    shared = [(LOAD, 0, 0, ARGUMENT[3]), (ANY_BIT, 0, 2, ANONYMOUS), (ANY_BIT, 0, 1, SHARED), *fail, *allow]
    code += for_call(MMAP[column], shared)
    for numbers in CALLS.values():
        code += for_call(numbers[column], fail)
    code += allow
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
