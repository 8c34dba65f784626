"""The filter on a payload's system calls, as a program for the kernel (classic BPF, seccomp(2)). Pure but for `find`.

It takes away what a payload behind a wall has no business with: namespaces inside the wall, mounts, tracing, the memory
and descriptors of other processes, keyrings, the kernel's own programs and modules, and sockets of any family but Unix,
IPv4, IPv6 and netlink (others, such as the channel between a virtual machine and its host, belong to no network
namespace). Everything else is let through, so that what a program may do depends on the kernel and not on the age of
this list.

The architecture is looked at first, because numbers mean other calls on another one: a foreign call ends the process.
On x86_64 the x32 calls, which have the same architecture, do not exist. `clone3` does not exist either, as its flags
lie in memory that a filter cannot read: C libraries then use `clone`, whose flags are looked at.

Numbers are those of the kernel's headers (asm/unistd_64.h, asm-generic/unistd.h); since 424 all architectures share
them.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

X86_64: Final = 0xC000003E
AARCH64: Final = 0xC00000B7
X32_FIRST: Final = 0x40000000
ARCHITECTURES: Final[Mapping[str, int]] = {"x86_64": X86_64, "aarch64": AARCH64}

NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
NEW_TIME: Final = 0x80
"""CLONE_NEWTIME: a flag of `unshare` alone, as in `clone` these bits are a signal."""
FAMILIES: Final = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""
PERSONALITIES: Final = (0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, 32 bits of it, its old version numbers, both, and the question which one it is."""

CLONE: Final = {"x86_64": 56, "aarch64": 220}
UNSHARE: Final = {"x86_64": 272, "aarch64": 97}
SOCKET: Final = {"x86_64": 41, "aarch64": 198}
SOCKETPAIR: Final = {"x86_64": 53, "aarch64": 199}
PERSONALITY: Final = {"x86_64": 135, "aarch64": 92}
ABSENT: Final = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435}
"""Answered as by a kernel that has never heard of them, which programs are ready for."""
REFUSED: Final[Mapping[str, tuple[int, int]]] = {
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "clock_settime": (227, 112),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "open_tree_attr": (467, 467),
}
"""Numbers on x86_64 and aarch64."""
REFUSED_X86: Final = {
    "uselib": 134,
    "ustat": 136,
    "sysfs": 139,
    "modify_ldt": 154,
    "_sysctl": 156,
    "iopl": 172,
    "ioperm": 173,
    "create_module": 174,
    "get_kernel_syms": 177,
    "query_module": 178,
}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_SECCOMP_CALL: Final = {"x86_64": 317, "aarch64": 277}
_GET_ACTION_AVAIL: Final = 2

Instruction = tuple[int, int, int, int]
"""Code, how many to skip where it holds, how many where it does not, operand."""


class Filter(NamedTuple):
    """What a payload is started with: the program (empty for none), and how reports name it."""

    program: bytes
    mechanism: str


def find(machine: str) -> Filter:
    """The filter for this kernel and machine (`os.uname().machine`), or none and why."""
    if machine not in ARCHITECTURES:
        return Filter(b"", f"none (no list of calls for {machine})"[:256])
    if not _available(machine):
        return Filter(b"", "none (the kernel has no filters)")
    program = assemble(machine)
    return Filter(program, f"filter {hashlib.sha256(program).hexdigest()[:16]}")


def assemble(machine: str) -> bytes:
    """The program for `x86_64` or `aarch64`, as the kernel takes it (`struct sock_filter`, 8 bytes each)."""
    column = list(ARCHITECTURES).index(machine)
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    refused = [numbers[column] for numbers in REFUSED.values()]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, X32_FIRST), _fail(errno.ENOSYS)]
        refused += REFUSED_X86.values()
    for number in ABSENT.values():
        code += [(_EQUAL, 0, 1, number), _fail(errno.ENOSYS)]
    for number in refused:
        code += [(_EQUAL, 0, 1, number), _fail(errno.EPERM)]
    code += _without_bits(CLONE[machine], NAMESPACES)
    code += _without_bits(UNSHARE[machine], NAMESPACES | NEW_TIME)
    code += _one_of(SOCKET[machine], FAMILIES, errno.EAFNOSUPPORT)
    code += _one_of(SOCKETPAIR[machine], FAMILIES, errno.EAFNOSUPPORT)
    code += _one_of(PERSONALITY[machine], PERSONALITIES, errno.EPERM)
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _fail(number: int) -> Instruction:
    return _RETURN, 0, 0, _ERRNO | number


def _without_bits(number: int, bits: int) -> list[Instruction]:
    """Let a call through where its first argument has none of the bits."""
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_ANY_BIT, 0, 1, bits),
        _fail(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _one_of(number: int, values: tuple[int, ...], refusal: int) -> list[Instruction]:
    """Let a call through where its first argument, an `int` to the kernel, is one of the values."""
    tests = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [
        (_EQUAL, 0, len(values) + 3, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        *tests,
        _fail(refusal),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _available(machine: str) -> bool:
    """Whether this kernel can refuse calls (Linux 4.14 and later can say so)."""
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.c_uint32(_ERRNO)
    return libc.syscall(_SECCOMP_CALL[machine], _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0
