"""The state machines of jobs and attempts, and the arithmetic around them. Pure; drawn in the README."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from sekisho.compute.errors import OUT_OF_ORDER
from sekisho.compute.model import AttemptState, JobState
from sekisho.kernel.errors import SekishoError
from sekisho_wire import keying, messages

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ATTEMPTS_MAX = 5
ENDING_MS = 4_000
"""From the end of a lease to the end of its payload, which is told to end and killed after three seconds."""
SHORT_RUN_MS = 60_000
"""A replica that ended sooner than this is begun again only after a pause."""
RESTART_PAUSE_MS = 5_000
RESTART_PAUSE_MS_MAX = 300_000
RUNS_WEIGHED = 16
"""More short runs in a row than it takes to the longest pause; of a job that runs for years, no others are read."""


class Patience(msgspec.Struct, frozen=True):
    """How long an attempt's lease lasts, and everything that follows from it."""

    lease_seconds: int = 60

    def with_site(self, away_seconds: int) -> Patience:
        """For a site whose agent may be out of touch for so long: its leases are no shorter."""
        return Patience(max(self.lease_seconds, away_seconds))

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return self.lease_seconds * 1000

    @property
    def reconcile_ms(self) -> int:
        """How often silent attempts are looked for: as often as leases are renewed."""
        return self.lease_ms // 4

    @property
    def silence_ms(self) -> int:
        """How long an attempt may be silent before it is lost.

        Longer than any lease, with the time in which a payload is ended then, so that the old payload is dead before
        the next one starts.
        """
        return self.lease_ms + max(self.lease_ms // 2, ENDING_MS)

    def silent_since_ms(self, now_ms: int) -> int:
        """Whoever was last heard before this moment is lost."""
        return now_ms - self.silence_ms

    def site_silent_since_ms(self, now_ms: int) -> int:
        """A site last heard before this moment is offered nothing.

        An agent with nothing to do is heard once per long poll, however short the leases are.
        """
        idle_ms = now_ms - messages.POLL_SECONDS_MAX * 1000 * 3 // 2
        return min(self.silent_since_ms(now_ms), idle_ms)


class Event(enum.StrEnum):
    """What can happen to an attempt."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    STAGED = "staged"
    STARTED = "started"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    LOSE = "lose"


A = AttemptState
_ACTIVE = (A.STAGING, A.STARTING, A.RUNNING)

TRANSITIONS: dict[tuple[AttemptState, Event], AttemptState] = {
    (A.OFFERED, Event.ACCEPT): A.STAGING,
    (A.OFFERED, Event.REFUSE): A.REFUSED,
    (A.OFFERED, Event.CANCEL): A.CANCELLED,
    (A.OFFERED, Event.LOSE): A.LOST,
    (A.STAGING, Event.STAGED): A.STARTING,
    (A.STAGING, Event.REFUSE): A.REFUSED,
    (A.STARTING, Event.STARTED): A.RUNNING,
    (A.RUNNING, Event.SUCCEED): A.SUCCEEDED,
    **{(state, Event.FAIL): A.FAILED for state in _ACTIVE},
    **{(state, Event.CANCEL): A.CANCELLED for state in _ACTIVE},
    **{(state, Event.LOSE): A.LOST for state in _ACTIVE},
}
"""Every step there is; whatever is not here is refused with `attempt.order`."""


def step(state: AttemptState, event: Event) -> AttemptState:
    """The next state; problem `attempt.order` for a step that is not drawn."""
    following = TRANSITIONS.get((state, event))
    if following is None:
        raise SekishoError(OUT_OF_ORDER, state=state.value, event=event.value)
    return following


NO_WALL = frozenset({"", "none", "unknown"})
"""What a site says that walls nothing in, or has not spoken yet."""
AGAIN = frozenset(
    {
        messages.REASON_AGENT_RESTARTED,
        messages.REASON_AGENT_STOPPED,
        messages.REASON_LEASE_LOST,
        messages.REASON_STAGING_FAILED,
        messages.REASON_WALL_BROKEN,
        messages.REASON_ENGINE_FULL,
        messages.REASON_ENGINE_UNAVAILABLE,
        messages.REASON_ENGINE_ENDED,
        messages.REASON_ENGINE_CANCELLED,
        messages.REASON_ENGINE_PREEMPTED,
        messages.REASON_ENGINE_REQUEUED,
        messages.REASON_ENGINE_NODE_FAILED,
        messages.REASON_ENGINE_GONE,
        messages.REASON_ENGINE_QUEUE,
        messages.REASON_PEERS_MISSING,
        messages.REASON_PEERS_LOST,
        keying.REASON_KEY_PROOF_STALE,
        keying.REASON_PLACE_UNPROVEN,
        keying.REASON_KEY_UNCONFIRMED,
        keying.REASON_KEY_CUSTODIAN,
        "refused",
        "lost",
    }
)
"""Reasons that say nothing against the job itself: it is placed again, up to `ATTEMPTS_MAX` times."""


def job_after(
    state: AttemptState, reason: str, attempts: int, *, cancelling: bool, lasting: bool = False
) -> JobState:
    """Where a job stands once its attempt is in `state` for `reason`; a `lasting` one ends by being cancelled alone."""
    if lasting and state.ended and not cancelling:
        return JobState.WAITING
    match state:
        case A.OFFERED | A.STAGING:
            return JobState.STAGING
        case A.STARTING:
            return JobState.STARTING
        case A.RUNNING:
            return JobState.RUNNING
        case A.SUCCEEDED:
            return JobState.SUCCEEDED
        case A.CANCELLED:
            return JobState.CANCELLED
        case A.FAILED | A.REFUSED | A.LOST:
            if cancelling:
                return JobState.CANCELLED
            again = state is not A.FAILED or reason in AGAIN
            return JobState.WAITING if again and attempts < ATTEMPTS_MAX else JobState.FAILED


def restart_pause_ms(runs_ms: Sequence[int]) -> int:
    """How long a replica waits before it is begun again, from how long its attempts ran, newest last.

    Nothing after a run that lasted; twice as long after each further short one in a row.
    """
    short = 0
    for run_ms in reversed(runs_ms):
        if run_ms >= SHORT_RUN_MS:
            break
        short += 1
    return min(RESTART_PAUSE_MS_MAX, RESTART_PAUSE_MS << min(short - 1, 16)) if short else 0


def array_state(members: Mapping[JobState, int]) -> JobState:
    """Where an array stands, from how many of its members are in which state: it ends with the last of them."""
    present = {state for state, count in members.items() if count}
    if present == {JobState.WAITING}:
        return JobState.WAITING
    if any(not state.ended for state in present):
        return JobState.RUNNING
    worst = (JobState.FAILED, JobState.CANCELLED)
    return next((state for state in worst if state in present), JobState.SUCCEEDED)


def ending(reason: str, exit_status: int | None, *, cancelling: bool) -> Event:
    """Which end an agent's report is: its own word for the reason, unless somebody asked to cancel."""
    if reason == messages.REASON_FINISHED and exit_status == 0:
        return Event.SUCCEED
    if reason == messages.REASON_CANCELLED or cancelling:
        return Event.CANCEL
    return Event.FAIL


def joined_key(sources: Iterable[tuple[int, str]]) -> str:
    """The key under which a job's own traces rest, from (level, key) of what it reads: that of the most sensitive.

    Of several as sensitive the first by name, so that every reading of a job file gives the same; empty without any.
    """
    found = sorted((-level, key) for level, key in sources if key)
    return found[0][1] if found else ""


def storable(text: str) -> str:
    """An agent's words for a TEXT column, which takes no U+0000; the sealed message keeps them as they were."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def same_wall(judged: str, found: str) -> bool:
    """Whether a payload started behind the wall that its site was judged by.

    An overlay of the attempt's own nodes beside it (`WALL_PEERS`) opens no way to anybody else.
    """
    return judged in NO_WALL or storable(found).removesuffix(messages.WALL_PEERS) == judged


def canary_results(wall: str, canaries: Mapping[str, str]) -> list[str]:
    """The results as they count: behind a wall, a route that nobody tried proved nothing."""
    walled = wall.removesuffix(messages.WALL_PEERS) not in NO_WALL
    untried = [route for route in messages.CANARY_ROUTES if walled and route not in canaries]
    return [*canaries.values(), *("unproven" for _ in untried)]


def egress_word(
    wall: str, wish: str | list[str], canaries: Collection[str] = (), *, stores_jp: Collection[Network] = ()
) -> str:
    """What the charter is told of a job's way out: without a wall every wish for `none` is only a wish.

    `canaries` are the results once they ran: one that came out makes the way `open`, one that proved nothing
    `unproven`, whatever was wished. A list is `allowlist-jp` only where every destination is an address, not a name,
    in one of the networks `stores_jp`: the agent's proxy then connects to that very address.
    """
    if wall.removesuffix(messages.WALL_PEERS) in NO_WALL or "open" in canaries:
        return "open"
    if "unproven" in canaries:
        return "unproven"
    if isinstance(wish, str):
        return wish
    return "allowlist-jp" if wish and all(_stored_in(each, stores_jp) for each in wish) else "allowlist"


def _stored_in(destination: str, networks: Collection[Network]) -> bool:
    host = destination.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
