"""What `sekishod` says, in both languages."""

from __future__ import annotations

from sekisho_wire.problems import Text

HELP: dict[str, Text] = {
    "": Text("Run a Sekisho control plane.", "関所の管理サーバーを動かします。"),
    "init": Text(
        "Set up an empty installation: keys, organisation, two administrators, first charter.",
        "新しい環境を用意します（鍵、組織、2人の管理者、最初の憲章）。",
    ),
    "up": Text(
        "Run everything on this machine: migrate, serve, background work, local agents.",
        "このマシンですべてを動かします（移行、サーバー、背景処理、拠点エージェント）。",
    ),
    "serve": Text("Serve HTTP and do background work.", "HTTPサーバーと背景処理を動かします。"),
    "migrate": Text(
        "Bring the database to this version's schema.", "データベースをこの版の形式に移行します。"
    ),
    "backup": Text(
        "Write a consistent copy of the database to a folder.",
        "データベースの整合した複製をフォルダーに書き出します。",
    ),
    "restore": Text(
        "Put a backup in place; needs the tokens of two administrators.",
        "複製から復元します（2人の管理者のトークンが必要です）。",
    ),
    "fsck": Text(
        "Check every row against its record and every record against the log.",
        "すべての行と記録、記録と台帳を照合します。",
    ),
    "doctor": Text("Check what this machine has and lacks.", "このマシンの状態を診断します。"),
    "config": Text(
        "Show every setting in force, secrets hidden.", "有効な設定を表示します（秘密は伏せます）。"
    ),
    "options": Text("options", "オプション"),
    "commands": Text("commands", "コマンド"),
    "usage": Text("usage: ", "使い方: "),
    "help": Text("show this help and exit", "この説明を表示して終了します"),
    "file": Text(
        "settings file (TOML); default sekisho.toml here",
        "設定ファイル（TOML）。既定はこのフォルダーのsekisho.toml",
    ),
    "lang": Text("language of messages: en or ja", "表示言語：enまたはja"),
    "json": Text("answer JSON on standard output", "標準出力にJSONで答えます"),
    "organisation": Text("name of the first organisation", "最初の組織の名前"),
    "jurisdiction": Text("country it is incorporated in (two letters)", "設立国（2文字）"),
    "admin": Text("name of an administrator; give it twice", "管理者の名前（2回指定します）"),
    "charter": Text(
        "file with the first charter; default: the national one", "最初の憲章のファイル。既定は国内標準の憲章"
    ),
    "target": Text("folder to write to; must not exist yet", "書き出し先のフォルダー（まだ存在しないもの）"),
    "source": Text("folder that `backup` wrote", "backupで書き出したフォルダー"),
    "tokens": Text(
        "file with the tokens of two administrators, one a line",
        "2人の管理者のトークンを1行ずつ書いたファイル",
    ),
}

SAYS: dict[str, Text] = {
    "serving": Text("Serving at {url}", "{url}で待ち受けています"),
    "agent": Text("Agent of {name} started", "{name}の拠点エージェントを起動しました"),
    "initialised": Text("Installation ready in {folder}", "{folder}に環境を用意しました"),
    "token": Text(
        "Token of {name} (shown once): {token}",
        "{name}のトークン（表示は今回のみ）：{token}",
    ),
    "trust": Text("Trust file for auditors: {file}", "監査用の信頼ファイル：{file}"),
    "migrated": Text("Applied: {names}", "適用しました：{names}"),
    "current": Text("The database is at this version.", "データベースは最新です。"),
    "clean": Text(
        "Clean: {records} records, {rows} rows, {claims} claims.",
        "問題はありません：記録{records}件、行{rows}件、主張{claims}件。",
    ),
    "finding": Text("{code} at {place} {seen}", "{code}（{place}）{seen}"),
    "backed_up": Text("Backup written to {folder}", "{folder}に書き出しました"),
    "restored": Text("Restored. Start the server to continue.", "復元しました。サーバーを起動してください。"),
}
