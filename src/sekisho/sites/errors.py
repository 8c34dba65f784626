"""Problems of sites."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

NAME_TAKEN = define(
    "sites.name_taken",
    409,
    Exit.CONFLICT,
    Text("A site is already named {name}.", "{name}という名前の拠点は既にあります。"),
)
UNKNOWN_FACT = define(
    "sites.fact_unknown",
    422,
    Exit.USAGE,
    Text(
        'Sites have no fact "{name}". Known: {known}.',
        "拠点に「{name}」という事実はありません。使えるもの：{known}。",
    ),
)
ACCELERATOR_TWICE = define(
    "sites.accelerator_twice",
    422,
    Exit.USAGE,
    Text('"{type}" is listed twice.', "「{type}」が2回指定されています。"),
)
WRONG_TYPE = define(
    "sites.fact_type",
    422,
    Exit.USAGE,
    Text('Fact "{name}" needs {expected}.', "事実「{name}」の値は{expected}でなければなりません。"),
)
STAND_IN = define(
    "sites.stand_in",
    403,
    Exit.DENIED,
    Text(
        "This control plane is in production: a stand-in for a provider cannot be a site here.",
        "本番環境では、プロバイダーの代役を拠点として登録できません。",
    ),
)
NO_TERRITORY = define(
    "sites.territory_none",
    409,
    Exit.CONFLICT,
    Text(
        "No territory file is in force: without it nothing can be said about a place. Add one, then set it.",
        "有効な領域ファイルがなく、位置について何も判定できません。追加してから有効にしてください。",
    ),
)
TERRITORY_UNUSABLE = define(
    "sites.territory_unusable",
    422,
    Exit.USAGE,
    Text(
        "The territory file cannot be used: {what} ({code}, {where})",
        "この領域ファイルは使えません：{what}（{code}、{where}）",
    ),
)
TERRITORY_KEPT = define(
    "sites.territory_kept",
    409,
    Exit.CONFLICT,
    Text(
        "This version of the territory file is kept already: {digest}",
        "この版の領域ファイルは既にあります：{digest}",
    ),
)
NOT_MEASURABLE = define(
    "sites.not_measurable",
    409,
    Exit.CONFLICT,
    Text(
        "{site} cannot be measured yet; missing: {missing}.",
        "{site}はまだ測定できません。不足：{missing}。",
    ),
)
REQUEST_OVER = define(
    "sites.proof_over",
    409,
    Exit.CONFLICT,
    Text(
        "Request {request} is not open: it is over, or about another site.",
        "依頼{request}は受け付けていません。締め切られたか、別の拠点についての依頼です。",
    ),
)
HAND_INS = define(
    "sites.proof_hand_ins",
    409,
    Exit.CONFLICT,
    Text(
        "Your organisation has handed in enough for request {request}; the next request takes more.",
        "依頼{request}には、所属組織から十分な測定記録が提出されています。次の依頼で提出してください。",
    ),
)
KEY_TAKEN = define(
    "sites.landmark_key_taken",
    409,
    Exit.CONFLICT,
    Text("Landmark {name} has this key already.", "この鍵は測位基準点{name}のものです。"),
)
TRANSCRIPT_UNREADABLE = define(
    "sites.transcript_unreadable",
    422,
    Exit.USAGE,
    Text("Transcript {number} is not base64url.", "測定記録{number}はbase64urlではありません。"),
)
