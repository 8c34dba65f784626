"""`sekisho-guarantor custodian` from outside: its verbs, its settings, and what survives a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest

from sekisho_guarantor.__main__ import main
from sekisho_guarantor.custodian_config import load_config
from sekisho_guarantor.door import PER_PEER
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.journal import JOURNAL_FILE, verify_journal
from sekisho_verify.canonical import digest, from_base64url, to_base64url
from sekisho_wire.custody import (
    FACTS_PATH,
    MANAGE_PATH,
    OPEN_PATH,
    RELEASE_PATH,
    WRAP_PATH,
    Destruction,
    Facts,
    check_release,
    open_release,
    read_signed,
)
from sekisho_wire.envelope import AES_KW, Wrapped, envelope_key, new_data_key, new_header
from sekisho_wire.problems import Language
from tests.guarantor.custodian_process import manage, running, trust_of, write_config
from tests.support.softhsm import Token
from tests.verify.builders import AGENT, AGENT_ID
from tests.wire.custody_world import KEY, Asker

KNOWN = f'{{id = "{AGENT_ID}", key = "{to_base64url(AGENT.key.public)}"}}'
AGENTS = f"agents = [{KNOWN}]"
WRAPPER, OPENER, STOPPER = "t" * 40, "o" * 40, "s" * 40
PEOPLE = f"""
[[people]]
name = "training-team"
token = "{digest(WRAPPER.encode())}"
may = ["wrap"]
[[people]]
name = "archive"
token = "{digest(OPENER.encode())}"
may = ["open"]
[[people]]
name = "on-call"
token = "{digest(STOPPER.encode())}"
may = ["stop"]
"""


def ask(url: str, path: str, body: bytes, token: str = "") -> httpx2.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.post(url + path, content=body, headers=headers, timeout=20, trust_env=False)


def in_time(asker: Asker, headers: tuple[Any, ...] = (), **changes: Any) -> Any:
    now_ms = time.time_ns() // 1_000_000
    return asker.order(headers, issued_ms=now_ms, not_after_ms=now_ms + 60_000, **changes)


def store_of(module: str, label: str, pin_file: str) -> str:
    """The settings of a token."""
    return f'[store]\nkind = "pkcs11"\nmodule = "{module}"\ntoken = "{label}"\npin_file = "{pin_file}"\n'


def printed(capsys: pytest.CaptureFixture[str]) -> bytes:
    return capsys.readouterr().out.rstrip("\n").encode()


def test_an_owner_makes_rotates_stops_and_destroys_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], token: Token
) -> None:
    config = write_config(
        tmp_path,
        trust_of(Asker(quorum=1)),
        store=store_of(token.module, token.label, str(token.pin_file)),
        more=AGENTS,
    )
    with running(config) as custodian:
        capsys.readouterr()
        key = f"owner-{tmp_path.name}"
        for verb, newest, stopped in (
            ("create", 1, False),
            ("rotate", 2, False),
            ("stop", 2, True),
            ("resume", 2, False),
            ("show", 2, False),
        ):
            assert manage(config, verb, key) == 0
            facts = read_signed(printed(capsys), custodian.key, Facts)
            assert (facts.newest, facts.stopped, facts.exportable) == (newest, stopped, False), verb
        assert manage(config, "destroy", key, "--version", "1") == 0
        assert read_signed(printed(capsys), custodian.key, Destruction).versions == [1]
        assert manage(config, "destroy", key) == 0
        assert read_signed(printed(capsys), custodian.key, Destruction).versions == [2]
        for language, word in (("en", "There is no key other"), ("ja", "鍵otherはここにありません")):
            assert main(["--lang", language, "custodian", "show", "other", "--config", str(config)]) == 6
            said = capsys.readouterr().err
            assert ("custody.key_unknown" in said, word in said) == (True, True), said
        custodian.process.send_signal(signal.SIGTERM)
        assert custodian.process.wait(20) == 0
    assert manage(config, "show", KEY) == 7
    assert "custodian.not_running" in capsys.readouterr().err
    journal = (tmp_path / "state" / JOURNAL_FILE).read_bytes()
    assert verify_journal(journal, custodian.key) == 9


def test_an_order_is_answered_once_also_after_kill_9(tmp_path: Path) -> None:
    asker = Asker()
    config = write_config(tmp_path, trust_of(asker), more=PEOPLE)
    with running(config) as custodian:
        assert manage(config, "create", KEY) == 0
        data_key = new_data_key()
        body = msgspec.json.encode({"key": KEY, "data_key": to_base64url(data_key)})
        told = ask(custodian.url, WRAP_PATH, body, WRAPPER).json()
        wrapped = Wrapped(told["key"], told["key_version"], told["wrap"], from_base64url(told["wrapped"]))
        assert wrapped.algorithm == AES_KW
        head = new_header("file", wrapped)
        order = in_time(asker, (head,))
        question = msgspec.json.encode(asker.ask(order, [head]))
        answer = ask(custodian.url, RELEASE_PATH, question)
        release = check_release(answer.content, custodian.key, order)
        assert open_release(release, order, asker.one_time).keys == [envelope_key(head, data_key)]
        os.kill(custodian.process.pid, signal.SIGKILL)
    with running(config) as custodian:
        again = ask(custodian.url, RELEASE_PATH, question)
        assert (again.status_code, again.json()["code"]) == (409, "custody.order_used")


def test_who_may_what_is_by_token(tmp_path: Path) -> None:
    config = write_config(tmp_path, trust_of(Asker()), more=PEOPLE)
    with running(config) as custodian:
        assert manage(config, "create", KEY) == 0
        wrap = msgspec.json.encode({"key": KEY, "data_key": to_base64url(bytes(32))})
        stop = msgspec.json.encode({"verb": "stop", "key": KEY})
        rotate = msgspec.json.encode({"verb": "rotate", "key": KEY})
        told = ask(custodian.url, WRAP_PATH, wrap, WRAPPER).json()
        under = Wrapped(KEY, 1, AES_KW, from_base64url(told["wrapped"]))
        header = to_base64url(new_header("tree", under).data)
        opens = msgspec.json.encode({"header": header, "recipient": to_base64url(b"\x09" + bytes(31))})
        owner = (tmp_path / "state" / "owner.token").read_text()
        for path, body, token, status in (
            (WRAP_PATH, wrap, WRAPPER, 200),
            (WRAP_PATH, wrap, STOPPER, 401),
            (WRAP_PATH, wrap, OPENER, 401),
            (WRAP_PATH, wrap, "", 401),
            (OPEN_PATH, opens, OPENER, 200),
            (OPEN_PATH, opens, owner, 200),
            (OPEN_PATH, opens, WRAPPER, 401),
            (OPEN_PATH, opens, STOPPER, 401),
            (OPEN_PATH, opens, "", 401),
            (MANAGE_PATH, stop, STOPPER, 200),
            (MANAGE_PATH, stop, WRAPPER, 401),
            (MANAGE_PATH, rotate, STOPPER, 401),
            (MANAGE_PATH, rotate, owner, 200),
            (MANAGE_PATH, rotate, owner[:-1], 401),
        ):
            assert ask(custodian.url, path, body, token).status_code == status, (path, token[:1])
        for path, body in (
            (RELEASE_PATH, b"noise"),
            (FACTS_PATH, b'{"key":"../up"}'),
            (FACTS_PATH, b'{"key":"patients","more":1}'),
            (WRAP_PATH, wrap[:-4]),
            (WRAP_PATH, b'{"key":"\xff"}'),
            (MANAGE_PATH, b'{"verb":"steal","key":"patients"}'),
        ):
            answer = ask(custodian.url, path, body, owner)
            assert (answer.status_code, answer.json()["code"]) == (400, "custody.shape")
        assert ask(custodian.url, "/custody/v1/other", b"{}").status_code == 404
        assert ask(custodian.url, FACTS_PATH, b" " * 5000).status_code == 413
        assert ask(custodian.url, OPEN_PATH, b" " * 10_000).status_code == 413
        alive = httpx2.get(f"{custodian.url}/healthz", timeout=10, trust_env=False).json()
        assert (alive["custody"], alive["store"][:16]) == ("development", "DEVELOPMENT ONLY")


def test_an_owners_stop_is_not_kept_waiting_by_a_crowd(tmp_path: Path) -> None:
    config = write_config(tmp_path, trust_of(Asker()))
    with running(config) as custodian, contextlib.ExitStack() as crowd:
        assert manage(config, "create", KEY) == 0
        where = urlsplit(custodian.url)
        for _ in range(PER_PEER):
            crowd.enter_context(socket.create_connection((where.hostname or "", where.port or 0), timeout=10))
        until = time.monotonic() + 10
        while _answers(custodian.url):
            assert time.monotonic() < until, "the crowd does not fill the door"
        assert manage(config, "stop", KEY) == 0


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=10, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def test_what_was_refused_is_counted_by_its_code(tmp_path: Path) -> None:
    asker = Asker()
    config = write_config(tmp_path, trust_of(asker))
    with running(config) as custodian:
        assert manage(config, "create", KEY) == 0
        good, late = in_time(asker, make=1), asker.order(make=1)
        for order in (good, good, late):
            ask(custodian.url, RELEASE_PATH, msgspec.json.encode(asker.ask(order)))
        ask(custodian.url, OPEN_PATH, b"{}", "nobody")
        answer = httpx2.get(f"{custodian.url}/metrics", timeout=10, trust_env=False)
    counted = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert counted == [
        f'sekisho_guarantor_answers_total{{path="{path}",code="{code}"}} 1'
        for path, code in (
            (MANAGE_PATH, "200"),
            (OPEN_PATH, "custody.token"),
            (RELEASE_PATH, "200"),
            (RELEASE_PATH, "custody.order_expired"),
            (RELEASE_PATH, "custody.order_used"),
        )
    ]


def test_a_development_store_shouts_and_stays_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, trust_of(Asker()))
    assert main(["--json", "custodian", "init", "--config", str(config)]) == 0
    told = capsys.readouterr()
    assert "!!! DEVELOPMENT ONLY" in told.err
    assert json.loads(told.out)["store"] == "development"
    assert main(["--lang", "ja", "custodian", "init", "--config", str(config)]) == 6
    assert "guarantor.key_exists" in capsys.readouterr().err
    for more in ('host = "0.0.0.0"\ncertificate = "c"\nkey = "k"', "behind_proxy = true"):
        with pytest.raises(GuarantorError) as caught:
            load_config(write_config(tmp_path, trust_of(Asker()), more=more))
        assert caught.value.code == "custodian.development_refused"


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ('country = "JP"', 'country = "Japan"', "guarantor.config_invalid"),
        ('owner = "org_', 'owner = "Hospital', "guarantor.config_invalid"),
        ('owner = "org_', 'other = "org_', "guarantor.config_invalid"),
        ('orders = "', 'orders = "x', "guarantor.config_invalid"),
        ("trust.json", "missing.json", "guarantor.config_invalid"),
        ('kind = "development"', 'kind = "pkcs11"', "guarantor.config_invalid"),
        ('kind = "development"', 'kind = "development"\nmodule = "x"', "guarantor.config_invalid"),
        ('kind = "development"', 'kind = "paper"', "guarantor.config_invalid"),
        ("port = 0", 'port = 0\nhost = "0.0.0.0"', "guarantor.tls_required"),
        ("port = 0", "port = 0\nmore = 1", "guarantor.config_invalid"),
        ("port = 0", 'port = 0\nagents = [{id = "a", key = "x"}]', "guarantor.config_invalid"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, before: str, after: str, code: str) -> None:
    config = write_config(tmp_path, trust_of(Asker()))
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after, 1))
    with pytest.raises(GuarantorError) as caught:
        load_config(config)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("quorum", "agents", "code"),
    [
        (1, "", "custodian.agents_missing"),
        (1, "agents = []", "custodian.agents_missing"),
        (0, AGENTS, "custodian.quorum_missing"),
    ],
)
def test_a_key_worth_keeping_needs_known_agents_and_a_log_that_others_have_seen(
    tmp_path: Path, quorum: int, agents: str, code: str
) -> None:
    trust, store = trust_of(Asker(quorum=quorum)), store_of("m", "t", "p")
    with pytest.raises(GuarantorError) as caught:
        load_config(write_config(tmp_path, trust, store=store, more=agents))
    assert caught.value.code == code
    assert caught.value.sentence(Language.JA).startswith("設定")
    load_config(write_config(tmp_path, trust, more=agents))


def test_a_trust_file_that_is_none_and_an_agent_twice_are_named(tmp_path: Path) -> None:
    once = write_config(tmp_path, trust_of(Asker()), more=AGENTS)
    assert load_config(once).trusted().agents == {AGENT_ID: AGENT.key.public}
    for config in (
        write_config(tmp_path / "twice", trust_of(Asker()), more=f"agents = [{KNOWN}, {KNOWN}]"),
        write_config(tmp_path / "none", b"{}"),
    ):
        with pytest.raises(GuarantorError) as caught:
            load_config(config)
        assert caught.value.code == "guarantor.config_invalid"


def test_a_folder_without_its_token_key_or_journal_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, trust_of(Asker()))
    assert manage(config, "init") == 0
    for name, code in (
        ("owner.token", "guarantor.state_unreadable"),
        ("custodian.pem", "guarantor.key_unreadable"),
        ("journal", "custodian.journal_broken"),
    ):
        path = tmp_path / "state" / name
        path.rename(tmp_path / "away")
        assert manage(config, "run") == 70
        assert code in capsys.readouterr().err
        (tmp_path / "away").rename(path)


def test_the_owners_verbs_go_over_tls_to_the_very_certificate(
    tmp_path: Path, tls_files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = tls_files
    more = f'certificate = "{certificate}"\nkey = "{key}"'
    config = write_config(tmp_path / "c", trust_of(Asker()), more=more)
    with running(config) as custodian:
        assert custodian.url.startswith("https://")
        assert manage(config, "create", KEY) == 0
        own = certificate.read_text().splitlines()
        other = [*own[:5], own[5][::-1], *own[6:]]
        for lines in (other, own[1:]):
            certificate.write_text("\n".join(lines))
            capsys.readouterr()
            assert manage(config, "show", KEY) == 7
            assert "custodian.not_running" in capsys.readouterr().err


def test_a_token_store_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_of("m", "t", "p")
    config = write_config(tmp_path, trust_of(Asker(quorum=1)), store=store, more=AGENTS)
    monkeypatch.setitem(__import__("sys").modules, "sekisho_guarantor.keystore_pkcs11", None)
    assert manage(config, "init") == 2
    assert "custodian.pkcs11_missing" in capsys.readouterr().err
