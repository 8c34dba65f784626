"""Problems of the ledger."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

RECORD_SHAPE = define(
    "ledger.record_shape",
    422,
    Exit.USAGE,
    Text("A record cannot hold this: {field}.", "記録できない値です：{field}。"),
)
RECORD_TOO_LARGE = define(
    "ledger.record_too_large",
    413,
    Exit.USAGE,
    Text(
        "A record of {size} bytes is over the limit of {limit}.",
        "記録の大きさ{size}バイトが上限の{limit}バイトを超えています。",
    ),
)
WRONG_DIGEST = define(
    "ledger.wrong_digest",
    422,
    Exit.USAGE,
    Text("The content does not have the digest {digest}.", "内容がダイジェスト{digest}と一致しません。"),
)
STREAM_CLOSED = define(
    "ledger.stream_closed",
    409,
    Exit.CONFLICT,
    Text("This evidence stream has ended.", "この証跡の系列は終了しています。"),
)
NOT_COVERED = define(
    "ledger.not_covered",
    503,
    Exit.UNAVAILABLE,
    Text(
        "Not yet under a checkpoint of the log. Try again in {seconds} s.",
        "まだ台帳のチェックポイントに含まれていません。{seconds}秒後に再試行してください。",
    ),
)
NOTHING_LOGGED = define(
    "ledger.nothing_logged",
    409,
    Exit.CONFLICT,
    Text("{id} has no record in the log yet.", "{id}の記録はまだ台帳にありません。"),
)
RECORD_ERASED = define(
    "ledger.record_erased",
    410,
    Exit.NOT_FOUND,
    Text("The content of record {id} has been erased.", "記録{id}の内容は消去済みです。"),
)
TREE_DAMAGED = define(
    "ledger.tree_damaged",
    500,
    Exit.INTERNAL,
    Text(
        "The log's tree in the database is damaged at {place}. Nothing was added or signed. Run sekishod fsck.",
        "データベース内の台帳の木が{place}で壊れています。追加も署名も行っていません。sekishod fsckを実行してください。",
    ),
)
KEY_MISSING = define(
    "ledger.key_missing",
    500,
    Exit.INTERNAL,
    Text("The log's key {name} is not in the key folder.", "台帳の鍵{name}が鍵フォルダーにありません。"),
)
KEY_UNREADABLE = define(
    "ledger.key_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "Key file {name} cannot be read as a key of this log.",
        "鍵ファイル{name}を台帳の鍵として読み取れません。",
    ),
)
KEY_EXPOSED = define(
    "ledger.key_exposed",
    500,
    Exit.INTERNAL,
    Text(
        "Key file {name} can be read by others. Set its mode to 0600.",
        "鍵ファイル{name}がほかの利用者から読み取れます。権限を0600にしてください。",
    ),
)
KEY_EXISTS = define(
    "ledger.key_exists",
    409,
    Exit.CONFLICT,
    Text("The key folder {name} is not empty.", "鍵フォルダー{name}は空ではありません。"),
    hint=Text(
        "There is an installation already: start it with sekishod up, or name another folder (data) in the settings.",
        "環境は既にあります。sekishod upで起動するか、設定のdataで別のフォルダーを指定してください。",
    ),
)
KEY_USED = define(
    "ledger.key_used",
    409,
    Exit.CONFLICT,
    Text("The log has already used this key.", "この鍵は台帳で使用済みです。"),
)
PUBLISHED_AHEAD = define(
    "ledger.published_ahead",
    500,
    Exit.INTERNAL,
    Text(
        "The published log has {published} entries, the database only {size}."
        " This database is older than what was published and cannot continue that log.",
        "公開済みの台帳は{published}件、データベースは{size}件です。"
        "データベースが公開済みの内容より古いため、この台帳を続けることはできません。",
    ),
)
PUBLISHED_DIFFERS = define(
    "ledger.published_differs",
    500,
    Exit.INTERNAL,
    Text(
        "The published log and the database differ at {size} entries. They are two different logs.",
        "公開済みの台帳とデータベースは{size}件の時点で内容が異なります。別の台帳です。",
    ),
)
PUBLISHED_UNREADABLE = define(
    "ledger.published_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "The published checkpoint cannot be read, or was not signed by this log.",
        "公開済みのチェックポイントを読み取れないか、この台帳の署名ではありません。",
    ),
)
COSIGNATURE_WRONG = define(
    "ledger.cosignature_wrong",
    502,
    Exit.FAILED,
    Text(
        "The witness's answer holds no cosignature of this checkpoint by its key.",
        "立会人の応答に、この確認点への有効な立会署名がありません。",
    ),
)
WITNESS_UNKNOWN = define(
    "ledger.witness_unknown",
    404,
    Exit.NOT_FOUND,
    Text("No such witness in the settings.", "設定にない立会人です。"),
)

STAMP_WRONG = define(
    "ledger.stamp_wrong",
    502,
    Exit.FAILED,
    Text(
        "The answer of time-stamping authority {authority} is no stamp of this checkpoint: {what}.",
        "時刻認証局{authority}の応答は、この確認点の時刻証明ではありません：{what}。",
    ),
)
STAMP_UNKNOWN = define(
    "ledger.stamp_unknown",
    404,
    Exit.NOT_FOUND,
    Text("No such time-stamping authority in the settings.", "設定にない時刻認証局です。"),
)

# What can be wrong with a witness. The first four must be looked into by a person.
WITNESS_AHEAD = define(
    "ledger.witness_ahead",
    502,
    Exit.FAILED,
    Text(
        "says it has cosigned {size} entries, more than this log has: somebody showed it a longer history",
        "この台帳より多い{size}件に立会署名したと答えています。誰かがより長い履歴を示した疑いがあります",
    ),
)
WITNESS_DIFFERS = define(
    "ledger.witness_differs",
    502,
    Exit.FAILED,
    Text(
        "refuses our proof from {size} entries on: somebody showed it another history",
        "{size}件からの証明を拒んでいます。誰かが別の履歴を示した疑いがあります",
    ),
)
WITNESS_FORGOT = define(
    "ledger.witness_forgot",
    502,
    Exit.FAILED,
    Text(
        "says it has seen {size} entries, fewer than it has cosigned: it lost its memory",
        "立会署名した件数より少ない{size}件までしか見ていないと答えています。記憶を失った疑いがあります",
    ),
)
WITNESS_WRONG = define(
    "ledger.witness_wrong",
    502,
    Exit.FAILED,
    Text(
        "answers what is no cosignature by its key, at {size} entries",
        "{size}件の確認点に、その鍵の立会署名ではないものを返しています",
    ),
)
WITNESS_REFUSES = define(
    "ledger.witness_refuses",
    502,
    Exit.FAILED,
    Text(
        "refuses our checkpoints (HTTP {size}): does it know this log and its key?",
        "確認点を拒否しています（HTTP {size}）。この台帳とその鍵が登録されているか確認してください",
    ),
)
WITNESS_AWAY = define(
    "ledger.witness_away",
    502,
    Exit.FAILED,
    Text("does not answer; last offered {size} entries", "応答がありません。最後に示したのは{size}件です"),
)
