"""What holds for names, roles, facts, tokens and sessions. Pure: no database, no clock, no chance."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Mapping

import msgspec

from sekisho.kernel.errors import InvalidInputError
from sekisho.kernel.facts import Moment, Ref, Value

ADMINISTRATOR = "administrator"
ROLES = (
    ADMINISTRATOR,
    "analyst",
    "auditor",
    "caller",
    "compliance",
    "engineer",
    "landmark",
    "learner",
    "programme",
    "releaser",
    "site_operator",
    "training_manager",
)
SECOND_PERSON_ROLES = frozenset({ADMINISTRATOR, "compliance", "releaser"})
"""Roles whose holder can be the second of two people. If one administrator alone could give them, that administrator
could make a second person up, and two signatures would be worth one."""
SERVICE_ROLES = frozenset({"analyst", "caller", "engineer", "landmark", "programme", "site_operator"})
"""What a program may be trusted with. Releasing data, changing the charter and auditing stay with people."""

ADMINISTRATORS_NEEDED = 2
"""Below this nobody could grant administration any more, because granting takes two."""

GRADES = {"D": 0, "S": 1, "A": 2, "M": 3}
"""Order of grades as the charter compares them."""

DAY_MS = 24 * 3600 * 1000
TOKEN_MS_MAX = 366 * DAY_MS
LINK_MS = 10 * 60 * 1000
INVITED_LINK_MS = 3 * DAY_MS
INVITATION_MS = DAY_MS
KEPT_EXPIRED_MS = 30 * DAY_MS

SESSION_IDLE_MS = 2 * 3600 * 1000
SESSION_MS_MAX = 12 * 3600 * 1000
TOUCH_MS = 60_000
"""Signs of life (last use of a token, of a session) are written at most this often."""

FAILURES_MAX = 10
FAILURE_WINDOW_MS = 5 * 60 * 1000

_TOKEN = re.compile(r"sekisho_(pat|lnk)_([0-7][0-9a-hjkmnp-tv-z]{25})_([A-Za-z0-9_-]{43})")
_SCOPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_NOTHING = "0" * 64
SCOPES_MAX = 50
UNKNOWN_CONTROL_PCT = 100
_IPV6_SITE_BITS = 64
_SOURCE_LENGTH_MAX = 64


class TokenText(msgspec.Struct, frozen=True):
    """A token as text, taken apart. `purpose` is `pat` or `lnk`; `id` is the row's id without its prefix."""

    purpose: str
    id: str
    secret: str

    @property
    def text(self) -> str:
        """The one spelling. Shown once, never stored."""
        return f"sekisho_{self.purpose}_{self.id}_{self.secret}"


def parse_token(text: str) -> TokenText | None:
    """The parts of a token's text, or None for anything else."""
    found = _TOKEN.fullmatch(text)
    return TokenText(*found.groups()) if found else None


def digest(text: str) -> str:
    """What is stored instead of a secret: 64 hex digits.

    One round of SHA-256 is right here and would be wrong for a password: the secret is 32 random bytes, so there
    is nothing to guess that a slow hash would make slower, and every request pays for it.
    """
    return hashlib.sha256(_bytes(text)).hexdigest()


def matches(text: str, stored: str | None) -> bool:
    """Compare in time that does not depend on where they differ, nor on whether anything is stored."""
    return hmac.compare_digest(digest(text), stored or _NOTHING) and stored is not None


def same(left: str, right: str) -> bool:
    """Compare two secrets in time that does not depend on where they differ."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


def _bytes(text: str) -> bytes:
    # Lone surrogates reach us from hostile JSON; they must be wrong, not a crash.
    return text.encode("utf-8", "surrogatepass")


def clean_text(field: str, text: str) -> str:
    """A name or label: trimmed, in normal form C, visible characters on one line; InvalidInputError otherwise."""
    cleaned = unicodedata.normalize("NFC", text.strip())
    if not cleaned:
        raise InvalidInputError(field=field, what="must not be empty")
    # Controls would break lines and terminals, formats (bidirectional overrides) make a name look like another,
    # surrogates cannot be stored. The joiners of scripts that need them stay out too: names here have no use.
    if any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for character in cleaned
    ):
        raise InvalidInputError(field=field, what="holds a character that cannot be shown")
    return cleaned


def clean_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Action names or prefixes, sorted, without what a shorter one already covers."""
    given = sorted(set(scopes))
    if len(given) > SCOPES_MAX:
        raise InvalidInputError(field="scopes", what=f"at most {SCOPES_MAX}")
    for scope in given:
        if _SCOPE.fullmatch(scope) is None:
            raise InvalidInputError(field="scopes", what=f"not an action or a prefix of one: {scope[:80]!r}")
    return tuple(
        scope for scope in given if not any(_covers(other, scope) for other in given if other != scope)
    )


