"""The log's published files over HTTP: checkpoint, tiles and entry bundles (C2SP tlog-tiles), as they lie on disk.

Names are matched before the disk is asked, so that nothing beside the tiles (a lock, a file being written) can
be read. Whoever publishes owns the folder; a full tile never changes, the checkpoint always may.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_INDEX = r"(?:x\d{3}/)*\d{3}(?:\.p/[1-9]\d{0,2})?"
_PUBLIC = re.compile(rf"checkpoint|tile/(?:entries|\d{{1,2}})/{_INDEX}")
_FOREVER = "public, max-age=31536000, immutable"
_NEVER = "no-cache"
_ANYBODY = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


class LogFiles(StaticFiles):
    """Serves one folder that may not exist yet."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        super().__init__(directory=directory, check_dir=False)

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 404 for a name that no log publishes."""
        if not _PUBLIC.fullmatch(path):
            raise HTTPException(404)
        if path == "checkpoint" and scope["method"] in {"GET", "HEAD"}:
            return await anyio.to_thread.run_sync(self._checkpoint)
        response = await super().get_response(path, scope)
        response.headers["Content-Type"] = "application/octet-stream"
        response.headers.update({"Cache-Control": _FOREVER} | _ANYBODY)
        return response

    def _checkpoint(self) -> Response:
        """Read at once: another may take its place between a look at its length and its first byte."""
        found = Path(str(self.directory), "checkpoint")
        try:
            body = found.read_bytes()
        except OSError as error:
            raise HTTPException(404) from error
        return Response(body, media_type="text/plain", headers={"Cache-Control": _NEVER} | _ANYBODY)
