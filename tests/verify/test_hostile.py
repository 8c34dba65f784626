"""Evidence of any content: it ends in lines, never in a traceback, and leaving it out is never better."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho_verify import Exit, Verdict, document, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.attestation_file import write_file
from sekisho_verify.canonical import digest, encode
from sekisho_verify.errors import CanonicalError, TrustError
from sekisho_verify.observation import write_canaries
from tests.verify import tokens
from tests.verify.attested import FILE
from tests.verify.builders import TestLog
from tests.verify.rich import PARTS, observed, stream

JSON_PARTS = sorted(name for name in PARTS if name != "job.yaml")
HOSTILE: list[Any] = [
    "\ud800",
    "\udfff and more",
    "\u202e\x00\n",
    "",
    "A" * 5000,
    0,
    -1,
    2**53 - 1,
    True,
    [],
    [[]],
    {},
    {"id": "", "type": ""},
    {"ms": 2**53 - 1},
]
NEVER_BETTER = (Exit.HOLDS, Exit.UNTRUSTED)


def verdict(parts: dict[str, bytes]) -> Verdict:
    members, trust = stream(parts)
    found = verify_bundle(write_bundle(members), trust)
    said(found)
    return found


def said(found: Verdict) -> None:
    """What is printed can be printed: no half of a character, no line that another one hides."""
    for language in ("en", "ja"):
        assert "\x00" not in render(found, language).encode("utf-8", "strict").decode()
    json.dumps(document(found), ensure_ascii=False).encode()


def test_the_whole_stream_holds_with_everything_demanded() -> None:
    found = verdict(PARTS)
    assert found.exit_code is Exit.HOLDS, render(found, "en")
    states = {line.part: line.state for line in found.lines}
    assert {states[part] for part in ("charter", "transcript", "attestation", "key_release", "egress")} <= {
        "ok",
        "note",
    }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from leaves(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def spelled(value: Any) -> bytes:
    """As canonical JSON where it has a form, else with the escapes that a hostile writer would use."""
    try:
        return encode(value)
    except CanonicalError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", JSON_PARTS)
@settings(max_examples=20)
@given(data=st.data())
def test_any_value_in_any_place_of_any_file_ends_in_lines(name: str, data: st.DataObject) -> None:
    body = json.loads(PARTS[name])
    path = data.draw(st.sampled_from(sorted(leaves(body), key=repr)))
    found = verdict(PARTS | {name: spelled(changed(body, path, data.draw(st.sampled_from(HOSTILE))))})
    assert found.lines


@settings(max_examples=20)
@given(
    path=st.sampled_from(sorted(leaves(tokens.azure_tdx()), key=repr)),
    new=st.sampled_from([one for one in HOSTILE if one != []]),
)
def test_any_value_in_a_signed_token_ends_in_lines(path: tuple[Any, ...], new: Any) -> None:
    claims = tokens.azure_tdx()
    times = {"iat": tokens.NOW_S, "nbf": tokens.NOW_S, "exp": tokens.NOW_S + 3600}
    body = changed(claims | times, path, new)
    token = tokens.AZURE.token(body if isinstance(body, dict) else {})
    verdict(PARTS | {"attestation.json": write_file(replace(FILE, token=token))})


def test_half_a_character_in_a_gpus_token_is_one_failure() -> None:
    """The set of tokens is not signed itself; what is taken from it is digested before it is believed."""
    overall, devices = json.loads(FILE.gpu)
    devices[next(iter(devices))] = "\ud800"
    found = verdict(
        PARTS | {"attestation.json": write_file(replace(FILE, gpu=json.dumps([overall, devices])))}
    )
    assert "attestation.json" in [line.fields["reason"] for line in found.lines if line.exit_code]


@pytest.mark.parametrize("text", ['"\\ud800"', '"a\\udc00b"'])
def test_half_a_character_in_a_trust_file_is_refused(text: str) -> None:
    trust = json.loads(TestLog().trust())
    for name in (*trust, "demand", "verifiers", "landmarks", "territory", "listeners", "authorities"):
        with pytest.raises(TrustError):
            parse_trust(json.dumps(trust | {name: "MARK"}).replace('"MARK"', text).encode())


def dropped(members: dict[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    for name in members:
        if name.startswith(("files/", "facts/", "charters/")):
            yield name, {key: data for key, data in members.items() if key != name}


BAD: dict[str, dict[str, bytes]] = {
    "good": {},
    "place": {"location.json": b"{}"},
    "map": {"territory.json": b"{}"},
    "debugged": {"attestation.json": write_file(replace(FILE, token=tokens.token(dbgstat="enabled")))},
    "egress": {"egress.json": b"{}"},
    "heard": {"canaries.json": write_canaries([observed(inside=frozenset({"tcp"}))])},
    "other token": {"canaries.json": write_canaries([observed(token=2)])},
    "kept key": {
        "key_release.json": PARTS["key_release.json"].replace(b'"released":true', b'"released":false')
    },
    "no role": {"facts": PARTS["facts"].replace(b'"engineer"', b'"visitor"')},
    "forbidden": {"charter": PARTS["charter"].replace(b"permit", b"forbid")},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_leaving_evidence_out_is_never_better(bad: dict[str, bytes]) -> None:
    """Neither of what fails nor of what holds: not by the exit code, and not by anything that is shown."""
    members, trust = stream(PARTS | bad)
    whole = verify_bundle(write_bundle(members), trust)
    assert (whole.exit_code in NEVER_BETTER) is not bool(bad)
    shown = {(line.part, line.code, line.grade) for line in whole.lines if line.state == "ok" and line.grade}
    for name, rest in dropped(members):
        for who in (trust, None):
            found = verify_bundle(write_bundle(rest), who)
            assert found.exit_code not in NEVER_BETTER, name
        less = verify_bundle(write_bundle(rest), trust).lines
        assert {
            (line.part, line.code, line.grade) for line in less if line.state == "ok" and line.grade
        } <= shown


def test_the_parts_are_all_there() -> None:
    members, _ = stream(PARTS)
    there = {digest(data) for data in members.values()}
    assert {digest(data) for data in PARTS.values()} <= there
