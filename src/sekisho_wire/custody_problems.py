"""What a custodian refuses, and what whoever asks one finds wrong with it: stable codes with words for people.

The first family comes from `custody` and `custody_checks` as the code of a CustodyError, the second from a custodian's
own state, the third from whoever asked. A custodian that refuses has released nothing.
"""

from __future__ import annotations

from typing import Final

from sekisho_wire.problems import Exit, Problem, Text, define


def _refusal(name: str, status: int, english: str, japanese: str) -> Problem:
    exits = {400: Exit.USAGE, 401: Exit.SIGN_IN, 404: Exit.NOT_FOUND, 409: Exit.CONFLICT, 422: Exit.USAGE}
    exit_status = Exit.UNAVAILABLE if status in {502, 503} else exits.get(status, Exit.DENIED)
    return define(f"custody.{name}", status, exit_status, Text(english, japanese))


SHAPE: Final = _refusal(
    "shape", 400, "Not a message of key custody.", "鍵の保管に関する通信文ではありません。"
)
SIGNATURE: Final = _refusal(
    "signature",
    403,
    "Signed by a key that is not the expected one.",
    "想定した鍵による署名ではありません。",
)
RECIPIENT: Final = _refusal(
    "recipient",
    422,
    "The one-time key to release to is not usable.",
    "引き渡し先の使い捨て鍵が使用できません。",
)
OTHER_CUSTODIAN: Final = _refusal(
    "other_custodian", 403, "The order is to another custodian.", "別の保管者あての指図です。"
)
OTHER_OWNER: Final = _refusal(
    "other_owner",
    403,
    "The order was decided for another organisation than the one that the keys here belong to.",
    "指図は、ここで保管する鍵の所有者とは別の組織のために決定されたものです。",
)
ORDER_EXPIRED: Final = _refusal(
    "order_expired", 403, "The order is past its time.", "指図の有効期限が過ぎています。"
)
ORDER_EARLY: Final = _refusal(
    "order_early",
    403,
    "The order comes from the future, or is good for too long.",
    "指図の発行時刻が先の時刻であるか、有効期間が長すぎます。",
)
RECORD: Final = _refusal(
    "record",
    403,
    "The record beside the order is not the one that allowed it.",
    "指図に添えた記録が、その指図を許可した記録ではありません。",
)
CHECKPOINT: Final = _refusal(
    "checkpoint",
    403,
    "The checkpoint is not of the trusted log, or has too few witnesses.",
    "信頼する台帳の確認点ではないか、立会人の数が足りません。",
)
INCLUSION: Final = _refusal(
    "inclusion",
    403,
    "The order's record is not under the checkpoint.",
    "指図の記録が確認点に含まれていません。",
)
HEADERS: Final = _refusal(
    "headers",
    422,
    "The objects' headers are not those that the order names.",
    "対象の見出しが、指図に記されたものと一致しません。",
)
REQUEST: Final = _refusal(
    "request",
    403,
    "The agent itself did not ask for this.",
    "エージェント自身による依頼が確認できません。",
)
FOREIGN: Final = _refusal(
    "foreign",
    502,
    "The custodian answered something else than what it was asked.",
    "保管者の回答が、依頼した指図に対するものではありません。",
)
BOX: Final = _refusal(
    "box",
    502,
    "The released keys do not open with the one-time key they were asked for.",
    "引き渡された鍵を、依頼時の使い捨て鍵で開けません。",
)

ORDER_USED: Final = _refusal(
    "order_used",
    409,
    "This order was answered before. Each is good once.",
    "この指図は使用済みです。指図は一度しか使えません。",
)
KEY_STOPPED: Final = _refusal(
    "key_stopped",
    403,
    "The owner of key {key} has stopped it.",
    "鍵{key}は所有者により停止されています。",
)
KEY_UNKNOWN: Final = _refusal(
    "key_unknown", 404, "There is no key {key} here.", "鍵{key}はここにありません。"
)
VERSION_UNKNOWN: Final = _refusal(
    "version_unknown",
    404,
    "Key {key} has no version {version}, or it was destroyed.",
    "鍵{key}に版{version}はないか、破棄されています。",
)
VERSION_OLD: Final = _refusal(
    "version_old",
    409,
    "New data keys are wrapped by the newest version of key {key}, which is {newest}.",
    "新しいデータ鍵は、鍵{key}の最新の版{newest}で包みます。",
)
KEY_EXISTS: Final = _refusal("key_exists", 409, "There is a key {key} already.", "鍵{key}はすでにあります。")
NOT_OPENED: Final = _refusal(
    "not_opened",
    422,
    "The store did not open a data key: it was not wrapped by this version of {key}.",
    "データ鍵を開けませんでした。鍵{key}のこの版で包まれたものではありません。",
)
STORE_FAILED: Final = _refusal(
    "store_failed",
    503,
    "The store of the keys failed: {what}. Nothing was released.",
    "鍵の保管装置でエラーが起きました：{what}。鍵は引き渡していません。",
)
NOT_KEPT: Final = _refusal(
    "not_kept",
    503,
    "The custodian's journal could not be written. Nothing was released.",
    "保管者の日誌に書き込めませんでした。鍵は引き渡していません。",
)
CLOCK: Final = _refusal(
    "clock",
    503,
    "The custodian's clock is behind its own journal. Nothing was released.",
    "保管者の時計が日誌より遅れています。鍵は引き渡していません。",
)
HISTORY_DIFFERS: Final = _refusal(
    "history_differs",
    409,
    "Another root of the log was shown here at the size {size}: it has two histories.",
    "大きさ{size}で別の根が示されています。この台帳には二つの履歴があります。",
)
TOKEN: Final = _refusal(
    "token",
    401,
    "This needs a token that may do it.",
    "この操作には権限のあるトークンが必要です。",
)

AWAY: Final = _refusal(
    "away",
    503,
    "The custodian does not answer. Nothing was released.",
    "保管者が応答しません。鍵は引き渡されていません。",
)
ADDRESS: Final = _refusal(
    "address",
    403,
    "The custodian's name leads to an address that this site does not let its agent call.",
    "保管者の名前が指すアドレスへの接続は、この拠点のエージェントには許可されていません。",
)
REFUSED: Final = _refusal(
    "refused",
    403,
    "The custodian refused: {code}.",
    "保管者が拒否しました：{code}。",
)
ANSWERED_TWICE: Final = _refusal(
    "answered_twice",
    502,
    "The custodian answered one order twice.",
    "保管者が同じ指図に二度回答しました。",
)
