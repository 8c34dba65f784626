"""An owner opens what lies under its own key: a custodian in a process of its own, and everything that may go wrong."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
from typing_extensions import override

from sekisho_client import opening, sealing, transfer
from sekisho_client.refusals import Refused
from sekisho_guarantor.custodian_command import TOKEN_FILE
from sekisho_guarantor.journal import JOURNAL_FILE, verify_journal
from sekisho_verify.canonical import digest, to_base64url
from sekisho_wire.custody import OPEN_PATH
from sekisho_wire.envelope import read_header
from sekisho_wire.packing import SEALED_NAME
from tests.guarantor.custodian_process import Running, manage, running, trust_of, write_config
from tests.wire.custody_world import KEY, Asker

OTHER = "other"
WRAPPER = "w" * 40
FILES = {"a.txt": b"patient 1\n", "deep/er/b.bin": bytes(3_000_000), "empty": b""}
PEOPLE = f"""
[[people]]
name = "data-entry"
token = "{digest(WRAPPER.encode())}"
may = ["wrap"]
"""


class Sealed(NamedTuple):
    """A sealed tree as it was fetched, how the server would describe it, and the registration of its key."""

    source: Path
    stored: dict[str, Any]
    key: dict[str, Any]


class Home:
    """Somebody's folder, with the custodian of the key and the owner's token."""

    def __init__(self, custodian: Running, folder: Path) -> None:
        self.custodian = custodian
        self.folder = folder
        self.state = custodian.config.parent / "state"
        self.token = sealing.token(str(self.state / TOKEN_FILE))
        self.target = folder / "opened"
        self._count = 0

    def key(self, name: str = KEY, **changes: Any) -> dict[str, Any]:
        """As `data.key.show` answers it."""
        public = to_base64url(self.custodian.key)
        return {"id": "key_1", "name": name, "address": self.custodian.url, "public_key": public} | changes

    def sealed(self, files: dict[str, bytes] = FILES, *, key: str = KEY) -> Sealed:
        """Encrypt a folder as `data add` does it, and lay it where a fetch lays it."""
        self._count += 1
        plain, source = (self.folder / f"{self._count}" / name for name in ("plain", "fetched"))
        for name, content in files.items():
            (plain / name).parent.mkdir(parents=True, exist_ok=True)
            (plain / name).write_bytes(content)
        source.mkdir(parents=True)
        custodian = sealing.Custodian(self.custodian.url, self.token)
        with sealing.sealed(transfer.scan(plain, lambda *_: None), self.key(key), custodian) as found:
            found.local.paths[0].rename(source / SEALED_NAME)
            return Sealed(source, {"envelope": found.named["envelope"]}, self.key(key))

    def open(self, sealed: Sealed, *, token: str = "", named: str | None = None, **changes: Any) -> int:
        """Into `target`, as a fetch does it by whom has chosen the address the key is registered at, or `named`."""
        with opening.draft(self.target) as draft:
            fetched = shutil.copytree(sealed.source, draft / opening.FETCHED)
            key = sealed.key | changes
            address = key["address"] if named is None else named
            custodian = sealing.Custodian(address, token or self.token)
            return opening.opened(fetched, self.target, stored=sealed.stored, key=key, custodian=custodian)

    def refused(self, sealed: Sealed, **changes: Any) -> Refused:
        """What it is refused with; nothing lies at the target then."""
        with pytest.raises(Refused) as caught:
            self.open(sealed, **changes)
        assert [path.name for path in self.folder.iterdir() if "opened" in path.name] == []
        assert self.token not in caught.value.sentence("en")
        return caught.value

    def entries(self) -> list[dict[str, Any]]:
        """The custodian's journal."""
        content = (self.state / JOURNAL_FILE).read_bytes()
        verify_journal(content, self.custodian.key)
        return [msgspec.json.decode(line) for line in content.splitlines()[1::2]]


@pytest.fixture(scope="module")
def custodian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = write_config(tmp_path_factory.mktemp("custodian"), trust_of(Asker()), more=PEOPLE)
    with running(config) as found:
        assert manage(config, "create", KEY) == 0
        assert manage(config, "create", OTHER) == 0
        yield found


@pytest.fixture
def home(custodian: Running, tmp_path: Path) -> Home:
    return Home(custodian, tmp_path)


