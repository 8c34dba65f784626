"""Why not, in both languages: one sentence per case of each rule family, filled in by `explain.py`.

Placeholders are the same in both languages. A charter of one's own brings its sentences as `@en` and `@ja`
annotations, with the same placeholders.
"""

from __future__ import annotations

from collections.abc import Mapping

from sekisho_wire.problems import Text

SENTENCES: Mapping[str, Text] = {
    "C01": Text(
        "{data} may stay in {countries} only; {site} is in {country}.",
        "{data}の所在地条件は{countries}のみです。{site}は{country}にあります。",
    ),
    "C01.served": Text(
        "{data} answers from {served} only, not from {site}.",
        "{data}の応答は{served}からに限られます。{site}からは応答できません。",
    ),
    "C02": Text(
        "{site}'s location proof is {age} old; level {n} needs one of at most 15 min.",
        "{site}の位置証明は{age}前のものです。レベル{n}では15分以内の証明が必要です。",
    ),
    "C02.never": Text(
        "{site} has no location proof; level {n} needs one of at most 15 min.",
        "{site}には有効な位置証明がありません。レベル{n}では15分以内の証明が必要です。",
    ),
    "C02.future": Text(
        "{site}'s location proof is dated in the future; it does not count.",
        "{site}の位置証明の時刻が未来になっているため、証明として扱えません。",
    ),
    "C02.landmarks": Text(
        "{site}'s location proof rests on {landmarks} landmarks; level {n} needs 3.",
        "{site}の位置証明に応答した測位基準点は{landmarks}か所です。レベル{n}では3か所が必要です。",
    ),
    "C02.margin": Text(
        "{site}'s location proof does not exclude foreign soil; level {n} needs that.",
        "{site}の位置証明では国外の可能性を排除できません。レベル{n}では排除が必要です。",
    ),
    "C03": Text(
        "{operator} can be compelled under foreign law ({law}), and the key is not out of its reach.",
        "{operator}には外国法（{law}）による開示命令が及び得ます。鍵も運用者から分離されていません。",
    ),
    "C03.declared": Text(
        "Who controls {operator} is only its own word (grade D); level {n} needs a third party's signature (S).",
        "{operator}の支配関係は自己申告（確度D）のみです。レベル{n}では第三者署名（確度S）が必要です。",
    ),
    "C04": Text(
        "The key for {data} is not held in a Japanese HSM (level 3: by someone other than the operator).",
        "{data}の鍵が国内のHSMで保管されていません（レベル3では運用者以外の保管が必要です）。",
    ),
    "C04.declared": Text(
        "Who holds the key for {data} is only its registrant's word (grade D); level {n} needs a third party's (S).",
        "{data}の鍵の保管については登録者の申告（確度D）のみです。レベル{n}では第三者署名（確度S）が必要です。",
    ),
    "C05": Text(
        "Special-care data needs a stated purpose, consent and no prompt log; missing: {list}.",
        "要配慮個人情報には利用目的、本人の同意、入力を記録しない設定が必要です。不足：{list}。",
    ),
    "C06": Text(
        "No legal basis (APPI Art. 28) for a copy in {country}.",
        "{country}への複製に必要な根拠（個人情報保護法第28条）がありません。",
    ),
    "C06.level": Text(
        "Level {n} is not copied abroad; {site} is in {country}.",
        "レベル{n}は国外に複製できません。{site}は{country}にあります。",
    ),
    "C06.residency": Text(
        "{data} may be copied to {countries} only; {site} is in {country}.",
        "{data}の複製先は{countries}に限られます。{site}は{country}にあります。",
    ),
    "C07": Text(
        "Needs a cleared person, a certified operator and a disconnected site; missing: {list}.",
        "適性評価を受けた人、認定運用者、切り離された拠点が必要です。不足：{list}。",
    ),
    "C08": Text("Specially designated secrets are never taken in.", "特定秘密は受け入れません。"),
    "C09": Text("Level {n} never runs with open egress.", "レベル{n}では外向き通信を開放できません。"),
    "C09.stores": Text(
        "Level {n} leaves only to addresses of stores in Japan that the charter lists, not to names.",
        "レベル{n}の通信先は、憲章に記載された国内の保管先のアドレスに限られます。名前では指定できません。",
    ),
    "C09.attested": Text(
        "Level {n} needs an egress that {site}'s attestation covers.",
        "レベル{n}では、{site}のハードウェア証明に含まれる外向き通信の制限が必要です。",
    ),
    "C09.wall": Text(
        "Level {n} needs a wall; {site} has none.",
        "レベル{n}では遮断が必要です。{site}には遮断がありません。",
    ),
    "C10": Text(
        "Export needs {k} approvers of different organisations, none of them you; has {j}.",
        "持ち出しには別組織の承認者{k}人（本人を除く）が必要です。現在{j}人です。",
    ),
    "C10.residency": Text(
        "{data} may leave to {countries} only, not to {country}.",
        "{data}の持ち出し先は{countries}に限られます。{country}へは持ち出せません。",
    ),
    "C10.level": Text("Level {n} is never exported.", "レベル{n}は持ち出せません。"),
    "C10.licence": Text(
        "{data} is export-controlled and needs a licence for {country}.",
        "{data}は輸出管理の対象です。{country}への持ち出しには許可が必要です。",
    ),
    "C11": Text(
        "No approval younger than 4 h by the owner for {person}.",
        "{person}の立ち入りについて、所有者による4時間以内の承認がありません。",
    ),
    "C11.level": Text(
        "The operator's staff is never let in at level {n}.", "レベル{n}では運用者の立ち入りを認めません。"
    ),
    "C11.residence": Text("{person} does not reside in Japan.", "{person}は国内に居住していません。"),
    "C11.recorded": Text(
        "Operator access needs a ticket and a recording.", "運用者の立ち入りには、申請票と録画が必要です。"
    ),
    "C12": Text(
        "{recipient} is outside the circle of {tlp}.",
        "{recipient}は{tlp}の共有範囲に含まれません。",
    ),
    "C12.personal": Text(
        "Indicators with personal data go to Japanese national authorities only, not to {recipient}.",
        "個人データを含む脅威指標の共有先は国内の国家機関に限られます。{recipient}には共有できません。",
    ),
    "C13": Text(
        "Labs use no real data and end with their hours; {fact}.",
        "演習では実データを使えず、時間枠を超えられません。{fact}。",
    ),
    "floor": Text(
        "{data} is level {n} and may stay in {countries} only; no charter can allow {country}.",
        "{data}はレベル{n}で、所在地条件は{countries}のみです。{country}はどの憲章でも許可できません。",
    ),
    "closed": Text(
        "The request refers to something of type {type} that does not exist.",
        "要求が参照している{type}は存在しません。",
    ),
    "closed.Action": Text(
        "{action} is newer than the charter in force. Draft and activate a version under this program.",
        "{action}は有効な憲章より新しい操作です。現在のプログラムで版を作成し、有効にしてください。",
    ),
    "malformed": Text(
        "The request does not fit the charter's schema: {what}",
        "要求が憲章のスキーマに合いません：{what}",
    ),
    "evaluation": Text(
        "A rule of the charter could not be evaluated, which counts as a no.",
        "憲章の条項を評価できませんでした。不許可として扱います。",
    ),
    "no-charter": Text("No charter is in force yet.", "有効な憲章がまだありません。"),
    "no-permit": Text("No rule permits {action} to a {who}.", "{who}に{action}を許可する条項はありません。"),
    "permit.role": Text("Needs the role {role}.", "{role}の役割が必要です。"),
    "permit.role_in": Text(
        "Needs the role {role} in organisation {owner}.", "組織{owner}での{role}の役割が必要です。"
    ),
    "permit.any_role": Text("Needs a role.", "役割が必要です。"),
    "permit.owner": Text(
        "{data} belongs to organisation {owner}; you act for {own}.",
        "{data}は組織{owner}のものです。あなたの組織は{own}です。",
    ),
    "permit.condition": Text(
        "Rule {rule} needs: {condition}", "条項{rule}の条件を満たしていません：{condition}"
    ),
    "forbid.condition": Text("Rule {rule} forbids this.", "条項{rule}により不許可です。"),
}

