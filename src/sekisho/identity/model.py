"""What can be asked about organisations, service accounts, teams and roles; and types that all of identity shares."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command

Name = Annotated[str, Meta(min_length=1, max_length=120)]
Email = Annotated[str, Meta(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?\Z")]
Country = Annotated[str, Meta(min_length=2, max_length=2, pattern=r"^[A-Z]{2}\Z")]
CountryOrNone = Annotated[str, Meta(max_length=2, pattern=r"^([A-Z]{2})?\Z")]
Percent = Annotated[int, Meta(ge=0, le=100)]
Word = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Words = Annotated[tuple[Word, ...], Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=300)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Cursor = Annotated[str, Meta(max_length=64)]
Limit = Annotated[int, Meta(ge=1, le=200)]
Moment = Annotated[int, Meta(ge=0, lt=2**53)]
Secret = Annotated[str, Meta(max_length=512)]

Grade = Literal["M", "A", "S", "D"]
State = Literal["active", "disabled", "erased"]
Role = Literal[
    "administrator",
    "analyst",
    "auditor",
    "caller",
    "compliance",
    "engineer",
    "landmark",
    "learner",
    "programme",
    "releaser",
    "site_operator",
    "training_manager",
]


class FactView(msgspec.Struct, frozen=True):
    """One statement with how it is known. `expires_ms` 0: until somebody states otherwise."""

    value: str | int | bool | list[str]
    grade: Grade
    issuer: str
    source: str
    observed_ms: int
    expires_ms: int


class OrganisationView(msgspec.Struct, frozen=True):
    """An organisation with everything known of where it sits and who controls it."""

    id: str
    name: str
    facts: dict[str, FactView]
    created_ms: int


class OrganisationPage(msgspec.Struct, frozen=True):
    """One page of organisations; `next` continues it."""

    items: list[OrganisationView]
    next: str | None = None


class ServiceView(msgspec.Struct, frozen=True):
    """A service account: a program that acts for an organisation."""

    id: str
    name: str
    organisation: str
    state: State
    roles: list[str]
    created_ms: int


class ServicePage(msgspec.Struct, frozen=True):
    """One page of service accounts; `next` continues it."""

    items: list[ServiceView]
    next: str | None = None


class TeamView(msgspec.Struct, frozen=True):
    """A team and the ids of its members."""

    id: str
    name: str
    organisation: str
    members: list[str]
    created_ms: int


class TeamPage(msgspec.Struct, frozen=True):
    """One page of teams; `next` continues it."""

    items: list[TeamView]
    next: str | None = None


class RolesView(msgspec.Struct, frozen=True):
    """The roles an account has after a change, wherever they come from."""

    account: str
    roles: list[str]


class NewOrganisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first organisation of an installation, as its founder declares it."""

    name: Name
    jurisdiction: Country
    parent_jurisdiction: Country
    foreign_control_pct: Percent
    parent: Text = ""
    legal_exposure: Words = ()
    certs: Words = ()


@command(
    "identity.organisation.create",
    kind=Kind.RECORDED,
    resource="Org",
    groups=("administer",),
    changes_facts=True,
    ja="組織を登録します。",
)
class CreateOrganisation(Command[OrganisationView]):
    """Register an organisation and declare where it sits and who controls it."""

    name: Name
    jurisdiction: Country
    parent_jurisdiction: Country
    foreign_control_pct: Percent
    parent: Text = ""
    legal_exposure: Words = ()
    certs: Words = ()
    source: Text = ""
    expires_ms: Moment = 0


@command(
    "identity.organisation.update",
    kind=Kind.RECORDED,
    resource="Org",
    groups=("administer",),
    changes_facts=True,
    ja="組織について新しい事実を記録します。",
)
class UpdateOrganisation(Command[OrganisationView]):
    """Declare anew what changed about an organisation; what is not given stays."""

    organisation: Id
    name: Name | None = None
    jurisdiction: Country | None = None
    parent: Text | None = None
    parent_jurisdiction: Country | None = None
    foreign_control_pct: Percent | None = None
    legal_exposure: Words | None = None
    certs: Words | None = None
    source: Text = ""
    expires_ms: Moment = 0


