"""Reads what a placement round looks at: every site with its room, as the database has it at one moment."""

from __future__ import annotations

from sekisho.compute import rules, tables
from sekisho.compute.placement import Need, Room, Site
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import SiteView, all_sites


def read_sites(tx: Tx, now_ms: int, patience: rules.Patience) -> tuple[Site, ...]:
    """All sites that run engines; room is what was declared less what active attempts hold."""
    held: dict[str, list[Row]] = {}
    for attempt in tables.active_attempts(tx):
        held.setdefault(attempt["site"], []).append(attempt)
    return tuple(
        _site(site, held.get(site.id, []), patience.with_site(site.away_seconds).site_silent_since_ms(now_ms))
        for site in all_sites(tx)
        if not site.control
    )


def _site(site: SiteView, held: list[Row], heard_after_ms: int) -> Site:
    total = Room(site.cpus, site.memory_bytes, {item.type: item.count for item in site.accelerators})
    free = total
    for attempt in held:
        free = free.less(
            Need(attempt["cpus"], attempt["memory_bytes"], gpus=attempt["gpus"], gpu_type=attempt["gpu_type"])
        )
    return Site(
        id=site.id,
        name=site.name,
        total=total,
        free=free,
        answers=site.state == "serving" and site.heard_ms >= heard_after_ms,
        yen_per_hour=site.yen_per_hour,
        gpu_yen_per_hour={item.type: item.yen_per_hour for item in site.accelerators},
        nodes=site.nodes,
        asks=site.asks_health,
    )
