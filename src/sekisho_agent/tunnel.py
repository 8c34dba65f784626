"""Inside the wall of a gang's node: PID 1 makes the overlay's interface, hands it out, and gives up the right to.

Standard library only; all of it happens before PID 1 reads its order, so before anything of the job is here. The
interface belongs to the network namespace; its other end, a descriptor, goes to the keeper outside, who carries packets
between the nodes of one attempt. There is no route but that of the overlay's own network.

The device arrives as a descriptor opened without rights (O_PATH), so that no device file is shown to the payload; the
interface lies in the namespace of whoever opens it for good, which is PID 1. Numbers of requests and flags are those of
linux/if_tun.h, linux/sockios.h, linux/if.h, linux/capability.h and linux/prctl.h.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

TUNSETIFF: Final = 0x400454CA
IFF_TUN_WITHOUT_HEADER: Final = 0x0001 | 0x1000
SIOCSIFFLAGS: Final = 0x8914
SIOCSIFADDR: Final = 0x8916
SIOCSIFNETMASK: Final = 0x891C
SIOCSIFMTU: Final = 0x8922
IFF_UP_RUNNING: Final = 0x1 | 0x40
CAP_NET_ADMIN: Final = 12
CAPABILITY_VERSION: Final = 0x20080522
CAPABILITY_WORDS: Final = 2
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_LOWER: Final = 3
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CLONE_NEWUSER: Final = 0x1000_0000
USER_NAMESPACES_MAX: Final = "/proc/sys/user/max_user_namespaces"

libc = ctypes.CDLL(None, use_errno=True)


def hand_out(words: list[str]) -> None:
    """Make the interface and hand its descriptor out.

    `words` are, as text: the descriptor of a socket to the keeper, that of the device, name, address, mask and MTU of
    the interface, and the payload's user id, or nothing where this process is root outside as well.
    """
    keeper, device, name, address, mask, mtu, uid = words
    interface = _make(int(device), name)
    _configure(name, address, mask, int(mtu))
    with socket.socket(fileno=int(keeper)) as channel:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [interface]))
        channel.sendmsg([b"t"], [rights])
    os.close(interface)
    os.close(int(device))
    if uid:
        _become_nobody(uid)
    else:
        _give_up(CAP_NET_ADMIN)


def _make(device: int, name: str) -> int:
    interface = os.open(f"/proc/self/fd/{device}", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(interface, TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), IFF_TUN_WITHOUT_HEADER))
    return interface


def _configure(name: str, address: str, mask: str, mtu: int) -> None:
    encoded = name.encode("ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for request, text in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, mask)):
            number = socket.inet_aton(text)
            fcntl.ioctl(any_socket, request, struct.pack("16sHH4s16x", encoded, socket.AF_INET, 0, number))
        fcntl.ioctl(any_socket, SIOCSIFMTU, struct.pack("16si20x", encoded, mtu))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", encoded, IFF_UP_RUNNING))


def _become_nobody(uid: str) -> None:
    """A plain user's namespace: into one more, that of the payload's user, with no capability and none to be made.

    What bubblewrap does by itself for a wall without an interface: rights over the network namespace stay behind, in
    the user namespace that owns it.
    """
    _write(USER_NAMESPACES_MAX, "1")
    _checked(libc.unshare(CLONE_NEWUSER))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} 0 1")
    _write("/proc/self/gid_map", f"{uid} 0 1")
    _checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _set_capabilities(lambda _held, _word: 0)


def _give_up(capability: int) -> None:
    """One capability out of every set from which it could come back."""
    _checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, capability, 0, 0))
    word, bit = divmod(capability, 32)
    _set_capabilities(lambda held, number: held & ~(1 << bit) if number == word else held)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _set_capabilities(change: Callable[[int, int], int]) -> None:
    header, sets = _Header(CAPABILITY_VERSION, 0), (_Sets * CAPABILITY_WORDS)()
    _checked(libc.capget(ctypes.byref(header), sets))
    for number, one in enumerate(sets):
        one.effective = change(one.effective, number)
        one.permitted = change(one.permitted, number)
        one.inheritable = change(one.inheritable, number)
    _checked(libc.capset(ctypes.byref(header), sets))


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 (no pathlib in PID 1)
        file.write(text)
