"""The fixtures everybody builds on: databases are fresh and private, and the network is closed."""

from __future__ import annotations

import socket

import psycopg
import pytest

from sekisho.kernel.db import open_database
from tests.support import databases, offline, postgres


@pytest.mark.parametrize("run", ["first", "second"])
def test_each_test_gets_an_empty_migrated_database(db_url: str, run: str) -> None:
    database = open_database(db_url)
    try:
        count = "select count(*) as n from kernel_work"
        applied = database.read(lambda tx: tx.all("select distinct module from kernel_migrations"))
        assert {row["module"] for row in applied} == set(databases.modules_with_schema())
        assert database.read(lambda tx: tx.one(count)) == {"n": 0}
        database.script(
            f"insert into kernel_work (id, action, payload, due_ms, tries) values ('{run}', 'a', '', 0, 0);",
            lambda _: None,
        )
        assert database.read(lambda tx: tx.one(count)) == {"n": 1}
    finally:
        database.close()


def test_kernel_comes_first_and_every_schema_folder_is_migrated() -> None:
    modules = databases.modules_with_schema()
    folders = {path.parts[-3] for path in (databases.ROOT / "src" / "sekisho").glob("*/schema/*.sql")}
    assert modules[0] == "kernel"
    assert set(modules) == folders


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_no_connection_leaves_the_machine(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection, pytest.raises((RuntimeError, UserWarning)):
        connection.connect((address, 9))


def test_no_datagram_and_no_lookup_leaves_the_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, pytest.raises(offline.NetworkUsedError):
        sender.sendto(b"x", ("192.0.2.1", 9))
    with pytest.raises(offline.NetworkUsedError):
        socket.getaddrinfo("example.org", 443)


def test_loopback_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"x")
        with server.accept()[0] as accepted:
            assert accepted.recv(1) == b"x"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[(host, True) for host in (None, "", "localhost", b"127.0.0.1", "127.9.9.9", "::1")],
        *[(host, False) for host in ("10.0.0.1", "example.org", "::ffff:8.8.8.8")],
    ],
)
def test_what_counts_as_local(host: object, local: bool) -> None:
    assert offline.is_local(host) is local


@pytest.mark.slow
def test_a_durable_server_keeps_what_it_acknowledged_through_a_power_cut() -> None:
    if postgres.find_program("initdb") is None:
        pytest.skip("NOT TESTED, PostgreSQL is missing: apt-get install postgresql")
    with postgres.running(durable=True) as server:
        url = server.create("kept")
        with psycopg.connect(url) as connection:
            connection.execute("create table t (n bigint)")
            connection.execute("insert into t values (7)")
        server.kill()
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("select n from t").fetchall() == [(7,)]
            assert connection.execute("show fsync").fetchone() == ("on",)