WORDS: Mapping[str, Text] = {
    "consent": Text("consent", "本人の同意"),
    "purpose": Text("a stated purpose", "利用目的"),
    "log": Text("no prompt log", "入力を記録しない設定"),
    "person": Text("a cleared person", "適性評価を受けた人"),
    "mfa": Text("a second factor at sign-in", "多要素認証"),
    "operator": Text("a certified operator", "認定運用者"),
    "disconnected": Text("a disconnected site", "切り離された拠点"),
    "real": Text("this one uses real data", "この演習は実データを使います"),
    "level": Text("this one is above level 1", "この演習はレベル1を超えています"),
    "abroad": Text("this site is abroad", "この拠点は国外にあります"),
    "hours": Text("no hours are left", "残り時間がありません"),
    "none": Text("none", "なし"),
    "or": Text(" or ", "または"),
    "comma": Text(", ", "、"),
    "foreign_votes": Text("foreign votes of {percent} %", "外国人議決権{percent}％"),
    "parent": Text("parent in {country}", "親会社の所在国{country}"),
    "days": Text("{n} d", "{n}日"),
    "hours_unit": Text("{n} h", "{n}時間"),
    "minutes": Text("{n} min", "{n}分"),
    "seconds": Text("{n} s", "{n}秒"),
}

FAMILIES = frozenset(key for key in SENTENCES if key[0] == "C")


def family(rule: str) -> str:
    """`C02` of `C02-location-proof`."""
    return rule.partition("-")[0]
