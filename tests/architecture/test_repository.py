"""What the repository holds: text that belongs to it, whole locks, complete packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support import tree, words

FILE_BYTES_MAX = 1_000_000
LOCKS = ("bootstrap", "runtime", "dev")
BINARY = re.compile(r".*\.(zip|png|ico|woff2|der|mo)")
DATA = ("*.sql", "*.cedar", "*.html", "*.css", "*.js", "*.json", "*.svg", "*.po", "*.woff2", "*/py.typed")
PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())


def test_no_forbidden_word() -> None:
    paths = [path for path in tree.files() if not BINARY.fullmatch(path.name)]
    found = [line for path in paths for line in words.forbidden(path.read_text(), tree.relative(path))]
    assert found == []


def test_files_are_small_utf8_text_with_unix_line_ends() -> None:
    found = []
    for path in tree.files():
        content = path.read_bytes()
        if len(content) > FILE_BYTES_MAX:
            found.append(f"{tree.relative(path)}: {len(content)} bytes")
        if not BINARY.fullmatch(path.name):
            content.decode("utf-8")
            if b"\r" in content or (content and not content.endswith(b"\n")):
                found.append(f"{tree.relative(path)}: line ends")
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_each_locked_package_has_one_version_and_hashes(name: str) -> None:
    text = (tree.ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.\-]+(\[[a-z,]+\])?==[^\s;]+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text


def test_the_locks_agree_with_each_other_and_with_what_they_were_made_from() -> None:
    pins = {name: _pins(name) for name in LOCKS}
    assert pins["runtime"].items() <= pins["dev"].items()
    for name in LOCKS:
        assert _wanted(name) - set(pins[name]) == set()


def test_the_extras_together_are_the_runtime_requirements() -> None:
    project = PROJECT["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    assert {_package(line) for line in lines} == _wanted("runtime")


def test_each_dependency_has_its_line_of_reasons() -> None:
    text = (tree.ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    rows = {match[1].lower() for match in re.finditer(r"^\| `([^`]+)`", text, re.MULTILINE)}
    assert _wanted("runtime") | _wanted("dev") | _wanted("bootstrap") == rows


def test_the_wheel_carries_every_data_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tree.ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(tree.SOURCE).as_posix()
        for path in tree.files("src/*.py", *(f"src/{p}" for p in DATA))
    }
    assert wanted - names == set()
    assert {name for name in names if "__pycache__" in name or name.endswith(".pyc")} == set()


def test_each_script_of_the_distribution_has_its_function() -> None:
    for target in PROJECT["project"]["scripts"].values():
        module, _, function = target.partition(":")
        path = tree.SOURCE / (module.replace(".", "/") + ".py")
        defined = {f.name for f in tree.functions(tree.parse(path), tree.relative(path))}
        assert function in defined, target


def _pins(name: str) -> dict[str, str]:
    text = (tree.ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9.\-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


def _wanted(name: str) -> set[str]:
    lines = (tree.ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    return {_package(line) for line in lines if line and not line.startswith(("#", "-"))}


def _package(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9.\-]+", requirement)
    assert match is not None, requirement
    return match[0].lower()
