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
