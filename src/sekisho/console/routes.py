"""The console's pages as routes: one row each; the same row serves people and, with `.json`, programs."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from sekisho.console import charter, entry, evidence, jobs, keys, ledger, overview, places, proposals, submit
from sekisho.console.asked import Row
from sekisho.console.door import HEADERS, ROUTE, Door
from sekisho.console.live import Live
from sekisho.console.settings import Parts
from sekisho.kernel.errors import SekishoError

ROWS: tuple[Row, ...] = (
    Row("GET", "/", overview.overview, as_json=True),
    Row("GET", "/search", overview.search),
    Row("GET", "/signin", entry.form, open=True),
    Row("POST", "/signin", entry.with_token, open=True),
    Row("GET", "/signin/{code}", entry.link, open=True),
    Row("POST", "/signin/{code}", entry.with_link, open=True),
    Row("GET", "/signin/outside", entry.outside, open=True),
    Row("GET", "/signin/outside/back", entry.outside_back, open=True),
    Row("POST", "/signout", entry.out, open=True),
    Row("GET", "/settings", entry.settings, open=True, as_json=True),
    Row("POST", "/settings", entry.change, open=True),
    Row("GET", "/jobs", jobs.listing, as_json=True),
    Row("GET", "/jobs/new", submit.form),
    Row("POST", "/jobs/new", submit.send, body_bytes=submit.BODY_BYTES),
    Row("GET", "/jobs/{job}", jobs.show, as_json=True),
    Row("GET", "/jobs/{job}/cancel", jobs.ask_cancel),
    Row("POST", "/jobs/{job}/cancel", jobs.cancel),
    Row("GET", "/jobs/{job}/attempts/{number}", jobs.attempt, as_json=True),
    Row("POST", "/jobs/{job}/verify", evidence.verify),
    Row("POST", "/jobs/{job}/export", evidence.export),
    Row("GET", "/jobs/{job}/evidence/{export}", evidence.show, as_json=True),
    Row("GET", "/jobs/{job}/evidence/{export}/bundle.zip", evidence.bundle_file),
    Row("GET", "/proposals", proposals.listing, as_json=True),
    Row("POST", "/proposals/{proposal}/approve", proposals.approve),
    Row("GET", "/sites", places.sites, as_json=True),
    Row("GET", "/sites/{site}", places.site, as_json=True),
    Row("GET", "/data", places.data, as_json=True),
    Row("GET", "/data/{dataset}", places.dataset, as_json=True),
    Row("GET", "/keys", keys.listing, as_json=True),
    Row("GET", "/keys/{key}", keys.show, as_json=True),
    Row("GET", "/keys/{key}/{change}", keys.ask),
    Row("POST", "/keys/{key}/{change}", keys.change),
    Row("GET", "/charter", charter.show, as_json=True),
    Row("GET", "/charter/{version}/test", charter.tried, as_json=True),
    Row("GET", "/ledger", ledger.ledger, open=True, as_json=True),
    Row("GET", "/ledger/find", ledger.find),
    Row("GET", "/ledger/{record}", ledger.record, as_json=True),
    Row("GET", "/verify", ledger.how, open=True, as_json=True),
)
_FOREVER = "public, max-age=31536000, immutable"


def routes(parts: Parts) -> list[BaseRoute]:
    """Routes to mount last, at `/`: what nothing else answers is a page of the console, or its own "not found"."""
    door = Door(parts)
    live = Live(door)
    inside = Starlette(
        routes=[
            Route("/static/{name}", functools.partial(_static, door=door), methods=["GET"]),
            Route("/jobs/{job}/live", live.job, methods=["GET"]),
            *_pages(door, ROWS),
        ],
        exception_handlers={HTTPException: door.not_here, SekishoError: door.broken, Exception: door.broken},
    )
    return [Mount("/", app=inside, name="console")]


def _pages(door: Door, rows: Iterable[Row]) -> list[BaseRoute]:
    """Fixed words before placeholders, and `.json` before the page whose placeholder would swallow it."""
    by_path: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, {})[row.method] = row
    found: list[BaseRoute] = []
    for path, methods in sorted(by_path.items(), key=lambda pair: _order(pair[0])):
        get = methods.get("GET")
        if get and get.as_json:
            address = "/overview.json" if path == "/" else f"{path}.json"
            found.append(
                Route(address, functools.partial(door.page, rows={"GET": get}, as_json=True), methods=["GET"])
            )
        found.append(
            Route(path, functools.partial(door.page, rows=methods, as_json=False), methods=sorted(methods))
        )
    return found


def _order(path: str) -> list[tuple[bool, str]]:
    return [(part.startswith("{"), part) for part in path.split("/")]


async def _static(request: Request, door: Door) -> Response:
    """A file of ours. Its address carries its digest, so a browser may keep it for ever."""
    request.scope[ROUTE] = "/static/{name}"
    found = door.parts.drawing.static.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    kept = _FOREVER if request.query_params.get("v", "") == found.digest[:16] else "no-cache"
    headers = {**HEADERS, "Cache-Control": kept}
    return Response(found.content, media_type=found.media, headers=headers)
