"""The table of routes: one row per command that can be asked over HTTP.

A row says where a command lives; everything else (decoding, OpenAPI, the command line, the reference pages)
follows from the row and the command's type. Nothing is routed that is not a command, and a command that is not
here is in `WITHOUT_ROUTE` with its reason, or is asked only from inside.
"""

from __future__ import annotations

from sekisho import charter, compute, data, identity, ledger, sites
from sekisho.http.route import Route
from sekisho.kernel.command import Spec
from sekisho.kernel.proposals import ApproveProposal, ListProposals

KERNEL: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/proposals",
        ListProposals,
        cli=("proposal", "list"),
        columns=("id", "action", "proposer", "binding", "created_at", "expires_at"),
    ),
    Route("POST", "/v1/proposals/{proposal}/approve", ApproveProposal, cli=("proposal", "approve")),
)

ORGANISATIONS: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/organisations",
        identity.CreateOrganisation,
        status=201,
        cli=("organisation", "create"),
        words=("name",),
    ),
    Route(
        "PATCH",
        "/v1/organisations/{organisation}",
        identity.UpdateOrganisation,
        cli=("organisation", "update"),
    ),
    Route("GET", "/v1/organisations/{organisation}", identity.ShowOrganisation, cli=("organisation", "show")),
    Route(
        "GET",
        "/v1/organisations",
        identity.ListOrganisations,
        cli=("organisation", "list"),
        columns=("id", "name", "created_at"),
    ),
)

PEOPLE: tuple[Route, ...] = (
    Route("POST", "/v1/people", identity.CreatePerson, status=201, cli=("person", "create")),
    Route("PATCH", "/v1/people/{person}", identity.UpdatePerson, cli=("person", "update")),
    Route("GET", "/v1/people/{person}", identity.ShowPerson, cli=("person", "show")),
    Route(
        "GET",
        "/v1/people",
        identity.ListPeople,
        cli=("person", "list"),
        columns=("id", "display_name", "organisation", "state", "roles"),
    ),
    Route("POST", "/v1/people/{person}/disable", identity.DisablePerson, cli=("person", "disable")),
    Route("POST", "/v1/people/{person}/enable", identity.EnablePerson, cli=("person", "enable")),
    Route("POST", "/v1/people/{person}/erase", identity.ErasePerson, cli=("person", "erase"), final=True),
    Route("POST", "/v1/people/{person}/invite", identity.InvitePerson, cli=("person", "invite")),
    Route("GET", "/v1/me", identity.ShowMe, cli=("me", "show")),
    Route(
        "POST",
        "/v1/services",
        identity.CreateService,
        status=201,
        cli=("service", "create"),
        words=("name",),
    ),
    Route("POST", "/v1/services/{service}/disable", identity.DisableService, cli=("service", "disable")),
    Route(
        "GET",
        "/v1/services",
        identity.ListServices,
        cli=("service", "list"),
        columns=("id", "name", "organisation", "state", "roles"),
    ),
    Route(
        "POST",
        "/v1/services/{service}/tokens",
        identity.CreateServiceToken,
        status=201,
        cli=("service", "token"),
    ),
)

TEAMS: tuple[Route, ...] = (
    Route("POST", "/v1/teams", identity.CreateTeam, status=201, cli=("team", "create"), words=("name",)),
    Route(
        "GET",
        "/v1/teams",
        identity.ListTeams,
        cli=("team", "list"),
        columns=("id", "name", "organisation", "members"),
    ),
    Route("PUT", "/v1/teams/{team}/members/{person}", identity.AddMember, cli=("team", "add")),
    Route("DELETE", "/v1/teams/{team}/members/{person}", identity.RemoveMember, cli=("team", "remove")),
    Route("PUT", "/v1/accounts/{account}/roles/{role}", identity.GrantRole, cli=("role", "grant")),
    Route("DELETE", "/v1/accounts/{account}/roles/{role}", identity.RevokeRole, cli=("role", "revoke")),
    Route(
        "POST", "/v1/approvers", identity.GrantApprover, cli=("approver", "grant"), words=("person", "role")
    ),
    Route(
        "POST",
        "/v1/administrators",
        identity.GrantAdministrator,
        cli=("administrator", "grant"),
        words=("person",),
    ),
)

