"""Pages of keys."""

from __future__ import annotations

WORDS = {
    "keys.title": ("Keys", "鍵"),
    "keys.none": (
        "No key is registered. Data of level 1 and above needs one; its custodian prints the command.",
        "登録された鍵はありません。レベル1以上のデータには鍵が必要です。登録のコマンドは鍵の保管者が表示します。",
    ),
    "keys.answer": (
        "Keys on this page: {n}; released: {serving}.",
        "このページの鍵は{n}件、引き渡し中は{serving}件です。",
    ),
    "keys.caption": ("Keys that you may see", "閲覧できる鍵"),
    "key": ("Key", "鍵"),
    "key.none": ("none: stored as it is", "なし（暗号化されていません）"),
    "key.versioned": ("{name}, version {version}", "{name}（第{version}版）"),
    "key.version": ("Version", "版"),
    "key.custodian": ("Custodian", "鍵の保管者"),
    "key.custody": ("Held in", "保管方法"),
    "key.custody.customer-hsm": ("hardware module (PKCS#11)", "ハードウェア（PKCS#11）"),
    "key.custody.development": (
        "development file, which protects nothing",
        "開発用ファイル（保護になりません）",
    ),
    "key.country": ("Country", "国"),
    "key.exportable": ("Can leave its module", "外部への取り出し"),
    "key.address": ("Address", "接続先"),
    "key.public": ("What it signs with", "署名の公開鍵"),
    "key.said": ("What its custodian says", "鍵の保管者の申告"),
    "key.answer.serving": (
        "{name} is released to a job only while charter, proof of place and grant allow it.",
        "{name}は、憲章、位置の証明、権限がすべて許す間だけ、ジョブに引き渡されます。",
    ),
    "key.answer.stopped": (
        "{name} is stopped: no job receives it, and jobs that used it end with that reason.",
        "{name}は停止中です。どのジョブにも引き渡されず、使用中のジョブはこの理由で終了します。",
    ),
    "key.answer.destroyed": (
        "{name} was destroyed: what was encrypted under it cannot be read again.",
        "{name}は破棄されました。この鍵で暗号化したデータは二度と読めません。",
    ),
    "key.unproven": (
        "That the key never left its custodian: no file of evidence can show it.",
        "鍵が保管者の外に出ていないことを示せる証拠ファイルはありません。",
    ),
    "key.stop.title": ("Stop {name}?", "{name}を止めますか"),
    "key.stop.lead": (
        "No job receives the key from now on. Jobs that use it end with that reason. You can let it be released again.",
        "以後、この鍵はどのジョブにも引き渡されません。使用中のジョブはこの理由で終了します。後で再開できます。",
    ),
    "key.stop.go": ("Stop the key", "鍵を止める"),
    "key.resume.title": ("Let {name} be released again?", "{name}の引き渡しを再開しますか"),
    "key.resume.lead": (
        "Jobs receive the key again where charter, proof of place and grant allow it.",
        "憲章、位置の証明、権限が許すジョブに、再び鍵を引き渡します。",
    ),
    "key.resume.go": ("Release it again", "引き渡しを再開する"),
    "key.back": ("Back to the key", "鍵に戻る"),
}
