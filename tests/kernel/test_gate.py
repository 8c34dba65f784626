"""The gate: decided, run and recorded in one transaction, or nothing of it."""

from __future__ import annotations

import threading

import msgspec
import pytest

from sekisho.kernel import repeats, work
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.db import Database
from sekisho.kernel.errors import ConflictError, DeniedError, NotFoundError, SekishoError
from sekisho.kernel.evidence import Draft
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor, Entity, Ref
from sekisho.kernel.proposals import ApproveProposal, ListProposals, Proposed
from sekisho.kernel.tx import Tx
from tests.support import toy
from tests.support.toy import ANN, BEN, DropThing, Greet, PutThing, SealThing, ShowThing, Thing, TickThing


@pytest.fixture
def world(toy_world: toy.World) -> toy.World:
    return toy_world


def deny(world: toy.World, actor: Actor, action: str) -> None:
    assert isinstance(world.decider, toy.AllowAll)
    world.decider.denied.add((actor.ref.id, action))


def drafts(world: toy.World) -> list[str]:
    assert isinstance(world.recorder, toy.Memory)
    return [draft.outcome for draft in world.recorder.drafts.values()]


def last(world: toy.World) -> Draft:
    assert isinstance(world.recorder, toy.Memory)
    return world.recorder.last


def test_a_permitted_command_takes_effect_and_is_recorded(world: toy.World) -> None:
    assert world.gate.perform(ANN, PutThing(id="a", amount=3)) == Thing("a", "thing", 3)
    draft = last(world)
    assert (draft.actor, draft.action, draft.outcome, draft.stream) == (
        "usr_ann",
        "toy.thing.put",
        "done",
        "a",
    )
    assert [effect[:2] for effect in draft.effects] == [("toy_things", '["a"]')]
    assert world.rows("select record_id from toy_things") == [{"record_id": draft.id}]


