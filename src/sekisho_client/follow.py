"""Following a job: one line per change of state, the latest progress in between, the log on demand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sekisho_client.client import Client

LOOK_SECONDS = 0.5
ENDED = frozenset({"succeeded", "failed", "cancelled"})
STATES = ("waiting", "staging", "starting", "running", *sorted(ENDED))


class Step(NamedTuple):
    """One look at a job: its view, and the timeline entries that are new since the last look."""

    job: Mapping[str, Any]
    detail: Mapping[str, Any]
    events: list[Mapping[str, Any]]

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.job["state"] in ENDED


def steps(client: Client, job: str, *, seconds_max: float = 0.0) -> Iterator[Step]:
    """Look at the job until it ends, or until the time is over (0: never)."""
    seen, deadline = 0, time.monotonic() + seconds_max
    while True:
        detail = client.call("compute.job.show", job=job)
        step = Step(detail["job"], detail, detail["events"][seen:])
        seen = len(detail["events"])
        yield step
        if step.ended or (seconds_max and time.monotonic() > deadline):
            return
        time.sleep(LOOK_SECONDS)


def log_pieces(client: Client, job: str, *, attempt: int = 0, follow: bool = True) -> Iterator[str]:
    """The log's text as it grows; ends when the job has."""
    offset = 0
    while True:
        piece = client.call("compute.log.read", job=job, attempt=attempt, offset=offset)
        if piece["text"]:
            yield piece["text"]
        moved, offset = piece["next"] > offset, piece["next"]
        if piece["ended"] or (not follow and not moved):
            return
        if not moved:
            time.sleep(LOOK_SECONDS)


def describe_event(event: Mapping[str, Any], language: str) -> tuple[str, str]:
    """Mark and sentence of one timeline entry."""
    mark, english, japanese = EVENTS.get(event["what"], (" ", event["what"], event["what"]))
    template = japanese if language == "ja" else english
    return mark, template.format_map(_Blank(event["params"]))


def describe_progress(progress: Mapping[str, Any], language: str) -> str:
    """The payload's own latest figures, or how many jobs of an array are in which state, on one line; or nothing."""
    names = ("step", "spent_s", "of_s", "loss", "reward", "tokens_per_s", *STATES)
    shown = [f"{name} {progress[name]}" for name in names if name in progress]
    return ("実行中  " if language == "ja" else "Running  ") + "  ".join(shown) if shown else ""


class _Blank(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "-"


EVENTS: Mapping[str, tuple[str, str, str]] = {
    "accepted": (
        "✓",
        "Accepted    level {level}, joined over its inputs",
        "受付済み    レベル{level}（入力から継承）",
    ),
    "waits": ("!", "Waiting     {reason}", "待機中      {reason}"),
    "placed": ("✓", "Placed      {site}, attempt {attempt}", "配置        {site}（試行{attempt}）"),
    "starting": (
        " ",
        "Staged      data and image lie at the site",
        "転送済み    データと実行環境が拠点にあります",
    ),
    "wall": (
        "✓",
        "Wall        {closed} of {routes} routes closed (the site's own report)",
        "遮断        経路{routes}件中{closed}件が閉鎖（拠点自身の報告）",
    ),
    "running": (" ", "Running", "実行中"),
    "again": ("!", "Again       {reason}", "再配置      {reason}"),
    "cancelling": ("!", "Cancelling", "取り消し中"),
    "succeeded": ("✓", "Succeeded", "完了"),
    "failed": ("✗", "Failed      {reason}", "失敗        {reason}"),
    "cancelled": ("-", "Cancelled", "取消済み"),
}
