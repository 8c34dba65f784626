"""The custodian's command line talking to the running custodian: one request, on this machine, bounded.

Where TLS ends here the certificate must be the very one in the configuration, so no name and no authority is believed.
"""

from __future__ import annotations

import http.client
import ssl
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sekisho_guarantor.custodian_errors import NOT_RUNNING, REFUSED
from sekisho_guarantor.errors import GuarantorError
from sekisho_wire.complaints import without_braces
from sekisho_wire.custody import ANSWER_BYTES_MAX
from sekisho_wire.problems import Details, Language, Text, all_problems

ANSWER_SECONDS = 60.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not where we do


def call(url: str, certificate: str, path: str, body: bytes, *, token: str = "") -> bytes:
    """The answer's body; `custodian.not_running`, or `custodian.refused` with its sentence and code."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection = _connection(url, certificate)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise GuarantorError(NOT_RUNNING, url=url) from error
    if answer.status != HTTPStatus.OK:
        raise GuarantorError(REFUSED, texts={"what": _told(content)})
    return content


def _connection(url: str, certificate: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = _ANYWHERE.get(parts.hostname or "", parts.hostname or "")
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, parts.port, timeout=ANSWER_SECONDS)
    expected = ssl.PEM_cert_to_DER_cert(_first(Path(certificate).read_text(encoding="ascii")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, parts.port, timeout=ANSWER_SECONDS, context=context)
    connection.connect()
    shown = (
        connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
    )
    if shown != expected:
        connection.close()
        raise ssl.SSLError("another certificate")
    return connection


def _first(chain: str) -> str:
    """The first certificate of a PEM file: the program's own."""
    begin, end = chain.index("-----BEGIN CERTIFICATE-----"), chain.index(_END) + len(_END)
    return chain[begin:end]


_END = "-----END CERTIFICATE-----"


def _told(content: bytes) -> Text:
    """The refusal in both languages; one that a newer custodian has a code for in its own words."""
    try:
        details = msgspec.json.decode(content, type=Details)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Text("no reason given", "理由は示されていません")
    problem = all_problems().get(details.code)
    words = problem.text if problem else Text(without_braces(details.title), without_braces(details.title))
    english, japanese = (words.render(each, details.params) for each in (Language.EN, Language.JA))
    code = without_braces(f"[{details.code}]")
    return Text(f"{without_braces(english)} {code}", f"{without_braces(japanese)} {code}")
