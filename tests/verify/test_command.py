"""The command: exit codes, languages, JSON, wrong use; and that it needs no network and no other package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho_verify import Exit, write_bundle
from sekisho_verify.__main__ import main
from tests.verify.builders import job_log, job_members

LOG = job_log()
LANGUAGE_VARIABLES = ("SEKISHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    for name in LANGUAGE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    bundle, trust = tmp_path / "job.zip", tmp_path / "trust.json"
    bundle.write_bytes(write_bundle(job_members(LOG)))
    trust.write_bytes(LOG.trust(quorum=2))
    return str(bundle), str(trust)


def test_a_bundle_that_holds(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    bundle, trust = files
    assert main([bundle, "--trust", trust]) == Exit.HOLDS
    assert "Everything holds" in capsys.readouterr().out
    assert main([bundle]) == Exit.UNTRUSTED
    assert "Self-consistent, not trusted" in capsys.readouterr().out


def test_a_flipped_byte(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(Path(files[0]).read_bytes())
    data[data.index(b"compute.job.submit")] ^= 1
    Path(files[0]).write_bytes(data)
    assert main([files[0], "--trust", files[1]]) == Exit.DIGEST
    assert "exit code 11" in capsys.readouterr().out


@pytest.mark.parametrize("variable", LANGUAGE_VARIABLES)
def test_the_language_comes_from_the_environment(
    files: tuple[str, str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "ja_JP.UTF-8")
    main([*files[:1]])
    assert "信頼は確認していません" in capsys.readouterr().out
    main([*files[:1], "--lang", "en"])
    assert "not trusted" in capsys.readouterr().out


def test_json_is_one_object_and_nothing_else(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([files[0], "--trust", files[1], "--json", "--lang", "ja"]) == Exit.HOLDS
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert (answer["verdict"], answer["exit_code"], answer["records"], output.err) == ("holds", 0, 5, "")
    assert answer["checkpoint"]["size"] == 25
    assert {"part", "state", "code", "grade", "exit_code", "fields"} == set(answer["lines"][0])


def test_wrong_use(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, trust = files
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    for arguments, code in (
        ([str(tmp_path / "none.zip")], "input.no_file"),
        ([str(tmp_path)], "input.no_file"),
        (["nul\0name"], "input.no_file"),
        ([bundle, "--trust", str(tmp_path / "none.json")], "input.no_file"),
        ([bundle, "--trust", str(bad)], "trust.fields"),
    ):
        assert main(arguments) == Exit.USAGE
        output = capsys.readouterr()
        assert (output.out, output.err.startswith("error: "), f"[{code}]" in output.err) == ("", True, True)
        assert main([*arguments, "--json"]) == Exit.USAGE
        output = capsys.readouterr()
        assert (output.out, json.loads(output.err)["code"]) == ("", code)
    for wrong in ("", f"{bundle} {trust}", f"{bundle} --tru {trust}", f"{bundle} --lang fr"):
        with pytest.raises(SystemExit) as caught:
            main(wrong.split())
        assert caught.value.code == Exit.USAGE


def test_a_file_larger_than_any_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "huge.zip").open("wb") as file:
        file.truncate(200 * 2**20)
    assert main([str(tmp_path / "huge.zip"), "--json"]) == Exit.MALFORMED
    assert json.loads(capsys.readouterr().out)["lines"][0]["fields"]["reason"] == "archive.size"


@pytest.mark.parametrize(("language", "word"), [("en", "Exit codes"), ("ja", "終了コード")])
def test_help_in_both_languages(language: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--lang", language, "--help"])
    assert caught.value.code == 0
    assert word in capsys.readouterr().out


def test_as_a_program_with_nothing_but_cryptography(files: tuple[str, str]) -> None:
    """A child without a network, in which every other third-party import fails."""
    blocked = (
        "import sys, socket, runpy\n"
        "def refuse(*a, **k): raise OSError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "before = set(sys.modules)\n"
        f"sys.argv = ['sekisho-verify', {files[0]!r}, '--trust', {files[1]!r}]\n"
        "try: runpy.run_module('sekisho_verify', run_name='__main__')\n"
        "finally:\n"
        "    tops = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "    odd = tops - set(sys.stdlib_module_names) - {'sekisho_verify', 'cryptography', '__mp_main__'}\n"
        "    assert not {name for name in odd if not name.startswith('_')}, odd\n"
    )
    environment = {"PYTHONPATH": "src", "PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", blocked],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Everything holds" in done.stdout
