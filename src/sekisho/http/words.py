"""Words for people: what each field of a command means, in both languages, for help and table headings.

Kept in one table because one name means one thing everywhere; the command line, its tables and the reference
read it. A field that is not here fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sekisho.http.words_shown import SHOWN
from sekisho_wire.problems import Text


class Word(msgspec.Struct, frozen=True):
    """One field. `heading` stands over a column, `help` beside an option, `sample` in an example."""

    heading: Text
    help: Text
    sample: str = "..."


def _word(heading: tuple[str, str], *help_text: str, sample: str = "...") -> Word:
    """Heading in both languages, then help in both; without help the heading serves."""
    english, japanese = help_text or heading
    return Word(Text(*heading), Text(english, japanese), sample)


_IDENTITY: Mapping[str, Word] = {
    "account": _word(
        ("account", "アカウント"), "the account's id", "アカウントのID", sample="usr_01kae7x2m4"
    ),
    "agent": _word(("agent", "エージェント"), "the agent's id", "エージェントのID", sample="agt_01kae7x2m4"),
    "certs": _word(("certificates", "認証"), "a certification it holds", "取得している認証", sample="ISMAP"),
    "clearance_until_at": _word(
        ("cleared until", "適性評価の期限"),
        "when the clearances end",
        "適性評価の有効期限",
        sample="2027-03-31T00:00:00Z",
    ),
    "clearances": _word(("clearances", "適性評価"), "a clearance the person holds", "保持している適性評価"),
    "display_name": _word(("name", "氏名"), "the name to show", "表示する氏名", sample="'Hanako Rei'"),
    "email": _word(("mail", "メール"), "mail address", "メールアドレス", sample="hanako@example.jp"),
    "foreign_control_pct": _word(
        ("foreign control %", "外国支配率（%）"),
        "share controlled from abroad, in per cent",
        "外国からの支配の割合（%）",
        sample="0",
    ),
    "jurisdiction": _word(
        ("jurisdiction", "法域"), "country of its law, two letters", "準拠する法の国（2文字）", sample="JP"
    ),
    "label": _word(("label", "名称"), "what it is for", "用途がわかる名称", sample="laptop"),
    "legal_exposure": _word(
        ("legal exposure", "外国法の影響"),
        "a foreign law that can compel it",
        "開示命令の根拠となり得る外国法",
    ),
    "members": _word(("members", "メンバー")),
    "organisation": _word(
        ("organisation", "組織"), "the organisation's id", "組織のID", sample="org_01kae7x2m4"
    ),
    "parent": _word(("parent", "親会社"), "who owns it", "親会社の名称"),
    "parent_jurisdiction": _word(
        ("parent's jurisdiction", "親会社の法域"),
        "country of its owner's law, two letters",
        "親会社が準拠する法の国（2文字）",
        sample="JP",
    ),
    "person": _word(("person", "利用者"), "the person's id", "利用者のID", sample="usr_01kae7x2m4"),
    "residence": _word(
        ("residence", "居住国"), "country of residence, two letters", "居住国（2文字）", sample="JP"
    ),
    "revoked_at": _word(("revoked", "失効日時")),
    "role": _word(("role", "役割"), "the role", "役割", sample="engineer"),
    "roles": _word(("roles", "役割")),
    "scopes": _word(
        ("scopes", "権限の範囲"),
        "an action, or its beginning, the token is good for",
        "トークンで実行できる操作名またはその先頭部分",
        sample="compute.job",
    ),
    "service": _word(
        ("service", "サービス"), "the service account's id", "サービスアカウントのID", sample="svc_01kae7x2m4"
    ),
    "team": _word(("team", "チーム"), "the team's id", "チームのID", sample="team_01kae7x2m4"),
    "token": _word(
        ("token", "トークン"),
        "the token's id, not its secret",
        "トークンのID（秘密の部分ではありません）",
        sample="tok_01kae7x2m4",
    ),
    "used_at": _word(("last used", "最終使用")),
}

_EVIDENCE: Mapping[str, Word] = {
    "action": _word(
        ("action", "操作"),
        "the action, a command's name",
        "操作名（コマンドの名前）",
        sample="compute.job.submit",
    ),
    "actor": _word(("actor", "実行者")),
    "binding": _word(
        ("binding", "内容のダイジェスト"),
        "the digest of what you read, as proposal list shows it",
        "確認した内容のダイジェスト（proposal listに表示）",
        sample="sha256:...",
    ),
    "after": _word(("after", "続きの位置"), "where the last page ended", "前のページの終わりの位置"),
    "decision": _word(("decision", "判断")),
    "export": _word(
        ("export", "書き出し"), "the export's record", "書き出しの記録ID", sample="rec_01kae7x2m4"
    ),
    "log_index": _word(("log index", "台帳番号")),
    "outcome": _word(("outcome", "結果")),
    "proposal": _word(("proposal", "申請"), "the proposal's id", "申請のID", sample="prop_01kae7x2m4"),
    "proposer": _word(("proposer", "申請者")),
    "record": _word(("record", "記録"), "the record's id", "記録のID", sample="rec_01kae7x2m4"),
    "resource_id": _word(("resource", "対象")),
    "seen_size": _word(
        ("seen size", "確認済みの大きさ"),
        "size of a log checkpoint you hold, to prove that the log only grew",
        "手元にある台帳の確認点の大きさ（追記だけであることの証明用）",
        sample="48213",
    ),
    "size": _word(("size", "大きさ"), "number of log entries", "台帳の記録数", sample="48213"),
    "stream": _word(
        ("stream", "系列"), "only the stream of this job or organisation", "このジョブまたは組織の系列のみ"
    ),
    "time": _word(("time", "日時")),
    "vkey": _word(("verifier key", "検証鍵"), "the new key, as a verifier key", "新しい鍵（検証鍵の形式）"),
}

_PLACES: Mapping[str, Word] = {
    "accelerators": _word(
        ("GPUs", "GPU"),
        "GPU types with counts and prices",
        "GPUの種類、台数、価格",
        sample='\'[{"type":"H100","count":8}]\'',
    ),
    "approvers": _word(
        ("approvers", "承認者"),
        "id of a person who is to approve",
        "承認を求める利用者のID",
        sample="usr_01kae7x2m4",
    ),
    "artefact": _word(("artefact", "成果物"), "the artefact's id", "成果物のID", sample="art_01kae7x2m4"),
    "country": _word(
        ("country", "国"),
        "the country and how it is known",
        "国とその確度",
        sample='\'{"value":"JP","grade":"D"}\'',
    ),
    "cpus": _word(("CPUs", "CPU"), "CPU cores", "CPUコア数", sample="64"),
    "dataset": _word(
        ("dataset", "データセット"), "the dataset's id or name", "データセットのIDまたは名前", sample="corpus"
    ),
    "data.artefact.export:licence": _word(
        ("licence", "輸出許可"), "number of the export licence", "輸出許可の番号", sample="METI-2026-0001"
    ),
    "data.artefact.lower:level": _word(("level", "区分"), "the new level", "新しい区分", sample="2"),
    "data.dataset.lower:level": _word(("level", "区分"), "the new level", "新しい区分", sample="2"),
    "data.dataset.lower:dataset": _word(
        ("dataset", "データセット"), "the dataset's id", "データセットのID", sample="ds_01kae7x2m4"
    ),
    "destination": _word(
        ("destination", "持ち出し先"),
        "country it goes to, two letters",
        "持ち出し先の国（2文字）",
        sample="JP",
    ),
    "engine": _word(("engine", "実行基盤"), "what runs jobs there", "ジョブを実行する仕組み", sample="local"),
    "fact": _word(
        ("fact", "事実"),
        "the value and how it is known",
        "値とその確度",
        sample='\'{"value":"JP","grade":"D"}\'',
    ),
    "facts": _word(("facts", "事実"), "further facts by name", "その他の事実（名前ごと）", sample="'{}'"),
    "files": _word(("files", "ファイル数"), "number of files", "ファイルの数", sample="12"),
    "gpu": _word(
        ("GPUs' token", "GPUの証明"),
        "a file with NVIDIA's bundle for the GPUs",
        "GPUの証明（NVIDIA形式）のファイル",
        sample="gpu.json",
    ),
    "heard_at": _word(("last heard", "最終受信")),
    "jku": _word(
        ("key address", "鍵の所在"),
        "the address its tokens carry; never opened",
        "証明に書かれる鍵の所在（接続はしません）",
        sample="https://verifier.example/certs",
    ),
    "key": _word(("key", "鍵")),
    "keys": _word(
        ("keys", "鍵"),
        "its keys with id and algorithm, as PEM",
        "鍵のID、署名方式、公開鍵（PEM）",
        sample='\'[{"kid":"1","alg":"RS256","key":"..."}]\'',
    ),
    "sites.attestation.add:token": _word(
        ("token", "証明"),
        "a file with the verifier's token",
        "検証者の証明のファイル",
        sample="machine.jwt",
    ),
    "sites.verifier.add:country": _word(
        ("country", "国"), "the country it works in", "検証者の所在国", sample="JP"
    ),
    "sites.verifier.add:issuer": _word(
        ("issuer", "発行者"),
        "who its tokens say they are by",
        "証明に書かれる発行者",
        sample="https://verifier.example",
    ),
    "sites.verifier.add:kind": _word(
        ("kind", "種類"), "azure, intel, nvidia or software", "azure、intel、nvidia、software", sample="azure"
    ),
    "labels": _word(
        ("labels", "ラベル"), "a label beside the level", "区分に加えるラベル", sample="personal"
    ),
    "level": _word(("level", "区分"), "how sensitive: 0 public to 4", "機密の区分（0公開～4）", sample="1"),
    "licence": _word(("licence", "利用許諾"), "under which licence", "利用許諾の条件", sample="CC-BY-4.0"),
    "memory_bytes": _word(
        ("memory", "メモリー"), "memory in bytes", "メモリーのバイト数", sample="68719476736"
    ),
    "object": _word(("object", "実体"), "digest of the content", "内容のダイジェスト", sample="sha256:..."),
    "operator": _word(
        ("operator", "運用者"), "the operating organisation's id", "運用者の組織ID", sample="org_01kae7x2m4"
    ),
    "release": _word(
        ("release", "持ち出し"),
        "id of the approved export, or of its proposal",
        "承認された持ち出しのID、またはその申請のID",
        sample="rel_01kae7x2m4",
    ),
    "residency": _word(
        ("residency", "所在地条件"), "a country it may be in, or any", "置いてよい国、またはany", sample="JP"
    ),
    "site": _word(("site", "拠点"), "the site's id or name", "拠点のIDまたは名前", sample="sakura-ishikari"),
    "site_name": _word(("site", "拠点")),
    "address": _word(
        ("address", "アドレス"),
        "where it answers challenges (UDP, host:port)",
        "測定に応答するアドレス（UDP、host:port）",
        sample="203.0.113.7:7700",
    ),
    "landmark": _word(
        ("landmark", "測位基準点"), "the landmark's name", "測位基準点の名前", sample="fukuoka-1"
    ),
    "latitude_udeg": _word(
        ("latitude", "緯度"), "north, in millionths of a degree", "北緯（百万分の1度）", sample="33590200"
    ),
    "longitude_udeg": _word(
        ("longitude", "経度"), "east, in millionths of a degree", "東経（百万分の1度）", sample="130401700"
    ),
    "request": _word(("request", "依頼"), "the request's id", "依頼のID", sample="prq_01kae7x2m4"),
    "territory": _word(
        ("territory", "領域ファイル"), "the territory file", "領域ファイル", sample="territory.json"
    ),
    "transcripts": _word(("transcripts", "測定記録"), "a signed transcript", "署名付きの測定記録"),
    "size_bytes": _word(("bytes", "バイト数"), "size in bytes", "バイト数", sample="4096"),
    "source": _word(("source", "根拠"), "where this is known from", "情報の出どころ"),
    "stand_in": _word(("stand-in", "代役"), "it is simulated on this machine", "この機器上の代役です"),
    "away_seconds": _word(
        ("may be away", "不在の上限"),
        "how long it may be out of touch while its work goes on, in seconds",
        "連絡が途絶えても作業を続けてよい時間（秒）",
        sample="28800",
    ),
    "asks_health": _word(("asks services", "死活を確認")),
    "holds_leases": _word(("leases hold", "権利の期限を守る")),
    "nodes": _word(("nodes", "ノード数")),
    "wall": _word(("wall", "遮断")),
    "yen_per_hour": _word(
        ("yen/hour", "円/時"), "price of an hour in yen", "1時間の価格（円）", sample="120"
    ),
}

_WORK: Mapping[str, Word] = {
    "array": _word(
        ("array", "配列"),
        "only the jobs of this array or service, by its id",
        "この配列またはサービスに含まれるジョブのみ（IDで指定）",
        sample="job_01kae7x2m4",
    ),
    "attempt": _word(
        ("attempt", "試行"), "which attempt, 0 for the latest", "試行の番号（0は最新）", sample="1"
    ),
    "changed_at": _word(("changed", "変更日時")),
    "created_at": _word(("created", "作成日時")),
    "cursor": _word(("cursor", "続きの位置"), "where the last page ended", "前のページの終わりの位置"),
    "expires_at": _word(("expires", "期限"), "when it ends", "終了する日時", sample="2026-12-31T00:00:00Z"),
    "file": _word(("file", "ジョブファイル"), "the job file", "ジョブファイル", sample="train.yaml"),
    "id": _word(("id", "ID"), "its id", "対象のID"),
    "index": _word(("no.", "番号")),
    "image": _word(("image", "実行環境"), "the environment's name", "実行環境の名前", sample="jax"),
    "job": _word(("job", "ジョブ"), "the job's id", "ジョブのID", sample="job_01kae7x2m4"),
    "kind": _word(("kind", "種類")),
    "limit": _word(("limit", "件数"), "rows per page", "1ページの件数", sample="50"),
    "lock": _word(
        ("lock", "ロックファイル"),
        "a requirements lock with hashes",
        "ハッシュ付きのロックファイル",
        sample="requirements.txt",
    ),
    "mine": _word(("mine", "自分のみ"), "only what is yours", "自分のものだけ"),
    "name": _word(("name", "名前"), "its name", "名前", sample="example"),
    "offset": _word(("offset", "開始位置"), "where to begin, in bytes", "開始位置（バイト）", sample="0"),
    "owner": _word(("owner", "所有者")),
    "reason": _word(("reason", "理由"), "why", "理由", sample="'asked by its owner'"),
    "state": _word(("state", "状態"), "only in this state", "この状態のものだけ", sample="running"),
    "value": _word(
        ("value", "値"),
        "a file with the value, - for standard input",
        "値のファイル（-は標準入力）",
        sample="-",
    ),
    "workdir": _word(
        ("working folder", "作業フォルダー"), "an added working folder", "追加済みの作業フォルダー"
    ),
}

_CHARTER: Mapping[str, Word] = {
    "activated": _word(("activated", "有効化日時")),
    "at": _word(
        ("at", "時刻"), "as if it were then", "この時刻であるとして試します", sample="2026-12-01T00:00:00Z"
    ),
    "before": _word(
        ("before", "前の版"), "the older version, else the one in force", "前の版（省略時は効力のある版）"
    ),
    "charter.version.replay:after": _word(
        ("after", "続きの位置"), "where the last page ended", "前のページの終わりの位置", sample="48000"
    ),
    "charter.version.diff:after": _word(
        ("after", "後の版"), "the newer version", "後の版のID", sample="chv_01kae7x2m4"
    ),
    "context": _word(("context", "状況"), "what the action is about", "操作の状況", sample="'{}'"),
    "digest": _word(("digest", "ダイジェスト")),
    "drafted": _word(("drafted", "作成日時")),
    "drafted_by": _word(("drafted by", "作成者")),
    "policies": _word(
        ("policies", "条文"), "a file of Cedar policies", "Cedarの条文のファイル", sample="charter.cedar"
    ),
    "principal": _word(
        ("principal", "実行者"), "who would ask, else you", "実行者（省略時は自分）", sample="'{}'"
    ),
    "resource": _word(
        ("resource", "対象"), "what it would be done to", "操作の対象", sample='\'{"type":"Job","id":"x"}\''
    ),
    "upto": _word(
        ("records", "記録数"),
        "only records before this place in the log",
        "台帳のこの位置より前の記録のみ",
        sample="48213",
    ),
    "version": _word(
        ("version", "版"), "the version's id, else the one in force", "版のID（省略時は効力のある版）"
    ),
}

_KEYS: Mapping[str, Word] = {
    "data.key.register:address": _word(
        ("address", "アドレス"),
        "where the custodian answers",
        "保管者のアドレス",
        sample="https://custodian.example",
    ),
    "custodian": _word(
        ("custodian", "保管者"),
        "the organisation that holds the key, else your own",
        "鍵を保管する組織のID（省略時は自分の組織）",
        sample="org_01kae7x2m4",
    ),
    "envelope": _word(
        ("envelope", "暗号化の見出し"),
        "digest of the encrypted object's header",
        "暗号化した実体の見出しの要約値",
        sample="sha256:...",
    ),
    "evidence": _word(
        ("evidence", "証拠"),
        "the custodian's signed word that the key is gone",
        "鍵を破棄したという保管者の署名つき証拠",
        sample="destroyed.txt",
    ),
    "key": _word(("key", "鍵"), "the key's id or name", "鍵のIDまたは名前", sample="hospital"),
    "key_version": _word(
        ("version of the key", "鍵の版"),
        "version of the key that wraps the data key",
        "データ鍵を包んだ鍵の版",
        sample="1",
    ),
    "public_key": _word(
        ("public key", "公開鍵"),
        "the key that checks what it signs, in base64url",
        "署名を検証する公開鍵（base64url）",
    ),
    "statement": _word(
        ("statement", "陳述"),
        "what the custodian says of the key, signed by it",
        "保管者が署名した、鍵についての陳述",
        sample="facts.txt",
    ),
}

FIELDS: Mapping[str, Word] = {
    **{name: _word(heading) for name, heading in SHOWN.items()},
    **_IDENTITY,
    **_EVIDENCE,
    **_PLACES,
    **_WORK,
    **_CHARTER,
    **_KEYS,
}
"""By name; `command:name` where a command means something else by a name than all others do."""

NOUNS: Mapping[str, Text] = {
    "administrator": Text("Who may change everything", "すべてを変更できる管理者"),
    "agent": Text("Programs of sites", "拠点エージェント"),
    "approver": Text("Who gives a second signature", "2人目として承認する人"),
    "attestation": Text("What hardware proves of itself", "機器の証明"),
    "artefact": Text("What jobs left behind", "ジョブの成果物"),
    "charter": Text("The rules in force", "効力のある憲章"),
    "data": Text("Datasets", "データセット"),
    "image": Text("Prepared environments", "実行環境"),
    "job": Text("Jobs", "ジョブ"),
    "key": Text("Keys that stay with their custodians", "保管者に預けた鍵"),
    "landmark": Text("Who measures where sites are", "拠点の位置を測定する測位基準点"),
    "ledger": Text("The log of records", "台帳"),
    "link": Text("One-time sign-in links", "1回限りのサインイン用リンク"),
    "me": Text("Your own account", "自分のアカウント"),
    "organisation": Text("Organisations", "組織"),
    "person": Text("People", "利用者"),
    "proposal": Text("What waits for a second person", "2人目の承認待ち"),
    "record": Text("Records of what was decided and done", "判断と実行の記録"),
    "release": Text("Exports that were approved", "承認された持ち出し"),
    "role": Text("What accounts may do", "アカウントの役割"),
    "secret": Text("Secrets that jobs get as files", "ジョブにファイルとして渡す秘密情報"),
    "service": Text("Accounts of programs", "サービスアカウント"),
    "site": Text("Places that offer GPUs", "GPUを提供する拠点"),
    "team": Text("Teams", "チーム"),
    "territory": Text("Versions of the territory file", "領域ファイルの版"),
    "token": Text("Your access tokens", "自分のアクセストークン"),
    "verifier": Text("Whose word on hardware counts", "機器の証明を判断する検証者"),
}
"""What a noun of the command line stands for."""


def word(name: str, command: str = "") -> Word:
    """The word of a field of a command; an unknown one is its own name, which `tests/http` does not let pass."""
    plain = name.replace("_", " ")
    return FIELDS.get(f"{command}:{name}") or FIELDS.get(name) or _word((plain, plain))
