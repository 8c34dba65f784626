"""A time-stamping authority: `openssl ts` with a certificate of its own, behind HTTP where a test wants that."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typing_extensions import override

from sekisho_verify import der
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
SHA_256 = "2.16.840.1.101.3.4.2.1"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_usages = {"stamp": [ExtendedKeyUsageOID.TIME_STAMPING], "server": [ExtendedKeyUsageOID.SERVER_AUTH]}


def _certificate(
    name: str,
    key: Key | ed25519.Ed25519PrivateKey,
    issuer: tuple[x509.Certificate, Key] | None,
    *,
    usage: str,
    days: int,
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
    signing = issuer[1] if issuer else key
    assert not isinstance(signing, ed25519.Ed25519PrivateKey)
    return builder.sign(signing, SHA256())


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


@dataclass
class Forger:
    """Writes time-stamp tokens by itself, so that a test can write wrong ones; by default they are right."""

    root: x509.Certificate
    certificate: x509.Certificate
    key: Key | ed25519.Ed25519PrivateKey

    @classmethod
    def make(cls, *, usage: str = "stamp", kind: str = "ec") -> Forger:
        """Keys and certificates of its own."""
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = _certificate("Root", root_key, None, usage="ca", days=30)
        key: Key | ed25519.Ed25519PrivateKey = (
            ed25519.Ed25519PrivateKey.generate()
            if kind == "ed25519"
            else ec.generate_private_key(ec.SECP256R1())
        )
        return cls(root, _certificate("Stamps", key, (root, root_key), usage=usage, days=10), key)

    @property
    def authority(self) -> Authority:
        """Believed through its root."""
        return Authority("forger", (self.root.public_bytes(Encoding.DER),))

    def content(
        self, digest: bytes, *, version: int = 1, algorithm: str = SHA_256, time: bytes = b""
    ) -> bytes:
        """TSTInfo over a digest, now."""
        stated = time or datetime.now(UTC).strftime("%Y%m%d%H%M%SZ").encode()
        imprint = der.write(der.SEQUENCE, named(algorithm), der.write(der.OCTETS, digest))
        return der.write(
            der.SEQUENCE,
            der.write_integer(version),
            der.write_oid("1.2.3.4"),
            imprint,
            der.write_integer(1),
            der.write(der.GENERALIZED_TIME, stated),
        )

    def attributes(self, content: bytes, **changes: bytes | None) -> list[bytes]:
        """Signed attributes of the content; `kind`, `digest` and `certificate` may be replaced or left out (None)."""
        own = sha256(self.certificate.public_bytes(Encoding.DER)).digest()
        named_certificate = der.write(
            der.SEQUENCE,
            der.write(
                der.SEQUENCE, der.write(der.SEQUENCE, der.write(der.OCTETS, changes.get("own") or own))
            ),
        )
        values = {
            "kind": (der.write_oid("1.2.840.113549.1.9.3"), der.write_oid("1.2.840.113549.1.9.16.1.4")),
            "digest": (
                der.write_oid("1.2.840.113549.1.9.4"),
                der.write(der.OCTETS, sha256(content).digest()),
            ),
            "certificate": (der.write_oid("1.2.840.113549.1.9.16.2.47"), named_certificate),
        }
        return [
            der.write(der.SEQUENCE, name, der.write(der.SET, changes.get(key) or value))
            for key, (name, value) in values.items()
            if changes.get(key, b"") is not None
        ]

    def token(self, content: bytes, attributes: list[bytes] | None = None, **changes: bytes) -> bytes:
        """A signed token; `digest`, `scheme`, `signature`, `type` and `inner` may be replaced."""
        listed = b"".join(self.attributes(content) if attributes is None else attributes)
        signed = der.write(der.SET, listed)
        made = self.key.sign(signed) if isinstance(self.key, ed25519.Ed25519PrivateKey) else b""
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            made = self.key.sign(signed, ec.ECDSA(SHA256()))
        sid = der.write(
            der.SEQUENCE,
            self.certificate.issuer.public_bytes(),
            der.write_integer(self.certificate.serial_number),
        )
        algorithm = changes.get("digest", named(SHA_256))
        signer = der.write(
            der.SEQUENCE,
            der.write_integer(1),
            sid,
            algorithm,
            der.write(der.CONTEXT_0, listed) if listed else b"",
            changes.get("scheme", named("1.2.840.10045.4.3.2")),
            der.write(der.OCTETS, changes.get("signature", made)),
        )
        inner = der.write_oid("1.2.840.113549.1.9.16.1.4")
        data = der.write(
            der.SEQUENCE,
            der.write_integer(3),
            der.write(der.SET, algorithm),
            der.write(
                der.SEQUENCE,
                changes.get("inner", inner),
                der.write(der.CONTEXT_0, der.write(der.OCTETS, content)),
            ),
            der.write(der.CONTEXT_0, self.certificate.public_bytes(Encoding.DER)),
            changes.get("more", b""),
            der.write(der.SET, signer),
        )
        kind = changes.get("type", der.write_oid("1.2.840.113549.1.7.2"))
        return der.write(der.SEQUENCE, kind, der.write(der.CONTEXT_0, data))


def named(algorithm: str, *parameters: bytes) -> bytes:
    """An AlgorithmIdentifier."""
    return der.write(der.SEQUENCE, der.write_oid(algorithm), *parameters)
