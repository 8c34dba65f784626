"""Problems of a landmark beside those of every guarantor: its configuration, its key, and sessions of no use."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

CONFIG_INVALID = define(
    "landmark.config_invalid",
    400,
    Exit.USAGE,
    Text("The configuration does not hold: {what}", "設定に誤りがあります：{what}"),
)
KEY_UNREADABLE = define(
    "landmark.key_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "The key in {folder} is missing, can be read by others, or cannot be read. A new landmark begins with init.",
        "{folder}の鍵がないか、ほかの利用者から読み取れるか、読み取れません。新しい測位基準点はinitから始めます。",
    ),
)
UNREACHABLE = define(
    "landmark.site_silent",
    503,
    Exit.UNAVAILABLE,
    Text(
        "Site {site} did not answer the {step}.",
        "拠点{site}から{step}への応答がありません。",
    ),
)
TOO_FEW = define(
    "landmark.too_few_answers",
    503,
    Exit.UNAVAILABLE,
    Text(
        "Site {site} answered {count} rounds in time, {needed} are needed.",
        "拠点{site}が時間内に応答したのは{count}回で、{needed}回必要です。",
    ),
)
NOT_KEPT = define(
    "landmark.not_kept",
    503,
    Exit.UNAVAILABLE,
    Text("A transcript could not be written to {folder}.", "測定記録を{folder}に保存できませんでした。"),
)
TOKEN_UNREADABLE = define(
    "landmark.token_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "Setting control.token_file: the file is missing, can be read by others, or holds no token. It is tried again.",
        "設定control.token_file：ファイルがないか、ほかの利用者から読み取れるか、トークンが入っていません。再度試みます。",
    ),
)
CONTROL_SILENT = define(
    "landmark.control_silent",
    503,
    Exit.UNAVAILABLE,
    Text("The control plane did not answer: {what}", "管理サーバーから応答がありません：{what}"),
)
CONTROL_REFUSED = define(
    "landmark.control_refused",
    403,
    Exit.DENIED,
    Text(
        "The control plane said no ({status}): {reason}", "管理サーバーに拒否されました（{status}）：{reason}"
    ),
)
TASK_WRONG = define(
    "landmark.task_wrong",
    400,
    Exit.USAGE,
    Text("The control plane gave a task that is none: {what}", "管理サーバーの依頼に誤りがあります：{what}"),
)
SESSION_BROKEN = define(
    "landmark.session_broken",
    500,
    Exit.INTERNAL,
    Text("The session with {site} broke: {what}", "{site}の測定が異常終了しました：{what}"),
)
ADDRESS_UNUSABLE = define(
    "landmark.address_unusable",
    400,
    Exit.USAGE,
    Text("answer.listen: {what}", "answer.listen：{what}"),
)
