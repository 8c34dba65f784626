from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from sekisho_wire.messages import (
    DataMount,
    EgressAllow,
    FromAgent,
    FromControl,
    Lease,
    Limits,
    ObjectRef,
    Offer,
    OutputMount,
    Poll,
    RegistrationCode,
    parse_registration_code,
)

DIGEST = "sha256:" + "ab" * 32
LIMITS = {
    "cpus": 1,
    "memory_bytes": 1,
    "processes": 1,
    "wall_s": 1,
    "output_bytes": 1,
    "log_bytes": 1,
    "tmp_bytes": 1,
}
OFFER = {
    "kind": "offer",
    "job": "job_1",
    "job_name": "n",
    "level": 2,
    "image": "system",
    "limits": LIMITS,
    "lease_s": 60,
    "run": "true",
}


def offer(**changes: object) -> Offer:
    return msgspec.convert({**OFFER, **changes}, Offer, strict=True)


def test_an_offer_reads_back() -> None:
    found = offer(
        egress={"allow": ["store.example:443"]},
        data=[{"mount": "/data/a", "object": DIGEST, "kind": "file", "size_bytes": 1, "ticket": "t"}],
    )
    assert found.egress == EgressAllow(allow=["store.example:443"])
    assert found.data[0].reference() == ObjectRef(object=DIGEST, kind="file", size_bytes=1, ticket="t")
    assert found.limits == Limits(**LIMITS)


@pytest.mark.parametrize(
    "change",
    [
        {"level": 5},
        {"level": -1},
        {"surplus": 1},
        {"egress": "open"},
        {"egress": {"allow": []}},
        {"lease_s": 0},
        {"env": {"A=B": "x"}},
        {"env": {"": "x"}},
        {"secrets": ["../key"]},
        {"secrets": ["a/b"]},
        {"limits": {**LIMITS, "grace_s": 21}},
        {"limits": {**LIMITS, "cpus": 0}},
        {"limits": {**LIMITS, "cpus": 1.5}},
        {"workdir": None, "level": "2"},
    ],
)
def test_an_offer_outside_its_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        offer(**change)


@pytest.mark.parametrize(
    "mount", ["", "data", "/", "//data", "/data/", "/data/../x", "/./x", "/.ssh", "/data\n", "/a b"]
)
def test_mounts_are_plain_absolute_paths(mount: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "o", "mount": mount}, OutputMount)


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "ab" * 32, "sha256:" + "AB" * 32, DIGEST + "\n", DIGEST[:-1]]
)
def test_digests_have_one_spelling(digest: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"mount": "/d", "object": digest, "kind": "file", "size_bytes": 0}, DataMount)


def test_an_offer_without_setup_is_as_long_as_ever() -> None:
    """What is not said is not in the bytes, so agents that know no setup still read offers without one."""
    assert b"setup" not in msgspec.json.encode(offer())
    found = offer(setup="pip install x", setup_workdir=True)
    assert (found.setup, found.setup_workdir) == ("pip install x", True)


def test_every_kind_is_told_apart() -> None:
    kinds = [member.__struct_config__.tag for union in (FromAgent, FromControl) for member in get_args(union)]
    assert len(kinds) == len(set(kinds))
    assert {"poll", "accept", "ended", "renew", "log", "secret", "ticket", "offer", "cancel", "lease"} <= set(
        kinds
    )


def test_waits_and_graces_are_bounded() -> None:
    for kind, value in ((Poll, {"wait_s": 26}), (Lease, {"lease_s": 60, "grace_s": 21})):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, kind)


def test_a_registration_code_reads_back() -> None:
    code = RegistrationCode(secret="s" * 32, control_key="k" * 43, site="site_0")
    assert parse_registration_code(f" {code.text()}\n") == code
    for text in (
        "",
        "sekisho-reg1.a.b.c",
        code.text() + ".x",
        code.text().replace("reg1", "reg2"),
        "x" * 10_000,
    ):
        assert parse_registration_code(text) is None
