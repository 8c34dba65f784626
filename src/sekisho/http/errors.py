"""What the edge itself refuses, before any command is built, with its codes."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.kernel.errors import SekishoError
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Problem, Text

NOT_UTF8 = problems.define(
    "input.not_utf8",
    400,
    Exit.USAGE,
    Text("The request holds bytes that are not UTF-8.", "要求にUTF-8でないバイトが含まれています。"),
)
NOT_JSON = problems.define(
    "input.not_json",
    400,
    Exit.USAGE,
    Text(
        "The body is not JSON: line {line}, column {column}.",
        "本文がJSONではありません：{line}行{column}列。",
    ),
)
NOT_OBJECT = problems.define(
    "input.not_object",
    400,
    Exit.USAGE,
    Text("The body must be one JSON object.", "本文は1つのJSONオブジェクトでなければなりません。"),
)
DUPLICATE_FIELD = problems.define(
    "input.duplicate_field",
    400,
    Exit.USAGE,
    Text('"{field}" is given twice.', "「{field}」が2回指定されています。"),
)
TOO_DEEP = problems.define(
    "input.too_deep",
    400,
    Exit.USAGE,
    Text("The body is nested deeper than {limit} levels.", "本文の入れ子が{limit}段を超えています。"),
)
BAD_CHARACTER = problems.define(
    "input.bad_character",
    422,
    Exit.USAGE,
    Text(
        "{field} holds a character that no text can hold (U+0000 or half a surrogate pair).",
        "{field}に、文字列に使えない文字（U+0000またはサロゲートの片方）が含まれています。",
    ),
)
NUMBER_RANGE = problems.define(
    "input.number_range",
    422,
    Exit.USAGE,
    Text(
        "{field} is a number outside ±(2^53 - 1).",
        "{field}の数値の絶対値が2^53以上です。",
    ),
)
NO_BODY = problems.define(
    "input.no_body",
    400,
    Exit.USAGE,
    Text("{method} takes no body here.", "この{method}要求に本文は付けられません。"),
)
MEDIA_TYPE = problems.define(
    "input.media_type",
    415,
    Exit.USAGE,
    Text("Send application/json in UTF-8.", "application/json（UTF-8）で送ってください。"),
)
METHOD = problems.define(
    "input.method",
    405,
    Exit.USAGE,
    Text("{method} is not offered here.", "ここでは{method}は使えません。"),
)
TIMEOUT = problems.define(
    "input.timeout",
    408,
    Exit.UNAVAILABLE,
    Text(
        "The body did not arrive within {seconds} s. Nothing was changed.",
        "本文が{seconds}秒以内に届きませんでした。変更はありません。",
    ),
)
IDEMPOTENCY_KEY = problems.define(
    "input.idempotency_key",
    400,
    Exit.USAGE,
    Text(
        "Idempotency-Key must be 1 to 200 printable ASCII characters.",
        "Idempotency-Keyは1～200文字の印字可能なASCII文字でなければなりません。",
    ),
)
TLS_REQUIRED = problems.define(
    "server.tls_required",
    500,
    Exit.USAGE,
    Text(
        "{host} is not this machine's loopback: a certificate and its key are needed.",
        "{host}はループバックではありません。証明書と秘密鍵が必要です。",
    ),
)
KEY_EXPOSED = problems.define(
    "server.key_exposed",
    500,
    Exit.USAGE,
    Text(
        "The TLS key file can be read by others; its mode must be 0600.",
        "TLSの秘密鍵ファイルが他の利用者から読めます。モードを0600にしてください。",
    ),
)


class RefusedError(SekishoError):
    """Input that cannot be taken, with a hint of its own."""

    def __init__(
        self,
        problem: Problem,
        /,
        *,
        texts: Mapping[str, Text] | None = None,
        hint: Text | None = None,
        **params: str | int,
    ) -> None:
        """`hint` stands in for the problem's own."""
        self.hint = hint
        super().__init__(problem, texts=texts, **params)
