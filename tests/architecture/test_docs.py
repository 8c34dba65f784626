"""The papers agree with the code and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from scripts import generate_reference
from sekisho.kernel import command
from tests.support import tree

PAPERS = tree.files("*.md")
HEADING = re.compile(r"^(#+) +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"\]\((?P<target>[^)\s#]+)(?:#[^)]*)?\)")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
HALF_WIDTH_BRACKET = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff][()]|[()][\u3040-\u30ff\u4e00-\u9fff]")


class _Inner(msgspec.Struct):
    port: int = 7


class _Outer(msgspec.Struct):
    url: str
    """Where it is."""
    inner: _Inner = msgspec.field(default_factory=_Inner)


@pytest.fixture
def _our_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the toy commands that other test modules register in the same process."""
    registered = command.all_specs
    monkeypatch.setattr(
        command,
        "all_specs",
        lambda: tuple(spec for spec in registered() if spec.command.__module__.startswith("sekisho.")),
    )


@pytest.mark.usefixtures("_our_commands")
def test_the_reference_is_what_the_code_says() -> None:
    written = {path.name: path.read_text() for path in generate_reference.FOLDER.glob("*.md")}
    assert written == generate_reference.pages(), "run `make reference`"


@pytest.mark.usefixtures("_our_commands")
def test_every_command_code_and_setting_is_a_heading() -> None:
    from sekisho.kernel.config import Settings
    from sekisho_wire.problems import all_problems

    generate_reference.load_everything()
    names = {
        "commands.md": {spec.name for spec in command.all_specs()},
        "problems.md": set(all_problems()),
        "settings.md": {name for name, _, _ in generate_reference.settings(Settings)},
    }
    for page, expected in names.items():
        headings = {text for _, text in HEADING.findall((generate_reference.FOLDER / page).read_text())}
        assert expected
        assert {f"`{name}`" for name in expected} - headings == set()


def test_each_setting_says_what_it_is_for() -> None:
    from sekisho.kernel.config import Settings

    assert [name for name, _, note in generate_reference.settings(Settings) if not note] == []


def test_settings_are_walked_with_their_notes() -> None:
    found = [(name, note) for name, _, note in generate_reference.settings(_Outer)]
    assert found == [("url", "Where it is."), ("inner.port", "")]


def test_each_japanese_page_has_its_english_pair_of_the_same_shape() -> None:
    pages = [path for path in PAPERS if path.name.endswith(".ja.md")]
    assert tree.ROOT / "README.ja.md" in pages
    for page in pages:
        english = page.with_name(page.name.replace(".ja.md", ".md"))
        assert english.is_file(), f"{tree.relative(page)} has no English pair"
        assert _levels(page) == _levels(english), tree.relative(page)
        assert _code(page) == _code(english), tree.relative(page)


def test_japanese_text_uses_full_width_brackets() -> None:
    found = [
        f"{tree.relative(path)}:{number}"
        for path in PAPERS
        if path.name.endswith(".ja.md") or path.parent == generate_reference.FOLDER
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if HALF_WIDTH_BRACKET.search(LINK.sub("]", line))
    ]
    assert found == []


def test_english_pages_are_english() -> None:
    for name in ("README.md", "SECURITY.md", "CHANGELOG.md"):
        text = re.sub(r"\[日本語\]|関所", "", (tree.ROOT / name).read_text())
        assert JAPANESE.search(text) is None, name


@pytest.mark.parametrize("page", PAPERS, ids=tree.relative)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text())]
    inside = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in inside if not (page.parent / target).exists()] == []


def test_every_make_target_that_a_paper_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (tree.ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for path in PAPERS
        for name in re.findall(r"`make ([a-z]+)|^\s*make ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert {first or second for first, second in named} - targets == set()


def test_decisions_are_numbered_and_say_why() -> None:
    files = sorted((tree.ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:5] for path in files] == [f"{number:04}-" for number in range(1, len(files) + 1)]
    for path in files:
        headings = {text for _, text in HEADING.findall(path.read_text())}
        assert {"Need", "Decision", "Consequences"} - headings == set(), path.name


def _levels(page: Path) -> list[str]:
    return [marks for marks, _ in HEADING.findall(_without_code(page.read_text()))]


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _code(page: Path) -> list[str]:
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+#.*", "", block) for block in blocks]
