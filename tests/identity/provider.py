"""A real OpenID Connect provider (npm's oidc-provider) for tests, and a browser just good enough for its pages."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import html
import json
import os
import re
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2

from tests.support import components

HOME = Path(__file__).parent / "idp"
REDIRECT = "http://127.0.0.1:29412/callback"
INSTALL_SECONDS, START_SECONDS = 180, 30
_STEPS_MAX = 20


def installed() -> Path:
    """A folder outside the repository with the locked packages; installed once for each lock file and user."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(HOME.iterdir()))).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"sekisho-idp-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            _install(folder)
            (folder / ".done").touch()
    return folder


def _install(folder: Path) -> None:
    npm = components.program("npm", package="npm")
    for file in HOME.iterdir():
        shutil.copyfile(file, folder / file.name)
    try:
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        components.missing("oidc-provider", "npm could not fetch the locked packages in time")
        return
    if done.returncode:
        components.missing("oidc-provider", f"npm ci failed: {done.stderr.strip().splitlines()[-1:]}")


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The provider's issuer for the length of the block; its standard input ends it, even if we die."""
    node, folder = components.program("node", package="nodejs npm"), installed()
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            [node, "provider.mjs", REDIRECT],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            line = child.stdout.readline() if selector.select(START_SECONDS) else b""
        assert line, (folder / "log").read_text()[-2000:]
        yield json.loads(line)["issuer"]
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)
        if child.stdout is not None:
            child.stdout.close()


def secret_of(client: str) -> str:
    """The made-up secret that provider.mjs gives a client."""
    return f"made-up-secret-of-{client}-for-tests-only"


class Browser:
    """Follows redirects and fills in the provider's forms until it is sent back to us."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._client = httpx2.Client(follow_redirects=False, timeout=20)

    def close(self) -> None:
        self._client.close()

    def sign_in(self, url: str, login: str) -> dict[str, str]:
        """The query with which the provider sends the browser back after `login` signed in and consented."""
        landed = self._walk(self._client.get(url), {"login": login, "password": "x"})
        assert landed is not None
        return dict(httpx2.URL(landed).params)

    def confirm_device(self, url: str, login: str) -> None:
        """Confirm a device sign-in at its complete verification address."""
        self._walk(self._client.get(url), {"login": login, "password": "x"})

    def decline_device(self, url: str) -> None:
        """Press the button that aborts it."""
        answer = self._client.get(url)
        while "abort" not in answer.text:
            answer = self._submit(answer, {})
        self._submit(answer, {"abort": "yes"})

    def _walk(self, answer: httpx2.Response, typed: Mapping[str, str]) -> str | None:
        for _ in range(_STEPS_MAX):
            if answer.status_code in {302, 303}:
                address = str(httpx2.URL(self._issuer).join(answer.headers["location"]))
                if address.startswith(REDIRECT):
                    return address
                answer = self._client.get(address)
            elif "<form" in answer.text and answer.status_code == 200:
                answer = self._submit(answer, typed)
            else:
                return None
        raise AssertionError("the provider's pages do not end")

    def _submit(self, page: httpx2.Response, typed: Mapping[str, str]) -> httpx2.Response:
        action = html.unescape(re.search(r'action="([^"]+)"', page.text)[1])  # type: ignore[index] - a page without a form fails the test
        fields = {
            html.unescape(name): html.unescape(value)
            for name, value in re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.text)
        }
        wanted = {name: value for name, value in typed.items() if f'name="{name}"' in page.text}
        return self._client.post(str(httpx2.URL(self._issuer).join(action)), data=fields | wanted)
