"""SQL of landmarks, versions of the territory file, and requests for proofs."""

from __future__ import annotations

import msgspec

from sekisho.kernel.tx import Row, Tx
from sekisho.sites.model_location import AddLandmark, LandmarkView, TerritoryView


def put_landmark(tx: Tx, landmark: AddLandmark) -> None:
    """Add a landmark, or replace what was known of it; then nobody contradicts it any more."""
    tx.run(
        "insert into sites_landmarks (name, organisation, public_key, latitude_udeg, longitude_udeg, address,"
        " contradicted_by, record_id) values (:name, :organisation, :key, :latitude, :longitude, :address, '[]',"
        " :record_id) on conflict (name) do update set organisation = :organisation, public_key = :key,"
        " latitude_udeg = :latitude, longitude_udeg = :longitude, address = :address, contradicted_by = '[]',"
        " record_id = :record_id",
        name=landmark.name,
        organisation=landmark.organisation,
        key=landmark.public_key,
        latitude=landmark.latitude_udeg,
        longitude=landmark.longitude_udeg,
        address=landmark.address,
    )


def set_contradicted(tx: Tx, name: str, by: list[str]) -> None:
    """Note who measured what this landmark's declared place does not allow."""
    tx.run(
        "update sites_landmarks set contradicted_by = :by, record_id = :record_id where name = :name",
        name=name,
        by=msgspec.json.encode(by).decode(),
    )


def drop_landmark(tx: Tx, name: str) -> None:
    """Forget a landmark."""
    tx.run("delete from sites_landmarks where name = :name", name=name)


def landmarks(tx: Tx) -> list[LandmarkView]:
    """All of them by name; there are tens, not thousands."""
    return [_landmark(row) for row in tx.all("select * from sites_landmarks order by name")]


def landmark_with_key(tx: Tx, public_key: str) -> LandmarkView | None:
    """The landmark that has this key."""
    row = tx.one("select * from sites_landmarks where public_key = :key", key=public_key)
    return _landmark(row) if row else None


def insert_territory(tx: Tx, territory: TerritoryView) -> None:
    """Keep a version that is not in force."""
    tx.run(
        "insert into sites_territories (digest, name, version, disputed, added_ms, state, record_id)"
        " values (:digest, :name, :version, :disputed, :added, 'kept', :record_id)",
        digest=territory.digest,
        name=territory.name,
        version=territory.version,
        disputed=msgspec.json.encode(territory.disputed).decode(),
        added=territory.added_ms,
    )


def set_territory(tx: Tx, digest: str, now_ms: int) -> None:
    """Put one version in force and the one before it out of it."""
    tx.run(
        "update sites_territories set state = 'kept', record_id = :record_id where state = 'in_force'",
    )
    tx.run(
        "update sites_territories set state = 'in_force', in_force_since_ms = :now, record_id = :record_id"
        " where digest = :digest",
        digest=digest,
        now=now_ms,
    )


def territories(tx: Tx) -> list[TerritoryView]:
    """Every version, the newest first."""
    rows = tx.all("select * from sites_territories order by added_ms desc, digest")
    return [_territory(row) for row in rows]


def territory(tx: Tx, digest: str) -> TerritoryView | None:
    """One version."""
    row = tx.one("select * from sites_territories where digest = :digest", digest=digest)
    return _territory(row) if row else None


def territory_in_force(tx: Tx) -> str:
    """The digest of the version in force; empty before the first."""
    row = tx.one("select digest from sites_territories where state = 'in_force'")
    return row["digest"] if row else ""


def insert_proof(tx: Tx, row: Row) -> None:
    """A new request, open."""
    tx.run(
        "insert into sites_proofs (id, target, kind, public_key, address, nonce, state, code, asked_ms, record_id)"
        " values (:id, :target, :kind, :public_key, :address, :nonce, 'open', '', :asked_ms, :record_id)",
        **row,
    )


