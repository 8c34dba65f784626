"""Verbs written by hand, because they do more than ask one command and show its answer.

Each is one module here with `run(session, values) -> int`, and one entry below in the shape of the catalogue's.
`module` is loaded only when the verb runs. `needs` names the server's command without which the verb is not
offered. A field's `help` may stand here when the catalogue has no word for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sekisho_client.verbs import work

BY_HAND: Mapping[str, Mapping[str, Any]] = {
    **work.BY_HAND,
    "status": {
        "daily": "status",
        "module": "status",
        "en": "Show which server this is, whether it is ready, and who you are to it.",
        "ja": "接続先のサーバー、その状態、サインインの状況を表示します。",
        "examples": ["sekisho status", "sekisho status --json"],
    },
    "login": {
        "daily": "login",
        "module": "login",
        "en": "Sign in and keep the token for this server.",
        "ja": "サインインし、このサーバー用のトークンを保存します。",
        "fields": [
            {
                "name": "token_file",
                "kind": "file",
                "help": {
                    "en": "take the token from a file, - for standard input",
                    "ja": "トークンをファイルから読みます（-は標準入力）",
                },
                "sample": "-",
            },
        ],
        "examples": ["sekisho login --url https://sekisho.example", "sekisho login --token-file - < token"],
    },
    "job why": {
        "daily": "why",
        "module": "why",
        "needs": "compute.job.explain",
        "en": "Explain why a job is where it is or why it waits, and what the charter says of every site.",
        "ja": "ジョブがなぜその状態か、また拠点ごとの憲章の判断を説明します。",
        "fields": [
            {
                "name": "job",
                "required": True,
                "word": True,
                "in": "path",
                "help": {"en": "the job's id, or its name", "ja": "ジョブのIDまたは名前"},
                "sample": "job_01kae7x2m4",
            },
        ],
        "examples": ["sekisho why job_01kae7x2m4", "sekisho why job_01kae7x2m4 --lang ja"],
    },
    "site prove": {
        "module": "prove",
        "needs": "sites.proof.request",
        "en": "Have the landmarks measure a site, and show what each of them found and what that leaves open.",
        "ja": "測位基準点に拠点を測定させ、各基準点の結果と、証明されない事項を表示します。",
        "fields": [
            {
                "name": "site",
                "required": True,
                "word": True,
                "help": {"en": "the site's id or name", "ja": "拠点のIDまたは名前"},
                "sample": "sakura-ishikari",
            },
        ],
        "examples": ["sekisho site prove sakura-ishikari", "sekisho sites prove sakura-ishikari --lang ja"],
    },
    "open": {
        "daily": "open",
        "module": "open",
        "needs": "identity.link.create",
        "en": "Print an address that signs a browser in to the console, once.",
        "ja": "コンソールに1回だけサインインできるアドレスを表示します。",
        "examples": ["sekisho open"],
    },
    "logout": {
        "module": "logout",
        "en": "Forget the token of this server.",
        "ja": "このサーバーのトークンを消します。",
        "examples": ["sekisho logout"],
    },
    "config list": {
        "module": "config",
        "noun": {"en": "Settings of this client", "ja": "このクライアントの設定"},
        "en": "Show the settings and where each comes from; a token is never shown.",
        "ja": "設定とその出どころを表示します。トークンは表示しません。",
        "examples": ["sekisho config"],
    },
    "config set": {
        "module": "config_set",
        "noun": {"en": "Settings of this client", "ja": "このクライアントの設定"},
        "en": "Keep a setting: url, language, certificates, or custodian (the address of your keys).",
        "ja": "設定を保存します（url、language、certificates、custodian＝自分の鍵の保管先）。",
        "fields": [
            {
                "name": "name",
                "required": True,
                "word": True,
                "choices": ["url", "language", "certificates", "custodian"],
                "help": {"en": "which setting", "ja": "設定の名前"},
                "sample": "language",
            },
            {
                "name": "value",
                "required": True,
                "word": True,
                "help": {"en": "its value, empty to forget it", "ja": "値（空にすると消えます）"},
                "sample": "ja",
            },
        ],
        "examples": ["sekisho config set language ja"],
    },
    "completion": {
        "module": "completion",
        "en": "Print the completion script of a shell.",
        "ja": "シェルの補完スクリプトを出力します。",
        "fields": [
            {
                "name": "shell",
                "required": True,
                "word": True,
                "choices": ["bash", "zsh", "fish"],
                "help": {"en": "which shell", "ja": "シェルの種類"},
                "sample": "bash",
            },
        ],
        "examples": ['eval "$(sekisho completion bash)"', "sekisho completion fish | source"],
    },
}
