"""The thin Python client: one method per command, driven by the catalogue.

    client = Client("https://sekisho.example", token)
    job = client.compute.job.submit(file=text)
    for job in client.pages("compute.job.list"):
        ...

A call is tried again only where that cannot do it twice: reads, and commands that carry an idempotency key,
which this client always sends. Certificates are always verified, redirects never followed: a token goes to the
server it was given for and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import quote, urlsplit

import httpx2

from sekisho_client.commands import Catalogue, Entry, catalogue
from sekisho_client.refusals import ProblemError, Refused, nearest
from sekisho_client.settings import Settings, check_url, is_loopback

JsonValue: TypeAlias = Any
"""What a command answers: JSON values in the shape of its result."""

TRIES = 4
WAIT_SECONDS_MAX = 10.0
TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 5.0
"""Long enough for two packets lost on the way; an address where nobody is heard is not asked a second time."""
_AGAIN = frozenset({429, 502, 503, 504})
__all__ = ["Client", "Name", "ProblemError", "connect"]

_FAILED = 400
_CHUNK_BYTES = 1 << 16


class Client:
    """One server, one token. Safe to share between threads; close it or use it as a context manager."""

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        language: str = "en",
        certificates: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        tries: int = TRIES,
    ) -> None:
        """Refused for an address that would carry the token in clear over a network."""
        self.url = check_url(url)
        self._tries = max(1, tries)
        self._catalogue: Catalogue = catalogue()
        headers = {"Accept-Language": language, "User-Agent": f"sekisho/{self._catalogue.version}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx2.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS)),
            follow_redirects=False,
            verify=_trusted(self.url, certificates),
            # A proxy from the environment is for the world outside, not for this machine.
            trust_env=not is_loopback(urlsplit(self.url).hostname or ""),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Name:
        if name.startswith("_"):
            raise AttributeError(name)
        return Name(self, name)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, name: str, /, *, idempotency_key: str = "", **fields: Any) -> JsonValue:
        """Ask one command and answer its result as JSON values.

        `fields` are named as in the API. Raises ProblemError for what the server says no to, Refused for what
        this side can tell: an unknown command or field, a server that does not answer.
        """
        entry = self._catalogue.named(name)
        with contextlib.closing(self._send(entry, fields, idempotency_key)) as response:
            response.read()
            return _json(response)

    def pages(self, name: str, /, **fields: Any) -> Iterator[Any]:
        """Every item of a list, page after page."""
        continued_by = self._catalogue.named(name).page
        while True:
            page = self.call(name, **fields)
            yield from page["items"]
            if not page.get("next"):
                return
            fields[continued_by] = page["next"]

    def download(self, name: str, target: Path, /, **fields: Any) -> int:
        """Save the file a command answers with; the name appears only when it is whole. Answers its size."""
        entry = self._catalogue.named(name)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".sekisho-")
        try:
            with (
                os.fdopen(handle, "wb") as opened,
                contextlib.closing(self._send(entry, fields, "")) as response,
            ):
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    opened.write(chunk)
                size_bytes = opened.tell()
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return size_bytes

    def fetch(self, name: str, /, **fields: Any) -> bytes:
        """The file a command answers with, in memory."""
        with contextlib.closing(self._send(self._catalogue.named(name), fields, "")) as response:
            return response.read()

    def look(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a fixed address such as `/readyz`, whatever the status."""
        with contextlib.closing(self._once("GET", path, {})) as response:
            response.read()
            return response.status_code, _json(response)

    def ask(self, path: str, body: Mapping[str, JsonValue]) -> tuple[int, JsonValue]:
        """Status and JSON of a POST to a fixed address that is no command, such as `/device/start`."""
        with contextlib.closing(self._once("POST", path, {"json": body})) as response:
            response.read()
            return response.status_code, _json(response)

    def put_object(self, digest: str, ticket: str, content: bytes | Iterator[bytes]) -> None:
        """Send an object's bytes under a ticket; ProblemError when the server does not take them."""
        headers = {"Authorization": f"Bearer {ticket}"}
        with contextlib.closing(
            self._once("PUT", f"/objects/{digest}", {"content": content, "headers": headers})
        ) as response:
            if response.status_code >= _FAILED:
                response.read()
                raise ProblemError(_problem(response))

    def get_object(self, digest: str, ticket: str) -> Iterator[bytes]:
        """An object's bytes in chunks, not yet checked against its digest."""
        headers = {"Authorization": f"Bearer {ticket}"}
        with contextlib.closing(self._once("GET", f"/objects/{digest}", {"headers": headers})) as response:
            if response.status_code >= _FAILED:
                response.read()
                raise ProblemError(_problem(response))
            yield from response.iter_bytes(_CHUNK_BYTES)

    def _send(self, entry: Entry, fields: Mapping[str, Any], key: str) -> httpx2.Response:
        """The open response to one command, tried again where that is safe. Its caller closes it."""
        path, options = _request(entry, fields)
        if entry.keyed:
            options["headers"] = {"Idempotency-Key": key or secrets.token_urlsafe(18)}
        tries = self._tries if entry.keyed or entry.method == "GET" else 1
        for attempt in range(tries):
            last = attempt + 1 == tries
            try:
                response = self._once(entry.method, path, options)
            except Refused as refused:
                unheard = isinstance(refused.__cause__, httpx2.ConnectTimeout)
                if last or unheard or refused.code != "client.unreachable":
                    raise
                time.sleep(min(0.2 * 2**attempt, WAIT_SECONDS_MAX))
                continue
            if response.status_code < _FAILED:
                return response
            with contextlib.closing(response):
                response.read()
                wait_seconds = _retry_after(response, attempt)
                if last or response.status_code not in _AGAIN or wait_seconds > WAIT_SECONDS_MAX:
                    raise ProblemError(_problem(response))
            time.sleep(wait_seconds)
        raise Refused("client.unreachable", url=self.url)

    def _once(self, method: str, path: str, options: Mapping[str, Any]) -> httpx2.Response:
        try:
            request = self._http.build_request(method, path, **options)
            return self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            code = "client.certificate" if _is_certificate(error) else "client.unreachable"
            raise Refused(code, url=self.url, hint="sekisho status") from error