@contextmanager
def between(
    home: Home, answer: Callable[[bytes, Callable[[bytes], bytes]], bytes], *, pause_s: float = 0
) -> Iterator[str]:
    """The address of somebody between owner and custodian, who answers what he likes; he may ask the real one.

    With a pause he dribbles: one byte at a time.
    """
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {"authorization": self.headers["authorization"]}
            said = answer(
                body,
                lambda sent: (
                    httpx2.post(
                        home.custodian.url + self.path, content=sent, headers=headers, trust_env=False
                    ).content
                ),
            )
            self.send_response(200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            for byte in said if pause_s else b"":
                if over.wait(pause_s):
                    return
                self.wfile.write(bytes([byte]))
            self.wfile.write(b"" if pause_s else said)

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_a_folder_comes_back_as_it_was_and_the_journal_says_who_opened_it(home: Home) -> None:
    sealed = home.sealed()
    assert home.open(sealed) == sum(map(len, FILES.values()))
    found = {
        str(path.relative_to(home.target)): path.read_bytes()
        for path in home.target.rglob("*")
        if path.is_file()
    }
    assert found == FILES
    assert home.target.stat().st_mode & 0o777 == 0o700
    entry = home.entries()[-1]
    with (sealed.source / SEALED_NAME).open("rb", buffering=0) as file:
        header = read_header(file)
    assert (entry["event"], entry["by"], entry["key"], entry["version"]) == ("opened", "owner", KEY, 1)
    assert (entry["envelope"], entry["wrapped"]) == (header.digest(), digest(header.wrapped.data))


def test_a_token_that_may_not_open_gets_nothing_and_is_not_in_the_journal(home: Home) -> None:
    sealed, before = home.sealed(), len(home.entries())
    for token in (WRAPPER, "x" * 40):
        refused = home.refused(sealed, token=token)
        assert (refused.code, refused.params["what"]) == ("key.custodian", "custody.token")
    assert len(home.entries()) == before


def test_a_stopped_key_opens_nothing_until_it_is_resumed(home: Home) -> None:
    sealed = home.sealed()
    assert manage(home.custodian.config, "stop", KEY) == 0
    try:
        assert home.refused(sealed).params["what"] == "custody.key_stopped"
    finally:
        assert manage(home.custodian.config, "resume", KEY) == 0
    home.open(sealed)


def test_a_destroyed_version_opens_nothing(home: Home) -> None:
    key = f"gone-{home.folder.name}"[:60]
    assert manage(home.custodian.config, "create", key) == 0
    sealed = home.sealed(key=key)
    assert manage(home.custodian.config, "destroy", key) == 0
    assert home.refused(sealed).params["what"] == "custody.version_unknown"


@pytest.mark.parametrize("at", ["header", "commitment", "first", "last", "cut", "more"])
def test_changed_ciphertext_leaves_nothing_behind(home: Home, at: str) -> None:
    sealed = home.sealed()
    path = sealed.source / SEALED_NAME
    content = bytearray(path.read_bytes())
    begins = 12 + int.from_bytes(content[8:12], "big")
    match at:
        case "cut":
            del content[-1:]
        case "more":
            content += b"x"
        case _:
            place = {"header": begins - 2, "commitment": begins, "first": begins + 32, "last": -1}[at]
            content[place] ^= 1
    path.write_bytes(content)
    assert home.refused(sealed).code == "seal.forged"


def test_another_envelope_than_the_one_on_record_is_not_even_asked_about(home: Home) -> None:
    first, second = home.sealed(), home.sealed()
    asked = len(home.entries())
    assert home.refused(first._replace(stored=second.stored)).params["what"] == "envelope.unexpected"
    assert home.refused(first, name=OTHER).params["what"] == "envelope.unexpected"
    assert len(home.entries()) == asked


def test_a_custodian_that_answers_for_another_envelope_is_not_believed(home: Home) -> None:
    """It hands out what is honest for another object, under the same one-time key, and its signature holds."""
    mine, others = home.sealed(), home.sealed({"b": b"other"})
    with (others.source / SEALED_NAME).open("rb", buffering=0) as file:
        header = to_base64url(read_header(file).data)

    def swap(body: bytes, real: Callable[[bytes], bytes]) -> bytes:
        return real(msgspec.json.encode(msgspec.json.decode(body) | {"header": header}))

    with between(home, swap) as address:
        refused = home.refused(mine, address=address)
    assert (refused.code, refused.params["what"]) == ("key.foreign", "custody.foreign")


def test_an_answer_to_an_earlier_one_time_key_is_not_believed(home: Home) -> None:
    sealed, kept = home.sealed(), list[bytes]()

    def again(body: bytes, real: Callable[[bytes], bytes]) -> bytes:
        kept.append(real(body))
        return kept[0]

    with between(home, again) as address:
        home.open(sealed, address=address)
        home.target.rename(home.folder / "first")
        assert home.refused(sealed, address=address).params["what"] == "custody.foreign"


@pytest.mark.parametrize(
    ("answer", "code", "what"),
    [
        (b"", "key.foreign", "custody.shape"),
        (b"{}", "key.foreign", "custody.shape"),
        (b"\xff" * 4096, "key.foreign", "custody.shape"),
        (b"x" * (1 << 20), "key.custodian", "an answer without an end"),
    ],
)
def test_nonsense_is_no_answer(home: Home, answer: bytes, code: str, what: str) -> None:
    with between(home, lambda _body, _real: answer) as address:
        refused = home.refused(home.sealed(), address=address)
    assert (refused.code, refused.params["what"]) == (code, what)


def test_an_answer_that_dribbles_is_not_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "ANSWER_SECONDS", 0.2)
    sealed = home.sealed()
    with between(home, lambda _body, _real: b"x" * 10_000, pause_s=0.02) as address:
        assert home.refused(sealed, address=address).params["what"] == "an answer without an end"


