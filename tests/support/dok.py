"""A stand-in for DOK that holds its published document to the letter, and runs each command in a root of its own.

What it enforces: Basic authentication, slashes at the end, required fields, closed vocabularies, the least time limit,
the letters of the environment, one task at a time for each project, agreement to the terms, pages, and what may be
cancelled. A container is a process of this machine in a bubblewrap root over a scratch folder; like the service it
gives the container an identity and a folder for what it leaves, and nothing else. Faults are set by name in `fault`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from tests.support.dok_container import Container

BASE = "/cloud/zone/is1a/api/managed-container/1.0"
PLANS = {"v100-32gb", "h100-80gb", "h100-8gpu-80gb"}
TASK = re.compile(rf"{BASE}/tasks/([^/]+)/(?:(cancel|containers/0/stream|download/output)/)?")
OVER = {"done", "error", "aborted", "canceled"}
SECRET = "secret-of-"
SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class RefusalError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail


class Account:
    """One project: its credential is its name and the secret that belongs to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.agreed = True
        self.tasks: list[dict[str, Any]] = []
        self.header = "Basic " + base64.b64encode(f"{name}:{SECRET}{name}".encode()).decode()


class Service:
    """The accounts, their tasks and their containers. Everything under one lock."""

    def __init__(self, *projects: str, time_scale: float = 1.0) -> None:
        self.accounts = {name: Account(name) for name in projects}
        self.lock = threading.RLock()
        self.containers: dict[str, Container] = {}
        self.objects: dict[str, bytes] = {}
        self.bucket: dict[str, bytes] = {}
        self.starts: list[str] = []
        self.asked: list[str] = []
        self.fault = ""
        self.delay_start_seconds = 0.0
        self.artefact: Callable[[bytes], bytes | None] = lambda packed: packed
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda made: made
        self.stream_breaks = 0
        self.downloads_lost = 0
        self.bubblewrap = ["--as-pid-1"]
        self.page_size_max = 2
        self._time_scale = time_scale
        self._folder = Path(tempfile.mkdtemp(prefix="skd-"))
        self._closing = threading.Event()
        self._server = _Server(self)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return self.origin + BASE

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._threads[1].join()
        for container in self.containers.values():
            container.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def of(self, attempt: str) -> list[dict[str, Any]]:
        """The tasks that bear an attempt's tag."""
        with self.lock:
            every = [task for account in self.accounts.values() for task in account.tasks]
            return [task for task in every if f"sekisho:{attempt}" in task["tags"]]

    # --- the interface

    def create(self, account: Account, asked: dict[str, Any]) -> dict[str, Any]:
        _check(asked)
        with self.lock:
            made: dict[str, Any] = {
                "id": str(uuid.uuid4()),
                "name": asked["name"],
                "tags": asked["tags"],
                "status": "waiting",
                "created_at": f"{time.time():.6f}",
                "updated_at": f"{time.time():.6f}",
                "canceled_at": None,
                "http_uri": None,
                "artifact": None,
                "error_message": None,
                "execution_time_limit_sec": asked["execution_time_limit_sec"],
                "containers": [{"index": 0, **asked["containers"][0], "exit_code": None}],
            }
            made = self.change(made)
            made["asked_at"] = time.monotonic()
            account.tasks.append(made)
            return made

    def listed(self, account: Account, query: dict[str, list[str]]) -> dict[str, Any]:
        """Newest first, like the service; pages are small here so that whoever reads one only is found out."""
        page = int(query.get("page", ["1"])[0])
        size = min(int(query.get("page_size", ["50"])[0]), self.page_size_max)
        with self.lock:
            tasks = account.tasks[::-1]
        pages = max(1, -(-len(tasks) // size))
        if not 1 <= page <= pages:
            raise RefusalError(404, {"detail": "Invalid page."})
        meta = {"page": page, "page_size": size, "total_pages": pages, "count": len(tasks)}
        meta |= {"next": page + 1 if page < pages else None, "previous": page - 1 if page > 1 else None}
        return {"meta": meta, "results": [_shown(task) for task in tasks[(page - 1) * size : page * size]]}

    def find(self, account: Account, native: str) -> dict[str, Any]:
        with self.lock:
            for task in account.tasks:
                if task["id"] == native:
                    return task
        raise RefusalError(404, {"detail": "Not found."})

    def cancel(self, task: dict[str, Any]) -> dict[str, Any]:
        """Ends it at once; what it has written is lost."""
        with self.lock:
            if task["status"] in OVER:
                raise RefusalError(403, {"detail": "The task cannot be canceled."})
            if task["id"] in self.containers:
                self.containers[task["id"]].kill()
            task |= {"status": "canceled", "canceled_at": f"{time.time():.6f}"}
            return task

    def delete(self, account: Account, task: dict[str, Any]) -> dict[str, Any]:
        """Removes the record; the container runs on."""
        with self.lock:
            account.tasks.remove(task)
        return {}

    # --- what the service does by itself

    def _control(self) -> None:
        while not self._closing.wait(0.02):
            with self.lock:
                for account in self.accounts.values():
                    self._advance(account)

    def _advance(self, account: Account) -> None:
        running = [task for task in account.tasks if task["status"] == "running"]
        for task in running:
            self._settle(task)
        if running:
            return
        for task in account.tasks:
            if (
                task["status"] == "waiting"
                and time.monotonic() - task["asked_at"] >= self.delay_start_seconds
            ):
                self._start(task)
                return

    def _start(self, task: dict[str, Any]) -> None:
        task |= {"status": "running", "started_at": time.monotonic()}
        self.starts.extend(tag.removeprefix("sekisho:") for tag in task["tags"])
        try:
            self.containers[task["id"]] = Container(task, self._folder / task["id"], self.bubblewrap)
        except OSError as error:
            task |= {"status": "error", "error_message": f"the container could not be started: {error}"}

    def _settle(self, task: dict[str, Any]) -> None:
        container = self.containers[task["id"]]
        status = container.process.poll()
        limit = task["execution_time_limit_sec"]
        if status is None and limit and time.monotonic() - task["started_at"] > limit * self._time_scale:
            container.kill()
            task |= {"status": "aborted", "error_message": "execution time limit exceeded"}
        elif status is not None:
            packed = self.artefact(container.packed())
            if packed is not None:
                self.objects[task["id"]] = packed
                task["artifact"] = {
                    "id": str(uuid.uuid4()),
                    "filename": "artifact.tar.gz",
                    "size_bytes": len(packed),
                }
            task |= {"status": "done" if status == 0 else "error", "error_message": None}


def _check(asked: dict[str, Any]) -> None:
    """The document's own demands; the words are ours."""
    if not isinstance(asked.get("name"), str) or not isinstance(asked.get("tags"), list):
        raise RefusalError(400, {"tags": ["This field is required."]})
    limit = asked.get("execution_time_limit_sec", 1_728_000)
    if not isinstance(limit, int) or limit < 600:
        raise RefusalError(400, {"execution_time_limit_sec": ["Ensure this value is at least 600."]})
    containers = asked.get("containers")
    if not isinstance(containers, list) or len(containers) != 1:
        raise RefusalError(400, {"containers": ["exactly one container"]})
    container = containers[0]
    allowed = {"image", "plan", "command", "entrypoint", "registry", "environment", "http", "ssh"}
    if set(container) - allowed or not {"image", "plan", "command", "entrypoint"} <= set(container):
        raise RefusalError(400, [{"containers": "fields that are missing or unknown"}])
    if container["plan"] not in PLANS or not str(container["image"]).startswith("registry.test/"):
        raise RefusalError(400, {"plan": ["not a valid choice"]})
    environment = container.get("environment") or {}
    if sum(len(name) + len(value) for name, value in environment.items()) >= 8192:
        raise RefusalError(400, {"environment": ["too long"]})
    if any(name.startswith("SAKURA_") for name in environment):
        raise RefusalError(400, {"environment": ["reserved name"]})
    if container.get("http") or container.get("ssh"):
        raise RefusalError(400, {"http": ["nobody may ask for this in a test"]})


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in task.items() if name not in {"asked_at", "started_at"}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: Service) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), _Handler)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def service(self) -> Service:
        assert isinstance(self.server, _Server)
        return self.server.service

    @override
    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/signed/") and self.service.downloads_lost > 0:
            self.service.downloads_lost -= 1
            self._send(503, b"")
        elif parts.path.startswith("/signed/"):
            self._send(200, self.service.objects[parts.path.rpartition("/")[2]])
        elif parts.path.startswith("/bucket/"):
            self._bucket("GET")
        elif parts.path.startswith("/follow/"):
            self._follow(parts.path.rpartition("/")[2])
        else:
            self._answer("GET")

    def do_POST(self) -> None:
        if self.path.startswith("/bucket?delete"):
            self._empty_bucket()
        else:
            self._answer("POST")

    def do_PUT(self) -> None:
        self._bucket("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _empty_bucket(self) -> None:
        """S3 deletes many at once."""
        content = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        for key in re.findall(r"<Key>(.*?)</Key>", content):
            self.service.bucket.pop(f"/bucket/{key}", None)
        self._send(200, b'<?xml version="1.0"?><DeleteResult></DeleteResult>')

    def _bucket(self, method: str) -> None:
        """A bucket beside the service: whoever writes must sign, whoever reads needs an address that soon ends."""
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        signed = parse_qs(parts.query)
        lasting = int(signed.get("X-Amz-Expires", ["0"])[0])
        may = bool(self.headers.get("authorization")) or (
            method == "GET" and 0 < lasting <= 3600 and "X-Amz-Signature" in signed
        )
        if not may:
            self._send(403, b"")
        elif method == "PUT":
            self.service.bucket[parts.path] = content
            self._send(200, b"")
        else:
            self._send(200, self.service.bucket[parts.path])

    def _answer(self, method: str) -> None:
        """What was asked is done, and then a fault (`what` or `what on METHOD`) may spoil the answer."""
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        service = self.service
        service.asked.append(f"{method} {urlsplit(self.path).path.removeprefix(BASE)}")
        what, _, only = service.fault.partition(" on ")
        fault = what if only in {"", method} else ""
        if fault in {"before", "done late"}:
            self.close_connection = True
            if fault == "done late":
                threading.Timer(1.6, self._done, (method, content)).start()
            return
        status, body = self._done(method, content)
        if fault == "twice":
            self._done(method, content)
        encoded = json.dumps(body).encode()
        match fault:
            case "error":
                status, encoded = 500, b"<html>upstream went away</html>"
            case "busy":
                status, encoded = 429, b'{"detail": "Request was throttled."}'
            case "wrong":
                encoded = (
                    b'{"id": 7, "status": ["running"], "results": {"not": "a list"}, "meta": 7, "account": 1}'
                )
            case "other" if isinstance(body, dict):
                encoded = json.dumps({**body, "id": str(uuid.uuid4())}).encode()
            case "late":
                time.sleep(0.5)
            case "nothing" | "twice":
                self.close_connection = True
                return
        self._send(status, encoded)

    def _send(self, status: int, content: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("etag", '"1"')
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _done(self, method: str, content: bytes) -> tuple[int, Any]:
        try:
            return (201 if method == "POST" else 200), self._do(method, content)
        except RefusalError as refusal:
            return refusal.status, refusal.detail

    def _do(self, method: str, content: bytes) -> Any:
        parts = urlsplit(self.path)
        service = self.service
        header = self.headers.get("authorization")
        account = next((each for each in service.accounts.values() if each.header == header), None)
        if account is None:
            raise RefusalError(401, {"detail": "Invalid credentials."})
        if parts.path == f"{BASE}/auth/" and method == "GET":
            agreed = "2026-01-01T00:00:00Z" if account.agreed else None
            return {
                "user": {"id": 1},
                "member": {"member_id": "abc"},
                "account": {"account_id": account.name, "tos_agreed_at": agreed},
            }
        if not account.agreed:
            raise RefusalError(403, {"detail": "Agree first."})
        if parts.path == f"{BASE}/tasks/":
            if method == "POST":
                return _shown(service.create(account, json.loads(content)))
            return service.listed(account, parse_qs(parts.query))
        match = TASK.fullmatch(parts.path)
        if match is None:
            raise RefusalError(404, {"detail": "Not found."})
        return self._of_task(f"{method} {match[2] or ''}", account, service.find(account, match[1]))

    def _of_task(self, wanted: str, account: Account, task: dict[str, Any]) -> Any:
        service = self.service
        match wanted:
            case "GET ":
                return _shown(task)
            case "DELETE ":
                return service.delete(account, task)
            case "POST cancel":
                return _shown(service.cancel(task))
            case "GET containers/0/stream" if task["status"] == "running":
                address = service.origin.replace("http", "ws", 1) + f"/follow/{task['id']}"
                return {"url": address, "token": f"stream-{task['id']}"}
            case "GET download/output" if task["id"] in service.objects:
                return {"url": f"{service.origin}/signed/{task['id']}"}
            case _:
                raise RefusalError(403, {"detail": "Not now."})

    # --- the log, over a WebSocket

    def _follow(self, native: str) -> None:
        """What the container prints, as text, until it is gone."""
        if self.headers.get("authorization") != f"Bearer stream-{native}":
            self._send(401, b"{}")
            return
        key = self.headers.get("sec-websocket-key", "") + SALT
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(_sha1(key.encode())).decode())
        self.end_headers()
        self.close_connection = True
        container, offset = self.service.containers[native], 0
        self.wfile.write(_frame(0x9, b"there?"))
        while True:
            gone = container.process.poll() is not None
            content = container.printed.read_bytes()[offset:][: 60 << 10]
            offset += len(content)
            if content:
                self.wfile.write(_frame(0x1, content.decode(errors="replace").encode()))
                if self.service.stream_breaks > 0:
                    self.service.stream_breaks -= 1
                    return
            elif gone:
                self.wfile.write(_frame(0x8, struct.pack(">H", 1000)))
                return
            else:
                time.sleep(0.02)


def _sha1(content: bytes) -> bytes:
    return hashlib.sha1(content).digest()  # noqa: S324 (the WebSocket handshake's own)


def _frame(opcode: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return struct.pack(">BB", 0x80 | opcode, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack(">BBH", 0x80 | opcode, 126, len(payload)) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, len(payload)) + payload


@contextlib.contextmanager
def running(*projects: str, time_scale: float = 1.0) -> Iterator[Service]:
    """The service for the length of the block."""
    service = Service(*(projects or ("first",)), time_scale=time_scale)
    try:
        yield service
    finally:
        service.close()
