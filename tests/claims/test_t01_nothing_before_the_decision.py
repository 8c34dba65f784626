"""T1: a site that is not chosen receives no byte that mentions the job. Shown by capturing all that two sites receive.

A real control plane, and two real agents, each in a network namespace whose only interface is captured from before the
agent starts. What crosses it is plain HTTP, so the bytes can be searched; the chosen site's capture holds every mark
that the other's must not, so the search can fail.
"""

from __future__ import annotations

import base64
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sekisho_client import transfer
from tests.agent import support
from tests.claims import site_yard
from tests.journeys import system
from tests.journeys.world import until
from tests.support import components, tree

pytestmark = pytest.mark.wall

SECRET_WORDS = b"patients of ward seven, alphabetical"
COUNTRIES = {"near": "JP", "far": "US"}


class Bridge:
    """A Unix socket that leads to the control plane's port: nothing else leads out of the sites' namespaces."""

    def __init__(self, path: Path, port: int) -> None:
        self._port = port
        self._joined: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            inside = socket.create_connection(("127.0.0.1", self._port))
            joined = threading.Thread(target=site_yard.join, args=(client, inside), daemon=True)
            joined.start()
            self._joined.append(joined)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for joined in self._joined:
            joined.join(10)


class Captured:
    """What a site received and sent, put together again from packets by direction of each connection."""

    def __init__(self, path: Path) -> None:
        content, place, flows = path.read_bytes(), 0, defaultdict[bytes, bytearray](bytearray)
        self.packets = 0
        while place + 4 <= len(content):
            size = struct.unpack_from(">I", content, place)[0]
            packet = content[place + 4 : place + 4 + size]
            place += 4 + size
            self.packets += 1
            ip = packet[14:]
            head = (ip[0] & 15) * 4
            if ip[0] >> 4 == 4 and ip[9] == socket.IPPROTO_TCP:
                tcp = ip[head:]
                key = ip[12:20] + tcp[:4]
                flows[key] += tcp[(tcp[12] >> 4) * 4 : struct.unpack_from(">H", ip, 2)[0] - head]
            else:
                flows[b"other"] += packet
        self.streams = [bytes(stream) for stream in flows.values()]

    def mentions(self, mark: bytes) -> bool:
        """Whether any stream holds the mark, as it is, in hexadecimal, or in base64 wherever it may begin."""
        spellings = {mark, mark.hex().encode()}
        for shift in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                whole = encode(b"\0" * shift + mark)
                spellings.add(whole[4 if shift else 0 : len(whole) // 4 * 4 - 4])
        return any(spelling in stream for spelling in spellings for stream in self.streams)


class Sites(system.System):
    """One control plane, and an agent in a namespace of its own at each of two sites."""

    def __init__(self, folder: Path, db_url: str) -> None:
        super().__init__(folder, db_url, system.HERE)
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._bridge = Bridge(folder / "bridge", self.port)

    def join(self, name: str) -> None:
        """Register a site and its agent, and start the agent behind a capture."""
        office = self.ask("identity.me")["organisation"]
        fact = {"value": COUNTRIES[name], "grade": "D"}
        values: dict[str, Any] = {"cpus": 2, "memory_bytes": 2 << 30, "stand_in": True}
        site = self.ask("sites.site.register", name=name, operator=office, country=fact, **values)["id"]
        code = self.ask("identity.agent.invite", site=site)["code"]
        own = self.folder / name
        own.mkdir()
        config = own / "agent.toml"
        config.write_text(
            f'control_url = "{self.url}"\nstate_dir = "{own / "state"}"\n[capacity]\ncpus = 2\nmemory_bytes = {2 << 30}\n'
        )
        agent = system.Program(["sekisho_agent"], own / "agent.log")
        agent.once("register", "--config", str(config), "--name", name, "--code", "-", text=code + "\n")
        plain = ["--user", "--map-current-user", "--keep-caps"] if os.geteuid() else []
        yard = [sys.executable, str(Path(site_yard.__file__)), str(self.port), str(self.folder / "bridge")]
        command = ["unshare", *plain, "--net", *yard, str(self.capture_of(name)), *agent.command, "run"]
        environment = os.environ | {"PYTHONPATH": f"{tree.SOURCE}:{tree.ROOT}"}
        with agent.log.open("ab") as log:
            started = subprocess.Popen(
                [*command, "--config", str(config)],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._processes.append(started)

    def capture_of(self, name: str) -> Path:
        return self.folder / name / "capture"

    def engineer(self) -> None:
        """From now on the client is an engineer's."""
        office = self.ask("identity.me")["organisation"]
        account = self.ask("identity.service.create", name="engineer", organisation=office)["id"]
        self.ask("identity.role.grant", account=account, role="engineer")
        token = self.ask("identity.service.token.create", service=account, label="t1")["secret"]
        self.client.close()
        self.client = system.Client(self.url, token, timeout_seconds=10)

    def dataset(self, name: str, folder: Path) -> dict[str, Any]:
        """A dataset of one owner, residency Japan, sent as the command line sends it."""
        local = transfer.scan(folder, lambda _done, _all: None)
        made = self.ask(
            "data.dataset.add",
            name=name,
            level=0,
            residency=["JP"],
            object=local.digest,
            size_bytes=local.size_bytes,
            files=len(local.files),
        )
        transfer.send(self.client, local, made["ticket"], lambda _done, _all: None)
        sealed: dict[str, Any] = self.ask("data.dataset.seal", dataset=made["id"])
        return sealed

    def run(self, name: str, where: str, more: str) -> dict[str, Any]:
        """A job to its good end at the only site that may have it."""
        file = f"name: {name}\nresources: {{cpus: 1, memory: 64MB}}\n{more}"
        job = self.ask("compute.job.submit", file=file)["id"]
        until(lambda: self.state(job) in system.ENDED, seconds=60, what="the end of the job")
        shown: dict[str, Any] = self.ask("compute.job.show", job=job)
        assert (shown["job"]["state"], shown["job"]["site_name"]) == ("succeeded", where), shown
        return shown

    def both_heard(self) -> bool:
        sites = list(self.client.pages("sites.site.list"))
        return {site["name"] for site in sites if site["wall"] not in {"", "unknown"}} >= COUNTRIES.keys()

    def end(self) -> None:
        """Everything, the sites first."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(60)
        self.close()
        self._bridge.close()


@contextmanager
def two_sites(folder: Path, db_url: str) -> Iterator[Sites]:
    found = Sites(folder, db_url)
    try:
        found.start_control()
        for name in COUNTRIES:
            found.join(name)
        until(found.both_heard, seconds=60, what="both agents' first words")
        yield found
    except BaseException:
        for log in (found.control.log, *(folder / name / "agent.log" for name in COUNTRIES)):
            sys.stderr.write(
                f"--- {log.name}\n{log.read_text(errors='replace')[-4000:] if log.exists() else ''}\n"
            )
        raise
    finally:
        found.end()


@pytest.fixture
def _namespaces() -> None:
    support.needs_bubblewrap()
    unshare = components.program("unshare", package="util-linux")
    plain = ["--user", "--map-current-user", "--keep-caps"] if os.geteuid() else []
    if subprocess.run([unshare, *plain, "--net", "true"], capture_output=True, check=False).returncode:
        components.missing("network namespaces", "unshare --net must be allowed")


@pytest.mark.usefixtures("_namespaces")
def test_t01_a_site_that_is_not_chosen_hears_nothing_of_the_job(tmp_path: Path, db_url: str) -> None:
    with two_sites(tmp_path, db_url) as sites:
        sites.engineer()
        data = tmp_path / "records"
        data.mkdir()
        (data / "list.txt").write_bytes(SECRET_WORDS)
        dataset = sites.dataset("ward-seven", data)
        run = "run: 'cat /records/list.txt # kaplan-meier'\ndata: [{from: ward-seven, mount: /records}]\n"
        first = sites.run("survival-curve", "near", f"{run}charter: {{residency: [JP]}}\n")
        second = sites.run("harvest-table", "far", "run: 'true # rice-yield'\ncharter: {residency: [US]}\n")
    near, far = Captured(sites.capture_of("near")), Captured(sites.capture_of("far"))
    marks = {
        "its id": first["job"]["id"].encode(),
        "its name": b"survival-curve",
        "its commands": b"kaplan-meier",
        "its attempt": first["attempts"][0]["id"].encode(),
        "its input": b"/records",
        "the input's digest": dataset["object"].removeprefix("sha256:").encode(),
        "the data": SECRET_WORDS,
    }
    others = {
        "its id": second["job"]["id"].encode(),
        "its name": b"harvest-table",
        "its commands": b"rice-yield",
        "its attempt": second["attempts"][0]["id"].encode(),
    }
    for wanted, chosen, denied in ((marks, near, far), (others, far, near)):
        assert {what for what, mark in wanted.items() if not chosen.mentions(mark)} == set(), "a blind search"
        assert {what for what, mark in wanted.items() if denied.mentions(mark)} == set()
        assert denied.mentions(b"/agent/v1/poll"), "it was there and asked for work"
