"""A landmark at its control plane: the real server asks, it measures a real responder, hands in, and is judged."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from sekisho_guarantor.__main__ import main
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_config import ControlConfig, load_config
from sekisho_guarantor.landmark_control import ControlPlane
from sekisho_verify import canonical
from sekisho_wire.locating import Task
from tests.guarantor import landmark_world
from tests.verify.places import key_of, public_of

TASK = Task(
    request="prq_1",
    kind="site",
    target="site_1",
    public_key=canonical.to_base64url(public_of("agent")),
    address="127.0.0.1:9",
    nonce=canonical.to_base64url(bytes([7] * 32)),
    seconds=30,
)


class Answers(BaseHTTPRequestHandler):
    """A control plane that says what the test wants."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    asked: ClassVar[list[tuple[str, str, str, bytes]]] = []

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.asked.append((self.command, self.path, self.headers.get("authorization", ""), content))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(self.body)


@pytest.fixture
def server() -> Iterator[str]:
    Answers.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("sekisho_pat_secret\n")
    return file


def says(status: int, body: bytes) -> None:
    Answers.status, Answers.body = status, body


def code_of(call: Any) -> tuple[str, dict[str, str | int]]:
    with pytest.raises(GuarantorError) as caught:
        call()
    return caught.value.code, caught.value.params


@pytest.mark.parametrize("more", ["https://user:secret@{}", "https://{}?token=secret", "https://{}#secret"])
def test_an_address_that_holds_a_secret_is_refused_and_not_repeated(token: Path, more: str) -> None:
    url = more.format("control.example")
    code, params = code_of(lambda: ControlPlane(ControlConfig(url, str(token)), "fukuoka-1"))
    assert code == "landmark.config_invalid"
    assert "secret" not in str(params)


def test_it_asks_with_its_token_and_hands_in_under_the_request(server: str, token: Path) -> None:
    control = ControlPlane(ControlConfig(server, str(token)), "fukuoka-1")
    says(200, json.dumps({"items": [{"request": "a", "more": 1} | task_body()], "next": None}).encode())
    assert [msgspec.json.decode(raw, type=Task) for raw in control.tasks()] == [TASK]
    says(200, b'{"state": "open", "code": "location.accepted", "site": "x"}')
    assert control.hand_in(TASK, b"transcript") == "location.accepted"
    (got, posted) = Answers.asked
    assert got[:3] == ("GET", "/v1/landmarks/fukuoka-1/tasks", "Bearer sekisho_pat_secret")
    assert posted[:2] == ("POST", "/v1/sites/site_1/proofs/prq_1")
    assert json.loads(posted[3]) == {"transcripts": [canonical.to_base64url(b"transcript")]}
    control.close()


def task_body() -> dict[str, Any]:
    return {name: getattr(TASK, name) for name in TASK.__struct_fields__}


def test_what_is_no_answer_is_said_with_a_code_and_without_the_token(server: str, token: Path) -> None:
    control = ControlPlane(ControlConfig(server, str(token)), "a")
    says(403, b'{"code": "charter.denied", "detail": "x"}')
    assert code_of(control.tasks) == ("landmark.control_refused", {"status": 403, "reason": "charter.denied"})
    says(500, b"<html>")
    assert code_of(control.tasks) == ("landmark.control_refused", {"status": 500, "reason": "unknown"})
    for status, body in ((200, b"[]"), (200, b'{"items": [{]}'), (302, b""), (200, b" " * ((1 << 20) + 1))):
        says(status, body)
        assert code_of(control.tasks)[0] == "landmark.control_silent"
    assert {path for _, path, _, _ in Answers.asked} == {"/v1/landmarks/a/tasks"}, "no redirect is followed"
    nobody = ControlPlane(ControlConfig("http://127.0.0.1:1", str(token)), "a")
    assert code_of(nobody.tasks)[0] == "landmark.control_silent"


def test_a_token_goes_nowhere_in_clear_and_is_for_its_owners_eyes(
    server: str, token: Path, tmp_path: Path
) -> None:
    for url in ("http://control.example", "ftp://127.0.0.1", "127.0.0.1:7600", "https://"):
        made = functools.partial(ControlPlane, ControlConfig(url, str(token)), "a")
        assert code_of(made)[0] == "landmark.config_invalid"
    for mode, content in ((0o640, b"secret"), (0o600, b""), (0o600, b"\xff")):
        token.write_bytes(content)
        token.chmod(mode)
        control = ControlPlane(ControlConfig(server, str(token)), "a")
        assert code_of(control.tasks)[0] == "landmark.token_unreadable"
    gone = ControlPlane(ControlConfig(server, str(tmp_path / "none")), "a")
    assert code_of(gone.tasks)[0] == "landmark.token_unreadable"
    assert Answers.asked == []


def _configuration(folder: Path, more: str) -> Path:
    path = folder / "landmark.toml"
    path.write_text(
        f'folder = "{folder / "state"}"\nname = "north"\norganisation = "university"\n'
        f"latitude = 32.0\nlongitude = 130.15\n{more}[rounds]\nsent = 24\ngap_ms_max = 1\n"
    )
    return path


def test_a_configuration_names_sites_or_a_control_plane_and_keys_that_are_keys(tmp_path: Path) -> None:
    key = canonical.to_base64url(public_of("south"))
    control = '[control]\nurl = "https://c.example"\ntoken_file = "t"\n'
    good = load_config(_configuration(tmp_path, control + _peers(key)))
    assert good.answer is not None
    assert good.answer.names() == {public_of("south"): "peer"}
    site = f'[[sites]]\nid = "a"\nkey = "{key}"\naddress = "127.0.0.1:9"\n'
    for more in (site + control, _peers("AA"), _peers(key) + _peer(key)):
        path = _configuration(tmp_path, more)
        assert code_of(functools.partial(load_config, path))[0] == "landmark.config_invalid"


def _peers(key: str) -> str:
    return f'[answer]\nlisten = "127.0.0.1:0"\n{_peer(key)}'


def _peer(key: str) -> str:
    return f'[[answer.landmarks]]\nname = "peer"\nkey = "{key}"\n'


def test_the_program_measures_what_it_is_asked_and_goes_on_when_it_is_refused(
    server: str, token: Path, tmp_path: Path
) -> None:
    with landmark_world.site() as port:
        task = task_body() | {"address": f"127.0.0.1:{port}"}
        says(200, json.dumps({"items": [task], "next": None, "state": "open", "code": "c"}).encode())
        path = _configuration(
            tmp_path,
            f'[control]\nurl = "{server}"\ntoken_file = "{token}"\npoll_seconds = 0.2\n'
            + _peers(canonical.to_base64url(public_of("south"))),
        )
        assert main(["landmark", "init", "--config", str(path)]) == 0
        # The responder of `landmark_world` knows the key of "north".
        _take_the_place_of("north", tmp_path / "state")
        command = [sys.executable, "-m", "sekisho_guarantor", "landmark", "run", "--config", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            measured, handed_in = (json.loads(running.stdout.readline()) for _ in range(2))
            deadline = time.monotonic() + 10
            while len(Answers.asked) < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
            running.terminate()
            assert running.wait(20) == 0
    assert (measured["site"], handed_in) == ("site_1", {"request": "prq_1", "code": "c"})
    assert [method for method, _, _, _ in Answers.asked].count("POST") == 1, "a request is answered once"


def _take_the_place_of(name: str, folder: Path) -> None:
    (folder / "landmark.key").write_bytes(key_of(name).private_bytes_raw())
