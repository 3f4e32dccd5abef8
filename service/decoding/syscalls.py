"""Takes from this process every system call that decoding does not need (Linux's seccomp).

What a picture brought into a decoder can then open no file and no connection, start and end no
process, and see no other's memory. A call that is not allowed fails with EPERM; none kills, so that
a C library that tries a newer call first goes on with an older one. Without a library: the filter
is a list of numbers, and the kernel has taken them this way since Linux 3.5.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator

# fmt: off
_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35,
    "getitimer": 36, "setitimer": 38, "getpid": 39, "sendto": 44, "recvfrom": 45, "exit": 60,
    "uname": 63, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131,
    "gettid": 186, "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219,
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "tgkill": 234, "getrandom": 318, "membarrier": 324, "rseq": 334,
}
_AARCH64 = {
    "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "fstat": 80,
    "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101, "getitimer": 102,
    "setitimer": 103, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
    "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "tgkill": 131,
    "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
    "uname": 160, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178,
    "sysinfo": 179, "sendto": 206, "recvfrom": 207, "brk": 214, "munmap": 215, "mremap": 216,
    "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "membarrier": 283, "rseq": 293,
}
# fmt: on
MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
"""AUDIT_ARCH of a machine, and its numbers."""

# Of linux/bpf_common.h, linux/seccomp.h and linux/prctl.h.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCH, _FIRST, _THIRD = 0, 4, 16, 32
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_PROT_EXEC = 4


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def keep_few() -> bool:
    """Keep the calls that decoding needs, from now on and for good; whether this system could.

    The process must have one thread.
    """
    if sys.platform != "linux" or os.uname().machine not in MACHINES or sys.maxsize < 2**32:
        return False
    lines = list(_lines(*MACHINES[os.uname().machine], os.getpid()))
    code = b"".join(struct.pack("<HBBI", *line) for line in lines)
    program = _Program(len(lines), code)
    prctl = ctypes.CDLL(None).prctl
    one, zero, filtering = map(ctypes.c_ulong, (1, 0, _FILTER))
    if prctl(_NO_NEW_PRIVS, one, zero, zero, zero) != 0:
        return False
    failed: int = prctl(_SET_SECCOMP, filtering, ctypes.byref(program), zero, zero)
    return failed == 0


def _lines(arch: int, numbers: dict[str, int], own_pid: int) -> Iterator[tuple[int, int, int, int]]:
    """The filter: operation, lines to skip if true, if false, operand.

    Calls of another architecture (of 32 bits, or x32, whose numbers are far higher) are refused.
    """
    yield _LOAD, 0, 0, _ARCH
    yield _EQUAL, 1, 0, arch
    yield _RETURN, 0, 0, _REFUSE
    yield _LOAD, 0, 0, _NUMBER
    for name, number in numbers.items():
        match name:
            case "tgkill":  # abort() ends the process so; nobody else
                yield _EQUAL, 0, 4, number
                yield _LOAD, 0, 0, _FIRST
                yield _EQUAL, 0, 1, own_pid
                yield _RETURN, 0, 0, _ALLOW
                yield _RETURN, 0, 0, _REFUSE
            case "mmap" | "mprotect":  # no memory becomes code
                yield _EQUAL, 0, 4, number
                yield _LOAD, 0, 0, _THIRD
                yield _ANY_BIT, 1, 0, _PROT_EXEC
                yield _RETURN, 0, 0, _ALLOW
                yield _RETURN, 0, 0, _REFUSE
            case _:
                yield _EQUAL, 0, 1, number
                yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _REFUSE
