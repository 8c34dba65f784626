"""SQL of verifiers, questions and attestation results."""

from __future__ import annotations

from sekisho.kernel.tx import Row, Tx

FACTS = ("tee", "tee-attested-at", "tee-key", "tee-measurement", "tee-gpus")
"""What an attestation says of a site, and nobody else may."""


def insert_verifier(tx: Tx, values: dict[str, str]) -> None:
    """Add a verifier: name, kind, issuer, country, jku and keys as JSON."""
    tx.run(
        "insert into sites_verifiers (name, kind, issuer, country, jku, keys, record_id)"
        " values (:name, :kind, :issuer, :country, :jku, :keys, :record_id)",
        **values,
    )


def delete_verifier(tx: Tx, name: str) -> None:
    """Remove a verifier."""
    tx.run("delete from sites_verifiers where name = :name", name=name)


def verifiers(tx: Tx) -> list[Row]:
    """All verifiers by name."""
    return tx.all("select * from sites_verifiers order by name")


def put_challenge(tx: Tx, site: str, nonce: str, now_ms: int) -> None:
    """Open a question, in place of an earlier one."""
    tx.run(
        "insert into sites_challenges (site, nonce, asked_ms, record_id) values (:site, :nonce, :now, :record_id)"
        " on conflict (site) do update set nonce = :nonce, asked_ms = :now, record_id = :record_id",
        site=site,
        nonce=nonce,
        now=now_ms,
    )


def challenge(tx: Tx, site: str) -> Row | None:
    """The open question to a site."""
    return tx.one("select * from sites_challenges where site = :site", site=site)


def drop_challenge(tx: Tx, site: str) -> None:
    """Use a question up."""
    tx.run("delete from sites_challenges where site = :site", site=site)


def put_attestation(tx: Tx, site: str, verifier: str, *, file: str, expires_ms: int) -> None:
    """Keep a result, in place of an earlier one; `verifier` is one name, or two with a space between."""
    tx.run(
        "insert into sites_attestations (site, verifier, file, expires_ms, record_id)"
        " values (:site, :verifier, :file, :expires, :record_id) on conflict (site) do update"
        " set verifier = :verifier, file = :file, expires_ms = :expires, record_id = :record_id",
        site=site,
        verifier=verifier,
        file=file,
        expires=expires_ms,
    )


def attestation(tx: Tx, site: str) -> Row | None:
    """The newest result of a site, which may be over."""
    return tx.one("select * from sites_attestations where site = :site", site=site)


def attested_by(tx: Tx, verifier: str) -> list[str]:
    """Sites whose newest result a verifier had a part in."""
    rows = tx.all("select site, verifier from sites_attestations order by site")
    return [row["site"] for row in rows if verifier in row["verifier"].split(" ")]


def drop_attestation(tx: Tx, site: str) -> None:
    """Forget a result and every fact that rests on it."""
    row = attestation(tx, site)
    issuer = row["verifier"].partition(" ")[0] if row else ""
    tx.run("delete from sites_attestations where site = :site", site=site)
    for name in FACTS:
        tx.run(
            "delete from sites_facts where site = :site and name = :name and issuer = :issuer",
            site=site,
            name=name,
            issuer=issuer,
        )
