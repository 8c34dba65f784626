"""A custodian that is not well: it hangs, lies, or answers twice, over a real connection, and whoever asks finds it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from sekisho.kernel.errors import UnavailableError
from sekisho.kernel.net import Network
from sekisho_guarantor.custodian_door import CustodianProgram
from sekisho_wire import custody_client
from sekisho_wire.custody import (
    ANSWER_BYTES_MAX,
    CustodyError,
    Order,
    Release,
    open_release,
    read_signed,
    seal_keys,
)
from sekisho_wire.custody_client import Asking, RefusedError
from sekisho_wire.envelope import (
    EnvelopeError,
    EnvelopeKey,
    decrypt_stream,
    encrypt_stream,
    new_data_key,
    read_header,
)
from tests.guarantor.custodian_world import CustodyHouse, custody
from tests.verify.builders import Signer, make_id
from tests.wire.custody_world import KEY, NAME, NOW_MS

Behaviour = Callable[[str, bytes, Callable[[], bytes]], bytes]
"""Whole HTTP answer to path and body; the last argument asks the honest custodian."""


def http_answer(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


def always(answer: bytes) -> Behaviour:
    return lambda _path, _body, _honest: answer


@pytest.fixture
def house(tmp_path: Path) -> Iterator[CustodyHouse]:
    with custody(tmp_path / "custodian") as opened:
        yield opened


@contextmanager
def answering(house: CustodyHouse, behaviour: Behaviour, *, seconds: float = 10) -> Iterator[Asking]:
    """Somebody who asks a server that behaves so, with the honest custodian behind it."""
    program = CustodianProgram(house.custodian, [])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.wfile.write(behaviour(self.path, body, lambda: program.post(self.path, body, "").body))
            self.close_connection = True

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    network = Network(["127.0.0.1"])
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield Asking(
            url,
            NAME,
            house.custodian.public,
            post=network.post_bytes,
            away=(UnavailableError,),
            seconds=seconds,
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        network.close()


def found(house: CustodyHouse, behaviour: Behaviour, **changes: Any) -> str:
    order = house.order(**{"make": 1, **changes})
    with answering(house, behaviour) as asking, pytest.raises(CustodyError) as caught:
        asking.release(house.asker.ask(order), order)
    return caught.value.code


def signed_as(house: CustodyHouse, order: Order, **changes: Any) -> Release:
    """What the custodian would answer, changed before its key signs it."""
    sealed = house.custodian.release(house.asker.ask(order))
    return msgspec.structs.replace(read_signed(sealed, house.custodian.public, Release), **changes)


def test_a_custodian_that_is_well_is_believed(house: CustodyHouse) -> None:
    order = house.order(make=1)
    with answering(house, lambda _path, _body, honest: http_answer(honest())) as asking:
        release, sealed = asking.release(house.asker.ask(order), order)
        assert len(open_release(release, order, house.asker.one_time).made) == 1
        assert read_signed(sealed, house.custodian.public, Release) == release


def test_one_that_hangs_is_away(house: CustodyHouse) -> None:
    order, done = house.order(make=1), threading.Event()

    def hangs(_path: str, _body: bytes, _honest: Callable[[], bytes]) -> bytes:
        done.wait(60)
        return b""

    begun = time.monotonic()
    with answering(house, hangs, seconds=0.3) as asking:
        with pytest.raises(CustodyError) as caught:
            asking.release(house.asker.ask(order), order)
        taken = time.monotonic() - begun
        done.set()
    assert caught.value.code == "custody.away"
    assert taken < 30


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"noise\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\nends early",
        http_answer(b"x" * (ANSWER_BYTES_MAX + 1)),
    ],
)
def test_one_that_gives_no_whole_answer_is_away(house: CustodyHouse, said: bytes) -> None:
    assert found(house, lambda *_: said) == "custody.away"


def test_one_that_talks_nonsense_is_found(house: CustodyHouse) -> None:
    assert found(house, lambda *_: http_answer(b"nonsense")) == "custody.shape"
    assert found(house, lambda *_: http_answer(b"")) == "custody.shape"


def test_a_foreign_signature_is_found(house: CustodyHouse) -> None:
    order = house.order(make=1)
    forged = signed_as(house, order).sealed(Signer.make("thief").sign)
    with answering(house, lambda *_: http_answer(forged)) as asking, pytest.raises(CustodyError) as caught:
        asking.release(house.asker.ask(order), order)
    assert caught.value.code == "custody.signature"


def test_another_attempts_answer_is_found(house: CustodyHouse) -> None:
    other = house.custodian.release(house.asker.ask(house.order(make=1, attempt=make_id("att", 9))))
    assert found(house, lambda *_: http_answer(other)) == "custody.foreign"


def test_an_old_answer_of_the_same_attempt_is_found(house: CustodyHouse) -> None:
    old = house.custodian.release(house.asker.ask(house.order(make=1)))
    assert found(house, lambda *_: http_answer(old)) == "custody.foreign"


def test_a_wrong_key_is_found_before_a_byte_is_written(house: CustodyHouse) -> None:
    head, data_key = house.object()
    envelope = io.BytesIO()
    encrypt_stream(io.BytesIO(b"secret"), envelope, head, data_key)
    order = house.order(head)
    lied = signed_as_with(house, order, seal_keys(order, [EnvelopeKey(new_data_key())]))
    with answering(house, lambda *_: http_answer(lied)) as asking:
        release, _ = asking.release(house.asker.ask(order, [head]), order)
    (wrong,) = open_release(release, order, house.asker.one_time).keys
    envelope.seek(0)
    target = io.BytesIO()
    with pytest.raises(EnvelopeError) as caught:
        decrypt_stream(envelope, target, read_header(envelope), wrong)
    assert (caught.value.code, target.getvalue()) == ("envelope.key", b"")


def signed_as_with(house: CustodyHouse, order: Order, box: str) -> bytes:
    """A release of these keys signed by the custodian's own key: what only a lying custodian can make."""
    honest = signed_as(house, house.order(make=1))
    fields: dict[str, Any] = {"order": order.digest(), "id": order.id, "box": box, "made": []}
    return msgspec.structs.replace(honest, **fields).sealed(house.custodian._sign)


