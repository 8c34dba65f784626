"""A time-stamping authority: `openssl ts` with a certificate of its own, behind HTTP where a test wants that."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typing_extensions import override

from sekisho_verify.timestamp import Authority
from tests.support import components

_CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
clock_precision_digits = 0
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = {ess}
"""
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_usages = {"stamp": [ExtendedKeyUsageOID.TIME_STAMPING], "server": [ExtendedKeyUsageOID.SERVER_AUTH]}


def _certificate(
    name: str, key: Key, issuer: tuple[x509.Certificate, Key] | None, *, usage: str, days: int
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=min(days, 0) - 1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=usage == "ca", path_length=None), critical=True)
    )
    if usage in _usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(_usages[usage]), critical=True)
    return builder.sign(issuer[1] if issuer else key, SHA256())


@dataclass
class StampAuthority:
    """Folder, root and own certificate of one authority; `answer` is what it says to a request."""

    folder: Path
    root: x509.Certificate
    certificate: x509.Certificate
    asked: list[bytes] = field(default_factory=list)

    @classmethod
    def make(
        cls, folder: Path, *, kind: str = "ec", ess: str = "sha256", usage: str = "stamp", days: int = 10
    ) -> StampAuthority:
        """Keys and certificates of a new authority; `kind` is ec or rsa."""
        components.program("openssl", package="openssl")
        folder.mkdir(parents=True)
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = _certificate("Root", root_key, None, usage="ca", days=30)
        key: Key = (
            ec.generate_private_key(ec.SECP384R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        )
        own = _certificate("Stamps", key, (root, root_key), usage=usage, days=days)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(pem)
        (folder / "own.pem").write_bytes(own.public_bytes(Encoding.PEM))
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder, ess=ess))
        return cls(folder, root, own)

    @property
    def by_root(self) -> Authority:
        """Believed because its issuer is known."""
        return Authority("stamps", (self.root.public_bytes(Encoding.DER),))

    @property
    def by_itself(self) -> Authority:
        """Believed because its own certificate is known."""
        return Authority("stamps", (self.certificate.public_bytes(Encoding.DER),))

    def answer(self, request: bytes) -> bytes:
        """A TimeStampResp by `openssl ts`."""
        self.asked.append(request)
        query, reply = self.folder / "query", self.folder / "reply"
        query.write_bytes(request)
        subprocess.run(
            [
                *("openssl", "ts", "-reply", "-config", self.folder / "tsa.cnf", "-queryfile", query),
                *("-inkey", self.folder / "key.pem", "-signer", self.folder / "own.pem", "-out", reply),
            ],
            check=True,
            capture_output=True,
        )
        return reply.read_bytes()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answer over HTTP on this machine; yields the URL."""
        authority, lock = self, threading.Lock()

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["content-length"]))
                assert self.headers["content-type"] == "application/timestamp-query"
                with lock:
                    said = authority.answer(asked)
                self.send_response(200)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            @override
            def log_message(self, format: str, *args: object) -> None:
                """Nothing to say."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