def test_an_answer_of_another_custodians_key_is_not_believed(home: Home) -> None:
    refused = home.refused(home.sealed(), public_key=to_base64url(bytes(31) + b"\1"))
    assert (refused.code, refused.params["what"]) == ("key.foreign", "custody.signature")


def test_a_custodian_that_is_not_there_is_named(home: Home) -> None:
    refused = home.refused(home.sealed(), address="http://127.0.0.1:1")
    assert (refused.code, refused.params["url"]) == ("key.custodian", "http://127.0.0.1:1")


@pytest.mark.parametrize(("chosen", "code"), [(True, "key.elsewhere"), (False, "key.unpinned")])
def test_the_token_goes_to_the_address_this_side_chose_and_nowhere_else(
    home: Home, *, chosen: bool, code: str
) -> None:
    sealed, heard = home.sealed(), list[bytes]()

    def hears(body: bytes, _real: Callable[[bytes], bytes]) -> bytes:
        heard.append(body)
        return b""

    named = home.custodian.url + "/" if chosen else ""
    plain = transfer.scan(home.folder / "1" / "plain", lambda *_: None)
    with between(home, hears) as address:
        refused = home.refused(sealed, address=address, named=named)
        assert (refused.code, refused.params["url"]) == (code, address)
        assert (f"config set custodian {address}" in refused.hint) is not chosen
        lie = sealing.sealed(plain, home.key(address=address), sealing.Custodian(named, home.token))
        with pytest.raises(Refused, match="No token was sent"), lie:
            pass
    assert heard == []
    home.open(sealed, named=home.custodian.url + "/")


@pytest.mark.parametrize("path", ["/a\x1b[2K", "/a\nb", "/\N{RIGHT-TO-LEFT OVERRIDE}"])
def test_an_address_that_a_terminal_would_not_show_as_it_is_is_refused(home: Home, path: str) -> None:
    key = home.key(address=f"https://keys.example.invalid{path}")
    with pytest.raises(Refused) as caught:
        sealing.address_of(key, sealing.Custodian("", home.token))
    assert (caught.value.code, path in caught.value.sentence("en")) == ("client.address", False)


def test_the_command_that_accepts_an_address_runs_nothing_else(home: Home) -> None:
    key = home.key(address="https://keys.example.invalid/;$(reboot)")
    with pytest.raises(Refused) as caught:
        sealing.address_of(key, sealing.Custodian("", home.token))
    assert caught.value.hint.endswith("'https://keys.example.invalid/;$(reboot)'")


def test_an_opening_that_is_interrupted_leaves_no_file_behind(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first megabyte has been written, which was genuine."""
    decrypt, seen = opening.decrypt_stream, list[int]()

    def interrupted(source: Any, target: Any, *rest: Any) -> int:
        class Once:
            def write(self, data: memoryview | bytes, /) -> int:
                if seen:
                    raise KeyboardInterrupt
                seen.append(len(data))
                return int(target.write(data))

        return decrypt(source, Once(), *rest)

    monkeypatch.setattr(opening, "decrypt_stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        home.open(home.sealed())
    assert seen == [1 << 20]
    assert [path.name for path in home.folder.iterdir()] == ["1"]


def test_what_lies_at_the_target_is_never_replaced(home: Home) -> None:
    sealed = home.sealed()
    home.target.mkdir()
    (home.target / "mine").write_text("mine")
    with pytest.raises(Refused) as caught:
        home.open(sealed)
    assert caught.value.code == "input.exists"
    assert [path.name for path in home.target.iterdir()] == ["mine"]


def test_the_custodian_opens_for_its_owner_only(home: Home) -> None:
    """Straight at the door: no token, bytes that are no header, a one-time key that is none."""
    with (home.sealed().source / SEALED_NAME).open("rb", buffering=0) as file:
        header = to_base64url(read_header(file).data)
    usable = to_base64url(b"\x09" + bytes(31))
    for asked, token, code in (
        ({"header": header, "recipient": usable}, "", "custody.token"),
        ({"header": header, "recipient": usable}, home.token[:-1], "custody.token"),
        ({"header": header[:-4], "recipient": usable}, home.token, "custody.shape"),
        ({"header": "%", "recipient": usable}, home.token, "custody.shape"),
        ({"header": header}, home.token, "custody.shape"),
        ({"header": header, "recipient": usable, "more": 1}, home.token, "custody.shape"),
        ({"header": header, "recipient": "A" * 43}, home.token, "custody.recipient"),
    ):
        answer = httpx2.post(
            home.custodian.url + OPEN_PATH,
            content=msgspec.json.encode(asked),
            headers={"authorization": f"Bearer {token}"} if token else {},
            trust_env=False,
        )
        assert answer.json()["code"] == code, asked
