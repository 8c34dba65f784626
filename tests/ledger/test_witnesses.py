"""What the log keeps and hands out of its witnesses' cosignatures."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.config import Witness as Setting
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import (
    KeepCosignature,
    OfferCheckpoint,
    ShowCheckpoint,
    prove,
    read_witnesses,
    tables,
    tables_witness,
    witnesses,
)
from sekisho.ledger.rules import stale_heads
from sekisho_verify import verify_bundle
from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    parse_checkpoint,
    parse_key,
    parse_note,
    verify_note,
)
from sekisho_verify.merkle import verify_inclusion
from sekisho_verify.record import parse_record
from sekisho_verify.trust import Demand, Seen, Trust
from tests.ledger.watching import NAMES, Yard, bundle, round_of, trust
from tests.ledger.world import ANN, codes, opened
from tests.verify.builders import Signer


def test_both_witnesses_cosign_one_checkpoint_and_it_is_published(yard: Yard) -> None:
    for count in (3, 1, 40):
        yard.grow(count)
        round_of(yard)
        assert yard.cosigners() == list(NAMES)
        assert not yard.world.check().findings
    assert yard.findings() == ["", ""]
    assert yard.count(0, "cosigned") == 3


def test_the_checkpoint_that_is_asked_for_carries_them_too(yard: Yard) -> None:
    yard.grow(2)
    before = yard.head().note
    round_of(yard)
    after = yard.head().note
    assert after.startswith(before)
    assert after.count("\u2014 ") == 3


def test_a_checkpoint_that_is_cosigned_is_not_offered_again(yard: Yard) -> None:
    yard.grow(2)
    round_of(yard)
    asked = len(yard.asked)
    for _ in range(3):
        yard.tick()
        round_of(yard)
    assert len(yard.asked) == asked == 2


def test_what_was_signed_within_this_second_waits_for_the_next(yard: Yard) -> None:
    size = yard.grow(1)
    yard.world.put("late")
    yard.world.sequence()
    round_of(yard)
    assert [state.size for state in yard.states()] == [size, size]
    yard.tick()
    round_of(yard)
    assert [state.size for state in yard.states()] == [yard.head().size] * 2


def test_before_the_first_checkpoint_nobody_is_asked(yard: Yard) -> None:
    yard.tick()
    round_of(yard)
    assert yard.asked == []


def test_a_bundle_stands_under_the_checkpoint_that_most_have_cosigned(yard: Yard) -> None:
    world = yard.world
    world.put("job")
    world.sequence()
    world.close("job")
    size = yard.grow(1, "other")
    round_of(yard)
    yard.grow(5, "other")
    yard.offerings[0].step()
    assert yard.cosigners() == [NAMES[0]]
    verdict = verify_bundle(bundle(yard), trust(yard, quorum=2))
    assert verdict.holds, verdict
    assert verdict.bundle is not None
    assert verdict.bundle.checkpoint.size == size
    told = [line.fields for line in verdict.lines if line.code == "witness.cosigned"]
    assert [fields["name"] for fields in told] == list(NAMES)
    assert {fields["time"] for fields in told} == {"2026-11-18T11:06:40Z"}


def test_completeness_comes_before_cosignatures(yard: Yard) -> None:
    yard.grow(1)
    round_of(yard)
    yard.grow(1)
    verdict = verify_bundle(bundle(yard), trust(yard))
    assert verdict.holds
    assert verdict.bundle is not None
    assert verdict.bundle.manifest.records == 2
    assert not [line for line in verdict.lines if line.code == "witness.cosigned"]


def test_a_head_seen_before_is_never_newer_than_the_bundles(yard: Yard) -> None:
    yard.grow(1)
    round_of(yard)
    seen = yard.grow(5, "other")
    plain = trust(yard)
    head = parse_note(yard.head().note.encode())
    auditor = Trust(
        plain.origin,
        plain.keys,
        plain.witnesses,
        seen=Seen(seen, parse_checkpoint(head.text).root),
        demand=Demand(consistency=True),
    )
    assert verify_bundle(bundle(yard, seen=seen), auditor).holds


def test_the_trust_file_names_the_witnesses_in_force(yard: Yard) -> None:
    assert [key.name for key in trust(yard).witnesses] == list(NAMES)


def test_a_witness_that_left_the_settings_is_handed_out_no_more(
    yard: Yard, db_url: str, tmp_path: Path
) -> None:
    yard.grow(2)
    round_of(yard)
    yard.world.database.close()
    with opened(db_url, tmp_path, witnesses=yard.witnesses[:1]) as world:
        assert world.gate.perform(ANN, ShowCheckpoint()).note.count("\u2014 ") == 2
        publisher = world.publisher()
        assert publisher.advance(world.read_tiles)
        assert not world.check().findings
    with opened(db_url, tmp_path) as world:
        world.publish()
        assert (world.published / "checkpoint").read_text().count("\u2014 ") == 1


def test_a_cosignature_of_nobody_we_know_is_refused(yard: Yard) -> None:
    size = yard.grow(3)
    stranger = Signer.make("stranger.example", kind=COSIGNATURE_V1)
    with pytest.raises(SekishoError) as refused:
        yard.world.gate.perform(SYSTEM, KeepCosignature(vkey=stranger.key.vkey, size=size, answer=b""))
    assert refused.value.code == "ledger.witness_unknown"
    with pytest.raises(SekishoError) as refused:
        yard.world.gate.perform(
            SYSTEM, KeepCosignature(vkey=yard.witnesses[0].key.vkey, size=size + 1, answer=b"")
        )
    assert refused.value.code == "ledger.not_covered"


def test_an_offer_beyond_the_end_is_none(yard: Yard) -> None:
    yard.grow(3)
    asked = OfferCheckpoint(vkey=yard.witnesses[0].key.vkey, before_ms=yard.world.clock.now_ms(), seen=10**6)
    assert yard.world.gate.perform(SYSTEM, asked).size == -1


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        ("update ledger_cosignatures set size = size + 1000", "cosignature.no_head"),
        ("update ledger_cosignatures set line = 'x'", "cosignature.signature"),
        ("update ledger_cosignatures set time_s = time_s + 1", "cosignature.signature"),
        ("update ledger_cosignatures set vkey = 'x'", "cosignature.signature"),
    ],
)
def test_damage_to_cosignatures_is_found(yard: Yard, harm: str, code: str) -> None:
    yard.grow(3)
    yard.offerings[0].step()
    assert not yard.world.check().findings
    yard.world.damage(harm)
    assert codes(yard.world.check()) == {code}


def test_heads_with_the_most_cosignatures_outlive_the_others(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHECKPOINTS_KEPT", 3)
    monkeypatch.setattr(witnesses, "COSIGNED_KEPT", 2)
    both = yard.grow(2)
    round_of(yard)
    for _ in range(6):
        yard.grow(1)
        yard.offerings[0].step()
    rows = yard.world.database.read(lambda tx: tables_witness.cosignatures_from(tx, 0))
    sizes = sorted({row["size"] for row in rows})
    assert sizes[0] == both
    assert len(sizes) == 3
    assert not yard.world.check().findings


@given(st.dictionaries(st.integers(1, 50), st.integers(1, 4)), st.integers(1, 5))
def test_dropping_cosignatures_never_lowers_what_can_be_shown(counts: dict[int, int], kept: int) -> None:
    """For every size a stream may need, the best count that is left is the best there was."""
    left = {size: count for size, count in counts.items() if size not in stale_heads(counts, kept=kept)}
    for needed in range(52):
        best = max((count for size, count in counts.items() if size >= needed), default=0)
        assert max((count for size, count in left.items() if size >= needed), default=0) == best
    assert len(left) <= kept + 4


def test_wrong_settings_are_refused() -> None:
    one, two = (
        Setting(name=name, url="https://w.example", vkey=Signer.make(name, kind=COSIGNATURE_V1).key.vkey)
        for name in NAMES
    )
    replace = msgspec.structs.replace
    assert len(read_witnesses([one, two])) == 2
    for wrong in (
        [one, one],
        [one, replace(two, name=one.name)],
        [one, replace(two, vkey=one.vkey)],
        [replace(one, vkey="x")],
        [replace(one, vkey=Signer.make("log.example").key.vkey)],
    ):
        with pytest.raises(SekishoError) as refused:
            read_witnesses(wrong)
        assert refused.value.code == "config.invalid"


def test_the_state_of_a_witness_that_was_never_asked(yard: Yard) -> None:
    assert [(state.size, state.seen) for state in yard.states()] == [(0, "-"), (0, "-")]
    yard.grow(3)
    round_of(yard)
    assert yard.states()[0].seen.startswith("cosigned ")


def test_what_leaves_waits_for_as_many_witnesses_as_its_reader_demands(yard: Yard) -> None:
    size = yard.grow(1)
    row = yard.world.database.read(
        lambda tx: tx.one("select id from ledger_entries where log_index = :index", index=size - 1)
    )
    assert row is not None
    record = str(row["id"])

    def proven(quorum: int) -> int:
        """The size of the checkpoint that comes along, verified as a custodian does; 0 where none does."""
        found = yard.world.database.read(lambda tx: prove(tx, record, yard.witnesses, quorum=quorum))
        if found is None:
            return 0
        note = parse_note(found.checkpoint)
        keys = [witness.key for witness in yard.witnesses]
        seen = verify_note(note, log_keys=[parse_key(yard.world.keys.first)], witness_keys=keys)
        assert len(seen) >= quorum
        head = parse_checkpoint(note.text)
        leaf = parse_record(found.record).leaf_hash(found.stream_seq)
        verify_inclusion(leaf, found.path, index=found.log_index, size=head.size, root=head.root)
        return head.size

    assert [proven(quorum) for quorum in range(3)] == [size, 0, 0]
    yard.offerings[0].step()
    assert [proven(quorum) for quorum in range(3)] == [size, size, 0]
    larger = yard.grow(5)
    assert proven(1) == size, "an earlier checkpoint that somebody has seen comes before a newer one"
    yard.offerings[1].step()
    assert [proven(quorum) for quorum in (1, 2)] == [larger, 0], (
        "two witnesses of two checkpoints are not two of one"
    )
    yard.tick()
    round_of(yard)
    assert proven(2) == larger
