"""Order of an agent's messages: each lane's numbers only grow, and the same bytes get the same answer.

Looked at and moved in the transaction that applies the message, so a message takes effect at most once even when
its answer was lost and it comes again.
"""

from __future__ import annotations

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

REPLAYED = problems.define(
    "agent.message.replayed",
    409,
    Exit.CONFLICT,
    Text(
        "Message {seq} of lane {lane} came again or too late.",
        "レーン{lane}のメッセージ{seq}は、再送または遅延したものです。",
    ),
)


def repeated(tx: Tx, lane: tuple[str, str], seq: int, digest: str) -> bytes | None:
    """The stored answer of a lane (agent and name) if these very bytes were applied before, None if the message is new.

    Raises `agent.message.replayed` for a lower number, or the same number with other bytes.
    """
    row = tx.one(
        "select seq, message_digest, answer from kernel_lanes where agent = :agent and lane = :lane",
        agent=lane[0],
        lane=lane[1],
    )
    if row is None or seq > row["seq"]:
        return None
    if seq == row["seq"] and digest == row["message_digest"]:
        return bytes(row["answer"])
    raise SekishoError(REPLAYED, lane=lane[1], seq=seq)


def take(tx: Tx, lane: tuple[str, str], seq: int, digest: str) -> None:
    """`repeated` and `applied` at once, for a message whose answer is made again each time and kept nowhere."""
    taken = tx.run(
        "insert into kernel_lanes (agent, lane, seq, message_digest, answer)"
        " values (:agent, :lane, :seq, :digest, :answer)"
        " on conflict (agent, lane) do update set seq = :seq, message_digest = :digest, answer = :answer"
        " where kernel_lanes.seq < :seq or (kernel_lanes.seq = :seq and kernel_lanes.message_digest = :digest)",
        agent=lane[0],
        lane=lane[1],
        seq=seq,
        digest=digest,
        answer=b"",
    )
    if not taken:
        raise SekishoError(REPLAYED, lane=lane[1], seq=seq)


def last_seq(tx: Tx, lane: tuple[str, str]) -> int:
    """The newest number of a lane, 0 before its first message."""
    row = tx.one(
        "select seq from kernel_lanes where agent = :agent and lane = :lane", agent=lane[0], lane=lane[1]
    )
    return int(row["seq"]) if row else 0


def applied(tx: Tx, lane: tuple[str, str], seq: int, message: tuple[str, bytes]) -> None:
    """Remember the newest message of a lane: its digest and its answer."""
    digest, answer = message
    tx.run(
        "insert into kernel_lanes (agent, lane, seq, message_digest, answer)"
        " values (:agent, :lane, :seq, :digest, :answer)"
        " on conflict (agent, lane) do update set seq = :seq, message_digest = :digest, answer = :answer",
        agent=lane[0],
        lane=lane[1],
        seq=seq,
        digest=digest,
        answer=answer,
    )
