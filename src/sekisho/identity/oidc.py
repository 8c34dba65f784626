"""Sign-in through an OpenID Connect provider: authorization code with PKCE for browsers, device flow for the CLI.

Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636 (PKCE), RFC 8628 (device flow), RFC 9207 (`iss` in
the answer). Nothing here touches the database. The provider must take the client's secret in the form body
(`client_secret_post`) and put the groups into the id_token.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import JWSAlgModel, JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from sekisho.identity.errors import DEVICE_DENIED, DEVICE_EXPIRED, PROVIDER_REFUSED
from sekisho.identity.rules import ADMINISTRATOR, ROLES, clean_text, same
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError

ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")
"""Signatures taken from providers. No symmetric ones: the client's secret must not be able to make identities."""

LEEWAY_SECONDS = 60
TOKEN_AGE_SECONDS_MAX = 600
VISIT_MS_MAX = 10 * 60 * 1000
REFRESH_MS_MIN = 10_000
METADATA_MS_MAX = 3600 * 1000
_LENGTH_MAX = 16_384
_GROUPS_MAX = 500
_SUBJECT_LENGTH_MAX = 255
_NAME_LENGTH_MAX = 120
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_VISIT = re.compile(r"([0-9]{13})\.[A-Za-z0-9_-]{43}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PART = re.compile(r"[A-Za-z0-9_-]+")


class Http(Protocol):
    """The network as this file needs it; the kernel's door to the network implements it, with limits of its own.

    Both raise UnavailableError when the provider does not answer, answers no JSON object, or fails with 5xx.
    """

    def get_json(self, url: str) -> dict[str, Any]:
        """The JSON object at `url`."""
        ...

    def post_form(self, url: str, data: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object that answers a form; also that of a 4xx, which names the error."""
        ...


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configured provider. `roles` maps its groups to roles; newcomers join `organisation`."""

    issuer: str
    client_id: str
    client_secret: str = ""
    redirect_uri: str
    organisation: str
    roles: dict[str, list[str]] = {}
    groups_claim: str = "groups"
    scope: str = "openid profile email groups"
    second_factors: tuple[str, ...] = ("mfa", "otp", "hwk")

    def __post_init__(self) -> None:
        """Refuse a configuration that would give away administration or speak in clear; ValueError."""
        given = {role for roles in self.roles.values() for role in roles}
        if ADMINISTRATOR in given:
            message = "a group cannot stand for administrator: that takes two people"
            raise ValueError(message)
        if given - set(ROLES):
            message = f"unknown roles: {', '.join(sorted(given - set(ROLES)))}"
            raise ValueError(message)
        if not _secure(self.issuer, self.issuer):
            message = "the issuer must be an https address"
            raise ValueError(message)


class Identity(msgspec.Struct, frozen=True):
    """Who the provider says has signed in; every member comes from a checked id_token."""

    issuer: str
    subject: str
    display_name: str
    email: str
    groups: tuple[str, ...]
    mfa: bool


class Device(msgspec.Struct, frozen=True):
    """A started device sign-in: what the person types where, what the CLI polls with, and how often."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    device_code: str
    interval_seconds: int
    expires_seconds: int


class Waiting(msgspec.Struct, frozen=True):
    """Nobody has confirmed yet; ask again after at least this time."""

    interval_seconds: int


def new_visit(now_ms: int) -> str:
    """A value for the browser's cookie before anybody is signed in.

    State, nonce, PKCE verifier and form secret of this browser are all derived from it, so that a stranger's
    visit writes nothing to the database and an answer meant for another browser does not fit.
    """
    return f"{now_ms:013d}.{secrets.token_urlsafe(32)}"


def derive(visit: str, purpose: str) -> str:
    """43 characters for one purpose (`state`, `nonce`, `verifier`, `form`) of a visit."""
    return _text(hmac.new(visit.encode(), purpose.encode(), hashlib.sha256).digest())


def visit_holds(visit: str, now_ms: int) -> bool:
    """Whether a cookie's value is a visit of the last ten minutes."""
    match = _VISIT.fullmatch(visit)
    return match is not None and 0 <= now_ms - int(match[1]) <= VISIT_MS_MAX


class OidcClient:
    """One provider as seen from here. Metadata and keys are kept under `_lock`; shared by all threads."""

    def __init__(self, provider: Provider, http: Http, clock: Clock) -> None:
        """Nothing is fetched before the first sign-in, so a provider that is away does not stop the start."""
        self.provider = provider
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._metadata_ms = 0
        self._keys: list[Key] = []
        self._keys_ms = 0

    def authorization_url(self, visit: str) -> str:
        """Where to send the browser that holds `visit`."""
        challenge = _text(hashlib.sha256(derive(visit, "verifier").encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self.provider.redirect_uri,
            "scope": self.provider.scope,
            "state": derive(visit, "state"),
            "nonce": derive(visit, "nonce"),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = self._endpoint("authorization_endpoint")
        return endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(query)

    def exchange(self, visit: str, answer: Mapping[str, str]) -> Identity:
        """Redeem what the browser brought back (`code`, `state`, `iss`, or `error`); `auth.provider_refused`."""
        if not visit_holds(visit, self._clock.now_ms()):
            raise _refused("visit")
        if not same(answer.get("state", ""), derive(visit, "state")):
            raise _refused("state")
        must_name_issuer = self._discover().get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", "" if must_name_issuer else self.provider.issuer) != self.provider.issuer:
            raise _refused("iss")
        code = answer.get("code", "")
        # The provider's own word for the error came through the browser: it is not repeated to anybody.
        if "error" in answer or not 0 < len(code) <= _LENGTH_MAX:
            raise _refused("code")
        tokens = self._post(
            "token_endpoint",
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.provider.redirect_uri,
                "code_verifier": derive(visit, "verifier"),
            },
        )
        if "error" in tokens:
            raise _refused("code")
        return self._identity(tokens, derive(visit, "nonce"))

    def start_device(self) -> Device:
        """Begin a sign-in that is confirmed in a browser elsewhere."""
        answer = self._post("device_authorization_endpoint", {"scope": self.provider.scope})
        try:
            return Device(
                user_code=_string(answer, "user_code"),
                verification_uri=_string(answer, "verification_uri"),
                verification_uri_complete=_string(answer, "verification_uri_complete", ""),
                device_code=_string(answer, "device_code"),
                interval_seconds=_seconds(answer, "interval", 5),
                expires_seconds=_seconds(answer, "expires_in", 600),
            )
        except KeyError as missing:
            raise _refused(str(missing.args[0])) from None

    def poll_device(self, device_code: str) -> Identity | Waiting:
        """Ask whether the person has confirmed; `auth.device_denied` and `auth.device_expired` are final."""
        tokens = self._post(
            "token_endpoint",
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": device_code[:_LENGTH_MAX],
            },
        )
        match tokens.get("error"):
            case None:
                return self._identity(tokens, None)
            case "authorization_pending":
                return Waiting(5)
            case "slow_down":
                return Waiting(10)
            case "access_denied":
                raise SekishoError(DEVICE_DENIED)
            case "expired_token" | "invalid_grant":
                raise SekishoError(DEVICE_EXPIRED)
            case _:
                raise _refused("device_code")

    def _post(self, endpoint: str, form: dict[str, str]) -> dict[str, Any]:
        client = {"client_id": self.provider.client_id}
        if self.provider.client_secret:
            client["client_secret"] = self.provider.client_secret
        return self._http.post_form(self._endpoint(endpoint), form | client)

    def _endpoint(self, name: str) -> str:
        url = self._discover().get(name)
        if not isinstance(url, str) or not _secure(url, self.provider.issuer):
            raise _refused(name)
        return url

    def _discover(self) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        with self._lock:
            if self._metadata and now_ms - self._metadata_ms < METADATA_MS_MAX:
                return self._metadata
        metadata = self._http.get_json(self.provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if metadata.get("issuer") != self.provider.issuer:
            raise _refused("issuer")
        with self._lock:
            self._metadata, self._metadata_ms = metadata, now_ms
        return metadata

    def _identity(self, tokens: Mapping[str, Any], nonce: str | None) -> Identity:
        token = tokens.get("id_token")
        if not isinstance(token, str) or len(token) > _LENGTH_MAX:
            raise _refused("id_token")
        claims = self._verified(token)
        self._check_claims(claims, nonce)
        return identity_of(claims, self.provider)

    def _verified(self, token: str) -> dict[str, Any]:
        """The claims under a signature by one of the provider's keys; keys are fetched again for an unknown one."""
        header = _header(token)
        if header.get("alg") not in ALGORITHMS:
            raise _refused("alg")
        keys = self._keys_for(header, fresh=False) or self._keys_for(header, fresh=True)
        for key in keys:
            try:
                return jwt.decode(token, key, registry=_Signatures()).claims
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        raise _refused("signature")

    def _keys_for(self, header: Mapping[str, Any], *, fresh: bool) -> list[Key]:
        now_ms = self._clock.now_ms()
        with self._lock:
            due = not self._keys or (fresh and now_ms - self._keys_ms >= REFRESH_MS_MIN)
        if due:
            keys = _import_keys(self._http.get_json(self._endpoint("jwks_uri")))
            with self._lock:
                self._keys, self._keys_ms = keys, now_ms
        with self._lock:
            return [key for key in self._keys if "kid" not in header or key.kid == header["kid"]]

    def _check_claims(self, claims: dict[str, Any], nonce: str | None) -> None:
        now = self._clock.now_ms() // 1000
        registry = JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.provider.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": self.provider.client_id},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            registry.validate(claims)
        except JoseError as error:
            raise _refused(getattr(error, "claim", "") or "claims") from None
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if (
            claims.get("azp", self.provider.client_id if len(audiences) == 1 else "")
            != self.provider.client_id
        ):
            raise _refused("azp")
        if claims["iat"] < now - TOKEN_AGE_SECONDS_MAX:
            raise _refused("iat")
        if nonce is not None and not same(str(claims.get("nonce", "")), nonce):
            raise _refused("nonce")


class _Signatures(JWSRegistry):
    """Exactly `ALGORITHMS`. The library warns of the name `EdDSA`, which RFC 9864 retires but providers still use."""

    # pyrefly: ignore[missing-override-decorator] - typing.override came with Python 3.12
    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


def identity_of(claims: Mapping[str, Any], provider: Provider) -> Identity:
    """The person in checked claims. An address the provider has not verified is left out, and binds nothing."""
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_LENGTH_MAX:
        raise _refused("sub")
    email = claims.get("email")
    good = isinstance(email, str) and _EMAIL.fullmatch(email) and claims.get("email_verified") is not False
    groups = claims.get(provider.groups_claim, [])
    methods = claims.get("amr", [])
    return Identity(
        issuer=provider.issuer,
        subject=subject,
        display_name=_name((claims.get("name"), claims.get("preferred_username"), subject)),
        email=email if good and isinstance(email, str) else "",
        groups=tuple(group for group in groups if isinstance(group, str))[:_GROUPS_MAX]
        if isinstance(groups, list)
        else (),
        mfa=isinstance(methods, list) and any(method in provider.second_factors for method in methods),
    )


def _refused(check: str) -> SekishoError:
    return SekishoError(PROVIDER_REFUSED, check=check)


def _secure(url: str, issuer: str) -> bool:
    """https, or http to this machine when the issuer itself is there."""
    parts, home = urlsplit(url), urlsplit(issuer)
    if parts.username or parts.fragment or not parts.hostname:
        return False
    local = parts.hostname in _LOOPBACK and home.hostname in _LOOPBACK
    return parts.scheme == "https" or (parts.scheme == "http" and local)


def _header(token: str) -> dict[str, Any]:
    """The unverified header, only to choose a key and to refuse an algorithm."""
    first = token.partition(".")[0]
    if not _PART.fullmatch(first):
        raise _refused("id_token")
    try:
        header = msgspec.json.decode(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, msgspec.DecodeError):
        header = None
    if not isinstance(header, dict):
        raise _refused("id_token")
    return header


def _import_keys(document: Mapping[str, Any]) -> list[Key]:
    """Signature keys that we understand; others in the set are none of our business."""
    found: list[Key] = []
    entries = document.get("keys")
    for entry in entries if isinstance(entries, list) else []:
        if (
            not isinstance(entry, dict)
            or entry.get("kty") not in {"RSA", "EC", "OKP"}
            or entry.get("use") == "enc"
        ):
            continue
        try:
            found.append(JWKRegistry.import_key(entry))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return found


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _name(candidates: Iterable[object]) -> str:
    """The first that people can read."""
    for candidate in candidates:
        with contextlib.suppress(SekishoError):
            return clean_text("name", candidate if isinstance(candidate, str) else "")[:_NAME_LENGTH_MAX]
    raise _refused("name")


def _string(answer: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = answer.get(name, default)
    if not isinstance(value, str) or len(value) > _LENGTH_MAX:
        raise KeyError(name)
    return value


def _seconds(answer: Mapping[str, Any], name: str, default: int) -> int:
    value = answer.get(name, default)
    return min(max(value, 1), 3600) if isinstance(value, int) and not isinstance(value, bool) else default
