"""`sekisho charter test DRAFT`: asks recorded decisions again under a draft, page by page, and sums up what changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sekisho_client.client import Client, connect
from sekisho_client.refusals import Refused
from sekisho_client.render import Screen
from sekisho_client.session import Session

RECORDS = 10_000
"""How many of the newest records are looked at unless told otherwise."""
PAGE = 500
EXAMPLES = 5
_SUMS = ("looked_at", "same", "changed", "missing", "erased", "unfit", "nameless")
_COLUMNS = ("count", "verdict", "action", "site", "before", "after", "records")


def run(session: Session, values: dict[str, Any]) -> int:
    """The same draft and --upto come to the same answer, whenever it is asked."""
    given = values.get("records")
    records = RECORDS if given is None else int(given)
    if records < 1:
        raise Refused("input.bad_value", name="--records", value=str(records), kind="a number above 0")
    with connect(session.settings) as client:
        found = replay(session, client, values["draft"], records=records, upto=int(values.get("upto") or 0))
    if session.screen.as_json:
        session.screen.json(found)
    else:
        _show(session.screen, found)
    return 0


def replay(session: Session, client: Client, draft: str, *, records: int, upto: int) -> dict[str, Any]:
    """Pages until enough were looked at or the log's beginning is reached, as one answer."""
    sums, rows, after = dict.fromkeys(_SUMS, 0), dict[str, dict[str, Any]](), 0
    while True:
        limit = min(PAGE, records - sums["looked_at"])
        page = client.call("charter.version.replay", version=draft, upto=upto, after=after, limit=limit)
        upto = page["upto"]
        for name in _SUMS:
            sums[name] += page[name]
        for row in page["altered"]:
            _add(rows, row)
        if session.progress:
            session.screen.overwrite(f"{sums['looked_at']:,} / {min(upto, records):,}")
        if not page["next"] or sums["looked_at"] >= records:
            break
        after = page["next"]
    altered = sorted(
        rows.values(), key=lambda row: (-row["count"], row["verdict"], row["action"], row["site"])
    )
    return {"version": page["version"], "digest": page["digest"], "upto": upto, **sums, "altered": altered}


def _add(rows: dict[str, dict[str, Any]], row: Mapping[str, Any]) -> None:
    key = repr([row[name] for name in ("verdict", "action", "site", "before", "after")])
    known = rows.setdefault(key, {**row, "count": 0, "records": []})
    known["count"] += row["count"]
    known["records"] = [*known["records"], *row["records"]][:EXAMPLES]


def _show(screen: Screen, found: Mapping[str, Any]) -> None:
    looked, upto = found["looked_at"], found["upto"]
    screen.line(
        "✓",
        screen.say(
            f"{looked:,} of {upto:,} records asked again, newest first (--upto {upto}): "
            f"{found['changed']:,} would change, {found['same']:,} would not",
            f"{upto:,}件中、新しい順に{looked:,}件をやり直しました（--upto {upto}）："
            f"{found['changed']:,}件が変わり、{found['same']:,}件は変わりません",
        ),
    )
    left = found["missing"] + found["erased"] + found["unfit"] + found["nameless"]
    if left:
        screen.line(
            "!",
            screen.say(
                f"{left:,} could not be asked again: {found['missing']:,} without facts, {found['erased']:,} erased, "
                f"{found['unfit']:,} that do not fit its schema, {found['nameless']:,} of which it wants a name",
                f"{left:,}件はやり直せません：事実なし{found['missing']:,}件、消去済み{found['erased']:,}件、"
                f"スキーマに不適合{found['unfit']:,}件、名前の記録なし{found['nameless']:,}件",
            ),
        )
    if found["altered"]:
        screen.table(found["altered"], _COLUMNS)
