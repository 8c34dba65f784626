"""The command line against a real server: words, answers, JSON, exit codes, both languages."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho_client import commands, refusals
from sekisho_client.help import EXITS
from sekisho_wire.problems import Exit
from tests.client.conftest import Ran
from tests.http.toyserver import Served
from tests.support import tree
from tests.support.toy import ANN, AllowAll

Run = Callable[..., Ran]
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def sekisho(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(tree.SOURCE), "SEKISHO_LANG": "en"}
    return subprocess.run(
        [sys.executable, "-m", "sekisho_client.cli", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
        stdin=stdin,
    )


@pytest.mark.usefixtures("ann")
class TestAnswers:
    def test_an_object(self, run: Run) -> None:
        ran = run("thing", "put", "a", "ball", "--amount", "1234")
        assert (ran.status, ran.err) == (0, "")
        assert ran.out == "id\ta\nname\tball\namount\t1234\n"

    def test_a_list_is_tab_separated_with_a_header_off_a_terminal(self, run: Run) -> None:
        for name in ("t1", "t2"):
            run("thing", "put", name)
        ran = run("things", "--cursor", "t0")
        assert ran.out == "id\tname\tamount\nt1\tthing\t0\nt2\tthing\t0\n"

    def test_a_list_is_aligned_by_display_width_on_one(self, on_terminal: Run) -> None:
        on_terminal("thing", "put", "u1", "玩具", "--amount", "12345")
        on_terminal("thing", "put", "u2", "ab")
        ran = on_terminal("things", "--cursor", "u0")
        assert ran.out == "ID  NAME  AMOUNT\nu1  玩具  12,345\nu2  ab         0\n"

    @pytest.mark.parametrize(
        "words", [("thing",), ("things",), ("thing", "list"), ("things", "list"), ("things", "--json")]
    )
    def test_nouns_in_singular_and_plural_and_alone(self, run: Run, words: tuple[str, ...]) -> None:
        assert run(*words).status == 0

    def test_an_empty_list_is_no_failure(self, run: Run) -> None:
        assert run("things", "--cursor", "zzz") == Ran(0, "id\tname\tamount\n", "")

    def test_every_page(self, run: Run) -> None:
        for name in ("v1", "v2", "v3"):
            run("thing", "put", name)
        items = run("things", "--cursor", "v0", "--all", "--json").json["items"]
        assert [item["id"] for item in items] == ["v1", "v2", "v3"]

    def test_the_first_of_two_people(self, run: Run) -> None:
        run("thing", "put", "safe")
        ran = run("thing", "seal", "safe")
        assert ran.status == 0
        assert "second person" in ran.out
        assert run("thing", "seal", "safe", "--json").json["action"] == "toy.thing.seal"

    def test_a_file(self, run: Run, tmp_path: Path) -> None:
        target = tmp_path / "out.zip"
        assert run("file", "fetch", "x", "--output", str(target), "--json").json == {
            "file": str(target),
            "size_bytes": 6,
        }
        assert target.read_bytes() == b"\x00bytes"
        assert sorted(tmp_path.glob(".sekisho-*")) == []
        assert run("file", "fetch", "x", "--json").problem["code"] == "input.missing"

    def test_json_values_and_moments(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "inner.json"
        file.write_text('{"x": {"colour": "red"}}')
        words = ("moment", "echo", "--expires-at", "2026-11-20T14:03:11+09:00", "--tags", "a", "--tags", "b")
        value = run(*words, "--inner", f"@{file}", "--json").json
        assert value["expires_at"] == "2026-11-20T05:03:11.000Z"
        assert (value["tags"], value["inner"]["x"]["colour"]) == (["a", "b"], "red")

    def test_what_a_terminal_would_obey_is_not_passed_on(self, on_terminal: Run) -> None:
        on_terminal("thing", "put", "esc", "a\x1b[31mb\u202e")
        ran = on_terminal("thing", "show", "esc")
        assert "\x1b" not in ran.out
        assert "\u202e" not in ran.out


@pytest.mark.usefixtures("ann")
class TestProblems:
    def test_for_people(self, run: Run) -> None:
        ran = run("thing", "show", "absent")
        assert (ran.status, ran.out) == (5, "")
        assert ran.err == "error: Not found, or not visible to you: absent  [not_found]\n"

    def test_in_japanese(self, run: Run) -> None:
        assert "見つからないか、閲覧できません：absent" in run("thing", "show", "absent", "--lang", "ja").err

    def test_a_word_that_is_none_of_a_few(self) -> None:
        """Roles are known without a server, so help lists them and a wrong one is refused before anything is sent."""
        ran = sekisho("role", "grant", "usr_1", "enginer")
        assert ran.returncode == int(Exit.USAGE)
        assert ran.stderr.startswith("error: ROLE: enginer is not administrator | ")
        assert ran.stderr.endswith("hint: engineer\n")
        assert "the role (administrator | " in sekisho("role", "grant", "--help").stdout

    def test_for_programs(self, run: Run) -> None:
        assert run("thing", "show", "absent", "--json").problem["code"] == "not_found"

    def test_a_denial_is_exit_3_and_says_where_its_record_is(self, server: Served, run: Run) -> None:
        decider = server.world.decider
        assert isinstance(decider, AllowAll)
        decider.denied = {(ANN.ref.id, "toy.thing.put")}
        try:
            ran = run("thing", "put", "no")
        finally:
            decider.denied = set()
        assert ran.status == 3
        assert "The toy charter says no." in ran.err
        assert "hint: sekisho record show rec_" in ran.err

    def test_a_bad_token_is_exit_4(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEKISHO_TOKEN", "wrong")
        assert run("things", "--json").problem["code"] == "auth.required"
        assert run("things").status == 4

    def test_no_answer_is_exit_7(self, run: Run) -> None:
        ran = run("thing", "list", "--url", "http://127.0.0.1:1", "--json")
        assert (ran.status, ran.problem["code"]) == (7, "client.unreachable")

    def test_our_fault_is_exit_70(self, run: Run) -> None:
        assert run("thing", "break", "--json").problem["code"] == "internal"

    def test_a_mistake_of_this_program_is_told_without_a_traceback(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sekisho_client.arguments.values", None)
        ran = run("things", "--json")
        assert (ran.status, ran.problem["code"]) == (70, "client.internal")


@pytest.mark.usefixtures("toy_catalogue")
class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            (("thin",), "sekisho thing"),
            (("thing", "shwo"), "sekisho thing show"),
            (("thing", "show"), "--help"),
            (("thing", "show", "a", "b"), "--help"),
            (("things", "--cursr", "x"), "--cursor"),
            (("things", "--limit", "x"), ""),
            (("things", "--limit"), "--help"),
            (("moment", "echo", "--expires-at", "tomorrow"), ""),
            (("moment", "echo", "--inner", "{"), ""),
            (("moment", "echo", "--inner", "@nosuchfile"), ""),
            (("--wrong",), "--help"),
            (("completion", "bsh"), "bash"),
        ],
    )
    def test_are_exit_2_with_one_sentence(self, run: Run, words: tuple[str, ...], hint: str) -> None:
        for language in ("en", "ja"):
            ran = run(*words, f"--lang={language}") if words != ("--wrong",) else run(*words)
            assert (ran.status, ran.out) == (2, "")
            assert ran.err.startswith("error: ")
            assert hint in ran.err
            assert "Traceback" not in ran.err

    def test_a_file_that_is_nearly_there_is_named(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "inner.json").write_text("{}")
        monkeypatch.chdir(tmp_path)
        ran = run("moment", "echo", "--inner", "@iner.json")
        assert ran.err == "error: no such file: iner.json  [input.no_file]\nhint: inner.json\n"

    def test_without_a_server(self, run: Run) -> None:
        assert run("things", "--json").problem["code"] == "config.no_server"

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com",
            "ftp://example.com",
            "example.com",
            "https://",
            "https://a:b@example.com",
            "http://[",
            "https://example.com/?a=b",
        ],
    )
    def test_an_address_that_would_carry_a_token_in_clear(self, run: Run, url: str) -> None:
        assert run("things", "--url", url, "--json").problem["code"] == "client.address"


class TestHelp:
    @pytest.mark.parametrize("language", ["en", "ja"])
    def test_of_every_command(self, run: Run, language: str) -> None:
        known = commands.catalogue()
        assert len(known.by_words) > 40
        for entry in known.by_words.values():
            ran = run(*entry.words.split(), "--help", "--lang", language)
            assert (ran.status, ran.err) == (0, ""), entry.words
            assert ran.out.count("  sekisho ") >= 2, entry.words
            assert bool(JAPANESE.search(ran.out)) == (language == "ja"), entry.words
            if language == "ja":
                assert not re.search(r"(?<=[\u3040-\u30ff\u4e00-\u9fff])[()]", ran.out), entry.words

    @pytest.mark.parametrize("language", ["en", "ja"])
    def test_of_all_lists_daily_words_first(self, run: Run, language: str) -> None:
        ran = run("--lang", language)
        assert ran.status == 0
        assert ran.out == run("--help", "--lang", language).out == run("help", "--lang", language).out
        assert ran.out.index(" jobs ") < ran.out.index(" organisation ")
        assert bool(JAPANESE.search(ran.out)) == (language == "ja")

    def test_of_a_noun(self, run: Run) -> None:
        assert "  cancel " in run("job", "--help").out
        assert run("help", "job").out == run("job", "--help").out
        assert run("jobs", "--help").out == run("job", "list", "--help").out == run("help", "jobs").out

    def test_exit_codes_are_the_servers(self) -> None:
        assert {code for code, _, _ in EXITS} == {int(status) for status in Exit}
        ours = (
            refusals.USAGE,
            refusals.SIGN_IN,
            refusals.UNAVAILABLE,
            refusals.INTERNAL,
            refusals.INTERRUPTED,
        )
        theirs = (Exit.USAGE, Exit.SIGN_IN, Exit.UNAVAILABLE, Exit.INTERNAL, Exit.INTERRUPTED)
        assert ours == tuple(int(status) for status in theirs)

    def test_nothing_heavy_is_imported_for_it(self) -> None:
        code = "import sys; from sekisho_client import cli; cli.main(['job', '--help']); print(*sys.modules)"
        environment = {**os.environ, "PYTHONPATH": str(tree.SOURCE)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
            timeout=60,
        )
        loaded = set(done.stdout.splitlines()[-1].split())
        assert "argparse" in loaded
        heavy = {
            "msgspec",
            "httpx2",
            "rich",
            "cryptography",
            "asyncio",
            "yaml",
            "ssl",
            "sekisho_wire",
            "dataclasses",
        }
        assert loaded & heavy == set()


class TestProcess:
    def test_version_and_a_closed_pipe(self) -> None:
        assert re.fullmatch(r"sekisho \d+\.\d+\.\d+\n", sekisho("--version").stdout)
        environment = {**os.environ, "PYTHONPATH": str(tree.SOURCE)}
        line = f"{sys.executable} -m sekisho_client.cli --help | head -1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["/bin/bash", "-c", line], capture_output=True, text=True, env=environment, check=True, timeout=60
        )
        assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")

    def test_an_ascii_terminal_is_no_failure(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree.SOURCE), "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(
            [sys.executable, "-m", "sekisho_client.cli", "--lang", "ja"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_bash_completes_words(self, tmp_path: Path) -> None:
        program = tmp_path / "sekisho"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sekisho_client.cli "$@"\n')
        program.chmod(0o755)
        script = (
            'eval "$(sekisho completion bash)"; '
            "COMP_WORDS=(sekisho job ca); COMP_CWORD=2; _sekisho; echo ${COMPREPLY[@]}"
        )
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = {**os.environ, "PYTHONPATH": str(tree.SOURCE), "PATH": path}
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
            timeout=60,
        )
        assert done.stdout == "cancel\n"

    def test_what_cannot_be_undone_is_asked_on_a_terminal_and_refused_off_one(self) -> None:
        words = ("secret", "delete", "x", "--url", "http://127.0.0.1:1")
        assert "[input.needs_yes]" in sekisho(*words).stderr
        assert "[client.unreachable]" in sekisho(*words, "--yes").stderr
        controller, terminal = pty.openpty()
        try:
            os.write(controller, b"n\n")
            done = sekisho(*words, stdin=terminal)
        finally:
            os.close(controller)
            os.close(terminal)
        assert (done.returncode, "[input.not_confirmed]" in done.stderr) == (2, True)


def test_completion_offers_words_options_and_ids(
    ann: Served, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("thing", "put", "complete-me")
    monkeypatch.setattr("sekisho_client.complete.ANSWER_SECONDS", 20)

    def offered(*words: str) -> set[str]:
        return {line.partition("\t")[0] for line in run("__complete", *words).out.splitlines()}

    assert {"thing", "things", "status", "completion"} <= offered("")
    assert {"list", "show", "put"} <= offered("thing", "")
    assert offered("thing", "sh") == {"show"}
    assert {"--cursor", "--limit", "--json"} <= offered("things", "-")
    assert "complete-me" in offered("thing", "show", "")
    assert offered("completion", "") >= {"bash", "zsh", "fish"}
    monkeypatch.setenv("SEKISHO_URL", "http://127.0.0.1:1")
    assert offered("thing", "show", "") == set()
    assert ann.url


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(run: Run, shell: str) -> None:
    assert "__complete" in run("completion", shell).out
    assert run("completion", shell, "--json").json["shell"] == shell


@pytest.mark.parametrize(
    "words",
    [["things"], ["thing", "put", "j"], ["thing", "show", "j"], ["proposals"], ["config"], ["status"]],
)
def test_json_is_all_there_is_on_standard_output(ann: Served, run: Run, words: list[str]) -> None:
    assert ann.url
    assert isinstance(run(*words, "--json").json, dict)
    assert json.loads(run("--json", *words).out)
