"""Images built for real: a package index on loopback with wheels made here, uv behind the wall."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from sekisho_agent import listeners, wheels
from sekisho_agent.builds import index_variables
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Image, Setup
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import AttemptStoppedError, ImageError
from tests.agent.engine_suite import finish, make_task
from tests.agent.support import needs_bubblewrap, processes_with
from tests.support import components

pytestmark = pytest.mark.wall


def make_wheel(folder: Path, name: str, *, body: str = "ANSWER = 42\n") -> tuple[Path, str]:
    """A wheel of one module and one script; returns it and its hash."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    members = {
        f"{name}.py": body,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-say = {name}:say\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in members) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


class Index:
    """A simple package index (PEP 503) over loopback; remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                index.asked.append(self.path)
                content, kind = index.answer(self.path)
                self.send_response(200 if content else 404)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[bytes, str]:
        name = path.strip("/").rpartition("/")[2]
        if path.startswith("/files/"):
            file = self.folder / name
            return (file.read_bytes() if file.exists() else b"", "application/octet-stream")
        links = [
            f'<a href="/files/{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'
            for file in self.folder.glob(f"{name}-*")
        ]
        return ("".join(links).encode(), "text/html")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "wheels"
    folder.mkdir()
    running = Index(folder)
    yield running
    running.close()


@pytest.fixture(params=["system", "own"])
def engine(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LocalEngine]:
    """An engine whose images stand on the host's /usr, and one whose images stand on the Python of these tests."""
    needs_bubblewrap()
    try:
        wheels.find_uv("")
    except ImageError:
        components.missing("uv", "pip install uv")
    if request.param == "own":
        monkeypatch.setattr("sekisho_agent.interpreter.SYSTEM_PYTHON", Path("/nonexistent"))
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    running = make_engine(tmp_path / "state", index)
    yield running
    running.close()


@pytest.fixture(scope="module")
def lone_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """An engine for setups that need no package."""
    needs_bubblewrap()
    folder = tmp_path_factory.mktemp("lone")
    with pytest.MonkeyPatch.context() as patch, closing(Index(folder)) as nothing:
        patch.setattr(listeners, "host_address", lambda: None)
        running = make_engine(folder / "state", nothing)
        yield running
        running.close()


@pytest.fixture(scope="module")
def lone_base(lone_engine: LocalEngine) -> Image:
    return lone_engine.extend_image(lone_engine.find_image("system"), Setup(text="true"), lambda _step: None)


def make_engine(folder: Path, index: Index, **images: object) -> LocalEngine:
    values = {
        "control_url": "https://control.invalid",
        "state_dir": str(folder),
        "capacity": {"attempts": 4, "cpus": 8, "memory_bytes": 8 << 30},
        "images": {"index_arguments": ["--index-url", f"http://{index.host}/simple"], **images},
    }
    return LocalEngine(msgspec.convert(values, AgentConfig))


def write_lock(tmp_path: Path, *lines: str) -> Path:
    lock = tmp_path / "image.lock"
    lock.write_text("".join(f"{line}\n" for line in lines))
    return lock


def test_an_image_is_built_used_and_built_again_alike(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    _, digest = make_wheel(index.folder, "alpha", body="def say():\n    print('forty-two')\n")
    lock = write_lock(tmp_path, "# a comment", "alpha==1.0 \\", f"    --hash=sha256:{digest}")
    steps: list[str] = []
    image = engine.build_image(lock, steps.append)
    assert steps[0] == "resolving"
    assert steps[-1] == "done"
    assert image.digest.startswith("sha256:")
    for argv in (("alpha-say",), ("python", "-c", "import alpha; alpha.say()")):
        task = make_task(tmp_path, "", argv=argv, env={"PATH": "/image/bin:/usr/bin"})
        assert finish(engine, msgspec.structs.replace(task, image=image)).reason == "finished"
        assert engine.logs(task.attempt, 0, 1000) == b"forty-two\n"
    asked = len(index.asked)
    assert engine.build_image(lock, steps.append) == image, "the same lock is built once"
    assert len(index.asked) == asked
    shutil.rmtree(tmp_path / "state" / "images")
    (tmp_path / "state" / "images").mkdir()
    assert engine.build_image(lock, steps.append).digest == image.digest, "two builds have one digest"


def test_the_payload_cannot_change_its_image(engine: LocalEngine, index: Index, tmp_path: Path) -> None:
    _, digest = make_wheel(index.folder, "alpha")
    image = engine.build_image(write_lock(tmp_path, f"alpha==1.0 --hash=sha256:{digest}"), lambda _step: None)
    run = "touch /image/x /image/lib/x /image/bin/alpha-say; rm -f /image/bin/alpha-say; ls /image/bin/alpha-say"
    task = msgspec.structs.replace(make_task(tmp_path, run), image=image)
    finish(engine, task)
    assert b"/image/bin/alpha-say\n" in engine.logs(task.attempt, 0, 10_000)
    assert not (image.folder / "x").exists() if image.folder else False


@pytest.mark.parametrize(
    "line",
    [
        "alpha==1.0",
        "alpha>=1.0 --hash=sha256:" + "0" * 64,
        "alpha @ https://files.invalid/alpha.whl --hash=sha256:" + "0" * 64,
        "-r other.txt",
        "--index-url https://files.invalid/simple",
        "-e . --hash=sha256:" + "0" * 64,
    ],
)
def test_a_lock_that_locks_nothing_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ImageError) as caught:
        wheels.locked_hashes(write_lock(tmp_path, line))
    assert caught.value.code == "image.lock"


