"""Builders of evidence for tests: logs, records, trust files and bundles, the same on every run.

Keys come from fixed seeds, salts and ids from counters, times from a fixed start. `TestLog` is a real log (tree,
checkpoints, witnesses); what it signs verifies, so that a test changes exactly the thing it is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_verify.attestation import Verifier
from sekisho_verify.attestation_file import verifier_document
from sekisho_verify.bundle import Consistency, Proof, assemble
from sekisho_verify.canonical import digest, encode, to_base64url
from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    ED25519,
    Checkpoint,
    SignedNote,
    VerifierKey,
    cosign_note,
    format_note,
    make_key,
    sign_note,
)
from sekisho_verify.merkle import Frontier
from sekisho_verify.record import LogEntry, check_record, encode_entry
from sekisho_verify.sealed import seal
from sekisho_verify.tiles import Tile, TileTree
from sekisho_verify.timestamp import Authority

ORIGIN = "sekisho.example/ledger"
WITNESS_NAMES = ("witness.example/one", "witness.example/two")
START = datetime(2026, 11, 20, 5, 3, 11, 123000, UTC)
ROUTES_CLOSED = dict.fromkeys(
    ("tcp_loopback", "tcp_host", "udp", "dns", "unix_abstract", "unix_path", "raw", "proxy_unlisted"),
    "closed",
)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

Body = dict[str, object]


def make_id(prefix: str, number: int) -> str:
    """An id such as `rec_...`, sortable by number."""
    digits = ""
    for _ in range(26):
        number, rest = divmod(number, 32)
        digits = _ALPHABET[rest] + digits
    return f"{prefix}_{digits}"


def stream_name(name: str) -> str:
    """A stream's pseudonym, as if keyed."""
    return sha256(b"stream " + name.encode()).hexdigest()


@dataclass(frozen=True)
class Signer:
    """A named key pair from a seed."""

    key: VerifierKey
    sign: Callable[[bytes], bytes]

    @classmethod
    def make(cls, name: str, *, kind: int = ED25519, seed: str = "") -> Signer:
        """`seed` tells apart keys of one name; the same seed gives the same key."""
        private = Ed25519PrivateKey.from_private_bytes(sha256(f"{name} {seed}".encode()).digest())
        return cls(make_key(name, private.public_key().public_bytes_raw(), kind=kind), private.sign)


AGENT = Signer.make("agent")
AGENT_ID = make_id("agt", 7)
WITNESSES = tuple(Signer.make(name, kind=COSIGNATURE_V1) for name in WITNESS_NAMES)


def charter(version: int = 1) -> bytes:
    """A charter member; versions differ in their policies."""
    body = {"v": 1, "schema": "entity Job;", "policies": f"permit(principal, action, resource); // {version}"}
    return encode(body)


def facts(number: int = 0) -> bytes:
    """A facts slice; numbers give different ones."""
    return encode({"principal": make_id("usr", 1), "number": number})


