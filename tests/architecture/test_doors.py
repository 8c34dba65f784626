"""Time, chance, processes and the network each have one owner, held by name; ruff bans by file."""

from __future__ import annotations

import re
import tomllib

from tests.support import style, tree

_CLOCK = (
    r"src/sekisho/kernel/clock\.py",
    r"src/sekisho_(agent|guarantor)/clock\.py",
    r"src/sekisho_client/render\.py",
)
_NETWORK = (
    r"src/sekisho/kernel/net\.py",
    r"src/sekisho_(client|agent)/client\.py",
    r"src/sekisho_client/sealing\.py",
    r"src/sekisho_agent/engines/(rest|websocket)\.py",
    r"src/sekisho_guarantor/landmark_control\.py",
)
_SOCKETS = (
    r"src/sekisho_guarantor/(landmark_session|listener_door)\.py",
    r"src/sekisho_wire/answering\.py",
    r"src/sekisho/kernel/net\.py",
    r"src/sekisho/http/serve\.py",
    r"src/sekisho_agent/(canaries|egress|inside|links|listeners|observer|relay|tunnel)\.py",
    r"src/sekisho_agent/engines/keeping\.py",
    r"src/sekisho_guarantor/door\.py",
)
_PROCESSES = (
    r"src/sekisho/kernel/postgres\.py",
    r"src/sekisho/server/(service|staging)\.py",
    r"src/sekisho_agent/(bubblewrap|canaries|images|inside|wall|wheels)\.py",
    r"src/sekisho_agent/engines/\w+\.py",
)

OWNERS: dict[str, tuple[str, ...]] = {
    "datetime.datetime.now": _CLOCK,
    "datetime.datetime.utcnow": (),
    "datetime.datetime.today": (),
    "datetime.date.today": (),
    "time.time": _CLOCK,
    "time.time_ns": _CLOCK,
    "uuid": (),
    "random": (),
    "subprocess": _PROCESSES,
    "os.system": (),
    "os.popen": (),
    "os.fork": (r"src/sekisho_agent/inside\.py",),
    "asyncio.create_subprocess_exec": (),
    "asyncio.create_subprocess_shell": (),
    "socket": _SOCKETS,
    "asyncio.open_connection": (),
    "http.client": (r"src/sekisho_guarantor/caller\.py",),
    "urllib.request": (),
    "httpx2": _NETWORK,
    "sqlite3": (r"src/sekisho/kernel/sqlite\.py",),
    "psycopg": (r"src/sekisho/kernel/postgres\.py",),
    "psycopg_pool": (r"src/sekisho/kernel/postgres\.py",),
}


def test_each_door_is_used_by_its_owner_only() -> None:
    owners = {name: [re.compile(pattern) for pattern in patterns] for name, patterns in OWNERS.items()}
    found = [
        line
        for path in tree.product_files()
        for line in style.doors(tree.parse(path), tree.relative(path), owners)
    ]
    assert found == []


def test_ruff_bans_the_same_names() -> None:
    ruff = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = set(ruff["flake8-tidy-imports"]["banned-api"])
    assert set(OWNERS) - banned - {"os.fork"} == set()
