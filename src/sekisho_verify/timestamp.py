"""RFC 3161 time stamps: a token by which an authority states that a digest existed at a moment. Pure and offline.

The token is CMS (RFC 5652) as RFC 3161 (2.4.2) narrows it: one signer, signed attributes, the signer's certificate
named inside what is signed (RFC 5816), used for time stamps and for nothing else. Certificates are believed as far as
they lead to one that was handed over beforehand; revocation cannot be asked offline and is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1, sha256
from hmac import compare_digest
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from sekisho_verify import der
from sekisho_verify.der import Item
from sekisho_verify.errors import SignatureError

TOKEN_BYTES_MAX = 64 * 1024
CHAIN_MAX = 4

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_RSA = "1.2.840.113549.1.1.1"

_hashes: Mapping[str, HashAlgorithm] = {
    _SHA256: SHA256(),
    "2.16.840.1.101.3.4.2.2": SHA384(),
    "2.16.840.1.101.3.4.2.3": SHA512(),
}
# Signature algorithm and the digest it must stand beside; plain RSA takes any.
_signatures: Mapping[str, str] = {
    "1.2.840.113549.1.1.11": _SHA256,
    "1.2.840.113549.1.1.12": "2.16.840.1.101.3.4.2.2",
    "1.2.840.113549.1.1.13": "2.16.840.1.101.3.4.2.3",
    "1.2.840.10045.4.3.2": _SHA256,
    "1.2.840.10045.4.3.3": "2.16.840.1.101.3.4.2.2",
    "1.2.840.10045.4.3.4": "2.16.840.1.101.3.4.2.3",
}
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for certificates that are none."""

_time = re.compile(rb"(\d{14})(?:\.\d{0,8}[1-9])?Z").fullmatch
_GRANTED = (0, 1)
_GRANTED_PARTS = 2
_ALGORITHM_PARTS = 2
_SIGNED_DATA_PARTS = 4  # version, algorithms, content, signers


class StampError(SignatureError):
    """A time stamp that shows nothing; its code starts with `timestamp.` or `der.`."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamping authority: `certificates` (DER) are its own or those of who issues its."""

    name: str
    certificates: tuple[bytes, ...]


class Stamp(NamedTuple):
    """What a verified token states: that the digest existed at this second since the epoch, by this authority."""

    authority: str
    time_s: int
    nonce: int


class _Info(NamedTuple):
    """TSTInfo, as far as it is read."""

    digest: bytes
    time_s: int
    nonce: int


class _Signer(NamedTuple):
    """SignerInfo: who, over which attributes, with what."""

    sid: Item
    digest: str
    attributes: Mapping[str, Item]
    signed: bytes
    scheme: str
    signature: bytes


def make_request(digest: bytes, nonce: int) -> bytes:
    """A TimeStampReq for a SHA-256 digest that asks for the signer's certificate."""
    algorithm = der.write(der.SEQUENCE, der.write_oid(_SHA256), der.write(der.NULL))
    imprint = der.write(der.SEQUENCE, algorithm, der.write(der.OCTETS, digest))
    wants_certificate = der.write(der.BOOLEAN, b"\xff")
    return der.write(der.SEQUENCE, der.write_integer(1), imprint, der.write_integer(nonce), wants_certificate)


def read_response(data: bytes) -> bytes:
    """The token in a TimeStampResp that was granted; StampError or DerError otherwise."""
    if len(data) > TOKEN_BYTES_MAX:
        raise StampError("timestamp.size", f"more than {TOKEN_BYTES_MAX} bytes")
    parts = der.read_all(der.read_one(data, der.SEQUENCE).content)
    status = der.read_all(der.expect(parts[0], der.SEQUENCE).content) if parts else []
    if not status or der.integer(status[0]) not in _GRANTED or len(parts) != _GRANTED_PARTS:
        raise StampError("timestamp.refused", "the authority granted no time stamp")
    return parts[1].whole


