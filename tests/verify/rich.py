"""A stream that rests on every kind of evidence there is, whatever the files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sekisho_verify import Trust, parse_trust
from sekisho_verify.attestation_file import write_file
from sekisho_verify.canonical import decode_object, digest, encode, to_base64url
from sekisho_verify.checkpoint import make_key
from sekisho_verify.errors import CanonicalError
from sekisho_verify.location_transcript import describe_landmark
from sekisho_verify.observation import Observation, write_canaries, write_observation
from tests.verify.attested import FILE, MACHINES, time_text
from tests.verify.builders import (
    ROUTES_CLOSED,
    START,
    Body,
    Signer,
    TestLog,
    agent_message,
    make_id,
    record_body,
)
from tests.verify.places import key_of, public_of
from tests.verify.test_section_charter import CHARTER, TIME, facts
from tests.verify.test_section_location import GOOD, KNOWN, LAND, choice
from tests.verify.tokens import NOW_S, VERIFIERS

AGENT = Signer(make_key("agent", public_of("agent")), key_of("agent").sign)
LISTENER = Signer.make("listener.example/one")
ATTEMPT = make_id("att", 1)
_BEGUN_MS = round(START.timestamp() * 1000)
_EGRESS: Body = {"mechanism": "namespace", "reached": [], "refused": [], "refused_count": 0}
_ORDER: Body = {
    "key": "patients",
    "key_version": 1,
    "custodian": "hospital",
    "site": "site_1",
    "attempt": ATTEMPT,
    "proof": digest(GOOD),
}


def observed(**changes: Any) -> bytes:
    """A listener's report of the stream's attempt."""
    seen = Observation(
        LISTENER.key.name,
        LISTENER.key.public,
        AGENT.key.public,
        ATTEMPT,
        1,
        _BEGUN_MS - 1000,
        _BEGUN_MS + 60_000,
        frozenset({"tcp", "udp", "dns"}),
        frozenset(),
    )
    return write_observation(seen._replace(**changes), LISTENER.sign)


PARTS: dict[str, bytes] = {
    "job.yaml": b"name: job\n",
    "location.json": GOOD,
    "territory.json": LAND,
    "attestation.json": write_file(FILE),
    "egress.json": encode({"v": 1, "attempt": ATTEMPT, "canaries": ROUTES_CLOSED, "egress": _EGRESS}),
    "canaries.json": write_canaries([observed()]),
    "key_release.json": encode(
        {
            "v": 1,
            "order": _ORDER,
            "released": True,
            "reason": "",
            "key": {"custody": "customer-hsm", "country": "JP"},
        }
    ),
    "facts": encode(facts()),
    "charter": CHARTER,
}


def stream(parts: Mapping[str, bytes]) -> tuple[dict[str, bytes], Trust]:
    """Members of the bundle, and the trust file of an auditor who knows everybody and demands everything."""
    log = TestLog()
    names = {name: digest(data) for name, data in parts.items()}
    place = {name: names[name] for name in ("location.json", "territory.json")}
    end = time_text(round(START.timestamp()) + 65)
    ended: Body = {
        "kind": "ended",
        "reason": "finished",
        "seconds": 60,
        "canaries": ROUTES_CLOSED,
        "egress": _EGRESS,
    }
    ended["observed"] = [to_base64url(observed())]
    try:
        order = decode_object(parts["key_release.json"]).get("order", {})
    except CanonicalError:
        order = dict[str, object]()
    decided: Body = {
        "charter": names["charter"],
        "facts": names["facts"],
        "time": TIME,
        "rules": ["P1-engineer"],
    }
    details: list[Body] = [
        {"level": 2, "residency": ["JP"], "files": {"job.yaml": names["job.yaml"]}},
        {"sites": [choice("site_1")], "attempt": ATTEMPT, "files": place},
        agent_message(1, {"kind": "started", "canaries": ROUTES_CLOSED}, signer=AGENT),
        {"order": digest(encode(order)), "files": {**place, "key_release.json": names["key_release.json"]}},
        agent_message(2, ended, signer=AGENT, time=end)
        | {"files": {name: names[name] for name in ("egress.json", "canaries.json")}},
        {"files": {"attestation.json": names["attestation.json"]}},
        {"count": 7},
    ]
    changes: list[Body] = [decided, *({"charter": names["charter"]} for _ in details[1:])]
    changes[-2]["time"] = time_text(NOW_S + 60)
    changes[-1]["action"] = "ledger.stream.close"
    log.append(
        record_body("s", number, detail=detail, **change)
        for number, (detail, change) in enumerate(zip(details, changes, strict=True))
    )
    other = encode({"principal": make_id("usr", 1), "number": 0})
    members = log.members(
        "s",
        charters=[parts["charter"]],
        facts=dict.fromkeys([parts["facts"], other]),
        files=dict.fromkeys(data for name, data in parts.items() if name not in {"facts", "charter"}),
    )
    demand: Body = {
        "closed": True,
        "max_level_without_place": 1,
        "max_level_without_attestation": 1,
        "max_level_without_observation": 1,
    }
    more: dict[str, object] = {
        **MACHINES,
        "landmarks": [describe_landmark(each) for each in KNOWN],
        "listeners": [{"name": LISTENER.key.name, "key": to_base64url(LISTENER.key.public)}],
    }
    return members, parse_trust(log.trust(verifiers=VERIFIERS, demand=demand, more=more))