def note_proof(tx: Tx, proof: str, code: str, file: str, *, handed_in: dict[str, int]) -> None:
    """What the transcripts of a request came to so far, and how often each organisation handed some in."""
    tx.run(
        "update sites_proofs set code = :code, file = :file, handed_in = :handed_in, record_id = :record_id"
        " where id = :id",
        id=proof,
        code=code,
        file=file,
        handed_in=msgspec.json.encode(handed_in, order="sorted").decode(),
    )


def handed_in(row: Row) -> dict[str, int]:
    """How often each organisation, by id, handed in transcripts of a request."""
    return msgspec.json.decode(row["handed_in"] or "{}", type=dict[str, int])


def close_proof(tx: Tx, proof: str, state: str, now_ms: int) -> None:
    """End a request as accepted or refused."""
    tx.run(
        "update sites_proofs set state = :state, closed_ms = :now, record_id = :record_id where id = :id",
        id=proof,
        state=state,
        now=now_ms,
    )


def proof(tx: Tx, request: str) -> Row | None:
    """One request."""
    return tx.one("select * from sites_proofs where id = :id", id=request)


def newest_proof(tx: Tx, target: str) -> Row | None:
    """The newest request about a site or landmark."""
    return tx.one("select * from sites_proofs where target = :target order by id desc limit 1", target=target)


def newest_judged(tx: Tx, target: str) -> Row | None:
    """The newest request about a site to which somebody has answered."""
    return tx.one(
        "select * from sites_proofs where target = :target and file is not null order by id desc limit 1",
        target=target,
    )


def open_proofs(tx: Tx, since_ms: int) -> list[Row]:
    """Requests that wait for transcripts, the oldest first."""
    return tx.all(
        "select * from sites_proofs where state = 'open' and asked_ms >= :since order by id limit 256",
        since=since_ms,
    )


def drop_proofs(tx: Tx, target: str, keep: str) -> None:
    """Forget closed requests older than one; their records and files stay in the ledger."""
    tx.run(
        "delete from sites_proofs where target = :target and id < :keep and state <> 'open'",
        target=target,
        keep=keep,
    )


def sites_with_address(tx: Tx) -> list[str]:
    """Ids of sites that say where they answer location challenges."""
    rows = tx.all("select site from sites_facts where name = 'location-address' order by site")
    return [row["site"] for row in rows]


def _landmark(row: Row) -> LandmarkView:
    return LandmarkView(
        name=row["name"],
        organisation=row["organisation"],
        public_key=row["public_key"],
        latitude_udeg=row["latitude_udeg"],
        longitude_udeg=row["longitude_udeg"],
        address=row["address"],
        contradicted_by=msgspec.json.decode(row["contradicted_by"]),
        record_id=row["record_id"],
    )


def _territory(row: Row) -> TerritoryView:
    return TerritoryView(
        digest=row["digest"],
        name=row["name"],
        version=row["version"],
        disputed=msgspec.json.decode(row["disputed"]),
        state=row["state"],
        added_ms=row["added_ms"],
        in_force_since_ms=row["in_force_since_ms"],
        record_id=row["record_id"],
    )


def put_contradiction(tx: Tx, one: str, other: str, proof: str) -> None:
    """Note that two landmarks cannot both be where they say."""
    tx.run(
        "insert into sites_contradictions (one, other, proof, record_id) values (:one, :other, :proof, :record_id)"
        " on conflict (one, other) do update set proof = :proof, record_id = :record_id",
        one=min(one, other),
        other=max(one, other),
        proof=proof,
    )


def contradictions(tx: Tx) -> list[tuple[str, str]]:
    """Every such pair, by name."""
    return [
        (row["one"], row["other"]) for row in tx.all("select * from sites_contradictions order by one, other")
    ]


def drop_contradictions(tx: Tx, name: str) -> None:
    """Forget what was measured of a landmark that is known anew, or no more."""
    tx.run("delete from sites_contradictions where one = :name or other = :name", name=name)
