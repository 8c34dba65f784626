"""Pages of sites and data."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from sekisho.console import japan, marks, shapes
from sekisho.console.asked import Answer, Page
from sekisho.console.drawing import known, say
from sekisho.console.visit import Visit
from sekisho.data import DatasetView, ListDatasets, ShowDataset, ShowKey
from sekisho.identity import ShowOrganisation
from sekisho.sites import (
    STAND_IN_SOURCE,
    Fact,
    ListLandmarks,
    ListSites,
    ProofView,
    ShowProof,
    ShowSite,
    SiteView,
)
from sekisho_wire.problems import Language

ROWS = 50
_MILLION = 1_000_000


class SiteRow(msgspec.Struct, frozen=True):
    """One site in a table. `country` keeps its grade: it is never shown without."""

    site: SiteView
    mark: marks.Mark
    place: str
    country: Fact | None
    gpus: str


class FactRow(msgspec.Struct, frozen=True):
    """One fact, its name and value in words."""

    name: str
    value: str
    fact: Fact


def site_rows(visit: Visit, sites: list[SiteView]) -> list[SiteRow]:
    """Rows of the table of sites."""
    return [
        SiteRow(
            site,
            marks.of_site(site, visit.asked.now_ms),
            str(site.facts["place"].value) if "place" in site.facts else "",
            site.facts.get("country"),
            ", ".join(f"{one.type} × {shapes.count(one.count)}" for one in site.accelerators),
        )
        for site in sites
    ]


def sites(visit: Visit) -> Answer:
    """Every site that may be seen, and the map."""
    found = visit.ask(ListSites(cursor=visit.asked.query.get("cursor", ""), limit=ROWS))
    rows = site_rows(visit, found.items)
    answer = say(visit.language, "sites.answer.none")
    if rows:
        answer = say(
            visit.language,
            "sites.answer",
            serving=sum(row.mark.tint == "ok" and not row.site.control for row in rows),
            all=sum(not row.site.control for row in rows),
            standins=sum(row.site.stand_in for row in rows),
        )
    return Page(
        template="sites.html",
        title=say(visit.language, "sites.title"),
        nav="sites",
        data=found,
        command="sekisho site list --json",
        values={
            "answer": answer,
            "site_rows": rows,
            "next": following("/sites", found.next),
            "map": japan.draw(found.items, visit.asked.now_ms, visit.part(ListLandmarks()).value or []),
        },
    )


def site(visit: Visit) -> Answer:
    """One site: whether it answers, and how each fact about it is known."""
    found = visit.ask(ShowSite(site=visit.asked.path["site"]))
    proof = visit.part(ShowProof(site=found.id)).value
    landmarks = visit.part(ListLandmarks()).value or []
    operator = visit.part(ShowOrganisation(organisation=found.operator)).value
    mark = marks.of_site(found, visit.asked.now_ms)
    title = found.name
    if found.stand_in:
        title = f"{found.name} - {say(visit.language, 'standin')}"
    return Page(
        template="site.html",
        title=title,
        nav="sites",
        data=found,
        command=f"sekisho site show {found.name} --json",
        values={
            "site": found,
            "mark": mark,
            "answer": _site_answer(visit, found, mark),
            "operator": operator.name if operator else found.operator,
            "proof": proof,
            "place_answer": _place_answer(visit, found, proof) if proof else "",
            "finding_mark": marks.FINDINGS.__getitem__,
            "not_shown": proof.not_shown if proof else [],
            "map": japan.draw([found], visit.asked.now_ms, landmarks, proof.findings if proof else ()),
            "facts": [
                FactRow(_fact_name(visit, name), _shouted(visit, name, one), one)
                for name, one in found.facts.items()
            ],
        },
    )


def _place_answer(visit: Visit, site: SiteView, proof: ProofView) -> str:
    """One sentence: what holds now, or what the newest measurement came to."""
    standing = proof.standing
    if standing is None or not isinstance(standing.value, dict):
        told = proof.summary.ja if visit.language is Language.JA else proof.summary.en
        return say(visit.language, "proof.none", name=site.name, summary=told)
    age = shapes.ago(standing.observed_ms, visit.asked.now_ms, visit.language)
    return say(visit.language, "proof.holds", name=site.name, age=age, **standing.value)


def data(visit: Visit) -> Answer:
    """Datasets that may be seen."""
    found = visit.ask(ListDatasets(cursor=visit.asked.query.get("cursor", ""), limit=ROWS))
    ready = sum(one.state == "ready" for one in found.items)
    key = "data.answer" if found.items else "data.none"
    return Page(
        template="data.html",
        title=say(visit.language, "data.title"),
        nav="data",
        data=found,
        command="sekisho data list --json",
        values={
            "answer": say(visit.language, key, n=len(found.items), ready=ready),
            "datasets": found.items,
            "next": following("/data", found.next),
        },
    )


def dataset(visit: Visit) -> Answer:
    """One dataset: who may use it where, and where its copies lie."""
    found = visit.ask(ShowDataset(dataset=visit.asked.path["dataset"]))
    return Page(
        template="dataset.html",
        title=found.name,
        nav="data",
        data=found,
        command=f"sekisho data show {found.name} --json",
        values={"one": found, "answer": _data_answer(visit, found), "key_name": _key_name(visit, found)},
    )


def following(path: str, cursor: str | None) -> str:
    """The address of a list's next page; empty at its end."""
    return f"{path}?{urlencode({'cursor': cursor})}" if cursor else ""


def _data_answer(visit: Visit, found: DatasetView) -> str:
    return say(visit.language, f"data.answer.{found.state}", countries=", ".join(found.residency))


def _key_name(visit: Visit, found: DatasetView) -> str:
    """The name of its key, or the id where the key may not be seen."""
    key = visit.part(ShowKey(key=found.key)).value if found.key else None
    name = key.name if key else found.key
    return say(visit.language, "key.versioned", name=name, version=found.key_version)


def _site_answer(visit: Visit, found: SiteView, mark: marks.Mark) -> str:
    state = mark.word.rpartition(".")[2]
    if state == "unreachable" and not found.heard_ms:
        state = "never"
    key = f"site.answer.{state}"
    values: dict[str, Any] = {
        "name": found.name,
        "age": shapes.ago(found.heard_ms, visit.asked.now_ms, visit.language),
    }
    return say(visit.language, key if known(key) else "site.answer.unreachable", **values)


def _fact_name(visit: Visit, name: str) -> str:
    return say(visit.language, f"fact.{name}") if known(f"fact.{name}") else name


def _shouted(visit: Visit, name: str, fact: Fact) -> str:
    """The value; one that software attested in place of hardware says so in itself."""
    value = _value(visit, name, fact)
    return say(visit.language, "fact.stand-in", value=value) if fact.source == STAND_IN_SOURCE else value


def _value(visit: Visit, name: str, fact: Fact) -> str:
    value = fact.value
    if isinstance(value, bool):
        return say(visit.language, f"value.{str(value).lower()}")
    if isinstance(value, dict):
        return say(visit.language, "value.proof", **value)
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, int):
        if name.endswith("-at"):
            return shapes.utc(value)
        if name.endswith("-e6"):
            return f"{value / _MILLION:.2f}°"
        return f"{value / 1000:,.1f} kW" if name.endswith("-watts") else shapes.count(value)
    return value or "-"
