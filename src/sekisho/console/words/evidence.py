"""Pages of evidence: ledger, records, verdicts, and the charter that decisions name."""

from __future__ import annotations

WORDS = {
    "evidence.title": ("Verdict", "検証結果"),
    "evidence.back": ("Back to the job", "ジョブに戻る"),
    "evidence.holds": ("Holds", "確認できました"),
    "evidence.fails": ("Does not hold", "確認できません"),
    "evidence.waiting": ("Not under a checkpoint yet", "確認点の署名待ち"),
    "evidence.wait": (
        "The export is recorded, but the log has no signed checkpoint over it yet. This takes a few seconds.",
        "書き出しは記録されましたが、まだ台帳の確認点に含まれていません。数秒かかります。",
    ),
    "evidence.again": ("Look again", "もう一度確認する"),
    "evidence.download": ("Download the bundle ({size})", "証跡一式を保存する（{size}）"),
    "evidence.caption": ("Every check, in order", "検証の各項目（実施順）"),
    "evidence.part": ("Check", "項目"),
    "evidence.result": ("Result", "結果"),
    "evidence.says": ("What it says", "内容"),
    "evidence.unproven": ("What no such proof shows", "この検証では示せないこと"),
    "evidence.offline": ("Trust nobody, not even this page", "このページも信用せずに確かめる"),
    "evidence.offline.text": (
        (
            "This server checked its own bundle against its own trust file. To rely on no server, keep the bundle, take the "
            "trust file from somewhere else than here, and run this without a network:"
        ),
        (
            "この結果は、このサーバー自身が自分の信頼ファイルで確かめたものです。サーバーに頼らずに確かめるには、"
            "証跡一式を保存し、信頼ファイルを別の経路で受け取り、ネットワークを切って次を実行してください。"
        ),
    ),
    "evidence.record": ("This export is itself on record:", "この書き出し自体の記録："),
    "ledger.title": ("Evidence", "証跡"),
    "ledger.lead": (
        "The log holds {size} entries; its newest checkpoint was signed {time}.",
        "台帳の記録は{size}件です。最新の確認点の署名は{time}です。",
    ),
    "ledger.no_checkpoint": (
        "No record yet: the log has no checkpoint.",
        "まだ記録がありません。台帳の確認点もありません。",
    ),
    "ledger.checkpoint": ("Newest log checkpoint", "最新の台帳の確認点"),
    "ledger.origin": ("Log", "台帳"),
    "ledger.size": ("Size", "大きさ"),
    "ledger.root": ("Root", "根の要約値"),
    "ledger.vkey": ("Key", "検証鍵"),
    "ledger.note": ("The signed note", "署名付きの原文"),
    "ledger.find": ("Record by id", "IDで記録を開く"),
    "ledger.records": ("Records", "記録"),
    "ledger.records.audit": (
        "Lists of records are for auditors. A record that a page of yours names can be opened by its id.",
        "記録の一覧は監査担当のためのものです。",
    ),
    "ledger.caption": ("Records, newest first", "記録（新しい順）"),
    "ledger.none": ("No record yet.", "記録はまだありません。"),
    "ledger.index": ("Index", "番号"),
    "ledger.time": ("Time", "時刻"),
    "ledger.action": ("Action", "操作"),
    "ledger.actor": ("Actor", "行為者"),
    "ledger.erased": ("erased", "消去済み"),
    "outcome.done": ("allowed, done", "許可、実施済み"),
    "outcome.denied": ("denied", "不許可"),
    "outcome.failed": ("allowed, failed", "許可、失敗"),
    "outcome.proposed": ("proposed", "提案中"),
    "record.title": ("Record", "記録"),
    "record.covered": ("Under a checkpoint", "確認点に収録済み"),
    "record.open": ("Not under a checkpoint yet", "確認点の署名待ち"),
    "record.erased": ("Erased", "消去済み"),
    "record.answer.covered": (
        "Entry {index} of the log. Changed, it would no longer match the signed checkpoint.",
        "台帳の{index}番目の記録です。変更すると、署名済みの確認点と一致しなくなります。",
    ),
    "record.answer.open": (
        "Written, and waiting for its place under a signed checkpoint.",
        "記録済みです。署名された確認点に含まれるのを待っています。",
    ),
    "record.answer.erased": (
        "Its content was erased by two people; its place in the log stays.",
        "2人の承認により内容を消去しました。台帳での位置は残ります。",
    ),
    "record.seq": ("Place in its stream", "系列内の番号"),
    "record.body": ("The record itself", "記録の原文"),
    "record.body.text": (
        "Canonical JSON; its SHA-256 is the digest above.",
        "正規形のJSONです。このSHA-256が上の要約値です。",
    ),
    "record.proof": ("Inclusion proof", "収録証明"),
    "record.proof.text": (
        "Hashes from this entry up to the root of the checkpoint at size {size}:",
        "この記録から、大きさ{size}の確認点の根までの要約値です。",
    ),
    "record.proof.none": ("There is none yet.", "まだありません。"),
    "verify.title": ("Verify without trusting us", "このサーバーを信用せずに検証する"),
    "verify.lead": (
        (
            "One file proves one job. It is checked on your own machine, with the network off, against keys that do not come "
            "from the file."
        ),
        (
            "1つのファイルが1つのジョブを証明します。検証は手元の機器で、ネットワークを切って行います。"
            "鍵はそのファイルの中からは取りません。"
        ),
    ),
    "verify.step.bundle": (
        "Export the job's bundle, on its page or with",
        "ジョブのページか、次のコマンドで証跡一式を書き出します。",
    ),
    "verify.step.trust": (
        "Get the trust file from somebody you trust, not from this server: who set up the log has it.",
        "信頼ファイルを、このサーバーからではなく、信頼できる人から受け取ります。台帳を設置した人が持っています。",
    ),
    "verify.step.run": ("Check, with the network off:", "ネットワークを切って検証します。"),
    "verify.codes": ("Exit codes", "終了コード"),
    "verify.codes.caption": ("One for each kind of verdict", "結果の種類ごとに1つ"),
    "verify.code": ("Code", "コード"),
    "verify.means": ("Means", "意味"),
    "verify.flip": ("See it fail", "失敗するところを見る"),
    "verify.flip.text": (
        "Change one byte of a copy, and the check fails:",
        "複製の1バイトを変えると、検証は失敗します。",
    ),
    "verify.trust": ("What this server says its trust file is", "このサーバーが示す信頼ファイル"),
    "verify.trust.text": (
        "Compare it with the one you were given. They must be equal.",
        "受け取った信頼ファイルと比べてください。同じでなければなりません。",
    ),
    "exit.0": ("everything holds", "すべて確認"),
    "exit.2": ("wrong use", "使い方の誤り"),
    "exit.10": ("malformed", "形式の誤り"),
    "exit.11": ("a digest does not match", "要約値の不一致"),
    "exit.12": ("a signature does not hold", "署名を確認できない"),
    "exit.13": ("not in the log", "台帳に収録されていない"),
    "exit.14": ("not consistent with a log seen before", "以前の台帳と一貫しない"),
    "exit.15": ("not complete", "欠けや余分がある"),
    "exit.16": ("the place contradicts the records", "位置が記録と矛盾する"),
    "exit.17": ("done against a decision", "判断に反している"),
    "exit.18": ("a key was released wrongly", "鍵の引き渡しの誤り"),
    "exit.19": ("the wall was open", "遮断が破られていた"),
    "exit.20": ("less than the trust file demands", "信頼ファイルの要求に不足"),
    "exit.21": ("consistent with itself, not trusted", "矛盾はないが信頼は未確認"),
    "exit.22": ("the hardware is not what was claimed", "機器の証明が成り立たない"),
    "exit.23": ("a proof of place does not hold", "位置証明が成り立たない"),
}
