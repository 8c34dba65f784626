"""Sessions of real landmarks with a real responder: near, far, over a relay, and with cheats in between."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Self

import pytest

from sekisho_guarantor import landmark_session
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_session import TRIES, TRY_NS, Plan
from sekisho_verify import location_packets as packets
from sekisho_verify.location_text import render
from sekisho_verify.location_transcript import read_transcript
from tests.guarantor.landmark_world import QUICK, landmarks, site, verdict
from tests.support import delayline
from tests.verify.places import key_of, public_of


def test_a_site_next_door_is_accepted() -> None:
    with site() as port:
        measurers = landmarks(port)
        transcripts = [each.measure()[0] for each in measurers]
    found = verdict(transcripts, measurers)
    assert found.accepted, render(found, "en")
    assert found.organisations == ("exchange", "university")
    assert 0 < found.bound_km < 200


def test_the_transcript_counts_what_came() -> None:
    with site() as port:
        data, session = landmarks(port)[0].measure()
    assert len(session.rounds) == session.sent == QUICK.rounds
    assert (session.late, session.duplicated, session.forged) == (0, 0, 0)
    assert read_transcript(data, lambda key: key == public_of("north")).session == session


def test_a_longer_way_is_refused_and_the_landmark_is_named() -> None:
    """T2. The same site, the same place declared; the answer goes through 3 ms more than there should be."""
    with site() as port, delayline.running("127.0.0.1", port, milliseconds=1.5) as far:
        measurers = [each.by_way_of(far) for each in landmarks(port)]
        transcripts = [each.measure()[0] for each in measurers]
    found = verdict(transcripts, measurers)
    assert found.code == "location.too_few_organisations"
    assert [finding.code for finding in found.findings] == ["location.reaches_foreign"] * 2
    assert all(3_000_000 <= finding.rtt_ns < 60_000_000 for finding in found.findings)
    assert "north (university)" in render(found, "en")


def test_a_relay_at_the_place_with_the_key_abroad_is_refused() -> None:
    """T4. The relay is next door and answers everything at once, by asking over the shortest line to abroad.

    0.68 ms each way are the 202 km to the foreign coast at the speed of light in vacuum, to the metre.
    """
    with site() as port, delayline.running("127.0.0.1", port, milliseconds=0.68) as relay:
        measurers = [each.by_way_of(relay) for each in landmarks(port)]
        found = verdict([each.measure()[0] for each in measurers], measurers)
    assert [finding.state for finding in found.findings] == ["too_far", "too_far"]
    assert not found.accepted


# --- somebody on the way

TO_SITE, TO_LANDMARK = "to the site", "to the landmark"


class Middle:
    """A man in the middle who hands every datagram on as `twist` says: (way, datagram) -> datagrams."""

    def __init__(self, port: int, twist: Callable[[str, bytes], list[bytes]]) -> None:
        self._twist = twist
        self._near, self._far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._near.bind(("127.0.0.1", 0))
        self._far.connect(("127.0.0.1", port))
        self._client: tuple[str, int] | None = None
        self.port: int = self._near.getsockname()[1]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=way, daemon=True) for way in (self._there, self._back)]

    def __enter__(self) -> Self:
        for each in (self._near, self._far):
            each.settimeout(0.1)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._near.close()
        self._far.close()

    def _there(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                packet, self._client = self._near.recvfrom(2048)
                for each in self._twist(TO_SITE, packet):
                    self._far.send(each)

    def _back(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                packet = self._far.recv(2048)
                for each in self._twist(TO_LANDMARK, packet):
                    if self._client:
                        self._near.sendto(each, self._client)


@contextlib.contextmanager
def between(twist: Callable[[str, bytes], list[bytes]]) -> Iterator[int]:
    with site() as port, Middle(port, twist) as middle:
        yield middle.port


def _is(packet: bytes, kind: int) -> bool:
    return packets.kind_of(packet) == kind


def test_answers_that_come_twice_count_once() -> None:
    def twice(way: str, packet: bytes) -> list[bytes]:
        return [packet, packet] if _is(packet, packets.ANSWER) else [packet]

    with between(twice) as port:
        _, session = landmarks(port)[0].measure()
    assert len(session.rounds) == QUICK.rounds
    assert session.duplicated >= QUICK.rounds - 2


def test_forged_answers_are_counted_and_ignored() -> None:
    def forge(way: str, packet: bytes) -> list[bytes]:
        if not _is(packet, packets.CHALLENGE):
            return [packet]
        asked = packets.read_challenge(packet)
        lie = packets.make_answer(packets.Answer(asked.session, asked.seq, bytes(32)))
        early.append(lie)
        return [packet]

    def answer_early(way: str, packet: bytes) -> list[bytes]:
        return [*early, b"noise", packet] if _is(packet, packets.ANSWER) else forge(way, packet)

    early: list[bytes] = []
    with between(answer_early) as port:
        data, session = landmarks(port)[0].measure()
    assert session.forged > 0
    assert len(session.rounds) == QUICK.rounds
    assert read_transcript(data, lambda _key: True).session.forged == session.forged


def test_who_floods_a_session_has_only_itself_to_thank(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round ends once so much was looked at, long before its patience does."""

    def flood(way: str, packet: bytes) -> list[bytes]:
        return [*[b"noise"] * 8, packet] if _is(packet, packets.ANSWER) else [packet]

    monkeypatch.setattr(landmark_session, "ARRIVALS_MAX", 4)
    monkeypatch.setattr(landmark_session, "DRAIN_MAX", 0)
    with between(flood) as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure()
    assert (caught.value.code, caught.value.params["count"]) == ("landmark.too_few_answers", 0)
    monkeypatch.undo()
    with between(flood) as port:
        _, session = landmarks(port)[0].measure()
    assert len(session.rounds) == QUICK.rounds


