"""The wiring: the one place that knows every capability and plugs what one needs into another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sekisho import charter, compute, data, identity, ledger, sites
from sekisho.kernel.clock import Clock, SystemClock
from sekisho.kernel.config import Settings
from sekisho.kernel.context import Ctx
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.evidence import Draft
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.gate import Gate
from sekisho.kernel.migrate import migrate
from sekisho.kernel.net import Network
from sekisho.kernel.tx import Tx
from sekisho.kernel.vault import SecretBox, Vault
from sekisho_wire import typeinfo
from sekisho_wire.objects import ObjectsByDigest

MODULES = ("kernel", "identity", "ledger", "charter", "data", "sites", "compute")
"""Modules with tables, lowest layer first."""

CONTROL_KEY, SECRETS_KEY, TICKETS_KEY = "control.key", "secrets.key", "tickets.key"
TRUST_FILE = "trust.json"
ORDERS_FILE = "orders.pub"


class Recorder:
    """The ledger, with the facts of each decision kept beside the record that names them."""

    def __init__(self, log: ledger.Ledger, engine: charter.CharterEngine) -> None:
        """`engine` remembers the facts of every decision it took, `log` keeps them for good."""
        self._log = log
        self._engine = engine

    def append(self, tx: Tx, *drafts: Draft) -> None:
        """Records and facts stand or fall with the same transaction."""
        self._log.append(tx, *drafts)
        facts = {draft.decision.facts: self._engine.facts_body(draft.decision) for draft in drafts}
        self._log.keep_facts(tx, {digest: body for digest, body in facts.items() if body is not None})

    def known(self, tx: Tx, record_id: str) -> bool:
        """Whether the record was committed."""
        return self._log.known(tx, record_id)


class Folders:
    """Where everything embedded lies below the data folder."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before it is used."""
        self.root = root
        self.keys = root / "keys"
        self.log_keys = root / "keys" / "log"
        self.published = root / "published"
        self.logs = root / "logs"
        self.incoming = root / "incoming"
        self.agents = root / "agents"
        self.trust = root / TRUST_FILE


