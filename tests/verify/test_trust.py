"""The trust file: what fits, and that nothing unknown is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.errors import TrustError
from sekisho_verify.trust import Demand, Seen, parse_trust
from tests.verify.builders import ORIGIN, WITNESSES, Signer, job_log

LOG = job_log()
OTHER = Signer.make("other.example/log")


def body(**changes: Any) -> bytes:
    return json.dumps(json.loads(LOG.trust()) | changes).encode()


def test_listeners_are_names_and_keys() -> None:
    assert parse_trust(LOG.trust()).listeners == frozenset()
    found = parse_trust(body(listeners=[{"name": "x", "key": "A" * 43}])).listeners
    assert found == {("x", bytes(32))}


def test_a_trust_file_reads_as_written() -> None:
    trust = parse_trust(
        LOG.trust(quorum=2, seen_size=7, demand={"closed": True, "max_level_without_place": 1})
    )
    assert (trust.origin, trust.keys, trust.quorum) == (ORIGIN, (LOG.signer.key,), 2)
    assert trust.witnesses == tuple(witness.key for witness in WITNESSES)
    assert trust.seen == Seen(7, LOG.tree.root(7))
    assert trust.demand == Demand(closed=True, consistency=False, max_level_without_place=1)


def test_two_keys_of_the_log_while_they_are_rotated() -> None:
    newer = Signer.make(ORIGIN, seed="newer")
    keys = [LOG.signer.key.vkey, newer.key.vkey]
    assert parse_trust(body(keys=keys)).keys == (LOG.signer.key, newer.key)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"v": 2}, "trust.version"),
        ({"v": True}, "trust.version"),
        ({"more": 1}, "trust.fields"),
        ({"origin": "a b"}, "trust.origin"),
        ({"origin": 1}, "trust.origin"),
        ({"origin": OTHER.key.name}, "trust.keys"),
        ({"keys": []}, "trust.keys"),
        ({"keys": "key"}, "trust.keys"),
        ({"keys": [1]}, "note.key"),
        ({"keys": [OTHER.key.vkey]}, "trust.keys"),
        ({"keys": [LOG.signer.key.vkey] * 2}, "trust.key_kind"),
        ({"keys": [WITNESSES[0].key.vkey]}, "trust.key_kind"),
        ({"witnesses": [LOG.signer.key.vkey]}, "trust.key_kind"),
        ({"witnesses": [WITNESSES[0].key.vkey] * 2}, "trust.key_kind"),
        (
            {
                "witnesses": [
                    WITNESSES[0].key.vkey,
                    Signer.make(WITNESSES[0].key.name, kind=4, seed="b").key.vkey,
                ]
            },
            "trust.witnesses",
        ),
        ({"quorum": 3}, "trust.number"),
        ({"quorum": -1}, "trust.number"),
        ({"quorum": True}, "trust.number"),
        ({"quorum": 1.0}, "trust.json"),
        ({"quorum": None}, "trust.json"),
        ({"seen": {}}, "trust.seen"),
        ({"seen": {"size": 1, "root": "AA"}}, "trust.seen"),
        ({"seen": {"size": 1, "root": "A"}}, "trust.seen"),
        ({"seen": {"size": 1, "root": 5}}, "trust.seen"),
        ({"seen": {"size": -1, "root": "A" * 43}}, "trust.number"),
        ({"seen": 7}, "trust.seen"),
        ({"listeners": {}}, "trust.listeners"),
        ({"listeners": [1]}, "trust.listeners"),
        ({"listeners": [{"name": "x"}]}, "trust.listeners"),
        ({"listeners": [{"name": "x", "key": "AA"}]}, "trust.listeners"),
        ({"listeners": [{"name": "x", "key": "!"}]}, "trust.listeners"),
        ({"listeners": [{"name": "x", "key": 1}]}, "trust.listeners"),
        ({"listeners": [{"name": "", "key": "A" * 43}]}, "trust.listeners"),
        ({"listeners": [{"name": 1, "key": "A" * 43}]}, "trust.listeners"),
        ({"listeners": [{"name": "x", "key": "A" * 43}, {"name": "y", "key": "A" * 43}]}, "trust.listeners"),
        ({"demand": {"more": 1}}, "trust.demand"),
        ({"demand": []}, "trust.demand"),
        ({"demand": {"closed": 1}}, "trust.demand"),
        ({"demand": {"consistency": "yes"}}, "trust.demand"),
        ({"demand": {"max_level_without_place": 6}}, "trust.number"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(TrustError) as caught:
        parse_trust(body(**changes))
    assert caught.value.code == code
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"v":1,"v":1}', bytes(2**20 + 1)])
def test_what_is_no_trust_file_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        parse_trust(data)


def test_a_missing_field_is_refused() -> None:
    for name in ("v", "origin", "keys", "witnesses", "quorum"):
        value = json.loads(LOG.trust())
        del value[name]
        with pytest.raises(TrustError):
            parse_trust(json.dumps(value).encode())


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(["v", "keys", "origin"]), st.text() | st.integers()).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_no_other_exception_escapes(data: bytes) -> None:
    with pytest.raises(TrustError):
        parse_trust(data)
