"""The fields of a record's detail that the verifier understands; everything else in a detail is free.

level      0 to 5, joined over the inputs          residency  "any", ["any"] or a list of country codes
sites      what was considered, see `SiteChoice`    place      {"site", "country"}: where the attempt is
canaries   {route: closed|open|unproven}            files      {name: digest} of evidence files
message    a sealed agent message, base64url        agent_key  the key it was sealed with, base64url
reason     why an attempt ended (read beside canaries)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sekisho_verify.canonical import from_base64url
from sekisho_verify.errors import CanonicalError, RecordError
from sekisho_verify.record import is_digest

ROUTES = ("tcp_loopback", "tcp_host", "udp", "dns", "unix_abstract", "unix_path", "raw", "proxy_unlisted")
LEVEL_MAX = 5

_UNDERSTOOD = frozenset({"level", "residency", "sites", "place", "canaries", "files", "message", "agent_key"})
_RESULTS = {"closed", "open", "unproven"}
_SITE_FIELDS = {"site", "country", "decision", "rules", "chosen"}
_KEY_BYTES = 32
_NAME_CHARS_MAX = 255
_country = re.compile("[A-Z]{2}").fullmatch  # ISO 3166-1
_visible = re.compile("[!-~]{1,255}").fullmatch


class SiteChoice(NamedTuple):
    """One site as a placement considered it: the charter's answer, the rules named, whether it was taken.

    `name` is for people and may be empty; so may `country`, where nothing says in which one the site is.
    """

    site: str
    name: str
    country: str
    allowed: bool
    rules: tuple[str, ...]
    chosen: bool


class Place(NamedTuple):
    """Where an attempt is, as declared; an empty country is an unknown one."""

    site: str
    country: str


class Detail(NamedTuple):
    """The understood fields of one record; None, empty or a negative number where the record has none."""

    level: int = -1
    residency: frozenset[str] | None = None
    sites: tuple[SiteChoice, ...] = ()
    place: Place | None = None
    canaries: Mapping[str, str] | None = None
    files: Mapping[str, str] = MappingProxyType({})
    message: bytes = b""
    agent_key: bytes = b""
    reason: str = ""


_NOTHING = Detail()


def read_detail(detail: Mapping[str, object]) -> Detail:
    """The understood part of a detail; RecordError, naming the field, where one has the wrong shape."""
    if _UNDERSTOOD.isdisjoint(detail):
        return _NOTHING
    message, agent_key = _bytes(detail, "message"), _bytes(detail, "agent_key")
    if bool(message) != bool(agent_key) or len(agent_key) not in {0, _KEY_BYTES}:
        raise _wrong("message")
    reason = detail.get("reason", "")
    return Detail(
        level=_level(detail.get("level", -1)),
        residency=_residency(detail["residency"]) if "residency" in detail else None,
        sites=tuple(map(_site, _items(detail, "sites"))),
        place=_place(detail["place"]) if "place" in detail else None,
        canaries=read_canaries(detail["canaries"]) if "canaries" in detail else None,
        files=_files(detail.get("files", {})),
        message=message,
        agent_key=agent_key,
        reason=reason if isinstance(reason, str) else "",
    )


def read_canaries(value: object) -> dict[str, str]:
    """Results by route; a route that was not tried may be missing, one that does not exist is refused."""
    if not isinstance(value, dict) or not value.keys() <= set(ROUTES):
        raise _wrong("canaries")
    results: dict[str, str] = {}
    for route, result in value.items():
        if not isinstance(result, str) or result not in _RESULTS:
            raise _wrong("canaries")
        results[route] = result
    return results


def _site(value: object) -> SiteChoice:
    if not isinstance(value, dict) or not value.keys() >= _SITE_FIELDS:
        raise _wrong("sites")
    place, decision, chosen = _place(value), value["decision"], value["chosen"]
    rules = value["rules"]
    if decision not in ("allow", "deny") or type(chosen) is not bool or not isinstance(rules, list):
        raise _wrong("sites")
    if not all(isinstance(name, str) and _visible(name) for name in rules):
        raise _wrong("sites")
    name = value.get("name", "")
    if not isinstance(name, str) or len(name) > _NAME_CHARS_MAX:
        raise _wrong("sites")
    return SiteChoice(place.site, name, place.country, decision == "allow", tuple(rules), chosen)


def _place(value: object) -> Place:
    if not isinstance(value, dict):
        raise _wrong("place")
    site, country = value.get("site"), value.get("country")
    if not (isinstance(site, str) and _visible(site) and isinstance(country, str)):
        raise _wrong("place")
    if country and not _country(country):
        raise _wrong("place")
    return Place(site, country)


def _residency(value: object) -> frozenset[str] | None:
    if value in ("any", ["any"]):
        return None
    if not isinstance(value, list):
        raise _wrong("residency")
    for country in value:
        if not isinstance(country, str) or not _country(country):
            raise _wrong("residency")
    return frozenset(value)


def _files(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(map(is_digest, value.values())):
        raise _wrong("files")
    return value


def _items(detail: Mapping[str, object], field: str) -> list[object]:
    value = detail.get(field, [])
    if not isinstance(value, list):
        raise _wrong(field)
    return value


def _level(value: object) -> int:
    if type(value) is not int or not -1 <= value <= LEVEL_MAX:
        raise _wrong("level")
    return value


def _bytes(detail: Mapping[str, object], field: str) -> bytes:
    value = detail.get(field, "")
    try:
        data = from_base64url(value) if isinstance(value, str) else b""
    except CanonicalError as error:
        raise _wrong(field) from error
    if field in detail and not data:
        raise _wrong(field)
    return data


def _wrong(field: str) -> RecordError:
    return RecordError("record.detail", "a field of the wrong shape", where=f"detail.{field}")