def test_a_wheel_that_is_not_the_locked_one_is_refused(tmp_path: Path, index: Index) -> None:
    needs_bubblewrap()
    make_wheel(index.folder, "alpha")
    engine = make_engine(tmp_path / "state", index)
    with pytest.raises(ImageError) as caught:
        engine.build_image(write_lock(tmp_path, "alpha==1.0 --hash=sha256:" + "0" * 64), lambda _step: None)
    assert caught.value.code in {"image.resolve_failed", "image.build_failed"}
    engine.close()
    assert not [path for path in (tmp_path / "state" / "images").iterdir() if not path.name.startswith(".")]


def test_a_host_that_the_operator_does_not_list_is_refused(tmp_path: Path, index: Index) -> None:
    needs_bubblewrap()
    _, digest = make_wheel(index.folder, "alpha")
    engine = make_engine(tmp_path / "state", index, registry_hosts=["packages.invalid:443"])
    with pytest.raises(ImageError) as caught:
        engine.build_image(write_lock(tmp_path, f"alpha==1.0 --hash=sha256:{digest}"), lambda _step: None)
    assert caught.value.code == "image.host_not_listed"
    engine.close()


def test_a_package_cannot_replace_the_interpreter(tmp_path: Path, index: Index) -> None:
    """A wheel may bring any script; the wall takes no image whose bin/python is not a link to the host's."""
    needs_bubblewrap()
    engine = make_engine(tmp_path / "state", index)
    folder = tmp_path / "image"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("#!/bin/sh\necho taken\n")
    task = msgspec.structs.replace(
        make_task(tmp_path, "true"), image=Image(name="bad", digest="", folder=folder)
    )
    with pytest.raises(ImageError) as caught:
        engine.submit(task)
    assert caught.value.code == "image.no_interpreter"
    engine.close()


@pytest.mark.parametrize("name", ["", "unknown", "sha256:", "sha256:../../etc", "sha256:" + "0" * 64, "/etc"])
def test_names_that_are_no_image(tmp_path: Path, index: Index, name: str) -> None:
    engine = make_engine(tmp_path / "state", index)
    with pytest.raises(ImageError) as caught:
        engine.find_image(name)
    assert caught.value.code == "image.unknown"
    engine.close()


# --- setup: a job's commands extend an image


def quiet(_step: str) -> None:
    """Progress that nobody watches."""


def base_image(engine: LocalEngine, index: Index, tmp_path: Path) -> Image:
    _, digest = make_wheel(index.folder, "alpha", body="def say():\n    print('forty-two')\n")
    return engine.build_image(write_lock(tmp_path, f"alpha==1.0 --hash=sha256:{digest}"), quiet)


def said(engine: LocalEngine, tmp_path: Path, image: Image, *argv: str) -> bytes:
    """What a program says that runs on an image; it must end well."""
    task = make_task(tmp_path, "", argv=argv, env={"PATH": "/image/bin:/usr/bin"})
    end = finish(engine, msgspec.structs.replace(task, image=image))
    output = engine.logs(task.attempt, 0, 10_000)
    assert end.reason == "finished", output
    return output


def failure(engine: LocalEngine, base: Image, setup: Setup) -> ImageError:
    with pytest.raises(ImageError) as caught:
        engine.extend_image(base, setup, quiet)
    return caught.value


def test_setup_installs_what_the_payload_then_runs(engine: LocalEngine, index: Index, tmp_path: Path) -> None:
    base = base_image(engine, index, tmp_path)
    make_wheel(index.folder, "beta", body="def say():\n    import alpha; alpha.say()\n")
    text = "pip install beta\nbeta-say\necho made > /image/note\nln -s note /image/link\n"
    steps: list[str] = []
    image = engine.extend_image(base, Setup(text=text), steps.append)
    assert steps[-1] == "done"
    assert image.digest not in {"", base.digest}
    assert said(engine, tmp_path, image, "beta-say") == b"forty-two\n"
    assert said(engine, tmp_path, image, "python", "-c", "import beta; beta.say()") == b"forty-two\n"
    assert said(engine, tmp_path, image, "cat", "/image/link") == b"made\n"
    assert said(engine, tmp_path, image, "sh", "-c", "touch /image/x 2>&1 || true") != b""
    assert base.folder is not None
    assert not list(base.folder.rglob("beta*")), "the base is as it was"
    assert engine.find_image(image.digest).folder == image.folder


