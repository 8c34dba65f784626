"""Witnesses around a served control plane: one that hangs, what `doctor` says, the trust file, wrong settings."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sekisho.app import opened
from sekisho.background import Loop, running
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import NoteWitness, ShowCheckpoint
from sekisho.server.commands import main
from sekisho.server.service import started
from sekisho_verify.checkpoint import COSIGNATURE_V1
from tests.server.installation import Installation
from tests.verify.builders import Signer

WITNESS = Signer.make("w.example/slow", kind=COSIGNATURE_V1)
LOUD = "ledger.witness_ahead"


def _settings(url: str, *, name: str = "slow", vkey: str = WITNESS.key.vkey) -> str:
    return f'witness_interval_ms = 20\nwitnesses = [{{name = "{name}", url = "{url}", vkey = "{vkey}"}}]'


@contextlib.contextmanager
def _mute() -> Iterator[tuple[str, threading.Event]]:
    """A port that takes connections and never says a word; and whether anybody came."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    came.set()

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def test_a_witness_that_hangs_holds_up_neither_the_log_nor_the_end(
    installation: Installation, db_url: str
) -> None:
    installation.init()
    with _mute() as (url, came):
        installation.write(db_url, more=_settings(url))
        with opened(installation.settings) as control:
            with started(control):
                assert came.wait(20)
                before = control.gate.perform(SYSTEM, ShowCheckpoint()).size
                began = time.monotonic()
                control.gate.perform(SYSTEM, NoteWitness(vkey=WITNESS.key.vkey, finding=LOUD, size=9))
                while control.publisher.published() is None:
                    assert time.monotonic() < began + 5
                assert control.gate.perform(SYSTEM, ShowCheckpoint()).size >= before
                ending = time.monotonic()
            assert time.monotonic() < ending + 12


def test_doctor_says_what_is_wrong_with_a_witness(
    installation: Installation, db_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.init()
    installation.write(db_url, more=_settings("https://w.example"))
    well = installation.run("--json", "doctor")
    assert well.json["witness slow"] == {"ok": True, "detail": "-"}
    with opened(installation.settings) as control:
        control.gate.perform(SYSTEM, NoteWitness(vkey=WITNESS.key.vkey, finding=LOUD, size=12345))
    found = installation.run("--json", "doctor")
    assert found.status == 1
    assert found.json["witness slow"]["ok"] is False
    assert "12345" in found.json["witness slow"]["detail"]
    assert LOUD in found.json["witness slow"]["detail"]
    assert main(["--config", str(installation.file), "--lang", "ja", "doctor"]) == 1
    assert "より長い履歴" in capsys.readouterr().out


def test_a_start_writes_the_witnesses_into_the_trust_file(installation: Installation, db_url: str) -> None:
    installation.init()
    assert json.loads((installation.data / "trust.json").read_text())["witnesses"] == []
    installation.write(db_url, more=_settings("https://w.example"))
    with opened(installation.settings) as control, contextlib.ExitStack() as stack:
        control.witnesses = ()  # nobody is called from here
        stack.enter_context(started(control))
    trust = json.loads((installation.data / "trust.json").read_text())
    assert (trust["witnesses"], trust["quorum"]) == ([WITNESS.key.vkey], 0)


@pytest.mark.parametrize(
    "more",
    [
        _settings("https://w.example", vkey="x"),
        _settings("https://w.example", vkey=Signer.make("log.example").key.vkey),
        _settings("https://w.example", name="two words"),
        "witnesses = [{}]",
        "witness_interval_ms = 1",
    ],
)
def test_wrong_settings_stop_every_command(installation: Installation, db_url: str, more: str) -> None:
    installation.init()
    installation.write(db_url, more=more)
    with pytest.raises(SekishoError) as refused, opened(installation.settings):
        pass
    assert refused.value.code == "config.invalid"
    assert "Expected" not in str(refused.value)


def test_a_loop_that_hangs_is_waited_for_no_longer_than_its_patience() -> None:
    release, began = threading.Event(), threading.Event()

    def hang() -> float:
        began.set()
        release.wait(20)
        return 1.0

    with running(Loop("hanging", hang, patience_seconds=0.2)):
        assert began.wait(5)
        ending = time.monotonic()
    assert time.monotonic() < ending + 5
    release.set()