@command(
    "identity.organisation.show",
    kind=Kind.READ,
    resource="Org",
    groups=("administer", "view"),
    ja="組織を表示します。",
)
class ShowOrganisation(Command[OrganisationView]):
    """Show one organisation and how each fact about it is known."""

    organisation: Id


@command(
    "identity.organisation.list",
    kind=Kind.READ,
    resource="Org",
    groups=("administer", "view"),
    ja="組織を一覧します。",
)
class ListOrganisations(Command[OrganisationPage]):
    """List the organisations that you may see."""

    cursor: Cursor = ""
    limit: Limit = 50


@command(
    "identity.fact.expire",
    kind=Kind.RECORDED,
    resource="Org",
    principals=("System",),
    groups=("system",),
    changes_facts=True,
    ja="期限の切れた事実を取り除きます。",
)
class ExpireFact(Command[bool]):
    """Remove a fact whose time is over."""

    subject: Id
    name: Word


@command(
    "identity.service.create",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="サービスアカウントを作成します。",
)
class CreateService(Command[ServiceView]):
    """Create a service account for a program, without any role."""

    organisation: Id
    name: Name


@command(
    "identity.service.disable",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="サービスアカウントを無効にします。",
)
class DisableService(Command[ServiceView]):
    """Shut a program out at once."""

    service: Id


@command(
    "identity.service.list",
    kind=Kind.READ,
    resource="Account",
    groups=("administer", "view"),
    ja="サービスアカウントを一覧します。",
)
class ListServices(Command[ServicePage]):
    """List the service accounts of an organisation, your own unless another is named."""

    organisation: Annotated[str, Meta(max_length=64)] = ""
    cursor: Cursor = ""
    limit: Limit = 50


@command(
    "identity.team.create",
    kind=Kind.RECORDED,
    resource="Team",
    groups=("administer",),
    changes_facts=True,
    ja="チームを作成します。",
)
class CreateTeam(Command[TeamView]):
    """Create a team in an organisation."""

    organisation: Id
    name: Name


@command(
    "identity.team.list",
    kind=Kind.READ,
    resource="Team",
    groups=("administer", "view"),
    ja="チームを一覧します。",
)
class ListTeams(Command[TeamPage]):
    """List the teams of an organisation, your own unless another is named."""

    organisation: Annotated[str, Meta(max_length=64)] = ""
    cursor: Cursor = ""
    limit: Limit = 50


@command(
    "identity.team.member.add",
    kind=Kind.RECORDED,
    resource="Team",
    groups=("administer",),
    changes_facts=True,
    ja="チームにメンバーを追加します。",
)
class AddMember(Command[TeamView]):
    """Add a person of the team's own organisation to the team."""

    team: Id
    person: Id


@command(
    "identity.team.member.remove",
    kind=Kind.RECORDED,
    resource="Team",
    groups=("administer",),
    changes_facts=True,
    ja="チームからメンバーを外します。",
)
class RemoveMember(Command[TeamView]):
    """Take a person out of a team."""

    team: Id
    person: Id


@command(
    "identity.role.grant",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="役割を付与します。管理者の役割は別のコマンドで付与します。",
)
class GrantRole(Command[RolesView]):
    """Give an account a role in its own organisation; administration has a command of its own."""

    account: Id
    role: Role


@command(
    "identity.role.revoke",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    changes_facts=True,
    ja="役割を取り消します。",
)
class RevokeRole(Command[RolesView]):
    """Take a role away, effective with the next request."""

    account: Id
    role: Role


@command(
    "identity.administrator.grant",
    kind=Kind.RECORDED,
    resource="Account",
    principals=("User",),
    groups=("administer",),
    two_people=True,
    changes_facts=True,
    ja="2人の承認により、管理者の役割を付与します。",
)
class GrantAdministrator(Command[RolesView]):
    """Make a person an administrator; a second administrator has to approve."""

    person: Id


@command(
    "identity.approver.grant",
    kind=Kind.RECORDED,
    resource="Account",
    principals=("User",),
    groups=("administer",),
    two_people=True,
    changes_facts=True,
    ja="2人の承認により、承認者となる役割（法令順守担当、持ち出し承認者）を付与します。",
)
class GrantApprover(Command[RolesView]):
    """Give a person a role that counts as a second signature; a second administrator has to approve."""

    person: Id
    role: Literal["compliance", "releaser"]
