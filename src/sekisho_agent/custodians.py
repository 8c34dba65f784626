"""The way to a custodian, whose address is judged before a byte goes.

Somebody has registered it at the control plane. Who could send an agent anywhere could have it knock at any door of the
site's own networks.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

import httpx2
from typing_extensions import override

from sekisho_agent.client import check_control_url, trusted, within
from sekisho_agent.destinations import permitted
from sekisho_agent.errors import UnreachableError
from sekisho_wire.custody import CustodyError

_HTTPS_PORT: Final = 443
look_up = socket.getaddrinfo


def open_custodian(url: str, *, seconds: float, ca_file: Path | None, permit_private: bool) -> httpx2.Client:
    """A client for one question, bound to the address that was judged: no later answer of the name counts.

    CustodyError `custody.address` for a name that leads nowhere an agent may call, ConfigError as `open_http`,
    UnreachableError for a name that leads nowhere at all.
    """
    base = check_control_url(url)
    parts = httpx2.URL(base)
    address = _judged(parts.host, parts.port or _HTTPS_PORT, permit_private=permit_private)
    way = _Bound(address, httpx2.HTTPTransport(verify=trusted(base, ca_file), trust_env=False))
    return httpx2.Client(base_url=base, timeout=within(seconds), transport=way, trust_env=False)


def _judged(host: str, port: int, *, permit_private: bool) -> str:
    try:
        found = look_up(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError("agent.unreachable", "the custodian's name leads nowhere") from error
    allowed = [str(each[4][0]) for each in found if permitted(str(each[4][0]), permit_private=permit_private)]
    if not allowed:
        raise CustodyError(
            "custody.address", "the custodian's name leads to an address that is not to be called"
        )
    return allowed[0]


class _Bound(httpx2.BaseTransport):
    """Connects to one address, and expects there the certificate of the name that was asked for."""

    def __init__(self, address: str, way: httpx2.BaseTransport) -> None:
        self._address = address
        self._way = way

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=self._address)
        return self._way.handle_request(request)

    @override
    def close(self) -> None:
        self._way.close()
