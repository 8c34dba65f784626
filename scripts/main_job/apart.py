"""Inside a landmark's network namespace: the two ways out that it has, and the landmark itself until it is ended.

    unshare --user --map-root-user --net python -m scripts.main_job.apart FOLDER CONTROL_PORT ANSWER_PORT CONFIG

The namespace has a loopback of its own and nothing else. What the landmark sends to CONTROL_PORT (TCP) and ANSWER_PORT
(UDP) of that loopback leaves through Unix sockets in FOLDER, at whose other ends `line.Line` stands.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

from scripts.main_job.line import BACK, DATAGRAM_BYTES, OUT, STREAM
from scripts.main_job.processes import program
from scripts.main_job.relay import pump

ENDED_WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""A signal ends this process alone; what it started would go on."""


def carry_streams(folder: Path, port: int) -> None:
    """Every connection to the port goes out through the stream socket."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_carry, args=(near, folder / STREAM), daemon=True).start()


def carry_datagrams(folder: Path, port: int) -> None:
    """Datagrams to the port go out, and what comes back goes to whoever asked last: one session runs at a time."""
    asker = ("127.0.0.1", 0)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", port))
        far.bind(str(folder / BACK))

        def back() -> None:
            while True:
                packet = far.recv(DATAGRAM_BYTES)
                with contextlib.suppress(OSError):
                    near.sendto(packet, asker)

        threading.Thread(target=back, daemon=True).start()
        while True:
            packet, asker = near.recvfrom(DATAGRAM_BYTES)
            with contextlib.suppress(OSError):
                far.sendto(packet, str(folder / OUT))


def _carry(near: socket.socket, path: Path) -> None:
    with contextlib.suppress(OSError), near, socket.socket(socket.AF_UNIX) as far:
        far.connect(str(path))
        pump(near, far)


def main() -> int:
    """Run the landmark; its exit status."""
    folder, control_port, answer_port, config = sys.argv[1:5]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for carry, port in ((carry_streams, control_port), (carry_datagrams, answer_port)):
        threading.Thread(target=carry, args=(Path(folder), int(port)), daemon=True).start()
    landmark = [*program("sekisho_guarantor"), "landmark", "run", "--config", config]
    return subprocess.run([*ENDED_WITH_US, *landmark], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
