"""T7: whatever is changed in a bundle, raw or with the zip rebuilt around the change, it no longer holds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from sekisho_verify import Exit, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.canonical import digest
from tests.verify.builders import TestLog, charter, facts, job_log, job_members, job_stream, record_body

LOG = job_log(noise=40)
MEMBERS = job_members(LOG, seen_size=11)
TRUST = parse_trust(LOG.trust(quorum=2, seen_size=11, demand={"closed": True}))
SEED = 20261120


def flipped(data: bytes, at: int, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_the_unchanged_bundle_holds() -> None:
    data = write_bundle(MEMBERS)
    assert verify_bundle(data, TRUST).holds
    assert len(data) <= 64 * 1024


def test_one_flipped_bit_at_every_byte() -> None:
    chance = random.Random(SEED)
    data = write_bundle(MEMBERS)
    for at in range(len(data)):
        assert not verify_bundle(flipped(data, at, chance), TRUST).holds, at


def test_one_flipped_bit_at_every_byte_of_every_member_with_the_zip_rebuilt() -> None:
    chance = random.Random(SEED)
    for name, data in MEMBERS.items():
        for at in range(len(data)):
            verdict = verify_bundle(write_bundle(MEMBERS | {name: flipped(data, at, chance)}), TRUST)
            assert not verdict.holds, (name, at)
            assert (
                f"{int(verdict.exit_code)}" in render(verdict, chance.choice(["en", "ja"])).splitlines()[-1]
            )


def large_log() -> TestLog:
    log = TestLog()
    log.append_noise(500)
    log.append(job_stream(close=False))
    for number in range(4, 150):
        log.append([record_body("job-1", number)])
        if number % 3 == 0:
            log.append_noise(1)
    log.append(
        [record_body("job-1", 150, action="ledger.stream.close", actor="system", detail={"count": 151})]
    )
    log.append_noise(100)
    return log


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Flip, delete, insert, duplicate, overwrite or truncate somewhere."""
    at = chance.randrange(len(data))
    length = chance.randrange(1, 64)
    piece = data[at : at + length]
    kind = chance.randrange(6)
    if kind == 0:
        return flipped(data, at, chance)
    if kind == 1:
        return data[:at] + data[at + length :]
    if kind == 2:
        return data[:at] + chance.randbytes(length) + data[at:]
    if kind == 3:
        return data[:at] + piece + data[at:]
    if kind == 4:
        return data[:at] + chance.randbytes(len(piece)) + data[at + length :]
    return data[:at]


def mutate_members(members: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """Change, remove, add or swap whole members; facts and files, which may be absent, are not removed."""
    names = list(members)
    one, other = chance.sample(names, 2)
    changed = dict(members)
    kind = chance.randrange(6)
    if kind <= 1:
        changed[one] = mutate_bytes(members[one], chance)
    elif kind == 2:
        del changed[chance.choice([name for name in names if not name.startswith(("facts/", "files/"))])]
    elif kind == 3:
        changed[other], changed[one] = members[one], members[other]
    elif kind == 4:
        changed[one] = members[other]
    else:
        changed[f"records/{len(names):06}.json"] = members[one]
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("share", range(4))
def test_ten_thousand_random_mutations_of_a_large_bundle(share: int) -> None:
    chance = random.Random(SEED + share)
    log = large_log()
    members = log.members("job-1", facts=[facts()], files=[b"job file"])
    whole, trust = write_bundle(members), parse_trust(log.trust(quorum=2, demand={"closed": True}))
    assert verify_bundle(whole, trust).holds
    assert len(whole) > 128 * 1024
    for number in range(2500):
        raw = number % 2
        mutated = mutate_bytes(whole, chance) if raw else write_bundle(mutate_members(members, chance))
        if mutated != whole:
            assert not verify_bundle(mutated, trust).holds, number


def test_members_of_two_true_bundles_do_not_mix() -> None:
    """Both bundles hold; every member of one, put into the other, is refused or was the same."""
    log = job_log()
    log.append(job_stream("job-2"))
    one, other = job_members(log), log.members("job-2", facts=[facts()], files=[b"job file"])
    trust = parse_trust(log.trust(quorum=2))
    assert verify_bundle(write_bundle(one), trust).holds
    assert verify_bundle(write_bundle(other), trust).holds
    for name, data in other.items():
        mixed = one | {name: data}
        assert mixed == one or not verify_bundle(write_bundle(mixed), trust).holds, name


def test_an_old_checkpoint_of_the_same_log_does_not_carry_newer_proofs() -> None:
    for size in range(1, len(LOG.leaves)):
        changed = write_bundle(MEMBERS | {"checkpoint": LOG.checkpoint(size)})
        assert verify_bundle(changed, TRUST).exit_code in {Exit.INCLUSION, Exit.CONSISTENCY}


@pytest.mark.parametrize("extra", [charter(2), facts(3), b"job file 2"])
def test_nothing_rides_along(extra: bytes) -> None:
    hexadecimal = digest(extra).removeprefix("sha256:")
    for name in (
        f"charters/{hexadecimal}.json",
        f"facts/{hexadecimal}.json",
        f"files/{hexadecimal}",
        "README",
    ):
        assert verify_bundle(write_bundle(MEMBERS | {name: extra}), TRUST).exit_code is Exit.MALFORMED


def every_member(change: Callable[[str], dict[str, bytes]]) -> list[bool]:
    return [verify_bundle(write_bundle(change(name)), TRUST).holds for name in MEMBERS]


def test_which_members_may_be_left_out() -> None:
    """A consistency proof where it is not demanded; nothing else is."""
    missing = every_member(lambda name: {key: data for key, data in MEMBERS.items() if key != name})
    assert missing == [name == "consistency.json" for name in MEMBERS]


def test_what_records_name_and_the_bundle_leaves_out_is_told_once_each() -> None:
    """The first record that names it says so, however many do."""
    left = {name: data for name, data in MEMBERS.items() if not name.startswith(("facts/", "files/"))}
    found = verify_bundle(write_bundle(left), TRUST)
    told = [line.fields for line in found.lines if line.fields.get("reason") == "completeness.left_out"]
    assert found.exit_code is Exit.COMPLETENESS
    assert [line["where"] for line in told] == ["records/000000.json facts", "records/000000.json job"]
    assert [digest(facts()), digest(b"job file")] == [str(line["detail"]).split()[0] for line in told]
