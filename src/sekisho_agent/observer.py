"""The agent's side of a listener outside the site: nonces told in advance, and the signed report fetched at the end.

A listener that does not answer stops no attempt: there is then no report, and nothing is claimed.
"""

from __future__ import annotations

import secrets
import socket
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_agent import clock
from sekisho_agent.canaries import Target
from sekisho_agent.config import ListenerConfig
from sekisho_agent.engines.contract import Watch
from sekisho_agent.errors import ConfigError
from sekisho_verify.canonical import to_base64url
from sekisho_verify.errors import VerifyError
from sekisho_verify.observation import PROTOCOLS, WAYS, read_observation
from sekisho_wire.observing import (
    CLOSE,
    FRAME_BYTES_MAX,
    OPEN,
    Asked,
    Expected,
    frame,
    is_opened,
    nonce_digest,
    unframe,
    write_request,
)
from sekisho_wire.signing import SealError, decode_public_key

NONCE_BYTES: Final = 12
ANSWER_SECONDS_MAX: Final = 5.0
PREFIX: Final = "listener_"
"""What a canary's name begins with that goes to a listener; its protocol follows."""

log = structlog.get_logger(__name__)


class Observer:
    """Speaks to one listener with this agent's key; for any thread."""

    def __init__(self, config: ListenerConfig, key: Ed25519PrivateKey) -> None:
        """ConfigError `config.listener` where the listener's key is none."""
        try:
            self._listener = decode_public_key(config.key).public_bytes_raw()
        except SealError as error:
            raise ConfigError("config.listener", f"the listener's key: {error.detail}") from error
        self._config = config
        self._sign = key.sign
        self._agent = key.public_key().public_bytes_raw()

    def open(self, attempt: str, token: int, *, nodes: int = 1) -> Watch | None:
        """Canaries for one attempt that the listener waits for now; None where it does not answer."""
        try:
            host = socket.gethostbyname(self._config.host)
            watches = [Watch(self._targets(host), self._targets(host)) for _ in range(nodes)]
            expected = {
                way: {protocol: _digests(watches, way, protocol) for protocol in PROTOCOLS} for way in WAYS
            }
            asked = self._asked(OPEN, attempt, token, expected)
            opened = is_opened(self._ask(asked), asked, self._listener)
        except (OSError, VerifyError) as error:
            log.warning(
                "listener.not_opened", attempt=attempt, error=type(error).__name__, detail=str(error)[:200]
            )
            return None
        if not opened:
            log.warning("listener.not_opened", attempt=attempt, error="not the listener's answer")
            return None
        return Watch(watches[0].outside, watches[0].inside, tuple(watches[1:]))

    def close(self, attempt: str, token: int) -> str:
        """The listener's report in base64url; empty where there is none of this attempt."""
        try:
            report = self._ask(self._asked(CLOSE, attempt, token, {}))
            seen = read_observation(report)
        except (OSError, VerifyError) as error:
            log.warning(
                "listener.no_report", attempt=attempt, error=type(error).__name__, detail=str(error)[:200]
            )
            return ""
        if (seen.key, seen.agent, seen.attempt, seen.token) != (self._listener, self._agent, attempt, token):
            log.warning("listener.other_report", attempt=attempt)
            return ""
        return to_base64url(report)

    def _targets(self, host: str) -> dict[str, Target]:
        ports = {"tcp": self._config.tcp, "udp": self._config.udp, "dns": self._config.dns}
        return {
            f"{PREFIX}{name}": {"address": [host, ports[name]], "nonce": secrets.token_hex(NONCE_BYTES)}
            for name in PROTOCOLS
        }

    def _asked(self, kind: str, attempt: str, token: int, expected: Expected) -> Asked:
        time_ms = clock.now_ms()
        return Asked(kind, self._agent, attempt, token, time_ms, expected)

    def _ask(self, asked: Asked) -> bytes:
        """The sealed answer. OSError where none comes in time, or a refusal does."""
        give_up = clock.monotonic() + ANSWER_SECONDS_MAX
        address = (self._config.host, self._config.tcp)
        with socket.create_connection(address, ANSWER_SECONDS_MAX) as connection:
            connection.sendall(frame(write_request(asked, self._sign)))
            received = b""
            while (content := unframe(received)) is None:
                connection.settimeout(max(0.01, give_up - clock.monotonic()))
                more = connection.recv(FRAME_BYTES_MAX)
                if not more:
                    raise OSError("the listener hung up")
                received += more
        return content


def _digests(watches: list[Watch], way: str, protocol: str) -> str | list[str]:
    """What the listener is told for one way and protocol: a digest, or for a gang one for each node."""
    targets = [(watch.outside if way == WAYS[0] else watch.inside)[PREFIX + protocol] for watch in watches]
    told = [nonce_digest(target["nonce"].encode()) for target in targets]
    return told if len(told) > 1 else told[0]
