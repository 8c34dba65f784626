"""`sekisho-guarantor` from outside: help in two languages, exit statuses, and a witness as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from sekisho_guarantor.__main__ import main
from sekisho_verify.checkpoint import parse_key
from tests.guarantor.process import config_text, running
from tests.guarantor.world import LOG, GrowingLog
from tests.verify.builders import ORIGIN


def _write(folder: Path, text: str = "") -> str:
    file = folder / "witness.toml"
    file.write_text(text or config_text(folder / "state", {ORIGIN: [LOG.key.vkey]}), encoding="utf-8")
    return str(file)


def test_init_prints_the_key_to_hand_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _write(tmp_path)
    assert main(["--json", "witness", "init", "--config", config]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (parse_key(said["vkey"]).name, parse_key(said["vkey"]).kind) == (said["name"], 4)
    assert main(["--lang", "ja", "witness", "init", "--config", config]) == 6
    assert "guarantor.key_exists" in capsys.readouterr().err


def test_language_and_form_are_said_before_the_verb_or_behind_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _write(tmp_path)
    assert main(["witness", "init", "--config", config, "--json"]) == 0
    assert parse_key(json.loads(capsys.readouterr().out)["vkey"]).kind == 4
    for words in (["--lang", "ja", "witness", "init"], ["witness", "init", "--lang", "ja"]):
        assert main([*words, "--config", config]) == 6
        assert "鍵がすでにあります" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["-h"],
        ["witness", "-h"],
        ["witness", "init", "-h"],
        ["witness", "run", "-h"],
        ["landmark", "run", "-h"],
    ],
)
def test_help_is_in_both_languages(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for language in ("en", "ja"):
        with pytest.raises(SystemExit) as left:
            main(["--lang", language, *words])
        assert left.value.code == 0
        said.append(capsys.readouterr().out)
    assert said[0].isascii()
    assert not said[1].isascii()


def test_wrong_use_has_a_code_and_a_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--lang", "ja", "witness"])
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: コマンドが必要です  [input.usage]\nhint: sekisho-guarantor witness --help\n"
    )


GOOD = f'name = "w.example/1"\nstate = "s"\n[[logs]]\norigin = "{ORIGIN}"\nkeys = ["{LOG.key.vkey}"]\n'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = ", "guarantor.config_unreadable"),
        ("more = 1\n" + GOOD, "guarantor.config_invalid"),
        (GOOD.replace('name = "w.example/1"\n', ""), "guarantor.config_invalid"),
        (GOOD.replace("w.example/1", "w example"), "guarantor.config_invalid"),
        (GOOD.replace(LOG.key.vkey, "not+a+key"), "guarantor.config_invalid"),
        (GOOD + GOOD[GOOD.index("[[") :], "guarantor.config_invalid"),
        (GOOD.replace("[[logs]]", "certificate = 'x'\n[[logs]]"), "guarantor.config_invalid"),
        (GOOD.replace("[[logs]]", "host = '0.0.0.0'\n[[logs]]"), "guarantor.tls_required"),
        (GOOD.replace("[[logs]]", "host = 'w.example'\n[[logs]]"), "guarantor.tls_required"),
        ('name = "w"\nstate = "s"\nlogs = []\n', "guarantor.config_invalid"),
    ],
)
def test_a_wrong_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: str
) -> None:
    for language in ("en", "ja"):
        assert main(["--lang", language, "witness", "init", "--config", _write(tmp_path, text)]) == 2
        said = capsys.readouterr().err
        assert code in said
        assert not re.search("Expected `|Object ", said), "in words, not as it is checked"


def test_a_witness_key_is_no_log_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", "witness", "init", "--config", _write(tmp_path)])
    vkey = json.loads(capsys.readouterr().out)["vkey"]
    assert main(["witness", "init", "--config", _write(tmp_path, GOOD.replace(LOG.key.vkey, vkey))]) == 2


def test_a_configuration_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["witness", "run", "--config", "/nowhere/witness.toml"]) == 2
    assert "guarantor.config_unreadable" in capsys.readouterr().err


def test_run_before_init_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["witness", "run", "--config", _write(tmp_path)]) == 70
    assert "guarantor.key_unreadable" in capsys.readouterr().err


def test_a_killed_process_remembers_what_it_cosigned(tmp_path: Path) -> None:
    log = GrowingLog()
    for ending, (old, size) in ((signal.SIGKILL, (0, 5)), (signal.SIGTERM, (5, 9)), (signal.SIGINT, (9, 30))):
        with running(tmp_path, {ORIGIN: [LOG.key.vkey]}) as witness:
            assert _post(witness.url, log.request(old, size)) == 200
            os.kill(witness.process.pid, ending)
            assert witness.process.wait(20) == (0 if ending != signal.SIGKILL else -9)
    with running(tmp_path, {ORIGIN: [LOG.key.vkey]}) as witness:
        assert _post(witness.url, log.request(9, 40)) == 409


def _post(url: str, body: bytes) -> int:
    return httpx2.post(f"{url}/add-checkpoint", content=body, timeout=10, trust_env=False).status_code


def test_it_needs_neither_the_control_plane_nor_the_agent(tmp_path: Path) -> None:
    """What this program imports is what its extra brings."""
    code = "import sys, sekisho_guarantor.__main__; print([m for m in sys.modules if m.split('.')[0] in"
    code += " {'sekisho', 'sekisho_agent', 'sekisho_client', 'starlette', 'obstore'}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
