"""Who may import whom: the contracts hold, and none is missing for what exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from tests.support import tree

PROJECT: dict[str, Any] = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]
PACKAGES = sorted(path.parent.name for path in tree.SOURCE.glob("*/__init__.py"))
FACELESS = frozenset(
    {"kernel"}
)  # its files are the vocabulary of all others; kernel.db has a contract of its own

# What each program may take from outside the standard library, beyond its own extra in pyproject.toml.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "pkcs11": "python-pkcs11",
    "prometheus_client": "prometheus-client",
    "psycopg_pool": "psycopg-pool",
}
EXTRAS = {
    "sekisho": ("server", "postgres"),
    "sekisho_agent": ("agent",),
    "sekisho_client": ("client",),
    "sekisho_guarantor": ("guarantor", "custodian"),
    "sekisho_verify": (),
    "sekisho_wire": (),
}
# obstore: sekisho_wire.objects is imported only by programs that run a store, and their extras bring it.
WIRE_NEEDS = frozenset({"msgspec", "obstore"})


def test_the_contracts_hold() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_package_is_seen_by_the_contracts_and_shipped() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(PROJECT["tool"]["importlinter"]["root_packages"]) == PACKAGES
    assert sorted(Path(folder).name for folder in wheel) == PACKAGES
    assert sorted(PROJECT["tool"]["coverage"]["run"]["source_pkgs"]) == PACKAGES


def test_every_folder_of_the_control_plane_shows_only_its_face() -> None:
    folders = {path.parent.name for path in (tree.SOURCE / "sekisho").glob("*/__init__.py")}
    faces = {
        name.removeprefix("sekisho.").removesuffix(".*"): contract
        for contract in CONTRACTS
        if contract["type"] == "protected"
        for name in contract["protected_modules"]
        if name.endswith(".*")
    }
    assert folders - FACELESS - set(faces) == set(), "no protected contract"
    for name, contract in faces.items():
        assert contract["allowed_importers"] == [f"sekisho.{name}"]
        assert not contract.get("ignore_imports")


def test_no_contract_is_weakened() -> None:
    excepted = {
        contract["id"]: sorted(contract["ignore_imports"])
        for contract in CONTRACTS
        if contract.get("ignore_imports")
    }
    layers = next(contract for contract in CONTRACTS if contract["id"] == "layers")
    assert excepted == {
        "drivers": [
            "sekisho.kernel.postgres -> psycopg",
            "sekisho.kernel.postgres -> psycopg_pool",
            "sekisho.kernel.sqlite -> sqlite3",
        ]
    }
    assert layers["exhaustive"] is True
    assert "exhaustive_ignores" not in layers


@pytest.mark.parametrize("package", PACKAGES)
def test_a_program_imports_only_what_its_extra_brings(package: str) -> None:
    brought = {_name(line) for line in PROJECT["project"]["dependencies"]} | WIRE_NEEDS
    for extra in EXTRAS[package]:
        brought |= {_name(line) for line in PROJECT["project"]["optional-dependencies"][extra]}
    if package == "sekisho_verify":
        brought -= WIRE_NEEDS
    outside = {
        f"{tree.relative(path)}: {name}"
        for path in tree.files(f"src/{package}/*.py")
        for name in _imported(tree.parse(path)) - set(sys.stdlib_module_names) - set(PACKAGES)
        if DISTRIBUTIONS.get(name, name) not in brought
    }
    assert outside == set()


def test_the_verifier_loads_one_optional_thing_by_name_in_one_place() -> None:
    """Cedar, to make decisions again: whoever has only the standard library and cryptography verifies all the rest."""
    loading = {
        path.name: [node.args for node in ast.walk(tree.parse(path)) if _loads_by_name(node)]
        for path in tree.files("src/sekisho_verify/*.py")
        if any(_loads_by_name(node) for node in ast.walk(tree.parse(path)))
    }
    assert set(loading) == {"reevaluation.py"}
    assert {ast.unparse(argument) for (argument,) in loading["reevaluation.py"]} == {"ENGINE"}
    assert [_name(one) for one in PROJECT["project"]["optional-dependencies"]["verify"]] == ["cedarpy"]
    alone = next(contract for contract in CONTRACTS if contract["id"] == "verify-alone")
    assert "cedarpy" in alone["forbidden_modules"]


def _loads_by_name(node: ast.AST) -> TypeGuard[ast.Call]:
    names = {"importlib.import_module", "import_module", "__import__"}
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9_.\-]+", requirement)
    assert match is not None
    return match[0].lower()


def _imported(module: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names
