"""Every sentence a verdict can say, as (English, Japanese) pairs with the same placeholders.

Those of sections stand in the sections' own files and are added at the end.
"""

from __future__ import annotations

from sekisho_verify.errors import Exit
from sekisho_verify.section import Pair
from sekisho_verify.sections import SECTIONS

PARTS: dict[str, Pair] = {
    "bundle": ("bundle", "証跡一式"),
    "records": ("records", "記録"),
    "digests": ("digests", "要約値"),
    "checkpoint": ("checkpoint", "台帳の確認点"),
    "witness": ("witness", "立会人"),
    "inclusion": ("inclusion", "収録証明"),
    "consistency": ("consistency", "一貫性証明"),
    "completeness": ("completeness", "完全性"),
    "messages": ("messages", "拠点の報告"),
    "decision": ("decision", "判断"),
    "site": ("site", "拠点"),
    "place": ("place", "位置"),
    "wall": ("wall", "遮断"),
    "demand": ("demand", "要求事項"),
}

SENTENCES: dict[str, Pair] = {
    "records.count": (
        "{count}, all of stream {stream}, about {type} {id}",
        "{count}件、すべて系列{stream}のものです。対象：{type} {id}",
    ),
    "digests.match": (
        "each matches: charters {charters}, facts {facts} of {facts_named}, files {files} of {files_named}",
        "いずれも要約値と一致します。憲章{charters}件、事実{facts_named}件中{facts}件、ファイル{files_named}件中{files}件",
    ),
    "checkpoint.signed": (
        "log {origin} at size {size}, signed by its key",
        "台帳{origin}、大きさ{size}。台帳の鍵による署名が有効です。",
    ),
    "checkpoint.unverified": (
        "log {origin} at size {size}; its signature was not checked, no trust file was given",
        "台帳{origin}、大きさ{size}。信頼ファイルがないため、署名は確認していません。",
    ),
    "witness.cosigned": ("{name} cosigned at {time}", "{name}が{time}に立会署名しています。"),
    "witness.none": ("absent: no witness has cosigned", "なし：立会署名がありません。"),
    "inclusion.all": (
        "every record is in the log of size {size}, at its place",
        "すべての記録が、大きさ{size}の台帳の所定の位置にあります。",
    ),
    "consistency.extends": (
        "the log extends the one seen at size {seen}",
        "台帳は、以前に確認した大きさ{seen}の台帳の続きです。",
    ),
    "consistency.not_shown": (
        "not shown: seen at size {seen}, this checkpoint is at size {size}",
        "示されていません：以前に確認した大きさは{seen}、この確認点の大きさは{size}です。",
    ),
    "consistency.none": (
        "absent: the trust file names no head seen before",
        "なし：信頼ファイルに、以前に確認した台帳の記載がありません。",
    ),
    "completeness.closed": (
        "closed with {count}: none is missing, none may follow",
        "{count}件で閉じています。欠けはなく、続きもありません。",
    ),
    "completeness.open": (
        "open, later records possible; none of the first {count} is missing",
        "閉じていないため、続きがあり得ます。最初の{count}件に欠けはありません。",
    ),
    "messages.signed": (
        "{count} by site agents, each signature holds under the key recorded with it",
        "拠点エージェントの報告{count}件。記録された鍵による署名はすべて有効です。",
    ),
    "messages.none": (
        "absent: no agent's message among the records",
        "なし：拠点エージェントの報告はありません。",
    ),
    "decision.allow": (
        "{action}: allowed, {outcome} ({count}); charter {charter}; rules: {rules}",
        "{action}：許可、{outcome}（{count}件）。憲章{charter}、条項：{rules}",
    ),
    "decision.deny": (
        "{action}: denied ({count}); charter {charter}; rules: {rules}",
        "{action}：不許可（{count}件）。憲章{charter}、条項：{rules}",
    ),
    "site.chosen": ("{name} ({country}): chosen", "{name}（{country}）：選ばれました。"),
    "site.allowed": (
        "{name} ({country}): allowed, not chosen",
        "{name}（{country}）：許可されましたが、選ばれていません。",
    ),
    "site.denied": ("{name} ({country}): denied by {rules}", "{name}（{country}）：不許可、条項：{rules}"),
    "place.declared": (
        "{name}, {country}: declared, not measured",
        "{name}、{country}：自己申告であり、実測ではありません。",
    ),
    "place.none": ("absent: no record says where an attempt was", "なし：試行の場所を示す記録がありません。"),
    "wall.closed": (
        "{closed} of {routes} routes closed, by the site's own report",
        "{routes}経路のうち{closed}経路が閉じています（拠点自身の報告）。",
    ),
    "wall.partly": (
        "{closed} of {routes} routes closed, by the site's own report; others: {rest}",
        "{routes}経路のうち{closed}経路が閉じています（拠点自身の報告）。その他：{rest}",
    ),
    "wall.none": ("absent: no canary was reported", "なし：遮断試験の報告がありません。"),
    "demand.met": (
        "everything the trust file demands is shown",
        "信頼ファイルの要求をすべて満たしています。",
    ),
}