def verify_stamp(token: bytes, digest: bytes, authorities: Sequence[Authority]) -> Stamp:
    """What a token states of a SHA-256 digest, once its signer leads to one of the authorities' certificates.

    StampError or DerError for everything else.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise StampError("timestamp.size", f"more than {TOKEN_BYTES_MAX} bytes")
    try:
        return _verified(token, digest, authorities)
    except UNREADABLE as error:
        # Certificates are parsed as far as they are asked, so that a wrong one shows late.
        raise StampError("timestamp.certificate", "a certificate that cannot be read") from error


def _verified(token: bytes, digest: bytes, authorities: Sequence[Authority]) -> Stamp:
    content, certificates, signer = _read_token(token)
    info = _read_info(content)
    if not compare_digest(info.digest, digest):
        raise StampError("timestamp.other", "a stamp of something else")
    known = [*certificates, *(x509_of(one) for each in authorities for one in each.certificates)]
    own = _find(signer, known)
    _check_attributes(signer, content, own)
    _verify(signer, own)
    _check_usage(own)
    return Stamp(_lead(own, known, authorities, info.time_s), info.time_s, info.nonce)


def stamped_digest(token: bytes) -> bytes:
    """The digest that a token says it is over, nothing of it verified; for telling tokens apart."""
    try:
        return _read_info(_read_token(token)[0]).digest
    except UNREADABLE as error:
        raise StampError("timestamp.certificate", "a certificate that cannot be read") from error


def x509_of(data: bytes) -> x509.Certificate:
    """A certificate from PEM or DER; StampError otherwise."""
    try:
        if data.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except UNREADABLE as error:
        raise StampError("timestamp.certificate", "not a certificate") from error


def der_of(data: bytes) -> bytes:
    """A certificate's DER, from PEM or DER."""
    return x509_of(data).public_bytes(Encoding.DER)


def _read_token(token: bytes) -> tuple[bytes, list[x509.Certificate], _Signer]:
    """Content that is signed, certificates that came along, and the one signer."""
    kind, wrapped = _parts(der.read_one(token, der.SEQUENCE), 2)
    if der.oid(kind) != _SIGNED_DATA:
        raise StampError("timestamp.shape", "not signed data")
    data = der.read_all(der.read_one(der.expect(wrapped, der.CONTEXT_0).content, der.SEQUENCE).content)
    optional = {item.tag: item for item in data[3:-1]}
    known = optional.keys() <= {der.CONTEXT_0, der.CONTEXT_1}
    if not known or len(data) != _SIGNED_DATA_PARTS + len(optional):
        raise StampError("timestamp.shape", "signed data of another shape")
    der.integer(data[0])
    inner, octets = _parts(data[2], 2)
    if der.oid(inner) != _TST_INFO:
        raise StampError("timestamp.shape", "signed data that is no time stamp")
    content = der.read_one(der.expect(octets, der.CONTEXT_0).content, der.OCTETS).content
    brought = der.read_all(optional[der.CONTEXT_0].content) if der.CONTEXT_0 in optional else []
    (signer,) = _counted(der.read_all(der.expect(data[-1], der.SET).content), 1)
    return content, [x509_of(item.whole) for item in brought], _read_signer(signer)


def _read_signer(item: Item) -> _Signer:
    parts = der.read_all(der.expect(item, der.SEQUENCE).content)
    if len(parts) < 6 or parts[3].tag != der.CONTEXT_0:  # noqa: PLR2004 - version, sid, digest, attributes, scheme, signature
        raise StampError("timestamp.shape", "a signer without signed attributes")
    attributes: dict[str, Item] = {}
    for entry in der.read_all(parts[3].content):
        name, values = _parts(entry, 2)
        (value,) = _counted(der.read_all(der.expect(values, der.SET).content), 1)
        if attributes.setdefault(der.oid(name), value) is not value:
            raise StampError("timestamp.shape", "an attribute twice")
    # RFC 5652 5.4: what is signed is the set, not the tagged form it is sent in.
    signed = der.write(der.SET, parts[3].content)
    signature = der.expect(parts[5], der.OCTETS).content
    return _Signer(parts[1], _algorithm(parts[2]), attributes, signed, _algorithm(parts[4]), signature)


