"""Handlers of verifiers and attestation. Nothing here opens a connection: keys are here beforehand or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import rules, tables
from sekisho.sites import tables_attestation as stored
from sekisho.sites.errors_attestation import (
    NOT_ASKED,
    VERIFIER_ABROAD,
    VERIFIER_STAND_IN,
    VERIFIER_TAKEN,
    VERIFIER_WRONG,
    refused,
)
from sekisho.sites.model import ExpireFact, Fact, SiteView
from sekisho.sites.model_attestation import (
    STAND_IN_SOURCE,
    AddAttestation,
    AddVerifier,
    AttestationView,
    Challenge,
    ChallengeSite,
    ListVerifiers,
    RemoveVerifier,
    VerifierKey,
    VerifierPage,
    VerifierView,
)
from sekisho_verify import canonical
from sekisho_verify.attestation import NONCE_BYTES, Attestation, Question, Verifier
from sekisho_verify.attestation_claims import SOFTWARE
from sekisho_verify.attestation_file import (
    FILE_NAME,
    AttestationFile,
    read_verifiers,
    verifier_document,
    write_file,
)
from sekisho_verify.attestation_jwt import make_token_key, pem_of
from sekisho_verify.errors import VerifyError

CHALLENGE_MS = 600_000

KeepFile = Callable[[Tx, str, bytes], None]
"""Stores evidence bytes under their digest in this transaction; the ledger's."""


class Admission(msgspec.Struct, frozen=True):
    """Which verifiers count (of these countries, in production no stand-in), and machines that measured what."""

    countries: frozenset[str]
    production: bool
    measurements: frozenset[str] = frozenset()

    def admits(self, kind: str, country: str) -> bool:
        """Whether a verifier of this kind, in this country, counts."""
        return country in self.countries and not (self.production and kind == SOFTWARE)

    def grade(self, found: Attestation) -> str:
        """How well what a machine answered is known: of one that runs nobody knows what, it is its own word (D).

        Whoever rents true hardware can measure anything in it, also a program that holds an agent's key for others.
        """
        return found.grade if found.measurement in self.measurements else "D"


def _home_target(tx: Tx, principal: Entity, command: AddVerifier | RemoveVerifier | ListVerifiers) -> Target:
    """Verifiers are the whole installation's; what is asked about is no site in particular."""
    del tx, command
    org = principal.attributes.get("org")
    owner = org.id if isinstance(org, Ref) else ""
    return Target(resource=rules.site_entity(rules.unplaced(owner)), stream=owner)


def _site_target(tx: Tx, principal: Entity, command: ChallengeSite | AddAttestation) -> Target:
    del principal
    site = _site(tx, command.site)
    return Target(resource=rules.site_entity(site), stream=site.id)


def _site(tx: Tx, name: str) -> SiteView:
    found = tables.find(tx, name)
    if found is None:
        raise NotFoundError(id=name)
    return found


class AttestationActions:
    """The handlers, with who counts and where evidence is kept."""

    def __init__(self, admission: Admission, keep_file: KeepFile) -> None:
        """`keep_file` stores what was judged, so that others can judge it again."""
        self._admission = admission
        self._keep_file = keep_file

    def add_verifier(self, ctx: Ctx, command: AddVerifier) -> VerifierView:
        """Refused for another country than those admitted, and for a stand-in in production."""
        if self._admission.production and command.kind == SOFTWARE:
            raise SekishoError(VERIFIER_STAND_IN)
        if not self._admission.admits(command.kind, command.country):
            admitted = ", ".join(sorted(self._admission.countries))
            raise SekishoError(VERIFIER_ABROAD, country=command.country, admitted=admitted)
        for row in stored.verifiers(ctx.tx):
            if command.name == row["name"] or command.issuer == row["issuer"]:
                raise SekishoError(VERIFIER_TAKEN)
        document = _checked(command)
        stored.insert_verifier(
            ctx.tx,
            {
                **{name: str(document[name]) for name in ("name", "kind", "issuer", "country", "jku")},
                "keys": canonical.encode(document["keys"]).decode(),
            },
        )
        ctx.detail(verifier=command.name, kind=command.kind, issuer=command.issuer, country=command.country)
        return self._find(ctx.tx, command.name)

    def remove_verifier(self, ctx: Ctx, command: RemoveVerifier) -> VerifierView:
        """With it goes everything that it attested."""
        found = self._find(ctx.tx, command.name)
        stored.delete_verifier(ctx.tx, found.name)
        gone = stored.attested_by(ctx.tx, found.name)
        for site in gone:
            stored.drop_attestation(ctx.tx, site)
        ctx.detail(verifier=found.name, sites=[*gone])
        return found

    def list_verifiers(self, ctx: Ctx, command: ListVerifiers) -> VerifierPage:
        """All of them."""
        del command
        return VerifierPage([self._view(row) for row in stored.verifiers(ctx.tx)])

    def challenge(self, ctx: Ctx, command: ChallengeSite) -> Challenge:
        """Fresh random bytes, in place of an earlier question."""
        site, nonce = _site(ctx.tx, command.site), canonical.to_base64url(secrets.token_bytes(NONCE_BYTES))
        stored.put_challenge(ctx.tx, site.id, nonce, ctx.now_ms)
        ctx.detail(nonce=nonce)
        return Challenge(site.id, nonce, ctx.now_ms + CHALLENGE_MS)

    def add(self, ctx: Ctx, command: AddAttestation) -> AttestationView:
        """Judge, use the question up, keep the evidence, state the facts. What does not hold changes nothing."""
        site = _site(ctx.tx, command.site)
        question = _question(ctx, site.id)
        # A file ends with a line feed wherever a shell or an editor wrote it.
        token = command.token.strip()
        file = AttestationFile(site.id, question, token, command.gpu, self._admitted(ctx.tx))
        try:
            found = file.judge(file.verifiers)
        except VerifyError as error:
            raise SekishoError(refused(error.code), what=error.detail) from error
        # Only those who had a part in it: others' keys are nothing to whoever reads this bundle.
        used = tuple(one for one in file.verifiers if one.name in {found.verifier, found.gpu_verifier})
        data = write_file(AttestationFile(site.id, question, token, command.gpu, used))
        digest = canonical.digest(data)
        self._keep_file(ctx.tx, digest, data)
        stored.drop_challenge(ctx.tx, site.id)
        names = " ".join(filter(None, (found.verifier, found.gpu_verifier)))
        stored.put_attestation(ctx.tx, site.id, names, file=digest, expires_ms=found.expires_s * 1000)
        grade = self._admission.grade(found)
        _state(ctx, site.id, found, grade)
        ctx.detail(files={FILE_NAME: digest}, site=site.id, tee=found.tee, grade=grade, verifier=names)
        return _attestation_view(ctx, site.id, (found, grade), digest)

    def _admitted(self, tx: Tx) -> tuple[Verifier, ...]:
        rows = stored.verifiers(tx)
        admitted = [row for row in rows if self._admission.admits(row["kind"], row["country"])]
        return read_verifiers([_document(row) for row in admitted])

    def _find(self, tx: Tx, name: str) -> VerifierView:
        for row in stored.verifiers(tx):
            if row["name"] == name:
                return self._view(row)
        raise NotFoundError(id=name)

    def _view(self, row: Row) -> VerifierView:
        (verifier,) = read_verifiers([_document(row)])
        return VerifierView(
            name=verifier.name,
            kind=verifier.kind,
            issuer=verifier.issuer,
            country=verifier.country,
            jku=verifier.jku,
            keys=[
                msgspec.convert({"kid": key.kid, "alg": key.alg, "key": pem_of(key)}, VerifierKey)
                for key in verifier.keys
            ],
            stand_in=verifier.kind == SOFTWARE,
            admitted=self._admission.admits(verifier.kind, verifier.country),
            record_id=row["record_id"],
        )


