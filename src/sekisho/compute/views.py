"""Rows as people and programs see them, and lists as the database keeps them."""

from __future__ import annotations

import msgspec

from sekisho.compute.model import (
    AttemptState,
    AttemptView,
    JobState,
    JobView,
    Member,
    Observed,
    SiteChoice,
)
from sekisho.kernel.tx import Row
from sekisho_wire.egress import EgressReport


def job_view(row: Row, site_names: dict[str, str], note: str | None) -> JobView:
    """A row as people see it; `note` is the latest progress line as JSON."""
    return JobView(
        id=row["id"],
        name=row["name"],
        team=row["team"],
        owner=row["owner"],
        submitter=row["submitter"],
        kind=row["kind"],
        array=row["array_job"] or "",
        index=row["array_index"],
        level=row["level"],
        labels=msgspec.json.decode(row["labels"]),
        residency=msgspec.json.decode(row["residency"]),
        state=JobState(row["state"]),
        reason=row["reason"],
        site=row["site"],
        site_name=site_names.get(row["site"], ""),
        attempts=row["attempts"],
        cancelling=bool(row["cancelling"]),
        progress=msgspec.json.decode(note) if note else {},
        created_ms=row["created_ms"],
        changed_ms=row["changed_ms"],
        ended_ms=row["ended_ms"],
        record_id=row["record_id"],
    )


def member(row: Row, site_names: dict[str, str]) -> Member:
    """A job of an array, in short."""
    return Member(
        index=row["array_index"],
        id=row["id"],
        name=row["name"],
        state=JobState(row["state"]),
        reason=row["reason"],
        site_name=site_names.get(row["site"], ""),
        attempts=row["attempts"],
        progress=msgspec.json.decode(row["note"]) if row["note"] else {},
    )


def attempt_view(row: Row, site_names: dict[str, str]) -> AttemptView:
    """A row as people see it."""
    return AttemptView(
        id=row["id"],
        job=row["job"],
        number=row["number"],
        site=row["site"],
        site_name=site_names.get(row["site"], ""),
        agent=row["agent"],
        token=row["token"],
        state=AttemptState(row["state"]),
        reason=row["reason"],
        detail=row["detail"],
        exit_status=row["exit_status"],
        wall=row["wall"],
        canaries=msgspec.json.decode(row["canaries"]),
        limits=msgspec.json.decode(row["limits"]),
        image=row["image"],
        usage=msgspec.json.decode(row["usage"]),
        offered_ms=row["offered_ms"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        record_id=row["record_id"],
        egress=msgspec.json.decode(row["egress"], type=EgressReport) if row["egress"] else None,
        observed=msgspec.json.decode(row["observed"] or "[]", type=list[Observed]),
    )


def site_choices(row: Row) -> list[SiteChoice]:
    """What the job's last round found of every site."""
    return msgspec.json.decode(row["sites"].encode(), type=list[SiteChoice])


def as_json(value: object) -> str:
    """JSON in a TEXT column, in the one spelling that row digests rely on."""
    return msgspec.json.encode(value, order="sorted").decode()
