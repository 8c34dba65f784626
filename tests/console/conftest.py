"""One populated installation and one browser per process: making them takes seconds, looking at them does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.looking import Pictures
from tests.console.world import Visitor, World, world

# Chromium's own traffic (updates, safe browsing, sign-in) would break the promise that these tests hold us to.
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
)


@pytest.fixture(scope="session")
def _populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("console")) as made:
        made.populate()
        yield made


@pytest.fixture(autouse=True)
def _closed_visitors() -> Iterator[None]:
    yield
    while Visitor.opened:
        Visitor.opened.pop().close()


@pytest.fixture
def here(_populated: World) -> World:
    """The populated installation, its agents just heard."""
    _populated.poll()
    return _populated


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[World]:
    """A fresh installation with people and nothing else."""
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def engineer(here: World) -> Visitor:
    """An engineer, signed in."""
    return Visitor(here.url).enter(here.link(here.people.engineer))


@pytest.fixture
def administrator(here: World) -> Visitor:
    """Somebody with every role, signed in."""
    return Visitor(here.url).enter(here.link(here.people.administrator))


@pytest.fixture
def auditor(here: World) -> Visitor:
    """Somebody who may look and not touch, signed in."""
    return Visitor(here.url).enter(here.link(here.people.auditor))


@pytest.fixture
def stranger(here: World) -> Visitor:
    """An engineer of another organisation, signed in."""
    return Visitor(here.url).enter(here.link(here.people.stranger))


@pytest.fixture
def nobody(here: World) -> Visitor:
    """Somebody who is not signed in."""
    return Visitor(here.url)


@pytest.fixture(scope="session")
def browser(needs_chromium: str) -> Iterator[Browser]:
    """Chromium, headless."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=needs_chromium, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """Of pages, for people to look at: taken where SEKISHO_SCREENSHOTS names a folder for them."""
    return Pictures(os.environ.get("SEKISHO_SCREENSHOTS", ""))