def test_the_same_setup_is_run_once_and_another_text_again(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    make_wheel(index.folder, "beta")
    first = engine.extend_image(base, Setup(text="uv pip install beta"), quiet)
    asked = len(index.asked)
    steps: list[str] = []
    assert engine.extend_image(base, Setup(text="uv pip install beta"), steps.append) == first
    assert (len(index.asked), steps) == (asked, [])
    changed = engine.extend_image(base, Setup(text="uv pip install beta # again"), quiet)
    assert len(index.asked) > asked
    assert changed.digest != first.digest
    shutil.rmtree(tmp_path / "state" / "images")
    (tmp_path / "state" / "images").mkdir()
    again = engine.build_image(tmp_path / "image.lock", quiet)
    assert engine.extend_image(again, Setup(text="uv pip install beta"), quiet).digest == first.digest


def test_two_attempts_with_one_setup_make_one_build(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    setup = Setup(text="sleep 0.5; head -c 16 /dev/urandom > /image/random")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: engine.extend_image(base, setup, quiet), range(2))
    assert first == second


def test_setup_without_an_image_begins_with_an_empty_one(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_bubblewrap()
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    make_wheel(index.folder, "beta", body="def say():\n    print('here')\n")
    engine = make_engine(tmp_path / "state", index, registry_hosts=[index.host])
    image = engine.extend_image(engine.find_image("system"), Setup(text="pip install beta"), quiet)
    assert said(engine, tmp_path, image, "beta-say") == b"here\n"
    engine.close()


def test_setup_sees_a_workdir_that_it_may_and_nothing_else(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    (workdir / "settings").write_text("one\n")
    look = "pwd; ls -d /work /data /ckpt /out 2>&1 || true; ls -A /run /run/secrets; env | sort; cat /proc/net/dev"
    text = f"({look}) > /image/seen; touch /work/new 2>/dev/null || cp /work/settings /image/settings"
    setup = Setup(text=text, workdir=workdir, workdir_digest="sha256:" + "1" * 64)
    image = engine.extend_image(base, setup, quiet)
    assert said(engine, tmp_path, image, "cat", "/image/settings") == b"one\n", "the workdir is read-only"
    seen = said(engine, tmp_path, image, "cat", "/image/seen").decode()
    assert seen.startswith("/work\n")
    assert "/data: No such file" in seen.replace("'", "").replace("cannot access ", "")
    assert "SEKISHO" not in seen
    assert "eth0" not in seen
    (workdir / "settings").write_text("two\n")
    other = engine.extend_image(
        base, Setup(text=text, workdir=workdir, workdir_digest="sha256:" + "2" * 64), quiet
    )
    assert other.digest != image.digest
    alone = engine.extend_image(base, Setup(text="! ls /work; pwd > /image/pwd"), quiet)
    assert said(engine, tmp_path, alone, "cat", "/image/pwd") == b"/home\n"


def test_setup_reaches_only_listed_hosts(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_bubblewrap()
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    engine = make_engine(tmp_path / "state", index)
    base = base_image(engine, index, tmp_path)
    make_wheel(index.folder, "beta")
    with closing(Index(index.folder)) as other:
        fault = failure(engine, base, Setup(text=f"pip install --index-url http://{other.host}/simple beta"))
        assert fault.code == "image.setup_failed"
        assert "403" in fault.detail
        assert other.asked == []
        direct = f"unset HTTP_PROXY http_proxy; pip install --index-url http://{other.host}/simple beta"
        assert failure(engine, base, Setup(text=direct)).code == "image.setup_failed"
        assert other.asked == []
    engine.close()
    asked = len(index.asked)
    alone = make_engine(tmp_path / "alone", index)
    fault = failure(alone, alone.find_image("system"), Setup(text="pip install beta"))
    assert fault.code == "image.setup_failed"
    assert len(index.asked) == asked, "no list and no wheels: no way out"
    alone.close()


def test_a_failing_setup_is_reported_with_what_it_said(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    text = "seq 100000\necho the end is near >&2\nfalse\necho never > /image/never"
    fault = failure(engine, base, Setup(text=text))
    assert fault.code == "image.setup_failed"
    assert "the end is near" in fault.detail
    assert len(fault.detail) < 4000, "it fits into the report of an attempt"
    assert not [
        path for path in (tmp_path / "state" / "images").iterdir() if path.name.startswith((".", "setup"))
    ]
    assert "unset: parameter not set" in failure(engine, base, Setup(text="echo $unset")).detail


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ln -sf /usr/bin/env /image/bin/python", "image.interpreter_changed"),
        ("rm /image/bin/python3", "image.interpreter_changed"),
        ("echo home = /tmp > /image/pyvenv.cfg", "image.interpreter_changed"),
        ("echo exit >> /image/bin/activate", "image.interpreter_changed"),
        ("echo exit > /image/bin/activate.sh", "image.interpreter_changed"),
        ("mv /image/bin /image/nib; ln -s nib /image/bin", "image.interpreter_changed"),
        ("ln -s /etc/passwd /image/accounts", "image.link"),
        ("ln -s ../../../../../../etc /image/lib/etc", "image.link"),
        ("mkdir /image/d; ln -s .. /image/d/up; ln -s d/up/../../etc /image/out", "image.link"),
        ("mkfifo /image/pipe", "image.file"),
        ("rm /image/pyvenv.cfg; mkfifo /image/pyvenv.cfg", "image.file"),
        ("touch $(printf '/image/\\377')", "image.file_name"),
        ("rm -r /image/lib /image/bin /image/*.cfg", "image.interpreter_changed"),
        ("exec sleep 100 & kill -9 $$", "image.setup_failed"),
        ("cd /image; for n in $(seq 1000); do mkdir d && cd d; done", "image.too_deep"),
    ],
)
def test_what_setup_may_not_leave(lone_engine: LocalEngine, lone_base: Image, text: str, code: str) -> None:
    assert failure(lone_engine, lone_base, Setup(text=text)).code == code
    shelf = lone_base.folder.parent if lone_base.folder else Path()
    assert not list(shelf.glob(".build-*"))


def test_what_setup_may_leave(lone_engine: LocalEngine, lone_base: Image, tmp_path: Path) -> None:
    text = "x=d; for n in 1 2 3 4 5 6; do x=$x/$x; done; mkdir -p /image/$x; ln -s ../$x /image/d/deep; :"
    image = lone_engine.extend_image(lone_base, Setup(text=text), quiet)
    assert said(lone_engine, tmp_path, image, "readlink", "-e", "/image/d/deep").startswith(b"/image/d/d/")


def test_files_of_a_setup_belong_to_the_agent_and_are_plain(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    text = (
        "umask 077; mkdir /image/deep; echo 1 > /image/deep/file; cp /usr/bin/true /image/suid; chmod 4755 /image/suid;"
        " mkdir /image/lib/__pycache__; touch /image/lib/__pycache__/x.pyc; chmod 0 /image/deep"
    )
    image = engine.extend_image(base, Setup(text=text), quiet)
    assert image.folder is not None
    found = {
        name: (image.folder / name).lstat()
        for name in (".", "deep", "deep/file", "suid", "lib", "bin/alpha-say")
    }
    assert {status.st_uid for status in found.values()} == {os.geteuid()}
    assert [oct(status.st_mode & 0o7777) for status in found.values()] == [
        "0o755",
        "0o755",
        "0o644",
        "0o755",
        "0o755",
        "0o755",
    ]
    assert not list(image.folder.rglob("__pycache__"))
    assert said(engine, tmp_path, image, "cat", "/image/deep/file") == b"1\n"


def test_a_setup_whose_attempt_stops_is_ended(engine: LocalEngine, index: Index, tmp_path: Path) -> None:
    base = base_image(engine, index, tmp_path)

    def stop(step: str) -> None:
        if step.startswith("unpacked"):
            raise AttemptStoppedError("job.cancelled", "ended before the payload ran")

    begun = time.monotonic()
    with pytest.raises(AttemptStoppedError):
        engine.extend_image(base, Setup(text="echo setup-that-sleeps; sleep 86399"), stop)
    assert time.monotonic() - begun < 30
    assert not processes_with("86399")
    assert not list((tmp_path / "state" / "images").glob(".build-*"))
    assert engine.capacity().attempts == 4


def test_a_build_that_was_killed_is_swept_away(tmp_path: Path, index: Index) -> None:
    left = tmp_path / "state" / "images" / ".build-abc"
    (left / "image" / "bin").mkdir(parents=True)
    make_engine(tmp_path / "state", index).close()
    assert not left.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--index-url", "https://index.invalid/simple"], "https://index.invalid/simple"),
        (["--default-index=https://index.invalid/simple"], "https://index.invalid/simple"),
        (["--index-url", "https://user:word@index.invalid/simple"], None),
        (["--index-url", "https://word@index.invalid/simple"], None),
        (["--index-url", "https://index.invalid/simple?token=word"], None),
        (["--index-url", "https://[index"], None),
        (["--index-url"], None),
        (["--no-index"], None),
        ([], None),
    ],
)
def test_only_an_index_without_a_password_is_told_to_setup(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str | None
) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    assert index_variables(arguments).get("UV_INDEX_URL") == expected
