"""Problems of a landmark: what stops it from starting, and why a session came to nothing."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Language, Problem, Text, define


class LandmarkError(Exception):
    """Something a landmark cannot do. `params` fill the sentence and are shown: no secrets in them."""

    def __init__(self, problem: Problem, /, **params: str | int) -> None:
        self.problem = problem
        self.params = params
        super().__init__(problem.text.render(Language.EN, params))

    @property
    def code(self) -> str:
        """The stable dotted code."""
        return self.problem.code


CONFIG_UNREADABLE = define(
    "landmark.config_unreadable",
    400,
    Exit.USAGE,
    Text("The configuration {file} cannot be read: {what}", "設定ファイル{file}を読み取れません：{what}"),
)
CONFIG_INVALID = define(
    "landmark.config_invalid",
    400,
    Exit.USAGE,
    Text("The configuration does not hold: {what}", "設定に誤りがあります：{what}"),
)
KEY_EXISTS = define(
    "landmark.key_exists",
    409,
    Exit.CONFLICT,
    Text(
        "The folder {folder} already has a key. Nothing was changed.",
        "フォルダー{folder}には鍵がすでにあります。変更はありません。",
    ),
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