def record_body(stream: str, number: int, /, **changes: object) -> Body:
    """A valid record body, number `number` of a stream, with fields replaced by `changes`."""
    time = (START + timedelta(seconds=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body: Body = {
        "v": 1,
        "id": make_id("rec", int(stream_name(stream)[:8], 16) * 2**20 + number),
        "time": time,
        "actor": make_id("usr", 1),
        "action": "compute.job.submit",
        "resource": {"type": "Job", "id": make_id("job", 1)},
        "decision": "allow",
        "outcome": "done",
        "rules": ["P1-owner"],
        "charter": digest(charter()),
        "facts": digest(facts()),
        "effects": [["compute_job", f'["{make_id("job", 1)}"]', digest(b"row %d" % number)]],
        "stream": stream_name(stream),
        "detail": {},
        "salt": to_base64url(sha256(f"salt {stream} {number}".encode()).digest()),
    }
    return body | changes


def agent_message(seq: int, body: Body, /, *, signer: Signer = AGENT, **changes: object) -> Body:
    """The detail fields of a record caused by an agent's message: `message` and `agent_key`."""
    content: Body = {
        "agent": AGENT_ID,
        "lane": "main",
        "seq": seq,
        "time": "2026-11-20T05:03:11.123Z",
        "attempt": make_id("att", 1),
        "token": 1,
        "body": body,
    }
    sealed = seal(content | changes, signer.sign)
    return {"message": to_base64url(sealed), "agent_key": to_base64url(signer.key.public)}


def job_stream(stream: str = "job-1", *, close: bool = True) -> list[Body]:
    """The records of a whole job: submitted, placed among three sites, run by an agent, ended, closed."""
    site: Body = {"country": "JP", "decision": "allow", "rules": [], "chosen": False}
    considered = [
        {**site, "site": "azure-tokyo"},
        {**site, "site": "sakura-ishikari", "name": "Ishikari", "chosen": True},
        {**site, "site": "us-west", "country": "US", "decision": "deny", "rules": ["C01-residency"]},
    ]
    here = {"place": {"site": "sakura-ishikari", "country": "JP"}, "attempt": make_id("att", 1)}
    started = agent_message(1, {"kind": "started", "canaries": ROUTES_CLOSED})
    ended = agent_message(2, {"kind": "ended", "reason": "finished", "exit_status": 0})
    bodies = [
        record_body(
            stream, 0, detail={"level": 2, "residency": ["JP"], "files": {"job": digest(b"job file")}}
        ),
        record_body(
            stream, 1, actor="system", action="compute.job.place", detail={"sites": considered, **here}
        ),
        record_body(
            stream,
            2,
            actor=AGENT_ID,
            action="compute.attempt.report",
            detail={"canaries": ROUTES_CLOSED, **here, **started},
        ),
        record_body(stream, 3, actor=AGENT_ID, action="compute.attempt.report", detail={**here, **ended}),
    ]
    if close:
        bodies.append(
            record_body(stream, 4, actor="system", action="ledger.stream.close", detail={"count": 5})
        )
    return bodies


@dataclass
class TestLog:
    """A log in memory: append record bodies, sign heads, take bundles out."""

    __test__ = False

    origin: str = ORIGIN
    seed: str = ""
    witnesses: tuple[Signer, ...] = WITNESSES
    leaves: list[bytes] = field(default_factory=list)
    records: list[tuple[int, int, bytes]] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def signer(self) -> Signer:
        """The log's own key."""
        return Signer.make(self.origin, seed=self.seed)

    @property
    def tree(self) -> TileTree:
        """The tree over the leaves so far."""
        return tile_tree(self.leaves)

    def append(self, bodies: Iterable[Body]) -> None:
        """Append records; each takes the next number of its stream."""
        for body in bodies:
            record = check_record(body)
            stream_seq = self._counts.get(record.stream, 0)
            self._counts[record.stream] = stream_seq + 1
            self.records.append((len(self.leaves), stream_seq, record.data))
            self.leaves.append(record.leaf_hash(stream_seq))

    def append_noise(self, count: int) -> None:
        """Append leaves of other tenants' streams."""
        for _ in range(count):
            entry = LogEntry(stream_name("noise"), len(self.leaves), digest(b"noise"))
            self.leaves.append(sha256(b"\x00" + encode_entry(entry)).digest())

    def checkpoint(self, size: int | None = None, *, time_s: int = 1_795_000_000) -> bytes:
        """The signed, cosigned head at `size` (all leaves by default)."""
        size = len(self.leaves) if size is None else size
        text = Checkpoint(self.origin, size, self.tree.root(size)).text()
        lines = [sign_note(text, self.signer.key, self.signer.sign)]
        lines += [cosign_note(text, witness.key, witness.sign, time_s=time_s) for witness in self.witnesses]
        return format_note(SignedNote(text, tuple(lines)))

    def members(
        self, stream: str, *, seen_size: int | None = None, **parts: Iterable[bytes]
    ) -> dict[str, bytes]:
        """Members of the bundle of one stream; `facts`, `files` and `charters` may be given."""
        tree, size = self.tree, len(self.leaves)
        mine = [entry for entry in self.records if stream_name(stream).encode() in entry[2]]
        proofs = [Proof(index, stream_seq, tree.inclusion_path(index, size)) for index, stream_seq, _ in mine]
        path = None if seen_size is None else Consistency(seen_size, tree.consistency_path(seen_size, size))
        return assemble(
            checkpoint=self.checkpoint(),
            records=[data for _, _, data in mine],
            proofs=proofs,
            charters=parts.get("charters", [charter()]),
            facts=parts.get(
                "facts", [facts()] if any(digest(facts()).encode() in one[2] for one in mine) else []
            ),
            files=parts.get("files", []),
            consistency=path,
            timestamps=parts.get("timestamps", []),
        )

    def trust(
        self,
        *,
        quorum: int = 0,
        seen_size: int | None = None,
        demand: Body | None = None,
        verifiers: Iterable[Verifier] = (),
        authorities: Iterable[Authority] = (),
        more: Mapping[str, object] | None = None,
    ) -> bytes:
        """The trust file of an auditor who believes this log and its witnesses; `more` are further fields."""
        body: Body = {
            **(more or {}),
            "v": 1,
            "origin": self.origin,
            "keys": [self.signer.key.vkey],
            "witnesses": [witness.key.vkey for witness in self.witnesses],
            "quorum": quorum,
        }
        if seen_size is not None:
            body["seen"] = {"size": seen_size, "root": to_base64url(self.tree.root(seen_size))}
        if demand is not None:
            body["demand"] = demand
        if verifiers:
            body["verifiers"] = list(map(verifier_document, verifiers))
        if authorities:
            body["authorities"] = [
                {"name": one.name, "certificates": list(map(to_base64url, one.certificates))}
                for one in authorities
            ]
        return json.dumps(body, indent=2).encode() + b"\n"


def tile_tree(leaves: list[bytes]) -> TileTree:
    """A tree over leaf hashes held in memory."""
    levels: dict[int, list[bytes]] = {0: leaves}
    for node in Frontier().extend(leaves):
        levels.setdefault(node.level, []).append(node.hash)

    def read(tile: Tile) -> bytes:
        start = tile.index * 256
        return b"".join(levels[tile.level][start : start + tile.width])

    return TileTree(read)


def job_log(*, noise: int = 20, close: bool = True) -> TestLog:
    """A log that holds one job between other tenants' entries."""
    log = TestLog()
    log.append_noise(noise // 2)
    log.append(job_stream(close=close))
    log.append_noise(noise - noise // 2)
    return log


def job_members(log: TestLog | None = None, *, seen_size: int | None = None) -> dict[str, bytes]:
    """Members of that job's bundle, with its facts and job file."""
    log = log or job_log()
    return log.members("job-1", seen_size=seen_size, facts=[facts()], files=[b"job file"])
