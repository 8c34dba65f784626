"""A site in a network namespace of its own, and everything that ever crosses its only interface written to a file.

    unshare --net python site_yard.py PORT SOCKET CAPTURE COMMAND...

The namespace has a loopback and nothing else. PORT on it leads through the Unix SOCKET to the control plane outside, so
that all that the site hears and says of it crosses the loopback as plain HTTP. CAPTURE holds each captured packet after
its length (4 bytes, big-endian). The command is run without the rights that this needed, and SIGTERM ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
ETH_P_ALL, PACKET_OUTGOING, PACKET_BYTES_MAX = 3, 4, 70_000
SO_RCVBUFFORCE = 33
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", answer)[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def capture(tap: socket.socket, path: str) -> None:
    """Each packet once: loopback shows every one on its way out as well."""
    with Path(path).open("wb", buffering=0) as file:
        while True:
            packet, sender = tap.recvfrom(PACKET_BYTES_MAX)
            if sender[2] != PACKET_OUTGOING:
                file.write(struct.pack(">I", len(packet)) + packet)


def join(one: socket.socket, other: socket.socket) -> None:
    """Both ways, until both sides have ended; in a thread of its own."""
    with one, other:
        back = threading.Thread(target=copy, args=(other, one), daemon=True)
        back.start()
        copy(one, other)
        back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def forward(server: socket.socket, path: str) -> None:
    while True:
        client, _ = server.accept()
        outside = socket.socket(socket.AF_UNIX)
        outside.connect(path)
        threading.Thread(target=join, args=(client, outside), daemon=True).start()


def main() -> int:
    port, path, target, *command = sys.argv[1:]
    raise_loopback()
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.bind(("lo", 0))
    with contextlib.suppress(OSError):  # a bigger buffer only
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    server = socket.create_server(("127.0.0.1", int(port)))
    threading.Thread(target=capture, args=(tap, target), daemon=True).start()
    threading.Thread(target=forward, args=(server, path), daemon=True).start()
    ctypes.CDLL(None).prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    site = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: site.terminate())
    return site.wait()


if __name__ == "__main__":
    os._exit(main())
