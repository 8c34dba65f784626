"""T8: a key follows the proof: released while proof, grant and charter hold, and not a moment longer."""

from __future__ import annotations

from typing import Any

from sekisho.charter import ActivateVersion, DraftVersion, default_policies
from sekisho.data import ResumeKey, StopKey
from sekisho.kernel.facts import Actor, Ref
from sekisho.kernel.proposals import ApproveProposal
from sekisho_wire import messages
from sekisho_wire.keying import KeyRefused
from tests.compute.sealed_world import SealedWorld
from tests.compute.world import started


def test_t08_a_release_is_an_order_that_the_custodian_believes(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    believed = sealed.believed(sealed.granted(order))
    assert (believed.order.job, believed.order.attempt) == (job, order.attempt)
    assert believed.order.proof.startswith("sha256:")
    assert believed.headers[0].digest() == believed.order.headers[0]


def test_t08_the_key_stops_when_the_proof_is_sixteen_minutes_old(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    sealed.granted(order)
    sealed.later(16)
    answer = sealed.ask(order)
    assert isinstance(answer, KeyRefused)
    assert answer.reason == "key.proof_stale"
    assert any(rule.startswith("C02") for rule in answer.rules)
    sealed.yard.prove()
    sealed.granted(order)


def test_t08_the_key_stops_when_its_owner_stops_it(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    sealed.granted(order)
    sealed.perform(sealed.engineer, StopKey(key="hospital"))
    assert sealed.ask(order) == KeyRefused(reason="key.stopped")
    lease = sealed.home.renew(order)
    assert (lease.cancel, lease.reason) == (True, "key.stopped")
    sealed.perform(sealed.engineer, ResumeKey(key="hospital"))
    sealed.granted(order)
    assert not sealed.home.renew(order).cancel
    assert job


def test_t08_the_key_stops_when_the_charter_changes(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    sealed.granted(order)
    text = default_policies() + (
        '\n@id("X1-no-custody")\n@en("No custody.")\n@ja("鍵の保管は認めません。")\n'
        'forbid (principal, action in Action::"at_rest", resource)'
        ' when { context.key.custody == "customer-hsm" };\n'
    )
    version = sealed.perform(sealed.administrator, DraftVersion(policies=text)).version
    proposed: Any = sealed.perform(sealed.administrator, ActivateVersion(version=version))
    second = Actor(Ref("User", sealed.genesis.administrators[1].account))
    sealed.perform(second, ApproveProposal(proposal=proposed.proposal))
    assert sealed.ask(order) == KeyRefused(reason="key.refused", rules=["X1-no-custody"])


def test_t08_a_running_job_loses_its_lease_with_the_reason(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    sealed.granted(order)
    sealed.home.say(order, messages.Staged(), started())
    for _ in range(3):
        assert not sealed.home.renew(order).cancel
        sealed.later(5)
        sealed.home.renew(order)
        sealed.settle()
    lease = sealed.home.renew(order)
    assert (lease.cancel, lease.reason) == (True, "key.proof_stale")
    sealed.home.say(order, messages.Ended(reason=lease.reason, exit_status=-15, seconds=900))
    assert sealed.reason(job) == ("waiting", "key.proof_stale")