def test_an_answer_that_is_held_back_is_late_and_does_not_count() -> None:
    """Every other answer comes only with the next one."""
    held: list[bytes] = []

    def hold(way: str, packet: bytes) -> list[bytes]:
        if not _is(packet, packets.ANSWER):
            return [packet]
        if packets.read_answer(packet).seq % 2:
            held.append(packet)
            return []
        return [held.pop(), packet] if held else [packet]

    plan = Plan(rounds=60, rounds_min=20, gap_ms_max=1, patience_ms=40)
    with between(hold) as port:
        data, session = landmarks(port)[0].measure(plan)
    assert session.late >= 20
    assert {each.seq % 2 for each in session.rounds} == {0}
    assert session.sent == 60
    assert read_transcript(data, lambda _key: True).session == session


def test_lost_hellos_and_closes_are_asked_for_again() -> None:
    lost: set[int] = set()

    def lose_first(way: str, packet: bytes) -> list[bytes]:
        kind = packets.kind_of(packet)
        if kind in {packets.HELLO, packets.WELCOME, packets.CLOSE, packets.CLOSED} and kind not in lost:
            lost.add(kind)
            return []
        return [packet]

    with between(lose_first) as port:
        _, session = landmarks(port)[0].measure()
    assert len(lost) == 4
    assert len(session.rounds) == QUICK.rounds


def test_a_recorded_session_cannot_be_played_back() -> None:
    """The answers of one session, sent for another: nonce, shares and session differ, so no welcome holds."""
    recorded: list[bytes] = []

    def record(way: str, packet: bytes) -> list[bytes]:
        if way == TO_LANDMARK:
            recorded.append(packet)
        return [packet]

    with between(record) as port:
        landmarks(port)[0].measure()

    def replay(way: str, packet: bytes) -> list[bytes]:
        return [] if way == TO_SITE else recorded

    with between(replay) as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure()
    assert caught.value.code == "landmark.site_silent"


def test_another_key_at_the_same_address_is_not_the_site() -> None:
    with site(key_of("another")) as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure()
    assert caught.value.code == "landmark.site_silent"


def test_a_site_whose_share_gives_no_key_is_silent() -> None:
    """The zero share is of small order: with it everybody would have the same key."""

    def useless(way: str, packet: bytes) -> list[bytes]:
        if not _is(packet, packets.WELCOME):
            return [packet]
        welcome = packets.read_welcome(packet)._replace(ephemeral=bytes(32))
        return [packets.make_welcome(welcome, key_of("agent").sign)]

    with between(useless) as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure()
    assert caught.value.code == "landmark.site_silent"


def test_silence_ends_in_bounded_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        with pytest.raises(GuarantorError) as caught:
            landmarks(mute.getsockname()[1])[0].measure()
        assert caught.value.code == "landmark.site_silent"
        mute.settimeout(1)
        heard = [mute.recv(2048) for _ in range(TRIES)]
        assert len(set(heard)) == 1, "the same hello each time"
        mute.settimeout(0.1)
        with pytest.raises(TimeoutError):
            mute.recv(2048)
    assert TRIES * TRY_NS < 5_000_000_000


def test_nobody_listening_is_silence_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    with pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure()
    assert caught.value.code == "landmark.site_silent"


def test_a_session_has_an_end_however_long_its_plan_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_session, "SESSION_NS_MAX", 0)
    with site() as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure(Plan(rounds=256, gap_ms_max=10_000, patience_ms=5000))
    assert (caught.value.code, caught.value.params["count"]) == ("landmark.too_few_answers", 0)


def test_too_few_answers_make_no_transcript() -> None:
    def deaf(way: str, packet: bytes) -> list[bytes]:
        return [] if _is(packet, packets.ANSWER) and packets.read_answer(packet).seq > 4 else [packet]

    plan = replace(QUICK, patience_ms=5)
    with between(deaf) as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure(plan)
    assert caught.value.code == "landmark.too_few_answers"


def test_a_close_that_nobody_signs_makes_no_transcript() -> None:
    def unsigned(way: str, packet: bytes) -> list[bytes]:
        return [bytes([*packet[:-1], packet[-1] ^ 1])] if _is(packet, packets.CLOSED) else [packet]

    with between(unsigned) as port, pytest.raises(GuarantorError) as caught:
        landmarks(port)[0].measure()
    assert caught.value.code == "landmark.site_silent"
    assert caught.value.params["step"] == "close"
