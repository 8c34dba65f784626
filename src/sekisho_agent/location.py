"""The site's side of a location proof: its agent's key answers the landmarks that its configuration names."""

from __future__ import annotations

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_agent import clock
from sekisho_agent.config import LocationConfig
from sekisho_agent.errors import ConfigError
from sekisho_wire.answering import AnswerService, Responder
from sekisho_wire.signing import SealError, decode_public_key

log = structlog.get_logger(__name__)


class LocationService(AnswerService):
    """The responder of this site, in a thread of its own from `start` to `stop`."""

    def __init__(self, config: LocationConfig, key: Ed25519PrivateKey) -> None:
        """ConfigError where the address cannot be listened on or a landmark's key is none."""
        responder = Responder(
            key, landmark_names(config), now_ms=clock.now_ms, monotonic=clock.monotonic, note=log.info
        )
        try:
            super().__init__(config.listen, responder)
        except ValueError as error:
            raise ConfigError("config.location", f"location.listen: {error}") from error


def landmark_names(config: LocationConfig) -> dict[bytes, str]:
    """Names of the landmarks by raw public key; ConfigError for a key that is none, or comes twice."""
    try:
        names = {decode_public_key(each.key).public_bytes_raw(): each.name for each in config.landmarks}
    except SealError as error:
        raise ConfigError("config.location", f"location.landmarks: {error.detail}") from error
    if len(names) != len(config.landmarks):
        raise ConfigError("config.location", "location.landmarks: the same key twice")
    return names