ACCESS: tuple[Route, ...] = (
    Route("POST", "/v1/tokens", identity.CreateToken, status=201, cli=("token", "create"), words=("label",)),
    Route(
        "GET",
        "/v1/tokens",
        identity.ListTokens,
        cli=("token", "list"),
        columns=("id", "label", "scopes", "expires_at", "used_at", "revoked_at"),
    ),
    Route("DELETE", "/v1/tokens/{token}", identity.RevokeToken, cli=("token", "revoke")),
    Route("POST", "/v1/tokens/{token}/withdraw", identity.WithdrawToken, cli=("token", "withdraw")),
    Route("POST", "/v1/links", identity.CreateLink, status=201, cli=("link", "create")),
    Route("POST", "/v1/sites/{site}/invitations", identity.InviteAgent, status=201, cli=("agent", "invite")),
    Route("POST", "/v1/agents/{agent}/disable", identity.DisableAgent, cli=("agent", "disable")),
    Route(
        "GET",
        "/v1/sites/{site}/agents",
        identity.ListAgents,
        cli=("agent", "list"),
        columns=("id", "name", "site", "state", "created_at"),
    ),
)

CHARTER: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/charter/versions",
        charter.DraftVersion,
        status=201,
        cli=("charter", "draft"),
        words=("policies",),
        files=("policies",),
    ),
    Route(
        "POST",
        "/v1/charter/versions/{version}/activate",
        charter.ActivateVersion,
        cli=("charter", "activate"),
    ),
    Route(
        "GET",
        "/v1/charter/versions",
        charter.ListVersions,
        cli=("charter", "list"),
        columns=("id", "state", "digest", "drafted_by", "drafted", "activated"),
    ),
    Route("GET", "/v1/charter", charter.ShowVersion, cli=("charter", "show"), words=("version",)),
    Route(
        "GET",
        "/v1/charter/difference",
        charter.DiffVersions,
        cli=("charter", "diff"),
        words=("after", "before"),
    ),
    Route(
        "GET",
        "/v1/charter/versions/{version}/replay",
        charter.ReplayVersion,
        cli=("charter", "replay"),
    ),
    Route("POST", "/v1/charter/try", charter.TryRequest, cli=("charter", "try"), words=("action",)),
)

LEDGER: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/records",
        ledger.ListRecords,
        cli=("record", "list"),
        columns=("log_index", "id", "time", "actor", "action", "resource_id", "decision", "outcome"),
    ),
    Route("GET", "/v1/records/{record}", ledger.ShowRecord, cli=("record", "show")),
    Route("POST", "/v1/records/{record}/erase", ledger.EraseRecord, cli=("record", "erase"), final=True),
    Route("GET", "/v1/log/checkpoint", ledger.ShowCheckpoint, cli=("ledger", "checkpoint")),
    Route("GET", "/v1/log/trust", ledger.ShowTrust, cli=("ledger", "trust")),
    Route("GET", "/v1/log/roots/{size}", ledger.ShowRoot, cli=("ledger", "root")),
    Route("GET", "/v1/log/check", ledger.CheckLedger, cli=("ledger", "check")),
    Route("POST", "/v1/log/key", ledger.RotateKey, cli=("ledger", "rotate"), words=("vkey",)),
    Route("POST", "/v1/jobs/{job}/exports", ledger.ExportBundle, status=201),
    Route("GET", "/v1/exports/{export}", ledger.ReadBundle, download="content", media="application/zip"),
)

