"""What can be wrong with a charter, each with its stable code."""

from __future__ import annotations

from sekisho.kernel.errors import SekishoError
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

UNREADABLE = problems.define(
    "charter.unreadable",
    422,
    Exit.USAGE,
    Text("This is not a charter: {what}", "憲章として読み取れません：{what}"),
)
INVALID = problems.define(
    "charter.invalid",
    422,
    Exit.USAGE,
    Text("Rule {rule} does not fit the schema: {what}", "条項{rule}がスキーマに合いません：{what}"),
)
LINT = problems.define(
    "charter.lint",
    422,
    Exit.USAGE,
    Text("Rule {rule}: {what}", "条項{rule}：{what}"),
)
LEAKS = problems.define(
    "charter.leaks",
    422,
    Exit.USAGE,
    Text(
        "Level 2 or above could leave its residency by {action}: {example}",
        "{action}により、レベル2以上のデータが所在地条件の外に出られます：{example}",
    ),
)
UNDECIDED = problems.define(
    "charter.undecided",
    422,
    Exit.USAGE,
    Text(
        "It cannot be shown that this charter keeps level 2 within its residency: {what}",
        "この憲章でレベル2以上が所在地条件の内に留まることを確認できません：{what}",
    ),
)
LOCKED = problems.define(
    "charter.locked",
    422,
    Exit.USAGE,
    Text(
        "Under this charter nobody could do {action} again. At least {needed} people must be able to.",
        "この憲章では{action}を行える人がいなくなります。少なくとも{needed}人が必要です。",
    ),
)
DUPLICATE = problems.define(
    "charter.duplicate",
    409,
    Exit.CONFLICT,
    Text("Version {version} has exactly this text.", "同じ内容の版{version}があります。"),
)
WORLD = problems.define(
    "charter.world",
    500,
    Exit.INTERNAL,
    Text(
        "Two parts of this program describe {entity} differently.",
        "{entity}の記述がプログラム内で食い違っています。",
    ),
)
LABELS = problems.define(
    "charter.no_inputs",
    422,
    Exit.USAGE,
    Text(
        "Labels can only be joined over at least one input.", "入力が1つもないため、ラベルを統合できません。"
    ),
)


class CharterError(SekishoError):
    """A charter that is refused; nothing was stored. The first fault found is the one named."""

    problem = UNREADABLE
