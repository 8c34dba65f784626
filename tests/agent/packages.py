"""A package index on loopback with wheels made here, and engines that build images from it."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
from typing_extensions import override

from sekisho_agent import wheels
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import ImageError
from tests.agent.support import needs_bubblewrap
from tests.support import components


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


def needs_builds() -> None:
    """End the test where no image can be built."""
    needs_bubblewrap()
    try:
        wheels.find_uv("")
    except ImageError:
        components.missing("uv", "pip install uv")
