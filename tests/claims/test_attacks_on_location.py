"""Each way to fake a place that software can try, tried; and what stays open, said with every proof.

The order is that of the table of attacks in docs/explanation/location.md.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sekisho_guarantor.errors import GuarantorError
from sekisho_verify import location_packets as packets
from sekisho_verify.location import COUNTS, NOT_SHOWN, TOO_FAR, judge
from sekisho_verify.location_text import NOT_PROVEN, render
from tests.claims.placing import Placing
from tests.guarantor import landmark_world
from tests.support import delayline, tree
from tests.verify.places import Held, case, degrees

ABROAD_MS = 1.35
"""The shortest foreign line at the made-up map's edge, as at Fukuoka, there and back."""
MINUTE_MS = 60_000
NORTH, SOUTH = Held(), Held(landmark="south", organisation="exchange")
KNOWN = [NORTH.known(), SOUTH.known()]


@contextlib.contextmanager
def guessing_relay(port: int) -> Iterator[int]:
    """A relay that lets keys and signatures be made where the key is, and answers the timed part by itself."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", 0))
        far.connect(("127.0.0.1", port))
        far.settimeout(1)
        near.settimeout(0.2)
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                with contextlib.suppress(OSError):
                    packet, asker = near.recvfrom(2048)
                    if packets.kind_of(packet) == packets.CHALLENGE:
                        asked = packets.read_challenge(packet)
                        guess = packets.Answer(asked.session, asked.seq, secrets.token_bytes(32))
                        near.sendto(packets.make_answer(guess), asker)
                        continue
                    far.send(packet)
                    near.sendto(far.recv(2048), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(near.getsockname()[1])
        finally:
            stopping.set()
            thread.join()


def test_a_relay_that_fetches_the_answer_abroad_is_as_far_as_its_line() -> None:
    with (
        landmark_world.site() as port,
        delayline.running("127.0.0.1", port, milliseconds=ABROAD_MS / 2) as relayed,
    ):
        (north, _) = measurers = landmark_world.landmarks(relayed)
        found = landmark_world.verdict([north.measure()[0]], measurers)
    assert [finding.state for finding in found.findings] == [TOO_FAR]


def test_a_relay_that_answers_by_itself_without_the_key_answers_nothing() -> None:
    with landmark_world.site() as port, guessing_relay(port) as relayed:
        (north, _) = landmark_world.landmarks(relayed)
        with pytest.raises(GuarantorError) as caught:
            north.measure(replace(landmark_world.QUICK, patience_ms=5))
    assert caught.value.code == "landmark.too_few_answers"
    assert caught.value.params["count"] == 0


def test_a_key_that_was_handed_over_wins_and_every_proof_says_so(placing: Placing) -> None:
    """No software stops it: whoever holds the key is the site. So it is never left unsaid."""
    shown = placing.yard.prove()
    assert shown.standing is not None
    assert shown.binding_grade == "D"
    assert "key_extracted" in {told.code for told in shown.not_shown}
    placing.submit()
    job = placing.submit()
    assert "key_extracted" in placing.verdict(placing.bundle(job)).not_proven


def test_a_session_answered_by_another_key_counts_for_nobody() -> None:
    found = judge([replace(NORTH, site_key="relay").write(), SOUTH.write()], case(KNOWN))
    assert [finding.code for finding in found.findings] == [
        "location.other_site",
        "location.excludes_foreign",
    ]
    assert not found.accepted


def test_a_site_that_moves_after_its_proof_has_it_for_a_quarter_of_an_hour_at_most(placing: Placing) -> None:
    placing.yard.prove()
    placing.world.clock.advance(10 * MINUTE_MS)
    placing.world.work()
    for landmark in ("north", "south", "east"):
        placing.yard.measure(landmark, rtt_ns=30_000_000)
    assert placing.yard.shown().state == "refused"
    standing = placing.yard.shown().standing
    assert standing is not None
    assert standing.expires_ms <= placing.world.clock.now_ms() + 5 * MINUTE_MS
    placing.world.clock.advance(5 * MINUTE_MS)
    placing.world.work()
    assert placing.yard.shown().standing is None
    assert placing.state(placing.submit()) == "waiting"


def test_one_organisation_that_lies_makes_no_place_up() -> None:
    """Both of its landmarks claim a session of no distance; the honest one saw 30 ms."""
    liars = [Held(landmark=name, organisation="liar", rtt_ns=1000) for name in ("one", "two")]
    honest = Held(landmark="south", organisation="exchange", rtt_ns=30_000_000)
    everybody = [*liars, honest]
    found = judge([each.write() for each in everybody], case([each.known() for each in everybody]))
    assert [finding.state for finding in found.findings] == [COUNTS, COUNTS, TOO_FAR]
    assert (found.accepted, found.code) == (False, "location.too_few_organisations")


def test_a_landmark_that_was_moved_is_refused_and_one_that_says_so_itself_too() -> None:
    moved = replace(NORTH, place=degrees(32, 131))
    found = judge([moved.write(), SOUTH.write()], case(KNOWN))
    assert found.findings[0].code == "location.landmark_moved"
    assert not found.accepted


def test_delay_makes_an_honest_site_fail_and_never_a_foreign_one_pass() -> None:
    for extra_ns in (0, 1_000_000, 5_000_000, 50_000_000):
        slow = [replace(each, rtt_ns=400_000 + extra_ns) for each in (NORTH, SOUTH)]
        found = judge([each.write() for each in slow], case(KNOWN))
        assert found.accepted is (extra_ns <= 1_000_000)
        bounds = [finding.bound_km for finding in found.findings]
        assert min(bounds) >= extra_ns * 149.896e-6


def test_an_answer_made_before_its_challenge_came_belongs_to_none() -> None:
    session = NORTH.session()
    first, second, *rest = session.rounds
    early = replace(session, rounds=(first, second._replace(mac=first.mac), *rest))
    found = judge([NORTH.write(early), SOUTH.write()], case(KNOWN))
    assert found.findings[0].code == "transcript.answer"
    reordered = replace(session, rounds=(second, first, *rest))
    assert judge([NORTH.write(reordered)], case(KNOWN)).findings[0].code == "transcript.order"
    shorter = replace(session, rounds=session.rounds[:-1], rtts_ns=session.rtts_ns[:-1])
    assert judge([NORTH.write(shorter)], case(KNOWN)).findings[0].code == "signature.invalid"


def test_what_stays_open_is_printed_with_every_verdict_and_stands_in_the_paper() -> None:
    found = judge([NORTH.write(), SOUTH.write()], case(KNOWN))
    for column, language in enumerate(("en", "ja")):
        text = render(found, language)
        assert all(NOT_PROVEN[code][column] in text for code in NOT_SHOWN)
    paper = (tree.ROOT / "docs" / "explanation" / "location.md").read_text()
    rows = re.findall(r"^\| [A-Z].* \| .* \|$", paper[paper.index("What it does not show") :], re.MULTILINE)
    assert len(rows) >= len(NOT_SHOWN)
