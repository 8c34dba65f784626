"""Attestation of hardware: the tokens that a site brought, judged again here, at the moment they were judged first.

By the keys of the verifiers that the trust file names. Where it names none, by the keys that the bundle brings, which
shows that nobody has changed a token since, and no more.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sekisho_verify.attestation import Attestation
from sekisho_verify.attestation_file import FILE_NAME, AttestationFile, read_file
from sekisho_verify.attestation_jwt import TokenError
from sekisho_verify.errors import VerifyError
from sekisho_verify.lines import ABSENT, ATTESTED, DECLARED, NOTE, OK, Case, Line, failed, once
from sekisho_verify.section import Section

_PART = "attestation"
_MEASUREMENT_SHOWN = 16


def check(case: Case) -> list[Line]:
    """One line for each different result; one that does not hold fails, one that is only named says so."""
    lines: list[Line] = []
    judged: dict[str, tuple[AttestationFile, Attestation] | None] = {}
    for found in case.evidence(FILE_NAME):
        if found.data is None:
            lines.append(Line(_PART, ABSENT, "attestation.missing", {"digest": found.digest}))
            continue
        try:
            if found.digest not in judged:
                judged[found.digest] = None
                judged[found.digest] = _judge(case, found.data)
            if (known := judged[found.digest]) is not None:
                _check_used(case, found.number, *known)
                lines.append(_told(case, *known))
        except VerifyError as error:
            lines.append(failed(_PART, error.at(found.where)))
    return once(lines) or [Line(_PART, ABSENT, "absent.attestation")]


def _judge(case: Case, data: bytes) -> tuple[AttestationFile, Attestation]:
    """Judged once, however many records name it."""
    file = read_file(data)
    return file, file.judge((case.trust.verifiers if case.trust else ()) or file.verifiers)


def _told(case: Case, file: AttestationFile, result: Attestation) -> Line:
    fields = {
        "tee": result.tee,
        "site": file.site,
        "measurement": result.measurement[:_MEASUREMENT_SHOWN],
        "gpus": ", ".join(result.gpus) or "-",
        "verifier": result.verifier,
        "country": result.country,
        "issued": _clock(result.issued_s),
        "expires": _clock(result.expires_s),
    }
    by = ", ".join(filter(None, (result.verifier, result.gpu_verifier)))
    if result.grade == DECLARED:
        return Line(
            _PART, NOTE, "attestation.software", fields, DECLARED, by=by, leaves_open=("no_hardware",)
        )
    opened = ("attested_hands", *(() if result.gpus else ("gpu_unattested",)))
    if not (case.trust and case.trust.verifiers):
        return Line(_PART, NOTE, "attestation.own_keys", fields, DECLARED, leaves_open=opened)
    if result.measurement not in case.trust.measurements:
        opened, fields["measurement"] = ("unmeasured", *opened), result.measurement
        return Line(_PART, NOTE, "attestation.unmeasured", fields, DECLARED, by=by, leaves_open=opened)
    return Line(_PART, OK, "attestation.shown", fields, ATTESTED, by=by, leaves_open=opened)


def _check_used(case: Case, number: int, file: AttestationFile, result: Attestation) -> None:
    """It was used for its own site, after it was judged and before it ended."""
    record, detail = case.bundle.records[number], case.bundle.details[number]
    used_ms = round(datetime.fromisoformat(record.time).timestamp() * 1000)
    if not file.question.asked_ms <= file.question.now_ms <= used_ms < result.expires_s * 1000:
        raise TokenError("attestation.when", "used before it was judged, or after it had expired")
    sites = {choice.site for choice in detail.sites if choice.chosen}
    if detail.place:
        sites.add(detail.place.site)
    if sites - {file.site}:
        raise TokenError("attestation.other_site", f"about {file.site}, which was not chosen here")


def _clock(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


SECTION = Section(
    _PART,
    ("attestation", "機器の証明"),
    check,
    {
        "absent.attestation": ("absent: no hardware attestation", "なし：ハードウェア証明がありません。"),
        "attestation.missing": (
            "absent: a record names an attestation ({digest}) that is not in the bundle",
            "なし：記録が挙げる証明（{digest}）が同梱されていません。",
        ),
        "attestation.shown": (
            "{tee} at {site}, measurement {measurement}, GPUs bound to the same key: {gpus}; {issued} to {expires}",
            "{site}の{tee}、測定値{measurement}、同じ鍵に結び付くGPU：{gpus}。{issued}から{expires}まで",
        ),
        "attestation.unmeasured": (
            "{tee} at {site} that measured {measurement} at launch, which the trust file does not name; {issued} to {expires}",
            "{site}の{tee}。起動時の測定値{measurement}は信頼ファイルに記載がありません。{issued}から{expires}まで",
        ),
        "attestation.own_keys": (
            (
                "{tee} at {site} by {verifier} ({country}), under keys that the bundle itself brings;"
                " the trust file names no verifier"
            ),
            "{site}の{tee}、検証者は{verifier}（{country}）。鍵は同梱のもので、信頼ファイルに検証者の記載がありません。",
        ),
        "attestation.software": (
            "NO HARDWARE: a SOFTWARE STAND-IN ({verifier}) signed for {site}; it attests NOTHING",
            "ハードウェアではありません：ソフトウェアの代役（{verifier}）による{site}の署名で、何も証明しません。",
        ),
    },
    {
        "attested_hands": (
            "hardware attestation ends where hands begin: keys of attested machines have been taken out with probes.",
            "機器の証明は物理的な攻撃に及びません。証明済みの機器から鍵を取り出した例があります。",
        ),
        "unmeasured": (
            "what the attested hardware runs: whoever rents such a machine may run anything in it.",
            "証明済みの機器で動くもの。借りた者は何でも動かせます。",
        ),
        "gpu_unattested": (
            "no GPU answered for the attested key.",
            "証明された鍵について応答したGPUはありません。",
        ),
        "no_hardware": (
            "the attestation is by SOFTWARE and shows NO property of any machine.",
            "機器の証明はソフトウェアの代役によるもので、機器の性質を何も示しません。",
        ),
    },
)
