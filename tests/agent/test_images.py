"""Images built for real: a package index on loopback with wheels made here, uv behind the wall."""

from __future__ import annotations

import hashlib
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from sekisho_agent import listeners, wheels
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Image
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import ImageError
from tests.agent.engine_suite import finish, make_task
from tests.agent.support import needs_bubblewrap
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
