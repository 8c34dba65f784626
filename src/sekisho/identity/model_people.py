"""What can be asked about people, and the command an installation begins with.

Names of people are answered here and nowhere else; records carry account ids.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.identity.model import (
    CountryOrNone,
    Cursor,
    Email,
    FactView,
    Id,
    Limit,
    Moment,
    Name,
    NewOrganisation,
    State,
    Text,
    Words,
)
from sekisho.kernel.command import Command, Kind, command


class PersonView(msgspec.Struct, frozen=True):
    """A person. Name and address are empty once erased; address and facts, too, for whoever may not change them."""

    id: str
    display_name: str
    email: str
    organisation: str
    state: State
    roles: list[str]
    teams: list[str]
    facts: dict[str, FactView]
    created_ms: int


class PersonPage(msgspec.Struct, frozen=True):
    """One page of people; `next` continues it."""

    items: list[PersonView]
    next: str | None = None


class NewPerson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the first two administrators."""

    display_name: Name
    email: Email = ""
    residence: CountryOrNone = ""


class FirstAdministrator(msgspec.Struct, frozen=True):
    """An administrator of the first hour; `token` is shown this once."""

    account: str
    token: str
    expires_ms: int


class Genesis(msgspec.Struct, frozen=True):
    """What an installation begins with."""

    organisation: str
    administrators: list[FirstAdministrator]


@command(
    "identity.genesis",
    kind=Kind.RECORDED,
    resource="Org",
    principals=("System",),
    groups=("system",),
    changes_facts=True,
    ja="最初の組織、2人の管理者、最初の憲章を登録します。",
)
class Begin(Command[Genesis]):
    """Set up an empty installation: its organisation, two administrators and the first charter."""

    organisation: NewOrganisation
    administrators: Annotated[list[NewPerson], Meta(min_length=2, max_length=2)]
    charter: str


@command(
    "identity.person.create",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="利用者を登録します。",
)
class CreatePerson(Command[PersonView]):
    """Register a person in an organisation, without any role."""

    organisation: Id
    display_name: Name
    email: Email = ""
    residence: CountryOrNone = ""
    clearances: Words = ()
    clearance_until_ms: Moment = 0
    source: Text = ""


@command(
    "identity.person.update",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="利用者の情報を更新します。",
)
class UpdatePerson(Command[PersonView]):
    """Correct a person's name, address, residence or clearances; what is not given stays."""

    person: Id
    display_name: Name | None = None
    email: Email | None = None
    residence: CountryOrNone | None = None
    clearances: Words | None = None
    clearance_until_ms: Moment = 0
    source: Text = ""


@command(
    "identity.person.disable",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="利用者を無効にします。",
)
class DisablePerson(Command[PersonView]):
    """Shut a person out at once; their tokens and sessions stop working."""

    person: Id


@command(
    "identity.person.enable",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="無効にした利用者を再び有効にします。",
)
class EnablePerson(Command[PersonView]):
    """Let a disabled person in again."""

    person: Id


@command(
    "identity.person.erase",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="利用者の個人情報を消去します。仮名の識別子だけが残ります。",
)
class ErasePerson(Command[PersonView]):
    """Erase what is known of a person; only the pseudonym stays, for the evidence that names it."""

    person: Id


@command(
    "identity.person.show",
    kind=Kind.READ,
    resource="Account",
    groups=("administer", "view"),
    ja="利用者を表示します。",
)
class ShowPerson(Command[PersonView]):
    """Show one person."""

    person: Id


@command(
    "identity.person.list",
    kind=Kind.READ,
    resource="Account",
    groups=("administer", "view"),
    ja="利用者を一覧します。",
)
class ListPeople(Command[PersonPage]):
    """List the people of an organisation, your own unless another is named."""

    organisation: Annotated[str, Meta(max_length=64)] = ""
    cursor: Cursor = ""
    limit: Limit = 50