class Name:
    """A command's name, written as attributes: `client.compute.job.submit`. Calling it asks."""

    def __init__(self, client: Client, name: str) -> None:
        """`name` is what was written so far."""
        self._client = client
        self._name = name

    def __getattr__(self, name: str) -> Name:
        if name.startswith("_"):
            raise AttributeError(name)
        return Name(self._client, f"{self._name}.{name}")

    def __call__(self, **fields: Any) -> JsonValue:
        """The command's result, as `Client.call`."""
        return self._client.call(self._name, **fields)


def _trusted(url: str, certificates: str) -> ssl.SSLContext | bool:
    """Whom to believe: the file named, or every known root; nobody over plain HTTP, which is to this machine alone."""
    if url.startswith("http://"):
        # Reading every root takes longer than most commands.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cafile=certificates) if certificates else True


def connect(settings: Settings, *, timeout_seconds: float = TIMEOUT_SECONDS, tries: int = TRIES) -> Client:
    """A client for what options, environment and file say."""
    return Client(
        settings.url,
        settings.token,
        language=settings.language,
        certificates=settings.certificates,
        timeout_seconds=timeout_seconds,
        tries=tries,
    )


def _request(entry: Entry, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Path and httpx options of one call; a field given as None is left out."""
    known = {field.name: field for field in entry.fields}
    path = entry.path
    query: dict[str, JsonValue] = {}
    body: dict[str, JsonValue] = {}
    for name, value in fields.items():
        if name not in known:
            raise Refused("input.unknown_field", command=entry.name, field=name, hint=nearest(name, known))
        if value is None:
            continue
        if known[name].where == "path":
            path = path.replace("{" + name + "}", _path_part(name, value))
        elif known[name].where == "query":
            query[name] = _query_value(value)
        else:
            body[name] = value
    if "{" in path:
        raise Refused("input.missing", name=path.partition("{")[2].partition("}")[0])
    options: dict[str, Any] = {"params": query} if query else {}
    return path, options | ({"json": body} if body else {})


def _path_part(name: str, value: object) -> str:
    text = str(value)
    if text in {"", ".", ".."}:
        raise Refused("input.bad_value", name=name, value=text or '""', kind="id")
    return quote(text, safe="")


def _query_value(value: JsonValue) -> JsonValue:
    if isinstance(value, bool):
        return "true" if value else "false"
    return [_query_value(one) for one in value] if isinstance(value, list) else value


def _json(response: httpx2.Response) -> JsonValue:
    try:
        return response.json()
    except ValueError:
        raise _foreign(response) from None


def _problem(response: httpx2.Response) -> dict[str, Any]:
    """The server's problem object; Refused when something else stands in its place."""
    value = _json(response)
    if not isinstance(value, dict) or not isinstance(value.get("code"), str):
        raise _foreign(response)
    return value


def _foreign(response: httpx2.Response) -> Refused:
    return Refused(
        "client.answer", url=f"{response.url.scheme}://{response.url.host}", status=response.status_code
    )


def _retry_after(response: httpx2.Response, attempt: int) -> float:
    given = response.headers.get("retry-after", "")
    return float(given) if given.isdecimal() else 0.2 * 2**attempt


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