def test_one_that_answers_an_order_twice_is_found(house: CustodyHouse) -> None:
    order = house.order(make=1)
    answers: list[bytes] = []

    def forgets(_path: str, _body: bytes, honest: Callable[[], bytes]) -> bytes:
        answers.append(answers[0] if answers else honest())
        return http_answer(answers[-1])

    with answering(house, forgets) as asking:
        ask = house.asker.ask(order)
        asking.release(ask, order)
        with pytest.raises(CustodyError) as caught:
            asking.release(ask, order)
    assert caught.value.code == "custody.answered_twice"


def test_a_second_answer_on_one_connection_is_not_read(house: CustodyHouse) -> None:
    order = house.order(make=1)
    other = house.custodian.release(house.asker.ask(house.order(make=1)))
    with answering(house, lambda _path, _body, honest: http_answer(honest()) + http_answer(other)) as asking:
        release, _ = asking.release(house.asker.ask(order), order)
    assert release.order == order.digest()


def test_what_was_answered_is_remembered_as_long_as_it_matters(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody_client, "ANSWERED_MAX", 2)
    with answering(house, lambda *_: b"") as asking:
        for number in range(6):
            house.now_ms = NOW_MS + number * 100_000
            order = house.order(make=1, issued_ms=house.now_ms, not_after_ms=house.now_ms + 60_000)
            sealed = house.custodian.release(house.asker.ask(order))
            asking.accept(sealed, order)
            with pytest.raises(CustodyError):
                asking.accept(sealed, order)
        assert len(asking._answered) <= 3


def test_a_refusal_carries_the_custodians_own_reason(house: CustodyHouse) -> None:
    house.custodian.stop(KEY)
    order = house.order(make=1)
    with (
        answering(house, lambda _path, _body, honest: http_answer(honest(), "403 Forbidden")) as asking,
        pytest.raises(RefusedError) as caught,
    ):
        asking.release(house.asker.ask(order), order)
    assert (caught.value.code, caught.value.reason, caught.value.status) == (
        "custody.refused",
        "custody.key_stopped",
        403,
    )


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"code":"<script>"}', b'{"code":7}', b'{"code":"\xff"}']
)
def test_a_refusal_without_a_reason_of_ours_says_unknown(house: CustodyHouse, body: bytes) -> None:
    order = house.order(make=1)
    with (
        answering(house, lambda *_: http_answer(body, "500 Oops")) as asking,
        pytest.raises(RefusedError) as caught,
    ):
        asking.release(house.asker.ask(order), order)
    assert caught.value.reason == "unknown"


def test_an_order_to_another_custodian_is_not_sent(house: CustodyHouse) -> None:
    sent: list[bytes] = []
    assert found(house, lambda *_: sent.append(b"") or b"", custodian="another") == "custody.other_custodian"
    assert sent == []
