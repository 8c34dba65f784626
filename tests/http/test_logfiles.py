"""The published log: what a log publishes can be read, nothing beside it can."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from sekisho_wire.durable import replace_file
from tests.http.toyserver import kernel_database, served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "log"
    for name in (
        "checkpoint",
        "tile/0/000",
        "tile/0/x001/067.p/8",
        "tile/entries/000",
        ".lock",
        "tile/0/000.tmp",
    ):
        file = found / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    (tmp_path / "secret").write_text("secret")
    (found / "tile" / "0" / "001").symlink_to(tmp_path / "secret")
    return found


@pytest.fixture
def client(tmp_path: Path, folder: Path) -> Iterator[httpx2.Client]:
    with (
        kernel_database(tmp_path) as database,
        served(database, log_directory=folder) as server,
        server.client("") as found,
    ):
        yield found


def test_what_a_log_publishes(client: httpx2.Client) -> None:
    for name in ("tile/0/000", "tile/0/x001/067.p/8", "tile/entries/000"):
        response = client.get(f"/log/{name}")
        assert (response.status_code, response.content) == (200, name.encode())
        assert response.headers["content-type"] == "application/octet-stream"
        assert "immutable" in response.headers["cache-control"]
    checkpoint = client.get("/log/checkpoint")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert checkpoint.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "name",
    [
        ".lock",
        "tile/0/000.tmp",
        "tile/0/001",
        "tile/0/002",
        "../secret",
        "%2e%2e/secret",
        "tile/0/..%2f..%2f..%2fsecret",
        "",
        "tile",
    ],
)
def test_nothing_beside_it(client: httpx2.Client, name: str) -> None:
    response = client.get(f"/log/{name}")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"
    assert "secret" not in response.text.replace(name, "").replace("/secret", "")


def test_a_checkpoint_that_another_replaces_meanwhile_is_one_of_the_two(
    client: httpx2.Client, folder: Path
) -> None:
    whole, done = (b"short", b"much longer than that"), threading.Event()

    def publish() -> None:
        for turn in itertools.count():
            replace_file(folder / "checkpoint", whole[turn % 2])
            if done.wait(0.001):
                return

    with ThreadPoolExecutor(1) as publisher:
        turns = publisher.submit(publish)
        try:
            read = {client.get("/log/checkpoint").content for _ in range(100)}
        finally:
            done.set()
        turns.result()

    assert read <= {*whole, b"checkpoint"}


def test_without_a_checkpoint_there_is_none(client: httpx2.Client, folder: Path) -> None:
    (folder / "checkpoint").unlink()
    assert client.get("/log/checkpoint").json()["code"] == "not_found"


def test_it_is_read_only(client: httpx2.Client) -> None:
    assert client.put("/log/checkpoint", content=b"x").json()["code"] == "input.method"