def scopes_within(scopes: tuple[str, ...], holder: frozenset[str] | None) -> bool:
    """Whether a token of `scopes` (none: everything) is no wider than the one its maker came with."""
    if holder is None:
        return True
    return bool(scopes) and all(any(_covers(own, scope) for own in holder) for scope in scopes)


def _covers(wide: str, narrow: str) -> bool:
    return narrow == wide or narrow.startswith(wide + ".")


def source_key(source: str) -> str:
    """What failed sign-ins are counted by: an IPv6 caller owns a whole /64, so the /64 counts as one."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return "other:" + ascii(source[:_SOURCE_LENGTH_MAX])[1:-1]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _IPV6_SITE_BITS), strict=False))


def seconds_to_wait(failures: int, window_ms: int, now_ms: int) -> int:
    """0 while a source may try, else the seconds until its window (started at `window_ms`) ends."""
    left_ms = window_ms + FAILURE_WINDOW_MS - now_ms
    return -(-left_ms // 1000) if failures >= FAILURES_MAX and left_ms > 0 else 0


def session_end_ms(created_ms: int, now_ms: int) -> int:
    """When a session that is used now ends: idle time from now, but never past its longest life."""
    return min(now_ms + SESSION_IDLE_MS, created_ms + SESSION_MS_MAX)


def roles_of_groups(groups: Iterable[str], mapping: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Roles that an identity provider's groups stand for; a group without a mapping gives none."""
    return tuple(sorted({role for group in groups for role in mapping.get(group, ())}))


class Fact(msgspec.Struct, frozen=True):
    """One graded statement about an organisation or a person, as stored. `expires_ms` 0: holds until restated."""

    value: str | int | bool | list[str]
    grade: str
    issuer: str
    source: str
    observed_ms: int
    expires_ms: int = 0


Facts = Mapping[str, Fact]


def standing(facts: Facts, now_ms: int) -> dict[str, Fact]:
    """The facts that still hold."""
    return {name: fact for name, fact in facts.items() if not fact.expires_ms or fact.expires_ms > now_ms}


def organisation_attributes(facts: Facts) -> dict[str, Value]:
    """An organisation as the charter sees it; what nobody states counts as the worst."""
    return {
        "jurisdiction": _text(facts, "jurisdiction"),
        "parent_jurisdiction": _text(facts, "parent_jurisdiction"),
        "foreign_control_pct": _number(facts, "foreign_control_pct", UNKNOWN_CONTROL_PCT),
        "legal_exposure": _words(facts, "legal_exposure"),
        "certs": _words(facts, "certs"),
        "grades": {
            name: GRADES[facts[name].grade] if name in facts else GRADES["D"]
            for name in ("jurisdiction", "parent_jurisdiction", "foreign_control_pct")
        },
    }


def person_attributes(organisation: str, roles: Iterable[str], facts: Facts) -> dict[str, Value]:
    """A person as the charter sees them. Clearances always come with their end, which the charter compares."""
    attributes: dict[str, Value] = {
        "org": Ref("Org", organisation),
        "roles": frozenset(roles),
        "residence": _text(facts, "residence"),
        "mfa": "mfa" in facts and facts["mfa"].value is True,
        "clearances": _words(facts, "clearances"),
    }
    if "clearances" in facts:
        attributes["clearance_until"] = Moment(facts["clearances"].expires_ms)
    return attributes


def _text(facts: Facts, name: str) -> str:
    value = facts[name].value if name in facts else ""
    return value if isinstance(value, str) else ""


def _number(facts: Facts, name: str, default: int) -> int:
    value = facts[name].value if name in facts else default
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _words(facts: Facts, name: str) -> frozenset[str]:
    value = facts[name].value if name in facts else []
    return frozenset(value) if isinstance(value, list) else frozenset()
