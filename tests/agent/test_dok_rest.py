"""One project of DOK over its REST interface: every page is read, and a refusal is told from an answer that is none."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho_agent.config import DokConfig
from sekisho_agent.engines import dok_rest, dok_rules, rest, websocket
from sekisho_agent.engines.dok_rest import DokService
from sekisho_agent.engines.dok_rules import Parcel
from sekisho_agent.errors import EngineError
from tests.agent.dok_site import service, table
from tests.agent.engine_suite import make_task
from tests.support import dok

__all__ = ["service"]
pytestmark = pytest.mark.wall


@pytest.fixture
def config(service: dok.Service, tmp_path: Path) -> DokConfig:
    return msgspec.convert(table(service, tmp_path), DokConfig)


@pytest.fixture
def project(config: DokConfig) -> Iterator[DokService]:
    made = DokService(config, config.projects[0])
    yield made
    made.close()


@pytest.fixture
def asked(config: DokConfig, tmp_path: Path) -> dict[str, Any]:
    return dok_rules.request(make_task(tmp_path, "true"), config, Parcel(digest=""))


def test_every_page_is_read(service: dok.Service, project: DokService, asked: dict[str, Any]) -> None:
    made = [project.create(asked).id for _ in range(5)]
    assert [seen.id for seen in project.tasks()] == made
    assert sum(asked == "GET /tasks/" for asked in service.asked) == 3


def test_more_records_than_anybody_reads_are_no_list(
    project: DokService, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        project.create(asked)
    monkeypatch.setattr(dok_rest, "PAGES_MAX", 2)
    with pytest.raises(EngineError, match="delete old ones") as caught:
        project.tasks()
    assert caught.value.code == "engine.unavailable"


def test_a_list_that_changes_while_it_is_read_is_none(
    service: dok.Service, project: DokService, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        project.create(asked)
    listed = service.listed

    def moving(account: dok.Account, query: dict[str, list[str]]) -> dict[str, Any]:
        """Between two pages somebody deletes a record: what was third is second now, and on no page."""
        page = listed(account, query)
        if query["page"] == ["1"]:
            account.tasks.pop()
        return page

    monkeypatch.setattr(service, "listed", moving)
    with pytest.raises(EngineError, match="changed") as caught:
        project.tasks()
    assert caught.value.code == "engine.unavailable"


@pytest.mark.parametrize(
    "change",
    [
        {"tags": None},
        {"execution_time_limit_sec": 599},
        {"containers": [{"image": "registry.test/x", "more": 1}]},
    ],
    ids=["an object", "a limit", "a list"],
)
def test_what_the_service_refuses_was_not_made(
    service: dok.Service, project: DokService, asked: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(EngineError, match="status 400") as caught:
        project.create(asked | change)
    assert (caught.value.code, service.accounts["first"].tasks) == ("engine.refused", [])


def test_a_making_that_the_terms_forbid_is_one_clear_refusal(
    service: dok.Service, project: DokService, asked: dict[str, Any]
) -> None:
    service.accounts["first"].agreed = False
    with pytest.raises(EngineError, match="terms of service") as caught:
        project.create(asked)
    assert caught.value.code == "engine.refused"


def test_what_is_over_or_unknown_cannot_be_cancelled(project: DokService, asked: dict[str, Any]) -> None:
    made = project.create(asked).id
    assert project.cancel(made)
    assert not project.cancel(made)
    assert not project.cancel("never")
    assert project.get("never") is None


def test_a_download_has_an_end_and_needs_an_answer(service: dok.Service, tmp_path: Path) -> None:
    service.objects["x"] = b"x" * 5000
    address, target = f"{service.origin}/signed/x", tmp_path / "file"
    rest.download(address, target, size_bytes_max=5000)
    assert target.stat().st_size == 5000
    for wrong, limit, code in (
        (address, 4999, "output.too_large"),
        (service.origin + "/elsewhere", 5000, "engine.unavailable"),
        ("http://192.0.2.1/plain", 5000, "engine.unavailable"),
        ("no address", 5000, "engine.unavailable"),
    ):
        with pytest.raises(EngineError) as caught:
            rest.download(wrong, target, size_bytes_max=limit)
        assert caught.value.code == code


@contextlib.contextmanager
def dripping(head: Callable[[str], str], drop: bytes) -> Iterator[str]:
    """A service at this address that answers with a head and then one drop every 20 ms, for a second."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(head(connection.recv(65_536).decode()).encode())
                for _ in range(50):
                    connection.sendall(drop)
                    time.sleep(0.02)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"
        thread.join()


def test_a_download_that_drips_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "DOWNLOAD_SECONDS_MAX", 0.2)
    head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
    with (
        dripping(lambda _asked: head, b"x") as address,
        pytest.raises(EngineError, match="did not come to an end"),
    ):
        rest.download(address, tmp_path / "file", size_bytes_max=5000)


def test_whoever_follows_a_log_of_nothing_but_pings_can_stop() -> None:
    def head(asked: str) -> str:
        key = re.search(r"sec-websocket-key: (\S+)", asked, re.IGNORECASE)
        accept = websocket._accept(key[1] if key else "")
        return f"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"

    with dripping(head, b"\x89\x00") as address:
        assert next(websocket.read(address, "token")) == b""
