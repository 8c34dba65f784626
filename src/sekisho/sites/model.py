"""What can be asked about sites: places that offer GPUs, with one operator and one engine each."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command
from sekisho_wire.messages import NODES_MAX, ShortText

Grade = Literal["M", "A", "S", "D"]
"""How a fact is known: measured by us or a third party, hardware-attested, signed by a third party, declared."""

FactValue = str | int | bool | list[str] | dict[str, int]

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Text = Annotated[str, Meta(max_length=300)]

STATES = ("serving", "draining")
AWAY_SECONDS_MAX = 7 * 86_400


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One statement about a site: value, how it is known, by whom, since when and until when."""

    value: FactValue
    grade: Grade = "D"
    issuer: Text = ""
    observed_ms: Count = 0
    expires_ms: Count = 0
    source: Text = ""


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One type of GPU: how many there are, and the price of one for an hour."""

    type: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")]
    count: Count
    yen_per_hour: Count = 0


class SiteView(msgspec.Struct, frozen=True):
    """A site as people and programs see it. `stand_in` is a simulated place; nothing about it is real.

    `wall`, `nodes` (the largest gang it starts), `holds_leases` (a payload ends with its lease even while no agent is
    there) and `asks_health` (of services, inside) are its agent's word. `away_seconds` is how long its agent may be
    out of touch while its work goes on; 0 for a site that is always there.
    """

    id: str
    name: str
    operator: str
    engine: str
    state: str
    stand_in: bool
    control: bool
    cpus: int
    memory_bytes: int
    yen_per_hour: int
    accelerators: list[Accelerator]
    facts: dict[str, Fact]
    wall: str
    nodes: int
    holds_leases: bool
    asks_health: bool
    away_seconds: int
    heard_ms: int
    record_id: str


class SitePage(msgspec.Struct, frozen=True):
    """One page of sites; `next` continues it."""

    items: list[SiteView]
    next: str | None = None


@command(
    "sites.site.register",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("administer",),
    changes_facts=True,
    ja="拠点を登録します。",
)
class RegisterSite(Command[SiteView]):
    """Register a site that an operator offers.

    Give `away_seconds` for one that is out of touch for hours, such as a factory's: its leases last that long.
    """

    name: Name
    operator: str
    country: Fact
    engine: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\Z")] = "local"
    stand_in: bool = False
    cpus: Count = 0
    memory_bytes: Count = 0
    yen_per_hour: Count = 0
    away_seconds: Annotated[int, Meta(ge=0, le=AWAY_SECONDS_MAX)] = 0
    accelerators: Annotated[list[Accelerator], Meta(max_length=32)] = msgspec.field(default_factory=list)
    facts: Annotated[dict[Name, Fact], Meta(max_length=32)] = msgspec.field(default_factory=dict)


@command(
    "sites.fact.state",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("operate",),
    changes_facts=True,
    ja="拠点についての事実を、その確度とともに記録します。",
)
class StateFact(Command[SiteView]):
    """State a fact about a site, with how it is known."""

    site: str
    name: Name
    fact: Fact


@command(
    "sites.fact.expire",
    kind=Kind.RECORDED,
    resource="Site",
    principals=("System",),
    groups=("system",),
    changes_facts=True,
    ja="期限の切れた事実を取り除きます。",
)
class ExpireFact(Command[bool]):
    """Remove a fact whose time is over."""

    site: str
    name: Name


@command(
    "sites.site.drain",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("operate",),
    ja="拠点での新規受付を停止します。",
)
class DrainSite(Command[SiteView]):
    """Stop placing new work at a site."""

    site: str


@command(
    "sites.site.resume",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("operate",),
    ja="拠点での新規受付を再開します。",
)
class ResumeSite(Command[SiteView]):
    """Place new work at a site again."""

    site: str


@command("sites.site.show", kind=Kind.READ, resource="Site", groups=("view",), ja="拠点を表示します。")
class ShowSite(Command[SiteView]):
    """Show one site, by id or name."""

    site: str


@command("sites.site.list", kind=Kind.READ, resource="Site", groups=("view",), ja="拠点を一覧します。")
class ListSites(Command[SitePage]):
    """List the sites that you may see."""

    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


@command(
    "sites.capabilities.report",
    kind=Kind.RECORDED,
    resource="Site",
    principals=("System",),
    groups=("system",),
    changes_facts=True,
    ja="拠点エージェントが述べた遮断の仕組みを記録します。",
)
class ReportCapabilities(Command[bool]):
    """Note what the site's agent says of its engine: wall, largest gang, whether leases hold (grade D)."""

    site: str
    wall: ShortText
    nodes: Annotated[int, Meta(ge=1, le=NODES_MAX)] = 1
    holds_leases: bool = True
    asks_health: bool = False
