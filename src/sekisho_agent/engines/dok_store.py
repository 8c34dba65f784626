"""Large inputs on their way to a container: an object store in the country, read through a short-lived signed address.

DOK has neither upload nor mounts. The store is the operator's, its credentials stay in this process (they come from
the machine's environment), and the container gets an address of one object that soon holds no longer.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sekisho_agent.client import check_control_url
from sekisho_agent.config import DokConfig
from sekisho_agent.errors import ConfigError, EngineError
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE


class InputStore:
    """One bucket's prefix; an object for each attempt that needs one."""

    def __init__(self, config: DokConfig) -> None:
        """ConfigError `config.invalid` unless the address is one of S3, at an https endpoint or on this machine."""
        self._seconds = datetime.timedelta(seconds=config.inputs_url_seconds)
        settings: dict[str, Any] = {}
        if config.inputs_endpoint:
            check_control_url(config.inputs_endpoint)
            settings["endpoint"] = config.inputs_endpoint
            if config.inputs_endpoint.startswith("http://"):
                settings["client_options"] = {"allow_http": True}
        if config.inputs_region:
            settings["region"] = config.inputs_region
        if not config.inputs_url.startswith("s3://"):
            raise ConfigError("config.invalid", "dok.inputs_url needs an s3 URL")
        try:
            self._store = S3Store.from_url(config.inputs_url, **settings)
        except (BaseError, ValueError) as error:
            raise ConfigError(
                "config.invalid", f"dok.inputs_url cannot be opened: {type(error).__name__}"
            ) from error

    def give(self, attempt: str, parcel: Path) -> str:
        """Store an attempt's parcel; the address from which it can be read for a while. It is a secret."""
        key = f"{attempt}.tar.gz"
        try:
            obstore.put(self._store, key, parcel)
            return obstore.sign(self._store, "GET", key, self._seconds)
        except (BaseError, OSError, ValueError) as error:
            raise EngineError(
                REASON_ENGINE_UNAVAILABLE, f"the inputs cannot be stored: {type(error).__name__}"
            ) from error

    def remove(self, attempt: str) -> None:
        """The parcel has been fetched, or will not be any more. EngineError as `give`."""
        try:
            obstore.delete(self._store, f"{attempt}.tar.gz")
        except (BaseError, OSError) as error:
            raise EngineError(
                REASON_ENGINE_UNAVAILABLE, f"the inputs cannot be removed: {type(error).__name__}"
            ) from error
