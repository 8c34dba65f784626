"""Off loopback there is no plain HTTP, and a key that others can read is no key."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import socket
import ssl
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sekisho.http import Listen, Listener, serving
from sekisho.kernel.errors import SekishoError


async def _hello(request: Request) -> Response:
    return PlainTextResponse(request.url.scheme)


def test_a_body_is_sent_without_waiting_for_the_acknowledgement_of_its_head() -> None:
    with serving(APP) as listener, httpx2.Client(trust_env=False) as client:
        assert client.get(listener.url).text == "http"
        served = [
            found
            for found in gc.get_objects()
            if isinstance(found, socket.socket) and found.fileno() != -1 and _port(found) == listener.port
        ]
        assert len(served) >= 2, "the listening socket and the connection"
        kept = [found for found in served if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
        assert all(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for found in kept)


def _port(found: socket.socket) -> int:
    return int(found.getsockname()[1]) if found.family == socket.AF_INET else 0


APP = Starlette(routes=[Route("/", _hello)])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sekisho test")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2100))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", private


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104 - refused is the point
def test_plain_http_stays_on_this_machine(host: str) -> None:
    with pytest.raises(SekishoError) as raised:
        Listener(APP, Listen(host=host))
    assert raised.value.code == "server.tls_required"


def test_a_certificate_without_its_key_is_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(SekishoError) as raised:
        Listener(APP, Listen(certificate=str(certificate[0])))
    assert raised.value.code == "server.tls_required"


def test_a_key_that_others_can_read_is_refused(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    exposed = tmp_path / "key.pem"
    exposed.write_bytes(certificate[1].read_bytes())
    exposed.chmod(0o640)
    with pytest.raises(SekishoError) as raised:
        Listener(APP, Listen(certificate=str(certificate[0]), key=str(exposed)))
    assert raised.value.code == "server.key_exposed"


def test_tls(certificate: tuple[Path, Path]) -> None:
    listen = Listen(certificate=str(certificate[0]), key=str(certificate[1]))
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    with serving(APP, listen) as listener:
        assert listener.url.startswith("https://127.0.0.1:")
        with httpx2.Client(verify=trusted, trust_env=False) as client:
            assert client.get(listener.url).text == "https"
        with httpx2.Client(trust_env=False) as doubting, pytest.raises(httpx2.ConnectError):
            doubting.get(listener.url)


def test_a_taken_port_is_an_error_at_once() -> None:
    with serving(APP) as listener, pytest.raises(OSError, match="in use"):
        Listener(APP, Listen(port=listener.port))
