"""What the agent must remember across restarts: its identity, the sequence number of each lane, the last order.

One process owns the folder (an exclusive lock on `lock`, held until the process ends). Every file is replaced whole and
fsynced with its folder before the call returns, so that a number is never used twice: a kill between the write and the
message leaves a gap, which the control plane accepts. A file that cannot be read stops the agent; it is never guessed.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sekisho_agent.errors import StateError
from sekisho_verify import canonical
from sekisho_wire.durable import MODE_PRIVATE, replace_file
from sekisho_wire.messages import LANE_ORDER, SEQUENCED_LANES
from sekisho_wire.signing import decode_public_key

IDENTITY_FILE = "identity.json"
PENDING_KEY_FILE = "registering.key"


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this agent is. Keys are raw Ed25519 keys in base64url; `private_key` never leaves the folder."""

    agent: str
    site: str
    name: str
    control_key: str
    private_key: str

    def signing_key(self) -> Ed25519PrivateKey:
        """The key that seals this agent's messages."""
        return Ed25519PrivateKey.from_private_bytes(canonical.from_base64url(self.private_key))

    def verifying_key(self) -> Ed25519PublicKey:
        """The control plane's key, out of the registration code."""
        return decode_public_key(self.control_key)


class AgentState:
    """The open state folder. Its counters may be used from any thread."""

    def __init__(self, folder: Path, lock_descriptor: int) -> None:
        self.folder = folder
        self._lock_descriptor = lock_descriptor
        self._guard = threading.Lock()
        self._counters = {lane: _read_counter(folder, lane) for lane in (*SEQUENCED_LANES, LANE_ORDER)}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Take the folder for this process; StateError `agent.state.locked` when another process has it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE_PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StateError("agent.state.locked", "another agent runs on this state folder") from error
        return cls(folder, descriptor)

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock_descriptor)

    def identity(self) -> Identity:
        """The registered identity; StateError when there is none, or others may read the key."""
        path = self.folder / IDENTITY_FILE
        try:
            content = path.read_bytes()
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError as error:
            raise StateError("agent.state.unregistered", "this agent is not registered yet") from error
        if mode & 0o077:
            raise StateError(
                "agent.state.permissions", f"{IDENTITY_FILE} must have mode 0600, has {mode:04o}"
            )
        try:
            identity = msgspec.json.decode(content, type=Identity)
            identity.signing_key()
            identity.verifying_key()
        except Exception as error:
            raise StateError("agent.state.damaged", f"{IDENTITY_FILE} cannot be read") from error
        return identity

    def registration_key(self) -> Ed25519PrivateKey:
        """The key to register with: kept before it is used, so that a lost answer can be asked for again with it.

        StateError when the agent is registered already.
        """
        if (self.folder / IDENTITY_FILE).exists():
            raise StateError("agent.state.registered", "this agent is registered already")
        path = self.folder / PENDING_KEY_FILE
        if not path.exists():
            replace_file(path, Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StateError("agent.state.damaged", f"{PENDING_KEY_FILE} cannot be read") from error

    def save_identity(self, identity: Identity) -> None:
        """Keep the identity that a registration gave."""
        replace_file(self.folder / IDENTITY_FILE, msgspec.json.encode(identity))
        (self.folder / PENDING_KEY_FILE).unlink(missing_ok=True)

    def next_seq(self, lane: str) -> int:
        """A sequence number of this lane that was never used and never will be again."""
        with self._guard:
            number = self._counters[lane] + 1
            replace_file(self.folder / f"seq.{lane}", b"%d\n" % number)
            self._counters[lane] = number
            return number

    def take_order(self, seq: int) -> bool:
        """Whether an order is new; its number is then used up, also across restarts."""
        with self._guard:
            if seq <= self._counters[LANE_ORDER]:
                return False
            replace_file(self.folder / f"seq.{LANE_ORDER}", b"%d\n" % seq)
            self._counters[LANE_ORDER] = seq
            return True


def _read_counter(folder: Path, lane: str) -> int:
    path = folder / f"seq.{lane}"
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise StateError("agent.state.damaged", f"{path.name} cannot be read") from error
    if not text.rstrip("\n").isdecimal():
        raise StateError("agent.state.damaged", f"{path.name} holds no number")
    return int(text)