def test_effects_are_the_final_state_of_each_row(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    first = last(world).effects
    world.gate.perform(ANN, PutThing(id="a", amount=1))
    assert last(world).effects != first
    world.gate.perform(ANN, DropThing(id="a"))
    assert last(world).effects == [("toy_things", '["a"]', "deleted")]


def test_work_that_the_charter_denies_waits_for_one_that_allows_it(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    world.gate.schedule(TickThing(id="a"), dedupe="once")
    deny(world, SYSTEM, "toy.thing.tick")
    assert world.gate.do_work()
    assert not world.gate.do_work(), "it is not tried again at once"
    assert isinstance(world.decider, toy.AllowAll)
    assert isinstance(world.clock, ManualClock)
    world.decider.denied.clear()
    world.clock.advance(10 * 60_000)
    assert world.gate.do_work()
    assert world.gate.next_work_ms() is None


def test_a_denied_command_leaves_evidence_and_no_effect(world: toy.World) -> None:
    deny(world, BEN, "toy.thing.put")
    with pytest.raises(DeniedError) as caught:
        world.gate.perform(BEN, PutThing(id="a"))
    assert caught.value.rules == ("toy-deny",)
    assert caught.value.record == last(world).id
    assert (last(world).outcome, last(world).effects) == ("denied", [])
    assert world.rows("select id from toy_things") == []


def test_the_same_denial_is_recorded_once_a_minute_and_counted(world: toy.World) -> None:
    deny(world, BEN, "toy.thing.put")
    for _ in range(5):
        with pytest.raises(DeniedError):
            world.gate.perform(BEN, PutThing(id="a"))
    assert drafts(world) == ["denied"]
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(61_000)
    with pytest.raises(DeniedError):
        world.gate.perform(BEN, PutThing(id="a"))
    assert drafts(world) == ["denied", "denied"]
    assert last(world).detail == {"repeats": 4}


def test_a_handler_that_raises_leaves_no_effect_and_a_failed_record(world: toy.World) -> None:
    with pytest.raises(RuntimeError, match="told to fail"):
        world.gate.perform(ANN, PutThing(id="a", fail=True))
    assert world.rows("select id from toy_things") == []
    draft = last(world)
    assert (draft.outcome, draft.effects, draft.detail) == ("failed", [], {"code": "RuntimeError"})


def test_reading_what_is_not_there_and_what_is_hidden_look_the_same(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    deny(world, BEN, "toy.thing.show")
    with pytest.raises(NotFoundError) as hidden:
        world.gate.perform(BEN, ShowThing(id="a"))
    with pytest.raises(NotFoundError) as missing:
        world.gate.perform(ANN, ShowThing(id="b"))
    assert (hidden.value.code, hidden.value.params) == ("not_found", {"id": "a"})
    assert missing.value.code == "not_found"
    assert drafts(world) == ["done"]


def test_an_unknown_account_is_asked_to_sign_in(world: toy.World) -> None:
    assert isinstance(world.principals, toy.Anyone)
    world.principals.gone.add("usr_ben")
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(BEN, PutThing(id="a"))
    assert caught.value.code == "auth.required"


@pytest.mark.parametrize("actor", [ANONYMOUS, SYSTEM, Actor(Ref("Agent", "agt_x"))])
def test_an_actor_of_the_wrong_type_is_refused_before_anything_is_loaded(
    world: toy.World, actor: Actor
) -> None:
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(actor, PutThing(id="a"))
    assert caught.value.code in {"auth.required", "not_found"}
    assert drafts(world) == []


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({"toy.thing.put"}, True),
        ({"toy"}, True),
        ({"toy.thing"}, True),
        ({"toy.thing.pu"}, False),
        (set(), False),
    ],
)
def test_a_token_is_good_for_its_scopes_only(world: toy.World, scopes: set[str], *, allowed: bool) -> None:
    actor = Actor(ANN.ref, scopes=frozenset(scopes))
    if allowed:
        world.gate.perform(actor, PutThing(id="a"))
        return
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(actor, PutThing(id="a"))
    assert caught.value.code == "auth.scope"


def test_an_idempotency_key_gives_the_same_answer_and_one_effect(world: toy.World) -> None:
    first = world.gate.perform(ANN, PutThing(id="a", amount=1), idempotency_key="k")
    world.gate.perform(ANN, PutThing(id="a", amount=2))
    assert world.gate.perform(ANN, PutThing(id="a", amount=1), idempotency_key="k") == first
    assert world.gate.perform(ANN, ShowThing(id="a")).amount == 2
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, PutThing(id="a", amount=9), idempotency_key="k")
    assert caught.value.code == "idempotency.mismatch"
    assert world.gate.perform(BEN, PutThing(id="a", amount=9), idempotency_key="k").amount == 9


def test_an_idempotency_key_is_free_again_after_a_day(world: toy.World) -> None:
    clock = world.clock
    assert isinstance(clock, ManualClock)
    world.gate.perform(ANN, PutThing(id="a", amount=1), idempotency_key="k")
    clock.advance(repeats.KEPT_MS - 1)
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, PutThing(id="a", amount=9), idempotency_key="k")
    assert caught.value.code == "idempotency.mismatch"
    clock.advance(1)
    assert world.gate.perform(ANN, PutThing(id="a", amount=9), idempotency_key="k").amount == 9
    world.gate.perform(ANN, PutThing(id="a", amount=2))
    assert world.gate.perform(ANN, PutThing(id="a", amount=9), idempotency_key="k").amount == 9
    assert world.gate.perform(ANN, ShowThing(id="a")).amount == 2


def test_only_expired_answers_are_dropped(world: toy.World) -> None:
    clock = world.clock
    assert isinstance(clock, ManualClock)
    world.gate.perform(ANN, PutThing(id="a"), idempotency_key="old")
    clock.advance(1)
    world.gate.perform(ANN, PutThing(id="a"), idempotency_key="new")
    now_ms = clock.now_ms() + repeats.KEPT_MS - 1
    world.database.write(lambda tx: repeats.drop_expired(tx, now_ms))
    assert world.rows("select key from kernel_idempotency") == [{"key": "new"}]


