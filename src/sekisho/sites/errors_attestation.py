"""Problems of attestation: one for each reason that a person can do something about."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Problem, Text, define

VERIFIER_TAKEN = define(
    "sites.verifier_taken",
    409,
    Exit.CONFLICT,
    Text(
        "A verifier of this name or issuer is already there.",
        "この名前または発行者の検証者は既に登録されています。",
    ),
)
VERIFIER_WRONG = define(
    "sites.verifier_wrong",
    422,
    Exit.USAGE,
    Text("The verifier cannot be used: {what}.", "この検証者は使えません：{what}。"),
)
VERIFIER_ABROAD = define(
    "sites.verifier_abroad",
    403,
    Exit.DENIED,
    Text(
        "The verifier is in {country}. Only those of these countries count here: {admitted}.",
        "検証者は{country}にあります。ここで認められる国：{admitted}。",
    ),
    hint=Text(
        "Name the country in sites.verifier_countries if its word may count.",
        "認める場合は、設定sites.verifier_countriesにその国を加えてください。",
    ),
)
VERIFIER_STAND_IN = define(
    "sites.verifier_stand_in",
    403,
    Exit.DENIED,
    Text(
        "This control plane is in production: software that stands in for hardware attests nothing here.",
        "本番環境では、ソフトウェアの代役による証明は使えません。",
    ),
)
NOT_ASKED = define(
    "sites.attestation_not_asked",
    409,
    Exit.CONFLICT,
    Text(
        "No open question to this site: none was asked, it was answered, or ten minutes have passed.",
        "この拠点への有効な番号がありません。未発行、使用済み、または発行から10分が過ぎています。",
    ),
)

_SENTENCES = {
    "expired": ("The attestation has expired.", "証明の有効期限が切れています。"),
    "future": ("The attestation is from the future.", "証明の日時が未来です。"),
    "old": ("The attestation is older than the question.", "証明が番号の発行より前のものです。"),
    "lifetime": ("The attestation holds for too long.", "証明の有効期間が長すぎます。"),
    "nonce": (
        "The attestation answers another question: foreign or replayed.",
        "別の番号に対する証明です（流用または再送）。",
    ),
    "unknown_verifier": (
        "The attestation is by a verifier that is not configured here, or not admitted.",
        "登録されていない、または認められていない検証者による証明です。",
    ),
    "unknown_key": (
        "The attestation is signed with a key that is not configured.",
        "登録されていない鍵による証明です。",
    ),
    "algorithm": (
        "The attestation names another algorithm than its key is for.",
        "証明の署名方式が、登録された鍵の方式と異なります。",
    ),
    "header": (
        "The attestation's header brings keys or rules of its own.",
        "証明のヘッダーが、独自の鍵または規則を含んでいます。",
    ),
    "signature": ("The attestation's signature does not hold.", "証明の署名を確認できません。"),
    "debug": ("The machine can be debugged from outside.", "機器が外部からデバッグ可能な状態です。"),
    "claim": (
        "The attestation lacks a claim, or says no: {what}.",
        "証明に必要な記載がないか、否定されています：{what}。",
    ),
    "gpu_key": (
        "A GPU answered another question than the machine, or for another key.",
        "GPUが機器と異なる問い、または異なる鍵について応答しています。",
    ),
    "gpu_set": (
        "The GPUs' tokens are not those that the overall token names.",
        "GPUの証明が、全体の証明に記された組と一致しません。",
    ),
    "kind": ("This verifier does not speak of such machines.", "この検証者の証明する対象ではありません。"),
}
_MALFORMED = define(
    "sites.attestation_malformed",
    422,
    Exit.USAGE,
    Text("Not an attestation: {what}.", "証明として読み取れません：{what}。"),
)
_REFUSED: dict[str, Problem] = {
    f"attestation.{reason}": define(f"sites.attestation_{reason}", 422, Exit.DENIED, Text(*sentences))
    for reason, sentences in _SENTENCES.items()
}


def refused(code: str) -> Problem:
    """The problem for a code of `sekisho_verify.attestation`; those of malformed tokens share one."""
    return _REFUSED.get(code, _MALFORMED)
