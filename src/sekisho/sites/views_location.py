"""What is known of a site's place, for people and for whoever judges next."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import proofs
from sekisho.sites import tables_location as located
from sekisho.sites.model import SiteView
from sekisho.sites.model_location import LandmarkFinding, ProofView, Told
from sekisho.sites.territories import ReadFile
from sekisho_verify import canonical
from sekisho_verify.location import REFUSED
from sekisho_verify.location_proof import Proof, read_proof
from sekisho_verify.location_transcript import read_transcript
from sekisho_wire.problems import Text

ACCEPTED, TOO_FAST = "location.accepted", "location.too_fast"
NEVER = Told(
    "location.never",
    "Nobody has measured this site yet.",
    "この拠点はまだ測定されていません。",
)
ASKED = Told(
    "location.asked",
    "Landmarks were asked; none has answered yet.",
    "測位基準点に依頼しました。まだ応答はありません。",
)
_FAILED = Text("Landmark {told} ({minutes} min ago)", "測位基準点{told}（{minutes}分前）")


class ProofViews:
    """Reads proofs' files. Holds nothing."""

    def __init__(self, read: ReadFile) -> None:
        """`read` gives evidence files by digest."""
        self._read = read

    def proof(self, tx: Tx, file: str) -> Proof:
        """A proof's file by its digest; NotFoundError where it was not kept."""
        data = self._read(tx, file)
        if data is None:
            raise NotFoundError(id=file)
        return read_proof(data)

    def transcripts(self, tx: Tx, row: Row) -> list[bytes]:
        """What came in for a request before: the newest of each landmark, without what was refused."""
        return proofs.carried(self.proof(tx, row["file"])) if row["file"] else []

    def started_ms(self, tx: Tx, file: str) -> Mapping[str, int]:
        """When each session of a proof that was not refused began, by its id."""
        proof = self.proof(tx, file)
        sessions = [read_transcript(data, lambda _key: True).session for data in proofs.usable(proof)]
        return {canonical.to_base64url(session.id): session.started_ms for session in sessions}

    def waiting(self, tx: Tx, row: Row) -> list[str]:
        """Names of landmarks that have not answered a request; who handed in what was refused has not."""
        body = self.proof(tx, row["file"]).verdict if row["file"] else None
        answered = (
            {each["landmark"] for each in proofs.findings(body) if each["state"] != REFUSED}
            if body
            else set()
        )
        asked = [each.name for each in proofs.counting(located.landmarks(tx))]
        return [name for name in asked if name not in answered and name != row["target"]]

    def of_site(self, tx: Tx, site: SiteView, now_ms: int) -> ProofView:
        """The proof that holds, and the newest request."""
        row = located.newest_proof(tx, site.id)
        standing = site.facts.get(proofs.PLACE_PROOF)
        if standing is not None and standing.expires_ms <= now_ms:
            standing = None
        proof = self.proof(tx, row["file"]) if row and row["file"] else None
        verdict: Mapping[str, object] = proof.verdict if proof else {}
        return ProofView(
            site=site.id,
            site_name=site.name,
            state=row["state"] if row else "never",
            request=row["id"] if row else "",
            code=row["code"] if row else "",
            asked_ms=row["asked_ms"] if row else 0,
            closed_ms=row["closed_ms"] if row else None,
            findings=[proofs.finding_view(each) for each in proofs.findings(verdict)] if verdict else [],
            waiting=self.waiting(tx, row) if row and row["state"] == "open" else [],
            landmarks=_texts(verdict.get("landmarks")),
            organisations=_texts(verdict.get("organisations")),
            organisations_needed=proofs.LIARS_MAX + 1,
            summary=proofs.summary_of(verdict) if verdict else ASKED if row else NEVER,
            standing=standing,
            binding_grade=proofs.binding(site.facts) if standing else proofs.UNBOUND,
            territory=proof.territory if proof else "",
            file=row["file"] or "" if row else "",
            not_shown=proofs.not_shown(),
        )

    def files(self, tx: Tx, site: SiteView) -> dict[str, str]:
        """Evidence files of the proof that stands for a site, by name; nothing without one."""
        standing = site.facts.get(proofs.PLACE_PROOF)
        if standing is None:
            return {}
        return {"location.json": standing.source, "territory.json": self.proof(tx, standing.source).territory}

    def failures(self, tx: Tx, site: SiteView, now_ms: int) -> Text | None:
        """Which landmarks did not count when a site was last measured, by how much, and how long ago."""
        row = located.newest_judged(tx, site.id)
        if row is None:
            return None
        proof = self.proof(tx, row["file"])
        bad = [
            proofs.finding_view(each) for each in proofs.findings(proof.verdict) if each["state"] != "counts"
        ]
        minutes = max(0, now_ms - proof.time_ms) // 60_000
        return Text(_told(bad, "en", minutes), _told(bad, "ja", minutes)) if bad else None


def of_landmark(tx: Tx, row: Row) -> ProofView:
    """What a landmark is told that handed in a measurement of another one: that it was taken."""
    now = located.proof(tx, row["id"]) or row
    return ProofView(
        site=row["target"],
        site_name=row["target"],
        state=now["state"],
        request=row["id"],
        code=now["code"],
        asked_ms=row["asked_ms"],
        closed_ms=None,
        findings=[],
        waiting=[],
        landmarks=[],
        organisations=[],
        organisations_needed=proofs.LIARS_MAX + 1,
        summary=ASKED,
        standing=None,
        binding_grade=proofs.UNBOUND,
        territory="",
        file=now["file"] or "",
        not_shown=[],
    )


def _told(bad: list[LandmarkFinding], language: str, minutes: int) -> str:
    template = _FAILED.ja if language == "ja" else _FAILED.en
    told = [getattr(each.told, language) for each in bad]
    return " ".join(template.format(told=each, minutes=minutes) for each in told)


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