def test_two_people_are_needed_and_both_are_on_record(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    proposed = world.gate.perform(ANN, SealThing(id="a"))
    assert isinstance(proposed, Proposed)
    assert last(world).outcome == "proposed"
    assert world.rows("select note from toy_things") == [{"note": None}]
    with pytest.raises(SekishoError) as same:
        world.gate.perform(ANN, ApproveProposal(proposal=proposed.proposal))
    assert same.value.code == "proposal.same_person"
    raw = world.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal))
    assert msgspec.json.decode(bytes(raw), type=Thing).id == "a"
    draft = last(world)
    assert (draft.action, draft.actor, draft.approvers) == (
        "toy.thing.seal",
        "usr_ben",
        ("usr_ann", "usr_ben"),
    )
    assert world.rows("select note from toy_things") == [{"note": "sealed"}]
    assert world.gate.perform(ANN, ListProposals()) == []


def test_an_approver_whom_the_charter_denies_the_proposed_command_cannot_approve_it(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    proposed = world.gate.perform(ANN, SealThing(id="a"))
    assert isinstance(proposed, Proposed)
    deny(world, BEN, "toy.thing.seal")
    with pytest.raises(DeniedError):
        world.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal))
    assert world.rows("select note from toy_things") == [{"note": None}]
    assert len(world.gate.perform(ANN, ListProposals())) == 1


def test_a_proposer_who_lost_the_right_takes_the_proposal_along(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    proposed = world.gate.perform(ANN, SealThing(id="a"))
    assert isinstance(proposed, Proposed)
    deny(world, ANN, "toy.thing.seal")
    with pytest.raises(DeniedError):
        world.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal))


def test_a_yes_to_something_else_than_was_proposed_is_refused(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    proposed = world.gate.perform(ANN, SealThing(id="a"))
    assert isinstance(proposed, Proposed)
    (waiting,) = world.gate.perform(ANN, ListProposals())
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal, binding="sha256:" + "0" * 64))
    assert caught.value.code == "proposal.changed"
    assert world.rows("select note from toy_things") == [{"note": None}]
    world.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal, binding=waiting.binding))
    assert world.rows("select note from toy_things") == [{"note": "sealed"}]


def test_an_expired_proposal_is_refused(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    proposed = world.gate.perform(ANN, SealThing(id="a"))
    assert isinstance(proposed, Proposed)
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(8 * 24 * 3600 * 1000)
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal))
    assert caught.value.code == "proposal.expired"


def test_a_round_of_the_system_that_changed_nothing_leaves_no_record(world: toy.World) -> None:
    assert world.gate.perform(SYSTEM, TickThing(id="nothing")) == 0
    assert drafts(world) == []


def test_reading_something_of_level_two_leaves_a_record_in_the_readers_stream(level_world: toy.World) -> None:
    level_world.gate.perform(ANN, PutThing(id="a"))
    level_world.gate.perform(BEN, ShowThing(id="a"))
    draft = last(level_world)
    assert (draft.action, draft.actor, draft.stream, draft.effects) == (
        "toy.thing.show",
        "usr_ben",
        "usr_ben",
        [],
    )


def test_sixty_four_callers_lose_nothing(world: toy.World) -> None:
    errors: list[BaseException] = []

    def work(caller: int) -> None:
        try:
            for number in range(10):
                world.gate.perform(ANN, PutThing(id=f"{caller}-{number}"))
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert world.rows("select count(*) as n from toy_things") == [{"n": 640}]
    assert len(drafts(world)) == 640


