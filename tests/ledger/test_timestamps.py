"""Checkpoints stamped by a real authority over HTTP, kept only once verified, and handed out in bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sekisho.kernel.clock import ManualClock, SystemClock
from sekisho.kernel.config import TimeAuthority as Setting
from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.net import Network
from sekisho.ledger import (
    ExportBundle,
    KeepStamp,
    OfferHead,
    ReadBundle,
    ShowTrust,
    Stamping,
    TimeAuthority,
    read_authorities,
)
from sekisho_verify import Exit, Trust, parse_trust, verify_bundle
from sekisho_verify.timestamp import make_request
from tests.ledger.world import ANN, World, codes, opened
from tests.support.stamping import StampAuthority

HOUR_MS = 3_600_000
Answer = Callable[[bytes], tuple[int, bytes]]


class Yard:
    """A log whose clock is right, a real authority, and a post between them that a test may replace."""

    def __init__(self, world: World, authority: StampAuthority, known: TimeAuthority) -> None:
        self.world = world
        self.authority = authority
        self.known = known

    def stamping(self, answer: Answer | None = None) -> Stamping:
        def send(url: str, data: bytes, *, seconds: float, bytes_max: int, media: str) -> tuple[int, bytes]:
            assert (url, media) == (self.known.url, "application/timestamp-query")
            assert seconds <= 10
            status, body = (answer or self.carry)(data)
            assert len(body) <= bytes_max
            return status, body

        return Stamping(
            self.known,
            perform=self.world.gate.perform,
            post=send,
            clock=self.world.clock,
            interval_ms=HOUR_MS,
        )

    def carry(self, data: bytes) -> tuple[int, bytes]:
        return 200, self.authority.answer(data)

    def stamps(self) -> list[int]:
        rows = self.world.database.read(lambda tx: tx.all("select size from ledger_timestamps order by size"))
        return [row["size"] for row in rows]

    def bundle(self) -> bytes:
        export = self.world.gate.perform(ANN, ExportBundle(job="job"))
        self.world.sequence()
        return self.world.gate.perform(ANN, ReadBundle(export=export.record)).content

    def trust(self, **demand: bool) -> Trust:
        body = msgspec.json.decode(self.world.gate.perform(ANN, ShowTrust()).text)
        return parse_trust(msgspec.json.encode(body | {"demand": demand}))


@pytest.fixture
def yard(tmp_path: Path, db_url: str) -> Iterator[Yard]:
    authority = StampAuthority.make(tmp_path / "tsa")
    known = TimeAuthority("stamps", "https://tsa.example/", authority.by_root)
    clock = ManualClock(SystemClock().now_ms())
    with opened(db_url, tmp_path, clock=clock, authorities=(known,)) as world:
        yield Yard(world, authority, known)


def test_a_checkpoint_is_stamped_once_an_interval_and_a_bundle_shows_it(yard: Yard) -> None:
    assert yard.stamping().step() == 1.0, "there is no checkpoint yet"
    yard.world.put("job")
    yard.world.sequence()
    stamping = yard.stamping()
    assert 0 < stamping.step() <= HOUR_MS / 1000
    assert stamping.step() == 1.0
    assert len(yard.authority.asked) == 1
    yard.world.put("job", 2)
    yard.world.sequence()
    verdict = verify_bundle(yard.bundle(), yard.trust(timestamp=True))
    assert verdict.exit_code is Exit.DEMAND, "the newest record is not under the stamped head"
    clock = yard.world.clock
    assert isinstance(clock, ManualClock)
    clock.advance(HOUR_MS)
    late = yard.stamping().step()
    assert late == 5.0, "an hour later by our clock, now by theirs"
    assert len(yard.stamps()) == 1


def test_a_stamped_head_is_chosen_for_the_bundle_and_kept(yard: Yard) -> None:
    yard.world.put("job")
    yard.world.sequence()
    yard.stamping().step()
    (size,) = yard.stamps()
    for number in range(3):
        yard.world.put("other", number)
        yard.world.sequence()
    verdict = verify_bundle(yard.bundle(), yard.trust(timestamp=True))
    assert verdict.holds
    assert verdict.bundle
    assert verdict.bundle.checkpoint.size == size
    (line,) = [line for line in verdict.lines if line.part == "timestamp"]
    assert (line.state, line.grade, line.by) == ("ok", "S", "stamps")
    assert yard.world.check().findings == []
    yard.world.damage("update ledger_timestamps set token = :token", token=b"x")
    assert "timestamp.token" in codes(yard.world.check())
    yard.world.damage("update ledger_timestamps set size = 999")
    assert "timestamp.no_head" in codes(yard.world.check())


def test_an_authority_that_is_away_wrong_or_lies_leaves_nothing(yard: Yard, tmp_path: Path) -> None:
    yard.world.put("job")
    yard.world.sequence()
    stranger = StampAuthority.make(tmp_path / "stranger")

    def away(_data: bytes) -> tuple[int, bytes]:
        raise UnavailableError(part="tsa.example", seconds=1)

    def failing(_data: bytes) -> tuple[int, bytes]:
        return 500, b""

    def junk(_data: bytes) -> tuple[int, bytes]:
        return 200, b"junk"

    def strange(data: bytes) -> tuple[int, bytes]:
        return 200, stranger.answer(data)

    def cut(data: bytes) -> tuple[int, bytes]:
        return 200, yard.authority.answer(data)[:-1]

    for answer in (away, failing, junk, strange, cut):
        stamping = yard.stamping(answer)
        assert [stamping.step(), stamping.step()] == [5.0, 10.0]
    assert yard.stamps() == []
    assert yard.world.check().findings == []


def test_an_answer_to_another_request_is_refused(yard: Yard) -> None:
    yard.world.put("job")
    yard.world.sequence()
    head = yard.world.gate.perform(SYSTEM, OfferHead(authority="stamps", since_ms=0))
    answer = yard.authority.answer(make_request(head.digest, 1))
    for name, size, code in (
        ("stamps", head.size, "ledger.stamp_wrong"),
        ("nobody", head.size, "ledger.stamp_unknown"),
        ("stamps", 999, "ledger.not_covered"),
    ):
        with pytest.raises(SekishoError) as caught:
            yard.world.gate.perform(SYSTEM, KeepStamp(authority=name, size=size, nonce=2, answer=answer))
        assert caught.value.code == code
    assert yard.stamps() == []
    assert yard.world.gate.perform(
        SYSTEM, KeepStamp(authority="stamps", size=head.size, nonce=1, answer=answer)
    )


def test_all_authorities_stamp_the_same_head(yard: Yard) -> None:
    yard.world.put("job")
    yard.world.sequence()
    yard.stamping().step()
    (size,) = yard.stamps()
    yard.world.put("job", 2)
    yard.world.sequence()
    since = yard.world.clock.now_ms() - HOUR_MS
    assert yard.world.gate.perform(SYSTEM, OfferHead(authority="second", since_ms=since)).size == size
    later = yard.world.clock.now_ms() + HOUR_MS
    assert yard.world.gate.perform(SYSTEM, OfferHead(authority="stamps", since_ms=later)).size > size


def test_over_http_by_the_door_that_the_control_plane_uses(tmp_path: Path, db_url: str) -> None:
    authority = StampAuthority.make(tmp_path / "tsa", kind="rsa")
    with authority.serving() as url:
        known = TimeAuthority("stamps", url, authority.by_itself)
        with opened(db_url, tmp_path, clock=SystemClock(), authorities=(known,)) as world:
            world.put("job")
            world.sequence()
            network = Network([url])
            stamping = Stamping(
                known,
                perform=world.gate.perform,
                post=network.post_bytes,
                clock=world.clock,
                interval_ms=HOUR_MS,
            )
            assert stamping.step() > 0
            network.close()
            yard = Yard(world, authority, known)
            assert len(yard.stamps()) == 1
            assert verify_bundle(yard.bundle(), yard.trust(timestamp=True)).holds


def test_settings_name_certificates(tmp_path: Path) -> None:
    authority = StampAuthority.make(tmp_path / "tsa")
    file = tmp_path / "root.pem"
    file.write_bytes(authority.root.public_bytes(Encoding.PEM))
    one = Setting(name="stamps", url="https://tsa.example/", certificates=(str(file),))
    (found,) = read_authorities([one])
    assert found == TimeAuthority("stamps", one.url, authority.by_root)
    junk = tmp_path / "junk.pem"
    junk.write_text("x")
    for wrong in (
        [one, one],
        [msgspec.structs.replace(one, certificates=())],
        [msgspec.structs.replace(one, certificates=(str(junk),))],
        [msgspec.structs.replace(one, certificates=(str(tmp_path / "none.pem"),))],
    ):
        with pytest.raises(SekishoError) as caught:
            read_authorities(wrong)
        assert caught.value.code == "config.invalid"
