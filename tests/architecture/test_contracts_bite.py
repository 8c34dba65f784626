"""The import contracts catch what they are for: each is shown a small house with one way round planted in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import tree

# A house of the real one's shape. Bodies are what a well-behaved file of that name would import.
HOUSE = {
    "sekisho_verify/merkle.py": "import cryptography",
    "sekisho_wire/messages.py": "import sekisho_verify.merkle",
    "sekisho_agent/loop.py": "import sekisho_wire.messages",
    "sekisho_client/client.py": "import sekisho_wire.messages",
    "sekisho/kernel/sqlite.py": "import sqlite3",
    "sekisho/kernel/postgres.py": "import psycopg\nimport psycopg_pool",
    "sekisho/kernel/db.py": "import sekisho.kernel.sqlite\nimport sekisho.kernel.postgres",
    "sekisho/kernel/gate.py": "import sekisho.kernel.db",
    "sekisho/kernel/migrate.py": "import sekisho.kernel.db",
    "sekisho/ledger/actions.py": "import sekisho.kernel.gate",
    "sekisho/charter/actions.py": "import sekisho.kernel.gate",
    "sekisho/identity/actions.py": "import sekisho.kernel.gate",
    "sekisho/sites/actions.py": "from sekisho import ledger",
    "sekisho/data/actions.py": "from sekisho import ledger",
    "sekisho/compute/__init__.py": "from sekisho.compute import actions",
    "sekisho/compute/actions.py": "from sekisho import sites",
    "sekisho/console/pages.py": "from sekisho import compute",
    "sekisho/app.py": "from sekisho import compute\nimport sekisho.kernel.db",
    "sekisho/http/routes.py": "from sekisho import app, compute",
    "sekisho/background/loop.py": "from sekisho import app",
    "sekisho/server.py": "from sekisho import http",
}

PLANTED = {
    "the database opened beside the gate": ("sekisho/http/routes.py", "import sekisho.kernel.db"),
    "a driver beside its file": ("sekisho/ledger/actions.py", "import sqlite3"),
    "a driver in the agent": ("sekisho_agent/loop.py", "import psycopg"),
    "a backend beside the database's face": ("sekisho/app.py", "import sekisho.kernel.sqlite"),
    "behind another capability's face": ("sekisho/http/routes.py", "import sekisho.compute.actions"),
    "behind a face from the wiring": ("sekisho/app.py", "import sekisho.ledger.actions"),
    "upwards": ("sekisho/ledger/actions.py", "from sekisho import compute"),
    "sideways": ("sekisho/charter/actions.py", "from sekisho import identity"),
    "the console below a capability": ("sekisho/compute/actions.py", "from sekisho import console"),
    "the kernel knowing a capability": ("sekisho/kernel/gate.py", "from sekisho import charter"),
    "one program in another": ("sekisho_agent/loop.py", "import sekisho.kernel.gate"),
    "the wire knowing a program": ("sekisho_wire/messages.py", "import sekisho_client.client"),
    "the verifier leaning on the wire": ("sekisho_verify/merkle.py", "import sekisho_wire.messages"),
    "the verifier with a package": ("sekisho_verify/merkle.py", "import msgspec"),
    "a room nobody placed": ("sekisho/attic.py", ""),
}


def _build(folder: Path, planted: tuple[str, str] | None) -> subprocess.CompletedProcess[str]:
    faces = {str(Path(name).parent / "__init__.py") for name in HOUSE} | {"sekisho/__init__.py"}
    texts = {**dict.fromkeys(faces, ""), **HOUSE}
    if planted:
        path, line = planted
        texts[path] = f"{texts.get(path, '')}\n{line}\n"
    for name, text in texts.items():
        file = folder / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copy(tree.ROOT / "pyproject.toml", folder)
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_well_behaved_house_keeps_every_contract(tmp_path: Path) -> None:
    linted = _build(tmp_path, None)
    contracts = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert linted.returncode == 0, linted.stdout
    assert f"{len(contracts)} kept, 0 broken" in linted.stdout


@pytest.mark.parametrize("way", PLANTED)
def test_each_way_round_is_caught(tmp_path: Path, way: str) -> None:
    linted = _build(tmp_path, PLANTED[way])
    assert linted.returncode == 1
    assert "BROKEN" in linted.stdout, linted.stdout
