"""What stops a custodian from starting; what it refuses while it runs is in `sekisho_wire.custody_problems`."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

STORE_UNUSABLE = define(
    "custodian.store_unusable",
    500,
    Exit.UNAVAILABLE,
    Text(
        "The store of the keys cannot be used: {what}",
        "鍵の保管装置を使用できません：{what}",
    ),
)
PKCS11_MISSING = define(
    "custodian.pkcs11_missing",
    500,
    Exit.USAGE,
    Text(
        "A PKCS#11 store needs the package python-pkcs11: install sekisho[custodian].",
        "PKCS#11の保管装置にはpython-pkcs11が必要です。sekisho[custodian]をインストールしてください。",
    ),
)
DEVELOPMENT_REFUSED = define(
    "custodian.development_refused",
    400,
    Exit.USAGE,
    Text(
        "A development store listens on loopback only: its keys lie in a file and protect nothing.",
        "開発用の保管先ではループバック以外で待ち受けできません。鍵はファイルに置かれ、何も保護しません。",
    ),
)
AGENTS_MISSING = define(
    "custodian.agents_missing",
    400,
    Exit.USAGE,
    Text(
        "Setting agents: name the sites' agents that may ask. Without them the control plane alone would say whose"
        " one-time key a key is sealed to.",
        "設定agents：鍵を求めてよい拠点のエージェントを記してください。ないと、引き渡し先の使い捨て鍵が誰のものかを"
        "管理側だけが決めることになります。",
    ),
)
QUORUM_MISSING = define(
    "custodian.quorum_missing",
    400,
    Exit.USAGE,
    Text(
        "Setting trust: its quorum is 0. Demand at least one witness: without any, a log that nobody else has seen"
        " would do.",
        "設定trust：立会人の必要数（quorum）が0です。1以上にしてください。0では、他の誰も見ていない台帳でも"
        "通ってしまいます。",
    ),
)
JOURNAL_BROKEN = define(
    "custodian.journal_broken",
    500,
    Exit.INTERNAL,
    Text(
        "The journal is missing, or entry {number} does not follow from the one before. Nothing is released from it.",
        "日誌がないか、{number}番の記入が前の記入に続いていません。鍵は引き渡しません。",
    ),
)
NOT_RUNNING = define(
    "custodian.not_running",
    503,
    Exit.UNAVAILABLE,
    Text(
        "The custodian does not answer at {url}. Start it with `custodian run`.",
        "鍵の保管者が{url}で応答しません。`custodian run`で起動してください。",
    ),
)
REFUSED = define(
    "custodian.refused",
    409,
    Exit.CONFLICT,
    Text("The custodian refused: {what}", "鍵の保管者が拒否しました：{what}"),
)