def test_callers_of_one_contended_thing_take_turns(contended_world: toy.World) -> None:
    """Without turns most of them give up on PostgreSQL."""
    world, errors = contended_world, list[SekishoError]()
    world.gate.perform(ANN, PutThing(id="quota"))

    def work() -> None:
        try:
            for number in range(10):
                world.gate.perform(ANN, PutThing(id="quota", amount=number))
        except SekishoError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_the_first_persons_repeat_gets_the_same_proposal(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    first = world.gate.perform(ANN, SealThing(id="a"), idempotency_key="k")
    assert isinstance(first, Proposed)
    assert world.gate.perform(ANN, SealThing(id="a"), idempotency_key="k") == first


def test_the_facts_version_is_never_used_twice(world: toy.World) -> None:
    """A counter would be, after a rollback."""

    def roll_back(tx: Tx) -> None:
        tx.move_facts()
        seen.append(tx.facts_version())
        raise RuntimeError

    seen: list[int] = []
    for _ in range(20):
        with pytest.raises(RuntimeError):
            world.database.write(roll_back)
    assert len(set(seen)) == len(seen)


def test_a_repeat_is_answered_whatever_became_of_its_target(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    first = world.gate.perform(ANN, SealThing(id="a"), idempotency_key="k")
    world.gate.perform(ANN, DropThing(id="a"))
    assert world.gate.perform(ANN, SealThing(id="a"), idempotency_key="k") == first


def test_approving_again_under_one_key_gives_the_same_answer(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    proposed = world.gate.perform(ANN, SealThing(id="a"))
    assert isinstance(proposed, Proposed)
    approve = ApproveProposal(proposal=proposed.proposal)
    first = bytes(world.gate.perform(BEN, approve, idempotency_key="k"))
    assert bytes(world.gate.perform(BEN, approve, idempotency_key="k")) == first


def test_two_handlers_for_one_command_are_a_mistake(world: toy.World) -> None:
    with pytest.raises(ValueError, match="two handlers for PutThing"):
        toy.World(world.database, more=toy.handlers()[:1])


def test_background_work_that_was_refused_is_tried_again_later(world: toy.World) -> None:
    world.gate.perform(ANN, PutThing(id="a"))
    assert isinstance(world.principals, toy.Anyone)
    world.principals.gone.add(SYSTEM.ref.id)
    world.gate.schedule(TickThing(id="a"), dedupe="tick")
    assert world.gate.do_work()
    due_ms = world.gate.next_work_ms()
    assert due_ms is not None
    assert due_ms > world.clock.now_ms()
    assert world.rows("select amount from toy_things") == [{"amount": 0}]


def test_work_that_somebody_else_took_over_is_left_to_them(
    world: toy.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back: list[str] = []

    def lost(tx: Tx, held: work.Claim) -> None:
        del tx, held
        raise SekishoError(work.LEASE_LOST)

    def note(tx: Tx, held: work.Claim, error: str, now_ms: int) -> None:
        del tx, held, now_ms
        put_back.append(error)

    monkeypatch.setattr(work, "finish", lost)
    monkeypatch.setattr(work, "put_back", note)
    world.gate.perform(ANN, PutThing(id="a"))
    world.gate.schedule(TickThing(id="a"), dedupe="tick")
    assert world.gate.do_work()
    assert put_back == []
    assert world.rows("select amount from toy_things") == [{"amount": 0}]


def test_a_repeat_is_answered_though_it_would_be_refused_today(world: toy.World) -> None:
    first = world.gate.perform(ANN, PutThing(id="a", amount=1), idempotency_key="k")
    deny(world, ANN, "toy.thing.put")
    recorded = last(world)
    assert world.gate.perform(ANN, PutThing(id="a", amount=1), idempotency_key="k") == first
    assert last(world) == recorded
    with pytest.raises(DeniedError):
        world.gate.perform(ANN, PutThing(id="a", amount=1), idempotency_key="another")


def test_slow_work_is_done_on_a_reader_and_its_refusal_changes_nothing(database: Database) -> None:
    seen: list[tuple[str, str]] = []

    def prepare(tx: Tx, principal: Entity, command: DropThing) -> None:
        with pytest.raises(PermissionError):
            tx.run("delete from toy_things where id = :id", id=command.id)
        seen.append((principal.ref.id, command.id))
        if command.id == "kept":
            raise ConflictError(what=command.id)

    world = toy.World(database, prepare=prepare)
    for name in ("a", "kept"):
        world.gate.perform(ANN, PutThing(id=name))
    assert world.gate.perform(ANN, DropThing(id="a"))
    with pytest.raises(ConflictError):
        world.gate.perform(ANN, DropThing(id="kept"))
    assert seen == [(ANN.ref.id, "a"), (ANN.ref.id, "kept")]
    assert world.rows("select id from toy_things") == [{"id": "kept"}]


def test_what_rarely_writes_is_tried_on_a_reader_and_asks_nobody(
    world: toy.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(world, ANN, "toy.thing.greet")
    records = drafts(world)
    assert world.gate.perform(ANN, Greet(id="ann")) is True

    def written(*_args: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(world.database, "write", written)
    assert world.gate.perform(ANN, Greet(id="ann")) is False
    with pytest.raises(AssertionError):
        world.gate.perform(ANN, Greet(id="bob"))
    assert drafts(world) == records
