"""Releases of data keys: one answer for each one-time key, whatever is lost; nothing for what is not the attempt's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.app import Control
from sekisho.charter import ActivateVersion, DraftVersion, default_policies
from sekisho.compute import releases, rules
from sekisho.data import ConfirmRelease, DestroyKey, ListArtefacts, ReleaseKey, RotateKey, StopKey
from sekisho.kernel import config
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.facts import SYSTEM, Actor, Ref
from sekisho.ledger import KeepCosignature, OfferCheckpoint
from sekisho_verify.canonical import digest
from sekisho_verify.checkpoint import COSIGNATURE_V1, SignedNote, cosign_note, format_note, parse_note
from sekisho_wire import messages
from sekisho_wire.custody import CustodyError
from sekisho_wire.keying import KeyGranted, KeyPending, KeyRefused
from sekisho_wire.messages import Envelope
from sekisho_wire.signing import encode_public_key, seal
from tests.compute.sealed_world import READS, SealedWorld, recipient, want
from tests.compute.world import FINISHED, code_of, job_file, started
from tests.support import custody, statements
from tests.verify.builders import Signer

SEALED = messages.OutputReport(
    name="model", object=digest(b"model"), size_bytes=9, envelope=digest(b"header")
)


@pytest.fixture
def sealed(tmp_path: Path, db_url: str) -> Iterator[SealedWorld]:
    world = SealedWorld(tmp_path, db_url)
    yield world.begin()
    world.close()


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["", "key_a", "key_b"])), max_size=5))
def test_a_jobs_own_key_is_that_of_its_most_sensitive_input(sources: list[tuple[int, str]]) -> None:
    found = rules.joined_key(sources)
    keyed = [source for source in sources if source[1]]
    assert found == (min((-level, key) for level, key in keyed)[1] if keyed else "")
    assert rules.joined_key(list(reversed(sources))) == found


def test_the_answer_waits_for_a_checkpoint_and_is_the_same_whenever_it_is_asked_for(
    sealed: SealedWorld,
) -> None:
    """Killed between record and answer, or the answer lost: the same bytes, and a later question, get one order."""
    job, order = sealed.staging()
    question = want()
    message = seal(sealed.home.key, sealed.home.envelope("main", order, question))
    first = sealed.home.deliver(message).body
    assert isinstance(first, KeyPending)
    assert sealed.home.deliver(message).body == first
    sealed.seal_log()
    again = sealed.home.deliver(message).body
    later = sealed.home.say(order, question)
    assert isinstance(again, KeyGranted)
    assert isinstance(later, KeyGranted)
    assert (again.order, again.record) == (later.order, later.record)
    named = [record for record in sealed.records(job, "data.key.release") if "order" in record["detail"]]
    assert len(named) == 1
    stated = [found for found in sealed.check().findings if found.seen != "rec_of_a_test"]
    assert stated == []


def restart(sealed: SealedWorld, settings: config.Settings) -> None:
    """A new process of the control plane."""
    sealed.control.close()
    sealed.control = Control(settings, clock=sealed.clock)
    sealed.gate, sealed.database = sealed.control.gate, sealed.control.database
    sealed.home.door = type(sealed.home.door)(sealed.gate, sealed.control.seals, sealed.clock)


def test_an_order_leaves_when_as_many_witnesses_as_its_custodian_demands_have_seen_it(
    sealed: SealedWorld,
) -> None:
    witness = Signer.make("witness.example.invalid/sekisho", kind=COSIGNATURE_V1)
    named = config.Witness(name="university", url="https://witness.example.invalid", vkey=witness.key.vkey)
    settings = sealed.control.settings
    log = msgspec.structs.replace(settings.ledger, witnesses=(named,))
    restart(sealed, msgspec.structs.replace(settings, ledger=log))
    demanding = custody.rotated(2, owner=sealed.office, quorum=1, **custody.HSM)
    key = sealed.perform(sealed.engineer, RotateKey(key="hospital", statement=demanding))
    assert (key.version, key.quorum) == (2, 1)
    _, order = sealed.staging()
    question = want()
    for _ in range(2):
        assert isinstance(sealed.home.say(order, question), KeyPending)
        sealed.seal_log()
    soon = sealed.clock.now_ms() + 1000
    shown = sealed.perform(SYSTEM, OfferCheckpoint(vkey=witness.key.vkey, before_ms=soon, seen=0))
    text = parse_note(shown.note).text
    line = cosign_note(text, witness.key, witness.sign, time_s=sealed.clock.now_ms() // 1000)
    answer = format_note(SignedNote(text, (line,))).removeprefix(f"{text}\n".encode())
    sealed.perform(SYSTEM, KeepCosignature(vkey=witness.key.vkey, size=shown.size, answer=answer))
    granted = sealed.home.say(order, question)
    assert isinstance(granted, KeyGranted)
    assert sealed.believed(granted, quorum=1).checkpoint.size == shown.size
    assert [found for found in sealed.check().findings if found.seen != "rec_of_a_test"] == []


def test_a_new_process_of_the_control_plane_goes_on_where_the_old_one_died(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    question = want()
    assert isinstance(sealed.home.say(order, question), KeyPending)
    restart(sealed, sealed.control.settings)
    sealed.seal_log()
    assert isinstance(sealed.home.say(order, question), KeyGranted)


def test_what_changed_while_the_record_waited_is_heeded(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    question = want()
    assert isinstance(sealed.home.say(order, question), KeyPending)
    sealed.seal_log()
    sealed.perform(sealed.engineer, StopKey(key="hospital"))
    assert sealed.home.say(order, question) == KeyRefused(reason="key.stopped")


def test_no_order_leaves_for_a_version_that_is_gone(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    question = want()
    assert isinstance(sealed.home.say(order, question), KeyPending)
    sealed.seal_log()
    newer = custody.rotated(2, owner=sealed.office)
    sealed.perform(sealed.engineer, RotateKey(key="hospital", statement=newer))
    gone = DestroyKey(key="hospital", evidence=custody.destruction(versions=[1]))
    assert sealed.perform(sealed.engineer, gone).state == "serving"
    assert sealed.home.say(order, question) == KeyRefused(reason="key.destroyed")


def test_a_question_that_is_not_this_attempts_gets_nothing(
    sealed: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, order = sealed.staging()
    say = sealed.home.say
    foreign: Any = want(headers=[digest(b"somebody else's object")])
    assert code_of(lambda: say(order, foreign)) == NotFoundError(id="").code
    assert code_of(lambda: say(order, want(headers=[]))) == NotFoundError(id="").code
    question = want()
    assert isinstance(say(order, question), KeyPending)
    assert code_of(lambda: say(order, want(recipient=question.recipient, make=1))) == "attempt.fenced"
    stale: Any = order.__class__(
        **{name: getattr(order, name) for name in order.__struct_fields__} | {"token": 99}
    )
    assert code_of(lambda: say(stale, want())) == "attempt.fenced"
    monkeypatch.setattr(releases, "RELEASES_MAX", 1)
    assert code_of(lambda: say(order, want())) == "data.key_releases"


def test_an_offer_that_was_not_taken_gets_nothing(sealed: SealedWorld) -> None:
    _, order = sealed.offered(job_file(more=READS))
    assert code_of(lambda: sealed.home.say(order, want())) == "attempt.fenced"


def test_an_order_for_a_key_is_good_for_minutes_and_for_what_it_names(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    granted = sealed.granted(order, want(make=1))
    believed = sealed.believed(granted).order
    assert (believed.make, believed.agent, believed.token) == (1, sealed.home.id, order.token)
    sealed.later(3)
    with pytest.raises(CustodyError, match="past its time"):
        sealed.believed(granted)


def test_what_is_left_behind_is_registered_under_its_key_or_not_at_all(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    sealed.granted(order)
    sealed.home.say(order, messages.Staged(), started())
    saved = messages.CheckpointSaved(object=digest(b"c"), size_bytes=3, envelope=digest(b"h"))
    assert code_of(lambda: sealed.home.say(order, saved)) == "attempt.unsealed", "no key was ever made for it"
    sealed.granted(order, want(headers=[], make=1, recipient=recipient()))
    sealed.home.say(order, saved)
    bare = messages.CheckpointSaved(object=digest(b"c"), size_bytes=3)
    assert code_of(lambda: sealed.home.say(order, bare)) == "attempt.unsealed"
    assert code_of(lambda: sealed.home.log(order, 0, b"patient 1")) == "compute.log.stays"
    log = messages.LogReport(bytes=5, dropped=0, digest=digest(b"log"), envelope=digest(b"h2"))
    end = messages.Ended(reason="finished", exit_status=0, outputs=[SEALED], log=log)
    sealed.home.say(order, end)
    assert sealed.reason(job)[0] == "succeeded"
    kept = sealed.perform(sealed.engineer, ListArtefacts(job=job)).items
    assert {item.kind for item in kept} == {"checkpoint", "output", "log"}
    assert {(item.key, item.key_version, item.level) for item in kept} == {(sealed.key().id, 1, 2)}


def test_a_job_without_inputs_names_the_key_of_its_outputs_itself(sealed: SealedWorld) -> None:
    text = "name: a\nrun: date\ncharter: {{level: 2, residency: [JP], key: {}}}\n"
    _, order = sealed.offered(text.format("hospital"))
    assert isinstance(order.body, messages.Offer)
    assert (order.body.seal, order.body.sealed) == ("stays", [])
    sealed.home.say(order, messages.Accept())
    sealed.granted(order, want(headers=[], make=1))
    sealed.key("theirs", by=sealed.stranger)
    assert code_of(lambda: sealed.submit(text.format("theirs"))) == NotFoundError(id="").code


def test_outputs_that_were_not_sealed_fail_the_job_and_are_not_registered(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    sealed.granted(order)
    sealed.home.say(order, messages.Staged(), started(), FINISHED)
    assert sealed.reason(job) == ("failed", "key.unsealed")
    assert sealed.perform(sealed.engineer, ListArtefacts(job=job)).items == []


def test_a_decision_about_a_running_attempt_is_recorded_either_way(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    assert sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    sealed.granted(order)
    assert sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    sealed.perform(sealed.engineer, StopKey(key="hospital"))
    assert not sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    told = [
        record["detail"]["reason"]
        for record in sealed.records(job, "data.key.confirm")
        if "reason" in record["detail"]
    ]
    assert told == ["", "key.stopped"]
    assert sealed.home.renew(order).reason == "key.stopped"
    sealed.home.say(order, messages.Ended(reason="key.stopped"))
    assert sealed.reason(job) == ("failed", "key.stopped")
    assert not sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    with pytest.raises(NotFoundError):
        sealed.perform(SYSTEM, ConfirmRelease(attempt="att_" + "0" * 26))


OTHER = digest(b"another header")


def under_two_keys(world: SealedWorld, **fields: Any) -> tuple[str, Envelope]:
    """An accepted job that reads under `hospital`, and under `second` what has the header OTHER."""
    statement = custody.facts(key="second", owner=world.office, **custody.HSM)
    second = world.perform(
        world.engineer, custody.registration("second", owner=world.office, statement=statement, **fields)
    )
    world.dataset("scans", level=2, key=second.id, key_version=1, envelope=OTHER)
    reads = "data: [{from: patients, mount: /data}, {from: scans, mount: /scans}, {to: model, mount: /out}]\n"
    job, order = world.offered(job_file(more=reads))
    world.home.say(order, messages.Accept())
    world.granted(order)
    return job, order


def test_a_refused_key_is_not_masked_by_what_was_decided_later_about_another(sealed: SealedWorld) -> None:
    job, order = under_two_keys(sealed, custodian=sealed.laboratory)
    sealed.granted(order, want(headers=[OTHER]))
    assert not sealed.home.renew(order).cancel
    rule = (
        '@id("X1-own")\n@en("Own custody.")\n@ja("自社保管。")\nforbid (principal, action in Action::"at_rest",'
        " resource) when { context.key has owner && context.key.custodian == context.key.owner };\n"
    )
    drafted = sealed.perform(sealed.administrator, DraftVersion(policies=f"{default_policies()}\n{rule}"))
    sealed.both(ActivateVersion(version=drafted.version))
    sealed.later(1)
    assert not sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    told = [record["detail"] for record in sealed.records(job, "data.key.confirm")]
    assert {one["key"]: one["reason"] for one in told if "key" in one} == {
        "hospital": "key.refused",
        "second": "",
    }
    sealed.later(1)
    sealed.granted(order, want(headers=[OTHER]))
    lease = sealed.home.renew(order)
    assert (lease.cancel, lease.reason) == (True, "key.refused")


def test_a_key_is_decided_about_again_however_lately_another_was_released(sealed: SealedWorld) -> None:
    _, order = under_two_keys(sealed)
    for _ in range(4):
        sealed.later(4)
        sealed.yard.prove()
        sealed.granted(order, want(headers=[OTHER]))
    assert sealed.home.renew(order).reason == "key.unconfirmed"
    sealed.settle()
    assert not sealed.home.renew(order).cancel, "the renewal had it decided"


def test_a_release_asks_the_database_for_each_thing_once(sealed: SealedWorld) -> None:
    """On PostgreSQL each statement is a way there and back: more of them is a decision to be taken knowingly."""
    _, order = sealed.staging()
    sealed.granted(order)
    question = want()
    asked = [
        ReleaseKey(
            envelope=envelope,
            sealed=seal(sealed.home.key, envelope).decode(),
            agent_key=encode_public_key(sealed.home.key.public_key()),
        )
        for envelope in (sealed.home.envelope("main", order, question) for _ in range(2))
    ]
    agent = Actor(Ref("Agent", sealed.home.id), via="seal")
    with statements.counted() as decided:
        sealed.perform(agent, asked[0])
    sealed.seal_log()
    with statements.counted() as handed_out:
        sealed.perform(agent, asked[1])
    facts = "select version from kernel_facts"
    found = [[text for text in seen if text != facts] for seen in (decided, handed_out)]
    assert [len(seen) for seen in found] == [16, 14]
    assert all(len(set(seen)) == len(seen) - 1 for seen in found), (
        "two accounts: the agent's, the submitter's"
    )


def test_answers_about_keys_are_counted_by_what_they_were(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    sealed.granted(order)
    sealed.perform(sealed.engineer, StopKey(key="hospital"))
    for _ in range(2):
        assert isinstance(sealed.ask(order), KeyRefused)
    sealed.home.say(order, messages.Staged())
    (family,) = sealed.home.door.key_answers.collect()
    counted = {one.labels["result"]: one.value for one in family.samples if one.name.endswith("_total")}
    assert counted == {"pending": 1, "granted": 1, "key.stopped": 2}
