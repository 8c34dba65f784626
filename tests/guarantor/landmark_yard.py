"""A landmark and a site in two network namespaces, joined by a line of a given length; ends with its transcripts.

    unshare --user --map-root-user --net python landmark_yard.py MILLISECONDS [ASKED]

Both ends are whole network stacks of the kernel. Between them is a TUN device in each namespace and a process that
holds every IP packet for MILLISECONDS in each direction. Prints one base64 transcript for each landmark, then ends.
ASKED is an `Asked` of `landmark_world` as JSON.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import structlog

from sekisho_agent.config import LocationConfig, LocationLandmark
from sekisho_agent.location import LocationService
from sekisho_verify import canonical
from tests.guarantor.landmark_world import Asked, landmarks
from tests.support.delayline import Held
from tests.verify.places import key_of, public_of

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
HERE, THERE, PORT = "10.77.0.1", "10.77.0.2", 7700

_libc = ctypes.CDLL(None, use_errno=True)


def device(address: str, peer: str) -> int:
    """An open TUN device of the namespace that this process is in, with its address."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"line0", IFF_TUN | IFF_NO_PI))
    for arguments in (
        ["address", "add", address, "peer", peer, "dev", "line0"],
        ["link", "set", "line0", "up"],
        ["link", "set", "lo", "up"],
    ):
        subprocess.run(["ip", *arguments], check=True)
    os.set_blocking(descriptor, False)
    return descriptor


def call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)


def line(near: int, far: int, seconds: float) -> NoReturn:
    held = Held(seconds)
    nothing: list[int] = []
    while True:
        ready, _, _ = select.select([near, far], nothing, nothing, held.patience())
        arrived = time.monotonic()
        for source, target in ((near, far), (far, near)):
            if source in ready:
                with contextlib.suppress(OSError):
                    held.put(arrived, partial(os.write, target, os.read(source, 65536)))
        held.let_go()


def asked() -> Asked:
    return Asked(**json.loads(sys.argv[2])) if len(sys.argv) > 2 else Asked()


def site() -> NoReturn:
    config = LocationConfig(
        listen=f"{THERE}:{PORT}",
        landmarks=[
            LocationLandmark(name=name, key=canonical.to_base64url(public_of(name)))
            for name in asked().organisations
        ],
    )
    LocationService(config, key_of(asked().agent)).start()
    while True:
        signal.pause()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    near = device(HERE, THERE)
    call("unshare", CLONE_NEWNET)
    far = device(THERE, HERE)
    children = [_child(site)]
    call("setns", here, CLONE_NEWNET)
    children.append(_child(partial(line, near, far, float(sys.argv[1]) / 1000)))
    try:
        for each in landmarks(PORT, host=THERE, asked=asked()):
            data, _ = each.measure()
            sys.stdout.write(base64.b64encode(data).decode() + "\n")
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _child(work: Callable[[], NoReturn]) -> int:
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)
    return child


if __name__ == "__main__":
    main()
