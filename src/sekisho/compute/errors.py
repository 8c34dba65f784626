"""Problems of compute."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

FILE_MALFORMED = define(
    "compute.file.malformed",
    422,
    Exit.USAGE,
    Text("Line {line}, column {column}: {what}", "{line}行{column}列：{what}"),
)
FILE_UNKNOWN_FIELD = define(
    "compute.file.unknown_field",
    422,
    Exit.USAGE,
    Text(
        'Line {line}, column {column}: unknown field "{field}". Did you mean "{guess}"?',
        "{line}行{column}列：「{field}」という項目はありません。「{guess}」の誤りではありませんか。",
    ),
)
FILE_INVALID = define(
    "compute.file.invalid",
    422,
    Exit.USAGE,
    Text("Line {line}, column {column}: {field}: {what}", "{line}行{column}列：{field}：{what}"),
)
LEVEL_FIVE = define(
    "compute.level_refused",
    403,
    Exit.DENIED,
    Text(
        "Specially designated secrets are never taken in.",
        "特定秘密は受け入れません。",
    ),
)
UNKNOWN_IMAGE = define(
    "compute.image.unknown",
    422,
    Exit.USAGE,
    Text('There is no image "{image}".', "「{image}」という実行環境はありません。"),
    hint=Text(
        "Register it first: sekisho image add {image} image.txt",
        "先に登録してください：sekisho image add {image} image.txt",
    ),
)
BAD_LOCK = define(
    "compute.image.lock",
    422,
    Exit.USAGE,
    Text("Line {line}: {what}", "{line}行：{what}"),
)
UNKNOWN_SECRET = define(
    "compute.secret.unknown",
    422,
    Exit.USAGE,
    Text('There is no secret "{name}".', "「{name}」という秘密情報はありません。"),
)
ENDED = define(
    "compute.job.ended",
    409,
    Exit.CONFLICT,
    Text("Job {job} has already ended: {state}.", "ジョブ{job}は既に終了しています：{state}。"),
)
FENCED = define(
    "attempt.fenced",
    409,
    Exit.CONFLICT,
    Text(
        "Attempt {attempt} under token {token} is no longer valid.",
        "試行{attempt}（トークン{token}）は無効になっています。",
    ),
)
OUT_OF_ORDER = define(
    "attempt.order",
    409,
    Exit.CONFLICT,
    Text(
        "An attempt that is {state} cannot report {event}.", "状態が{state}の試行は{event}を報告できません。"
    ),
)
UNSEALED = define(
    "attempt.unsealed",
    409,
    Exit.CONFLICT,
    Text(
        "Attempt {attempt} left something behind that is not under its job's key.",
        "試行{attempt}が、ジョブの鍵で暗号化されていないものを残しました。",
    ),
)
KEY_NEEDED = define(
    "compute.key_needed",
    422,
    Exit.USAGE,
    Text(
        "What a job of level {level} leaves behind has to be encrypted: name a key of yours.",
        "レベル{level}のジョブが残すものは暗号化が必要です。自組織の鍵を指定してください。",
    ),
    hint=Text(
        "In the job file, below `charter`: key: KEY", "ジョブファイルのcharterの下に、key: 鍵 と書きます。"
    ),
)
LOG_STAYS = define(
    "compute.log.stays",
    403,
    Exit.DENIED,
    Text(
        "Logs and progress of level {level} stay at the site.",
        "レベル{level}のログと進み具合は、拠点に留まります。",
    ),
)
