"""Every address of the console with something on it, the words of an answer, and pictures for people."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
from playwright.sync_api import Page

from tests.console.world import World

SIGNED_OUT = ("/signin", "/settings", "/ledger", "/verify")


def addresses(here: World) -> dict[str, str]:
    """Every page that a GET shows, with something on it, by the path of its row."""
    job = here.jobs["llm-small"]
    return {
        "/": "/",
        "/search": "/search?q=nothing-of-that-name",
        "/signin": "/signin",
        "/signin/{code}": "/signin/some-code",
        "/settings": "/settings",
        "/jobs": "/jobs",
        "/jobs/new": "/jobs/new",
        "/jobs/{job}": f"/jobs/{job}",
        "/jobs/{job}/cancel": f"/jobs/{here.jobs['llm-running']}/cancel",
        "/jobs/{job}/attempts/{number}": f"/jobs/{job}/attempts/1",
        "/proposals": "/proposals",
        "/sites": "/sites",
        "/sites/{site}": "/sites/sakura-ishikari",
        "/data": "/data",
        "/data/{dataset}": "/data/manual-pages",
        "/keys": "/keys",
        "/keys/{key}": f"/keys/{here.key}",
        "/keys/{key}/{change}": f"/keys/{here.key}/stop",
        "/charter": "/charter",
        "/charter/{version}/test": f"/charter/{here.draft}/test",
        "/ledger": "/ledger",
        "/verify": "/verify",
    }


ELSEWHERE = {
    "/signin/outside": "test_signin.py",
    "/signin/outside/back": "test_signin.py",
    "/jobs/{job}/evidence/{export}": "test_evidence.py",
    "/jobs/{job}/evidence/{export}/bundle.zip": "test_evidence.py",
    "/ledger/find": "test_evidence.py",
    "/ledger/{record}": "test_evidence.py",
}


class Pictures:
    """Of pages, in a folder that somebody named; no test depends on one, and they cost as much as the looking."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)

    def take(self, page: Page, name: str) -> None:
        if self._folder:
            page.screenshot(path=self._folder / f"{name}.png", full_page=True)

    def keep(self, content: bytes, name: str) -> None:
        if self._folder:
            (self._folder / name).write_bytes(content)


def text_of(response: httpx2.Response) -> str:
    """A page's words, without its marks."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", response.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))