def _read_info(content: bytes) -> _Info:
    parts = der.read_all(der.read_one(content, der.SEQUENCE).content)
    if len(parts) < 5 or der.integer(parts[0]) != 1:  # noqa: PLR2004 - version, policy, imprint, serial, time
        raise StampError("timestamp.shape", "a time stamp of an unknown version")
    algorithm, digest = _parts(parts[2], 2)
    if _algorithm(algorithm) != _SHA256:
        raise StampError("timestamp.other", "a stamp of another kind of digest")
    found = _time(der.expect(parts[4], der.GENERALIZED_TIME).content)
    if not found:
        raise StampError("timestamp.time", "a time that is none")
    try:
        moment = datetime.strptime(found[1].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise StampError("timestamp.time", "a time that is none") from error
    nonces = [der.integer(item) for item in parts[5:] if item.tag == der.INTEGER]
    return _Info(der.expect(digest, der.OCTETS).content, int(moment.timestamp()), nonces[0] if nonces else -1)


def _find(signer: _Signer, known: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificate that the signer names by issuer and serial number."""
    issuer, serial = _parts(signer.sid, 2)
    number = der.integer(serial)
    for one in known:
        if one.serial_number == number and one.issuer.public_bytes() == issuer.whole:
            return one
    raise StampError("timestamp.certificate", "the signer's certificate is not there")


def _check_attributes(signer: _Signer, content: bytes, own: x509.Certificate) -> None:
    """They name the kind and digest of the content, and the certificate."""
    chosen = _hash(signer.digest)
    hasher = Hash(chosen)
    hasher.update(content)
    kind, found = signer.attributes.get(_CONTENT_TYPE), signer.attributes.get(_MESSAGE_DIGEST)
    if kind is None or der.oid(kind) != _TST_INFO or found is None:
        raise StampError("timestamp.attributes", "signed attributes without kind or digest")
    if not compare_digest(der.expect(found, der.OCTETS).content, hasher.finalize()):
        raise StampError("timestamp.attributes", "the content is not what was signed")
    data = own.public_bytes(Encoding.DER)
    if _SIGNING_CERTIFICATE_V2 in signer.attributes:
        named, expected = signer.attributes[_SIGNING_CERTIFICATE_V2], sha256(data).digest()
    else:
        # It names the certificate beside the signature, which holds under its key anyway.
        own_digest = sha1(data).digest()  # noqa: S324 - RFC 3161's own attribute knows no other
        named, expected = signer.attributes.get(_SIGNING_CERTIFICATE), own_digest
    if named is None or _named_digest(named) != expected:
        raise StampError("timestamp.attributes", "the signed attributes name another certificate")


def _named_digest(item: Item) -> bytes:
    """The digest in the first ESSCertID; one of another algorithm than its default is refused by its length."""
    listed = der.read_all(der.expect(item, der.SEQUENCE).content)
    first = der.read_all(der.expect(listed[0], der.SEQUENCE).content) if listed else []
    entry = der.read_all(der.expect(first[0], der.SEQUENCE).content) if first else []
    return next((part.content for part in entry if part.tag == der.OCTETS), b"")


def _verify(signer: _Signer, own: x509.Certificate) -> None:
    if _signatures.get(signer.scheme, signer.digest) != signer.digest or signer.scheme not in {
        *_signatures,
        _RSA,
    }:
        raise StampError("timestamp.algorithm", "a signature algorithm that does not fit its digest")
    chosen = _hash(signer.digest)
    public = own.public_key()
    try:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signer.signature, signer.signed, padding.PKCS1v15(), chosen)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signer.signature, signer.signed, ec.ECDSA(chosen))
        else:
            raise StampError("timestamp.algorithm", "a key that signs no time stamps")
    except InvalidSignature as error:
        raise StampError("timestamp.signature", "the time stamp's signature does not hold") from error


def _check_usage(own: x509.Certificate) -> None:
    """RFC 3161 2.3: for time stamps, critically, and for nothing else."""
    try:
        usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise StampError("timestamp.usage", "a certificate that is not for time stamps") from error
    if not usage.critical or [*usage.value] != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise StampError("timestamp.usage", "a certificate that is not for time stamps alone")


def _lead(
    own: x509.Certificate, known: Sequence[x509.Certificate], authorities: Sequence[Authority], time_s: int
) -> str:
    """Name of the authority that the certificate leads to, through certificates that held at that time."""
    moment = datetime.fromtimestamp(time_s, UTC)
    at = own
    for _ in range(CHAIN_MAX):
        if not at.not_valid_before_utc <= moment <= at.not_valid_after_utc:
            raise StampError("timestamp.certificate", "a certificate that did not hold at that time")
        data = at.public_bytes(Encoding.DER)
        for authority in authorities:
            if data in authority.certificates:
                return authority.name
        at = next((one for one in known if _issued(at, one)), at)
    raise StampError("timestamp.unknown_authority", "by an authority that is not trusted")


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.value.ca and issuer != one


def _hash(name: str) -> HashAlgorithm:
    found = _hashes.get(name)
    if found is None:
        raise StampError("timestamp.algorithm", "a digest algorithm that is not accepted")
    return found


def _algorithm(item: Item) -> str:
    """Object identifier of an algorithm without parameters, or with NULL."""
    parts = der.read_all(der.expect(item, der.SEQUENCE).content)
    if (
        not parts
        or any(part.whole != der.write(der.NULL) for part in parts[1:])
        or len(parts) > _ALGORITHM_PARTS
    ):
        raise StampError("timestamp.algorithm", "an algorithm with parameters")
    return der.oid(parts[0])


def _parts(item: Item, count: int) -> list[Item]:
    return _counted(der.read_all(der.expect(item, der.SEQUENCE).content), count)


def _counted(items: list[Item], count: int) -> list[Item]:
    if len(items) != count:
        raise StampError("timestamp.shape", f"{len(items)} values where {count} are due")
    return items
