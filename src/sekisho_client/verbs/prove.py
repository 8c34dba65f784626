"""`sekisho site prove SITE`: asks the landmarks, follows until they have answered, prints what each one showed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sekisho_client.client import connect
from sekisho_client.render import Screen
from sekisho_client.session import Session

LOOK_SECONDS = 0.5
MARKS: Mapping[str, str] = {"counts": "✓", "too_far": "!", "refused": "✗"}
FAILED = 1


def run(session: Session, values: dict[str, Any]) -> int:
    """Exit 0 when a proof stands at the end, 1 when the place was not shown."""
    screen = session.screen
    with connect(session.settings) as client:
        found: Mapping[str, Any] = client.call("sites.proof.request", site=values["site"])
        seen = 0
        while True:
            findings = found["findings"]
            if not screen.as_json:
                for finding in findings[seen:]:
                    screen.line(MARKS[finding["state"]], _said(screen, finding["told"]))
            seen = max(seen, len(findings))
            if found["state"] != "open":
                break
            if session.progress:
                screen.overwrite(screen.say("Waiting for ", "応答待ち：") + ", ".join(found["waiting"]))
            time.sleep(LOOK_SECONDS)
            found = client.call("sites.proof.show", site=values["site"])
    if screen.as_json:
        screen.json(found)
    else:
        _conclude(screen, found)
    return 0 if found["state"] == "accepted" and found["standing"] else FAILED


def _conclude(screen: Screen, found: Mapping[str, Any]) -> None:
    """The verdict, the fact that stands because of it, and what none of it shows."""
    screen.text(_said(screen, found["summary"]))
    for name in found["waiting"]:
        screen.line("-", screen.say(f"{name}: no answer", f"{name}：応答なし"))
    standing = found["standing"]
    if standing:
        figures = standing["value"]
        screen.text(
            screen.say(
                "Proof (grade M): {landmarks} landmarks, within {bound_km} km, margin {foreign_margin_km} km; until {end}.",
                "証明（確度M）：測位基準点{landmarks}か所、{bound_km}km以内、余裕{foreign_margin_km}km、{end}まで有効。",
            ).format(end=standing["expires_at"], **figures)
        )
        screen.text(
            screen.say(
                "That the key which answered is where the jobs run: the site's own word (grade D).",
                "応答した鍵がジョブの実行場所にあること：拠点の自己申告（確度D）。",
            )
        )
    for told in found["not_shown"]:
        screen.text(screen.say("Not shown: ", "示さないこと：") + _said(screen, told))


def _said(screen: Screen, told: Mapping[str, Any]) -> str:
    return screen.say(str(told["en"]), str(told["ja"]))
