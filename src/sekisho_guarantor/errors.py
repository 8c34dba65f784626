"""Problems of the guarantors: what stops one from starting, and what a witness answers to a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from sekisho_wire.complaints import in_words
from sekisho_wire.problems import Exit, Language, Problem, Text, define


class GuarantorError(Exception):
    """Something that the program will not do. `params` fill the sentence and are shown: no secrets in them.

    `texts` are parameters that themselves exist in both languages.
    """

    def __init__(
        self, problem: Problem, /, *, texts: Mapping[str, Text] | None = None, **params: str | int
    ) -> None:
        self.problem = problem
        self.params = params
        self._texts = texts or {}
        super().__init__(self.sentence(Language.EN))

    @property
    def code(self) -> str:
        """The stable dotted code."""
        return self.problem.code

    def sentence(self, language: Language) -> str:
        """What is wrong; what msgspec said of a setting is put into words."""
        said = {"what": in_words(str(self.params["what"]))} if "what" in self.params else {}
        texts = {name: text.render(language, {}) for name, text in (said | dict(self._texts)).items()}
        return self.problem.text.render(language, self.params | texts)


def complain(error: GuarantorError, language: Language) -> None:
    """One line on standard error, with the stable code."""
    sys.stderr.write(f"error: {error.sentence(language)}  [{error.code}]\n")


CONFIG_UNREADABLE = define(
    "guarantor.config_unreadable",
    400,
    Exit.USAGE,
    Text("The configuration {file} cannot be read: {what}", "設定ファイル{file}を読み取れません：{what}"),
)
CONFIG_INVALID = define(
    "guarantor.config_invalid",
    400,
    Exit.USAGE,
    Text("Setting {name}: {what}", "設定{name}：{what}"),
)
TLS_REQUIRED = define(
    "guarantor.tls_required",
    400,
    Exit.USAGE,
    Text(
        "Listening on {host} needs a certificate, or behind_proxy = true where a proxy ends TLS.",
        "{host}で待ち受けるには証明書が必要です。代理サーバーがTLSを終端する場合はbehind_proxy = trueとしてください。",
    ),
)
KEY_EXISTS = define(
    "guarantor.key_exists",
    409,
    Exit.CONFLICT,
    Text(
        "The state folder {folder} already has a key. Nothing was changed.",
        "状態フォルダー{folder}には鍵がすでにあります。変更はありません。",
    ),
)
KEY_EXPOSED = define(
    "guarantor.key_exposed",
    500,
    Exit.INTERNAL,
    Text(
        "Key file {name} can be read by others. Set its mode to 0600.",
        "鍵ファイル{name}がほかの利用者から読み取れます。権限を0600にしてください。",
    ),
)
KEY_UNREADABLE = define(
    "guarantor.key_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "Key file {name} is missing or cannot be read. A new guarantor begins with `init`.",
        "鍵ファイル{name}がないか、読み取れません。新しい保証プログラムは`init`から始めます。",
    ),
)
STATE_UNREADABLE = define(
    "guarantor.state_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "{name} is missing or cannot be read. Without it this program would forget what it has done, so it does not"
        " start. Begin again under a new name and key.",
        "{name}がないか、読み取れません。これまでの履歴が失われるため起動しません。"
        "新しい名前と鍵で始め直してください。",
    ),
)
STATE_LOCKED = define(
    "guarantor.state_locked",
    409,
    Exit.CONFLICT,
    Text(
        "Another process runs on the state folder {folder}.",
        "状態フォルダー{folder}は別のプロセスが使用しています。",
    ),
)
ADDRESS_UNUSABLE = define(
    "guarantor.address_unusable",
    500,
    Exit.UNAVAILABLE,
    Text("Cannot listen on {address}: {what}", "{address}で待ち受けできません：{what}"),
)

REQUEST_MALFORMED = define(
    "witness.request_malformed",
    400,
    Exit.USAGE,
    Text("Not an add-checkpoint request: {what}", "add-checkpointの要求ではありません：{what}"),
)
NOT_SIGNED = define(
    "witness.not_signed",
    403,
    Exit.DENIED,
    Text(
        "No signature of this checkpoint is by a known key of its log.",
        "この確認点には、台帳の既知の鍵による署名がありません。",
    ),
)
LOG_UNKNOWN = define(
    "witness.log_unknown",
    404,
    Exit.NOT_FOUND,
    Text("This witness does not know this log.", "この立会人の知らない台帳です。"),
)
SIZE_CONFLICT = define(
    "witness.size_conflict",
    409,
    Exit.CONFLICT,
    Text(
        "The latest checkpoint cosigned here has the size {size}.",
        "ここで最後に立会署名した確認点の大きさは{size}です。",
    ),
)
HISTORY_DIFFERS = define(
    "witness.history_differs",
    409,
    Exit.CONFLICT,
    Text(
        "Another root was cosigned here at the size {size}: this log has two histories.",
        "大きさ{size}で別の根に立会署名しています。この台帳には二つの履歴があります。",
    ),
)
PROOF_WRONG = define(
    "witness.proof_wrong",
    422,
    Exit.FAILED,
    Text(
        "The proof does not show that this checkpoint extends the one cosigned here at the size {size}.",
        "この確認点が、大きさ{size}で立会署名した確認点の続きであることを示す証明になっていません。",
    ),
)
NOT_KEPT = define(
    "witness.not_kept",
    503,
    Exit.UNAVAILABLE,
    Text(
        "The checkpoint could not be written to disk. Nothing was cosigned.",
        "確認点をディスクに保存できませんでした。立会署名は行っていません。",
    ),
)