SITES: tuple[Route, ...] = (
    Route("POST", "/v1/sites", sites.RegisterSite, status=201, cli=("site", "register"), words=("name",)),
    Route("GET", "/v1/sites/{site}", sites.ShowSite, cli=("site", "show")),
    Route(
        "GET",
        "/v1/sites",
        sites.ListSites,
        cli=("site", "list"),
        columns=("id", "name", "operator", "engine", "state", "stand_in", "wall", "heard_at"),
    ),
    Route("PUT", "/v1/sites/{site}/facts/{name}", sites.StateFact, cli=("site", "state")),
    Route(
        "POST",
        "/v1/sites/{site}/challenge",
        sites.ChallengeSite,
        status=201,
        cli=("attestation", "challenge"),
    ),
    Route(
        "POST",
        "/v1/sites/{site}/attestation",
        sites.AddAttestation,
        status=201,
        cli=("attestation", "add"),
        files=("token", "gpu"),
    ),
    Route("POST", "/v1/verifiers", sites.AddVerifier, status=201, cli=("verifier", "add"), words=("name",)),
    Route("DELETE", "/v1/verifiers/{name}", sites.RemoveVerifier, cli=("verifier", "remove"), final=True),
    Route(
        "GET",
        "/v1/verifiers",
        sites.ListVerifiers,
        cli=("verifier", "list"),
        columns=("name", "kind", "issuer", "country", "stand_in", "admitted"),
    ),
    Route("POST", "/v1/sites/{site}/drain", sites.DrainSite, cli=("site", "drain")),
    Route("POST", "/v1/sites/{site}/resume", sites.ResumeSite, cli=("site", "resume")),
    Route("POST", "/v1/sites/{site}/proofs", sites.RequestProof, status=202),
    Route("POST", "/v1/sites/{site}/proofs/{request}", sites.AddProof),
    Route("GET", "/v1/sites/{site}/proof", sites.ShowProof),
    Route(
        "PUT",
        "/v1/landmarks/{name}",
        sites.AddLandmark,
        cli=("landmark", "add"),
    ),
    Route(
        "GET",
        "/v1/landmarks",
        sites.ListLandmarks,
        cli=("landmark", "list"),
        columns=("name", "organisation", "latitude_udeg", "longitude_udeg", "contradicted_by"),
    ),
    Route("DELETE", "/v1/landmarks/{name}", sites.RemoveLandmark, cli=("landmark", "remove")),
    Route("GET", "/v1/landmarks/{landmark}/tasks", sites.ListTasks),
    Route(
        "POST",
        "/v1/territories",
        sites.AddTerritory,
        status=201,
        cli=("territory", "add"),
        words=("territory",),
        files=("territory",),
        body_bytes=sites.TERRITORY_BYTES,
    ),
    Route("PUT", "/v1/territories/{digest}/force", sites.SetTerritory, cli=("territory", "set")),
    Route(
        "GET",
        "/v1/territories",
        sites.ListTerritories,
        cli=("territory", "list"),
        columns=("digest", "name", "version", "state", "added_at"),
    ),
)

DATA: tuple[Route, ...] = (
    Route("POST", "/v1/datasets", data.AddDataset, status=201),
    Route("POST", "/v1/datasets/{dataset}/seal", data.SealDataset),
    Route("GET", "/v1/datasets/{dataset}", data.ShowDataset, cli=("data", "show")),
    Route(
        "GET",
        "/v1/datasets",
        data.ListDatasets,
        cli=("data", "list"),
        columns=("id", "name", "level", "labels", "residency", "state", "size_bytes", "created_at"),
    ),
    Route(
        "POST",
        "/v1/keys",
        data.RegisterKey,
        status=201,
        cli=("key", "register"),
        words=("name",),
        files=("statement",),
    ),
    Route("GET", "/v1/keys/{key}", data.ShowKey, cli=("key", "show")),
    Route(
        "GET",
        "/v1/keys",
        data.ListKeys,
        cli=("key", "list"),
        columns=("id", "name", "custody", "country", "exportable", "version", "state", "stand_in"),
    ),
    Route("POST", "/v1/keys/{key}/stop", data.StopKey, cli=("key", "stop")),
    Route("POST", "/v1/keys/{key}/resume", data.ResumeKey, cli=("key", "resume")),
    Route("POST", "/v1/keys/{key}/rotate", data.RotateKey, cli=("key", "rotate"), files=("statement",)),
    Route(
        "POST",
        "/v1/keys/{key}/destroy",
        data.DestroyKey,
        cli=("key", "destroy"),
        files=("evidence",),
        final=True,
    ),
    Route("POST", "/v1/workdirs", data.AddWorkdir, status=201),
    Route("GET", "/v1/artefacts/{artefact}", data.ShowArtefact, cli=("artefact", "show")),
    Route(
        "GET",
        "/v1/artefacts",
        data.ListArtefacts,
        cli=("artefact", "list"),
        columns=("id", "name", "kind", "level", "size_bytes", "job", "created_at"),
    ),
    Route("POST", "/v1/artefacts/{artefact}/fetch", data.FetchArtefact, cli=("artefact", "ticket")),
    Route("POST", "/v1/artefacts/{artefact}/export", data.ExportArtefact, cli=("artefact", "request")),
    Route("POST", "/v1/artefacts/{artefact}/lower", data.LowerArtefact, cli=("artefact", "lower")),
    Route("POST", "/v1/datasets/{dataset}/lower", data.LowerDataset, cli=("data", "lower")),
    Route("GET", "/v1/releases/{release}", data.ShowRelease, cli=("release", "show")),
    Route(
        "GET",
        "/v1/releases",
        data.ListReleases,
        cli=("release", "list"),
        columns=("id", "artefact", "destination", "state", "requester", "created_at", "expires_at"),
    ),
    Route("POST", "/v1/releases/{release}/fetch", data.FetchRelease, cli=("release", "ticket")),
)