class Control:
    """A whole control plane in one process: gate, keys, stores. HTTP and loops are started around it."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Open what `init` made. Raises `vault.broken` before `init`, `database.*` for a database in use or newer."""
        typeinfo.build()
        self.settings = settings
        self.clock = clock or SystemClock()
        self.folders = Folders(settings.folder)
        vault = Vault(self.folders.keys)
        self.seals = compute.Seals(vault.signing_key(CONTROL_KEY))
        self.tickets = data.Tickets(vault.read(TICKETS_KEY), self.clock)
        self.log_keys = ledger.KeyFolder(self.folders.log_keys, settings.ledger.origin)
        self.objects = ObjectsByDigest.open(settings.objects_url, self.folders.incoming)
        self.logs = compute.LogFiles(self.folders.logs)
        self.witnesses = ledger.read_witnesses(settings.ledger.witnesses)
        outside = [settings.oidc.issuer] if settings.oidc.issuer else []
        self.authorities = ledger.read_authorities(settings.ledger.timestamps)
        asked = (*self.witnesses, *self.authorities)
        self.network = Network([*outside, *(one.url for one in asked)])
        self.database: Database = open_database(settings.database_url)
        try:
            migrate(self.database, MODULES, self.clock.now_ms())
            self._wire(SecretBox(vault.read(SECRETS_KEY)))
        except BaseException:
            self.database.close()
            raise
        self.publisher = ledger.Publisher(self.folders.published)
        self.witness_answers = ledger.figures()
        self.sign_in = identity.SignIn(self.gate.perform)
        self.outside = self._outside()

    def _wire(self, box: SecretBox) -> None:
        principals = identity.IdentityPrincipals(self.clock)
        self.engine = charter.CharterEngine(
            [
                identity.OrganisationEntities(self.clock),
                identity.ApproverEntities(self.clock),
                sites.SiteEntities(self.clock),
                data.KeyEntities(),
            ],
            expiries=[identity.next_expiry, sites.next_expiry],
        )
        log = ledger.Ledger(self.log_keys.stream_key)
        parts = ledger.Parts(
            ledger=log,
            keys=self.log_keys,
            subjects=compute.JobSubjects(),
            holder=self.seals.public_key,
            published=self.folders.published,
            witnesses=self.witnesses,
            authorities=self.authorities,
        )
        location = sites.LocationActions(log.keep_file, ledger.read_file)
        production = self.settings.environment == "production"
        office = charter.Office(self.engine, keep=log.keep_charter, history=_history)
        stored = data.DataActions(self.objects, self.tickets, _own_place, production=production)
        releases = self._releases(stored, log, principals)

        def found(ctx: Ctx, text: str) -> None:
            """What the genesis record brings beside people: the first charter, and this place as a site."""
            office.install(ctx, text)
            sites.found_control_site(ctx, operator=ctx.target.resource.ref.id, country=self.settings.country)

        self.gate = Gate(
            self.database,
            clock=self.clock,
            decider=self.engine,
            principals=principals,
            recorder=Recorder(log, self.engine),
            handlers=(
                *identity.handlers(
                    clock=self.clock,
                    sites=sites.entity_of_site,
                    control_key=self.seals.public_key,
                    install_charter=found,
                    agents_changed=sites.forget_place,
                ),
                *charter.handlers(office),
                *ledger.handlers(parts),
                *sites.handlers(location, production=production),
                *sites.attestation_handlers(sites.AttestationActions(self._admission(), log.keep_file)),
                *data.handlers(stored),
                *data.consenting_handlers(releases),
                *compute.handlers(self._compute(log, principals, box, stored=stored, releases=releases)),
            ),
        )

    def _compute(
        self,
        log: ledger.Ledger,
        principals: identity.IdentityPrincipals,
        box: SecretBox,
        *,
        stored: data.DataActions,
        releases: data.ReleaseActions,
    ) -> compute.ComputeActions:
        """What handles jobs, from their submission to what they leave behind."""
        patience = compute.Patience(self.settings.compute.lease_seconds)
        return compute.ComputeActions(
            jobs=compute.JobActions(principals, log.keep_file, self.logs, patience, arrived=stored.arrived),
            rounds=compute.RoundActions(principals, patience),
            attempts=compute.AttemptActions(
                self.seals,
                principals=principals,
                box=box,
                tickets=self.tickets,
                logs=self.logs,
                patience=patience,
                egress=compute.EgressNotes(
                    log.keep_file, compute.read_listeners(self.settings.compute.listeners)
                ),
            ),
            orders=compute.OrderActions(
                self.seals,
                principals=principals,
                tickets=self.tickets,
                under_checkpoint=ledger.under_checkpoint,
                patience=patience,
                releases=releases,
                arrived=stored.arrived,
            ),
            keeps=compute.KeepActions(box, self.objects),
            releases=compute.ReleaseActions(
                self.seals, principals=principals, keep_file=log.keep_file, cosigners=self.witnesses
            ),
        )

    def _admission(self) -> sites.Admission:
        settings = self.settings
        countries = frozenset({settings.country, *settings.sites.verifier_countries})
        return sites.Admission(
            countries,
            production=settings.environment == "production",
            measurements=frozenset(settings.sites.measurements),
        )

    def _releases(
        self, stored: data.DataActions, log: ledger.Ledger, principals: identity.IdentityPrincipals
    ) -> data.ReleaseActions:
        """What handles exports, and knows who may agree to them."""
        return data.ReleaseActions(
            stored,
            self.tickets,
            data.People(principals),
            keep_file=log.keep_file,
            under_checkpoint=ledger.under_checkpoint,
        )

    def _outside(self) -> identity.OutsideSignIn | None:
        """Sign-in through the configured identity provider; None without one."""
        oidc = self.settings.oidc
        if not oidc.issuer:
            return None
        provider = identity.Provider(
            issuer=oidc.issuer,
            client_id=oidc.client_id,
            client_secret=oidc.client_secret,
            redirect_uri=f"{self.settings.server.public_url}/signin/outside/back",
            organisation=oidc.organisation,
            roles=oidc.roles,
            groups_claim=oidc.groups_claim,
        )
        client = identity.OidcClient(provider, self.network, self.clock)
        return identity.OutsideSignIn(self.gate.perform, client, self.clock)

    def ready(self) -> Mapping[str, bool]:
        """What this process needs, and whether it is there; asked by `/readyz`."""
        try:
            active = self.database.read(lambda tx: self.engine.active(tx) is not None)
        except SekishoError:
            return {"database": False, "charter": False}
        return {"database": True, "charter": active}

    def advance_log(self) -> bool:
        """Sequence, sign and publish once; whether there was anything to do."""
        done = self.gate.perform(SYSTEM, ledger.SequenceBatch())
        if not done.leads or (not done.taken and not self._behind(done.size)):
            return False
        self.gate.perform(SYSTEM, ledger.SignCheckpoint())
        self.publish()
        return done.more

    def publish(self) -> None:
        """Bring the published log up to the newest checkpoint and its cosignatures; any thread may."""
        self.publisher.advance(lambda size: self.gate.perform(SYSTEM, ledger.ReadTiles(size=size)))

    def offerings(self) -> list[tuple[str, ledger.Offering]]:
        """For each witness its name and the rounds that bring its cosignatures home, to be run by one thread each."""
        return [
            (
                witness.name,
                ledger.Offering(
                    witness,
                    perform=self.gate.perform,
                    post=self.network.post_bytes,
                    publish=self.publish,
                    clock=self.clock,
                    interval_ms=self.settings.ledger.witness_interval_ms,
                    answers=self.witness_answers,
                ),
            )
            for witness in self.witnesses
        ]

    def stampings(self) -> list[tuple[str, ledger.Stamping]]:
        """For each authority its name and the rounds that have checkpoints stamped, to be run by one thread each."""
        return [
            (
                authority.name,
                ledger.Stamping(
                    authority,
                    perform=self.gate.perform,
                    post=self.network.post_bytes,
                    clock=self.clock,
                    interval_ms=self.settings.ledger.timestamp_interval_ms,
                ),
            )
            for authority in self.authorities
        ]

    def _behind(self, size: int) -> bool:
        head = self.publisher.published()
        return size > 0 and (head is None or head.size < size)

    def check_published(self) -> None:
        """Refuse to continue a published log that this database does not hold (a restore that is too old)."""
        trust = msgspec.json.decode(self.gate.perform(SYSTEM, ledger.ShowTrust()).text)
        self.publisher.start(
            lambda size: self.gate.perform(SYSTEM, ledger.ShowRoot(size=size)), trust["keys"]
        )

    def write_trust(self) -> Path:
        """Write the trust file that auditors are handed, apart from any bundle; whole or not at all.

        Beside it lies the key that signs what agents and custodians of keys get, which their owners are handed too.
        """
        (self.folders.root / ORDERS_FILE).write_text(self.seals.public_key + "\n", encoding="utf-8")
        text = self.gate.perform(SYSTEM, ledger.ShowTrust()).text + "\n"
        draft = self.folders.trust.with_name(f".{TRUST_FILE}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.folders.trust)
        return self.folders.trust

    def close(self) -> None:
        """Finish queued writes and release the database."""
        self.network.close()
        self.database.close()


@contextlib.contextmanager
def opened(settings: Settings, *, clock: Clock | None = None) -> Iterator[Control]:
    """A control plane for the length of the block."""
    control = Control(settings, clock=clock)
    try:
        yield control
    finally:
        control.close()


def migrate_only(settings: Settings, clock: Clock) -> tuple[str, ...]:
    """Bring the database to this version's schema without serving; answers the files applied."""
    database = open_database(settings.database_url)
    try:
        return migrate(database, MODULES, clock.now_ms())
    finally:
        database.close()


def create_keys(settings: Settings) -> None:
    """Make every key of a new installation; keys that exist are kept, except that the log's must be new."""
    folders = Folders(settings.folder)
    folders.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    vault = Vault(folders.keys)
    for name in (CONTROL_KEY, SECRETS_KEY, TICKETS_KEY):
        vault.create(name)
    ledger.KeyFolder.create(folders.log_keys, settings.ledger.origin)


def initialise(settings: Settings, begin: identity.Begin, *, clock: Clock | None = None) -> identity.Genesis:
    """Make a new installation: keys, tables, genesis record, first checkpoint, trust file.

    Raises `ledger.key_exists` or `identity.genesis_done` where there is one already.
    """
    create_keys(settings)
    with opened(settings, clock=clock) as control:
        genesis = control.gate.perform(SYSTEM, begin)
        while control.advance_log():
            pass
        control.write_trust()
        return genesis


def _own_place(tx: Tx) -> data.Place:
    site = sites.find_site(tx, sites.CONTROL_SITE)
    country = site.facts.get("country")
    return data.Place(site.id, sites.platform_key_ref(site.id), str(country.value) if country else "")


def _history(tx: Tx, before: int, limit: int) -> list[charter.Recorded]:
    return [charter.Recorded(**msgspec.structs.asdict(one)) for one in ledger.decisions(tx, before, limit)]