FAILURES = {
    Exit.MALFORMED: ("Malformed.", "形式が正しくありません。"),
    Exit.DIGEST: ("A digest does not match.", "要約値が一致しません。"),
    Exit.SIGNATURE: ("A signature does not hold.", "署名を確認できません。"),
    Exit.INCLUSION: ("Not in the log.", "台帳に収録されていません。"),
    Exit.CONSISTENCY: ("Not consistent with the log seen before.", "以前に確認した台帳と一貫していません。"),
    Exit.COMPLETENESS: ("Not complete.", "記録に欠けや余分があります。"),
    Exit.PLACE: ("The place contradicts the records.", "位置が記録と矛盾しています。"),
    Exit.DECISION: ("Done against a decision.", "判断に反することが行われています。"),
    Exit.KEY: ("A key was released wrongly.", "鍵の引き渡しに誤りがあります。"),
    Exit.EGRESS: ("The wall was open.", "遮断が破られていました。"),
    Exit.PROOF: ("A proof of place does not hold.", "位置証明を確認できません。"),
    Exit.ATTESTATION: ("The hardware is not what was claimed.", "機器の証明が成り立ちません。"),
    Exit.DEMAND: ("Less than the trust file demands.", "信頼ファイルの要求を満たしていません。"),
}

UNKNOWN = ("unknown", "不明")

OUTCOMES = {
    "done": ("done", "実施済み"),
    "denied": ("denied", "不許可"),
    "failed": ("failed", "失敗"),
    "proposed": ("proposed", "提案中"),
}

NOT_PROVEN: dict[str, Pair] = {
    "operator_hands": (
        "an operator with hands on the machine could extract keys.",
        "機器に直接触れる運用者は、鍵を取り出せる可能性があります。",
    ),
    "not_reevaluated": (
        "decisions were read, not made again; the charters in the bundle allow that.",
        "判断は読み取ったものであり、再判定していません。同梱の憲章により再判定できます。",
    ),
    "unwitnessed": (
        "whoever runs this log could have rewritten it; no trusted witness has cosigned.",
        "信頼する立会人の署名がないため、台帳の運営者が書き換えた可能性は残ります。",
    ),
    "agent_word": (
        "what is graded D is a site's own word.",
        "確度Dの事項は、拠点の自己申告です。",
    ),
}

SUMMARIES = {
    "holds": (
        "Everything holds; on the operator's word alone: {declared}. Log checkpoint {size}, witnesses: {witnesses}.",
        "すべて確認できました。運用者の自己申告によるもの：{declared}件。台帳の確認点{size}、立会人{witnesses}。",
    ),
    "untrusted": (
        "Self-consistent, not trusted: pass --trust FILE to check the log's signature. Log checkpoint {size}.",
        "矛盾はありませんが、信頼は確認していません。--trust FILE を指定すると署名を確認します。台帳の確認点{size}。",
    ),
    "fails": ("Does not hold: {kind} (exit code {code}).", "確認できません：{kind}（終了コード{code}）。"),
}

for _section in SECTIONS:
    PARTS[_section.part] = _section.names
    SENTENCES.update(_section.sentences)
    NOT_PROVEN.update(_section.not_proven)