COMPUTE: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/jobs",
        compute.SubmitJob,
        status=201,
        cli=("job", "submit"),
        words=("file",),
        files=("file",),
    ),
    Route(
        "POST",
        "/v1/jobs/plan",
        compute.PlanJob,
        cli=("job", "plan"),
        daily="plan",
        words=("file",),
        files=("file",),
    ),
    Route(
        "GET",
        "/v1/jobs",
        compute.ListJobs,
        cli=("job", "list"),
        daily="jobs",
        columns=("id", "name", "state", "site_name", "level", "created_at", "reason"),
    ),
    Route("GET", "/v1/jobs/{job}", compute.ShowJob, cli=("job", "show")),
    Route("GET", "/v1/jobs/{job}/explanation", compute.ExplainJob, cli=("job", "why"), daily="why"),
    Route("POST", "/v1/jobs/{job}/cancel", compute.CancelJob, cli=("job", "cancel"), daily="cancel"),
    Route("GET", "/v1/jobs/{job}/log", compute.ReadLog, cli=("job", "logs"), daily="logs"),
    Route("PUT", "/v1/secrets/{name}", compute.SetSecret, cli=("secret", "set"), files=("value",)),
    Route(
        "GET",
        "/v1/secrets",
        compute.ListSecrets,
        cli=("secret", "list"),
        columns=("name", "team", "changed_at"),
    ),
    Route("DELETE", "/v1/secrets/{name}", compute.DeleteSecret, cli=("secret", "delete"), final=True),
    Route(
        "POST",
        "/v1/images",
        compute.AddImage,
        status=201,
        cli=("image", "add"),
        words=("name", "lock"),
        files=("lock",),
    ),
    Route(
        "GET",
        "/v1/images",
        compute.ListImages,
        cli=("image", "list"),
        columns=("name", "owner", "created_at"),
    ),
)

ROUTES: tuple[Route, ...] = (
    *KERNEL,
    *ORGANISATIONS,
    *PEOPLE,
    *TEAMS,
    *ACCESS,
    *CHARTER,
    *LEDGER,
    *SITES,
    *DATA,
    *COMPUTE,
)

_CONSOLE = "the console's own sign-in performs it; a session is no use to a program"
_DOOR = "performed by the agents' own door, whose messages are sealed"
_EDGE = "performed by whoever authenticates a request, never asked for by it"

WITHOUT_ROUTE: dict[str, str] = {
    "ledger.log.restore": "`sekishod restore` performs it, inside the database that comes back",
    "compute.agent.find": _DOOR,
    "compute.job.place": "the question every placement asks for each site; nobody sends it",
    "identity.agent.register": _DOOR,
    "identity.authenticate": _EDGE,
    "identity.link.redeem": _CONSOLE,
    "identity.session.change": _CONSOLE,
    "identity.session.close": _CONSOLE,
    "identity.session.open": _CONSOLE,
    "identity.session.read": _CONSOLE,
    "identity.session.start": _CONSOLE,
    "identity.source.check": _EDGE,
}
"""Commands that nobody asks over this table, each with its reason. Only the system's own need no entry."""


def only_inside(spec: Spec) -> bool:
    """Whether nobody outside can ask: background work, or the agents' own sealed door."""
    return set(spec.principals) <= {"System", "Agent"}