def _checked(command: AddVerifier) -> dict[str, object]:
    """The verifier's document; `sites.verifier_wrong` where its keys are no keys for what they claim."""
    try:
        keys = tuple(make_token_key(one.kid, one.alg, one.key.encode()) for one in command.keys)
        verifier = Verifier(command.name, command.kind, command.issuer, command.country, keys, command.jku)
        document = verifier_document(verifier)
        read_verifiers([document])
    except VerifyError as error:
        raise SekishoError(VERIFIER_WRONG, what=error.detail) from error
    return document


def _document(row: Row) -> dict[str, object]:
    fields = {name: row[name] for name in ("name", "kind", "issuer", "country", "jku")}
    return {**fields, "keys": canonical.decode(row["keys"].encode())}


def _question(ctx: Ctx, site: str) -> Question:
    row = stored.challenge(ctx.tx, site)
    if row is None or ctx.now_ms >= row["asked_ms"] + CHALLENGE_MS:
        raise SekishoError(NOT_ASKED)
    return Question(canonical.from_base64url(row["nonce"]), row["asked_ms"], ctx.now_ms)


def _state(ctx: Ctx, site: str, found: Attestation, grade: str) -> None:
    """The facts, each with the verifier as its issuer and the token's end as its own."""
    issued_ms, expires_ms = found.issued_s * 1000, found.expires_s * 1000
    source = STAND_IN_SOURCE if found.kind == SOFTWARE else found.issuer
    values = {
        "tee": True,
        "tee-attested-at": min(issued_ms, ctx.now_ms),
        "tee-key": found.key,
        "tee-measurement": found.measurement,
        "tee-gpus": list(found.gpus),
    }
    for name in stored.FACTS:
        fact = Fact(
            value=values[name],
            grade="A" if grade == "A" else "D",
            issuer=found.verifier,
            observed_ms=ctx.now_ms,
            expires_ms=expires_ms,
            source=source,
        )
        tables.put_fact(ctx.tx, site, name, fact)
        ctx.later(ExpireFact(site=site, name=name), delay_ms=expires_ms - ctx.now_ms)


def _attestation_view(ctx: Ctx, site: str, judged: tuple[Attestation, str], digest: str) -> AttestationView:
    found, grade = judged
    return AttestationView(
        site=site,
        tee=found.tee,
        grade=grade,
        stand_in=found.kind == SOFTWARE,
        measurement=found.measurement,
        key=found.key,
        gpus=list(found.gpus),
        verifier=found.verifier,
        verifier_country=found.country,
        issued_ms=found.issued_s * 1000,
        expires_ms=found.expires_s * 1000,
        file=digest,
        record_id=ctx.record_id,
    )


def attestation_handlers(actions: AttestationActions) -> tuple[Handler[Any], ...]:
    """Every command of verifiers and attestation. Two additions of verifiers, or two answers of a site, take turns."""
    return (
        Handler(AddVerifier, _home_target, actions.add_verifier, lambda _command: "verifiers"),
        Handler(RemoveVerifier, _home_target, actions.remove_verifier, lambda _command: "verifiers"),
        Handler(ListVerifiers, _home_target, actions.list_verifiers),
        Handler(ChallengeSite, _site_target, actions.challenge),
        Handler(AddAttestation, _site_target, actions.add, lambda command: f"attestation {command.site}"),
    )
