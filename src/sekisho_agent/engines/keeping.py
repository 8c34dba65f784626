"""The descriptors between a node's wall and its keeper outside: the overlay's interface comes out, its files go in."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho_agent import peers, wall
from sekisho_agent.interpreter import base_interpreter

DEVICE: Final = Path("/dev/net/tun")
DESCRIPTOR_BYTES: Final = array.array("i").itemsize
PROBE_SECONDS_MAX: Final = 20.0
StartProcess = Callable[[list[str], tuple[int, ...]], subprocess.Popen[bytes]]


class GangEnds:
    """Made before the wall of one node, for the length of its start."""

    def __init__(self, node: peers.Node) -> None:
        """OSError where the machine has no such device."""
        device = os.open(DEVICE, os.O_PATH | os.O_CLOEXEC)
        self._ours, keeper = socket.socketpair()
        self.descriptors = wall.GangDescriptors(
            keeper=keeper.detach(),
            device=device,
            hosts=readable(peers.hosts(node.nodes)),
            host_file=readable(peers.host_file(node)),
        )

    @property
    def theirs(self) -> tuple[int, ...]:
        """To be inherited by the wall, then closed here."""
        gang = self.descriptors
        return gang.keeper, gang.device, gang.hosts, gang.host_file

    def receive(self, take: Callable[[int], None]) -> None:
        """Hand the interface on in a thread, once PID 1 has made it; nothing comes where PID 1 failed to."""
        threading.Thread(target=self._receive, args=(take,), name="peers-interface", daemon=True).start()

    def wait(self) -> int | None:
        """The interface, or None when the wall ended without one."""
        with self._ours:
            size = socket.CMSG_SPACE(DESCRIPTOR_BYTES)
            _, found, _, _ = self._ours.recvmsg(1, size, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in found:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                return array.array("i", content[:DESCRIPTOR_BYTES])[0]
        return None

    def _receive(self, take: Callable[[int], None]) -> None:
        interface = self.wait()
        if interface is not None:
            take(interface)


def readable(content: bytes) -> int:
    """A descriptor from which exactly this can be read, once."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as file:
        file.write(content)
    return read_end


def hindrance(bubblewrap: Path, start_process: StartProcess) -> str:
    """Why no wall of this machine can be a gang's node, found by making one; empty where it can."""
    plan = wall.WallPlan(
        bubblewrap=bubblewrap,
        interpreter=base_interpreter(),
        image=None,
        mounts=(),
        tmp_bytes=1 << 20,
        payload_uid=wall.PAYLOAD_UID_FIRST,
        as_root=os.geteuid() == 0,
        node=peers.Node(rank=0, nodes=2),
    )
    try:
        ends = GangEnds(peers.Node(rank=0, nodes=2))
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    orders, reports, info = readable(b""), os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)
    accounts = readable(wall.account_file(plan))
    theirs = (orders, reports, info, accounts, *ends.theirs)
    descriptors = wall.WallDescriptors(info=info, accounts=accounts, orders=orders, reports=reports)
    try:
        process = start_process(wall.arguments(plan, descriptors, ends.descriptors), theirs)
    except OSError as error:
        return f"the wall: {error.strerror}"
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    try:
        said, _ = process.communicate(timeout=PROBE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    interface = ends.wait()
    if interface is None:
        return said.decode(errors="replace").strip().rpartition("\n")[2][:200] or "no interface"
    os.close(interface)
    return ""
