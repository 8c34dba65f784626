"""The landmark's command as a process: its key, its configuration, its transcripts, and every refusal's words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho_agent.config import LocationConfig, LocationLandmark
from sekisho_agent.location import LocationService
from sekisho_guarantor import landmark, landmark_errors
from sekisho_guarantor.__main__ import main
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_config import KEY_FILE, LandmarkConfig, load_config
from sekisho_verify import canonical
from sekisho_verify.location_transcript import parse_landmark, read_transcript
from sekisho_wire.problems import Language, all_problems
from tests.guarantor import landmark_world
from tests.support import tree
from tests.verify.places import key_of, public_of

NONCE = canonical.to_base64url(bytes([9] * 32))


def _configure(
    folder: Path, *, port: int = 9, rounds: str = "sent = 24\ngap_ms_max = 1", more: str = ""
) -> Path:
    path = folder / "landmark.toml"
    path.write_text(
        f"""
folder = "{folder / "state"}"
name = "north"
organisation = "university"
latitude = 33.5902
longitude = 130.4017
kept = 2
{more}
[[sites]]
id = "site_1"
key = "{canonical.to_base64url(public_of("agent"))}"
address = "127.0.0.1:{port}"
[rounds]
{rounds}
"""
    )
    return path


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sekisho_guarantor", "landmark", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tree.SOURCE), "LC_ALL": "C"},
    )


def test_a_landmark_is_made_once_and_measures(tmp_path: Path) -> None:
    path = _configure(tmp_path)
    made = _command("init", "--config", str(path))
    assert made.returncode == 0, made.stderr
    known = parse_landmark(made.stdout.encode())
    assert (known.name, known.organisation, known.place) == ("north", "university", (33_590_200, 130_401_700))
    assert (tmp_path / "state" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    again = _command("init", "--config", str(path))
    assert (again.returncode, "guarantor.key_exists" in again.stderr) == (6, True)

    config = LocationConfig(
        listen="127.0.0.1:0",
        landmarks=[LocationLandmark(name="north", key=canonical.to_base64url(known.key))],
    )
    service = LocationService(config, key_of("agent"))
    service.start()
    try:
        path = _configure(tmp_path, port=int(service.address[1]))
        names = []
        for _ in range(3):
            done = _command("run", "--once", "--nonce", NONCE, "--config", str(path))
            assert done.returncode == 0, done.stderr
            names.append(Path(json.loads(done.stdout)["transcript"]))
    finally:
        service.stop()
    assert [name.exists() for name in names] == [False, True, True]
    found = read_transcript(names[-1].read_bytes(), known.key.__eq__)
    assert found.nonce == bytes([9] * 32)
    assert json.loads(done.stdout)["rtt_ns"] == found.session.rtt_ns_min


def test_a_site_that_is_away_is_one_line_and_a_status(tmp_path: Path) -> None:
    path = _configure(tmp_path)
    assert _command("init", "--config", str(path)).returncode == 0
    done = _command("run", "--once", "--config", str(path))
    assert done.returncode == 1
    assert done.stderr == "error: Site site_1 did not answer the hello.  [landmark.site_silent]\n"
    assert done.stdout == ""


def test_it_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    path = _configure(tmp_path, more="interval_seconds = 86400")
    assert _command("init", "--config", str(path)).returncode == 0
    command = [sys.executable, "-m", "sekisho_guarantor", "landmark", "run", "--config", str(path)]
    environment = os.environ | {"PYTHONPATH": str(tree.SOURCE), "LC_ALL": "C"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        told = running.stderr.readline()
        assert told.startswith("north measures each site (number: 1) about every 86400 s; transcripts go to ")
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "north"', 'name = ""'),
        ("latitude = 33.5902", "latitude = 91.0"),
        ("kept = 2", "unknown = 2"),
        ('id = "site_1"', 'id = "../site"'),
        ("127.0.0.1:9", "127.0.0.1"),
        ("127.0.0.1:9", "127.0.0.1:port"),
        ("127.0.0.1:9", "127.0.0.1:65536"),
        ("127.0.0.1:9", "127.0.0.1:0"),
        ("127.0.0.1:9", "label" * 13 + ":9"),
        ('key = "', 'key = "A'),
        ("sent = 24", "sent = 24\nneeded = 25"),
        ("sent = 24", "sent = 19"),
        ("[rounds]", '[[sites]]\nid = "site_1"\nkey = "AAAA"\naddress = "h:1"\n[rounds]'),
        ("[rounds]", "[rounds"),
    ],
)
def test_a_configuration_holds_or_nothing_starts(tmp_path: Path, old: str, new: str) -> None:
    path = _configure(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(GuarantorError) as caught:
        load_config(path)
    assert caught.value.code in {"landmark.config_invalid", "guarantor.config_unreadable"}


def test_the_same_site_twice_is_refused(tmp_path: Path) -> None:
    path = _configure(tmp_path)
    text = path.read_text()
    entry = text[text.index("[[sites]]") : text.index("[rounds]")]
    path.write_text(text.replace("[rounds]", entry + "[rounds]"))
    with pytest.raises(GuarantorError, match="twice"):
        load_config(path)


def test_wrong_use_is_told_in_both_languages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEKISHO_LANG", "ja")
    assert main(["landmark", "run", "--config", str(tmp_path / "none.toml")]) == 2
    assert "設定ファイル" in capsys.readouterr().err
    path = _configure(tmp_path)
    assert main(["landmark", "run", "--config", str(path)]) == 70
    assert "[landmark.key_unreadable]" in capsys.readouterr().err
    assert main(["landmark", "init", "--config", str(path)]) == 0
    monkeypatch.setenv("SEKISHO_LANG", "en")
    for nonce in ("?", "AAAA"):
        assert main(["landmark", "run", "--nonce", nonce, "--config", str(path)]) == 2
        assert "--nonce" in capsys.readouterr().err
    (tmp_path / "state" / KEY_FILE).chmod(0o640)
    assert main(["landmark", "run", "--config", str(path)]) == 70
    (tmp_path / "state" / KEY_FILE).chmod(0o600)
    (tmp_path / "state" / KEY_FILE).write_bytes(b"short")
    assert main(["landmark", "run", "--config", str(path)]) == 70


def test_a_transcript_that_cannot_be_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _configure(tmp_path)
    assert main(["landmark", "init", "--config", str(path)]) == 0
    known = parse_landmark(capsys.readouterr().out.encode())
    (tmp_path / "state" / "transcripts").write_text("in the way")
    config = LocationConfig(
        listen="127.0.0.1:0",
        landmarks=[LocationLandmark(name="north", key=canonical.to_base64url(known.key))],
    )
    service = LocationService(config, key_of("agent"))
    service.start()
    try:
        path = _configure(tmp_path, port=int(service.address[1]))
        assert main(["landmark", "run", "--once", "--config", str(path)]) == 1
    finally:
        service.stop()
    assert "[landmark.not_kept]" in capsys.readouterr().err


def test_made_up_sites_fill_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark, "FILES_MAX", 3)
    with landmark_world.site() as port:
        measurer = landmark_world.landmarks(port)[0]
        data, session = measurer.measure()
    config = LandmarkConfig(str(tmp_path), "north", "university", 32.0, 132.0)
    runner = landmark.Runner(config, key_of("north"), Language.EN)
    for number in range(5):
        later = replace(session, started_ms=session.started_ms + number)
        runner._keep(replace(measurer.target, site=f"site_{number}"), data, later)
    kept = sorted(path.name for path in (tmp_path / "transcripts").iterdir())
    assert [name.partition(".")[0] for name in kept] == ["site_2", "site_3", "site_4"], "the oldest went"


def test_every_problem_has_both_languages() -> None:
    ours = [problem for code, problem in all_problems().items() if code.startswith("landmark.")]
    assert len(ours) == 11
    assert landmark_errors.TOO_FEW in ours
    for problem in ours:
        assert problem.text.render(Language.EN, {}) != problem.text.render(Language.JA, {})
