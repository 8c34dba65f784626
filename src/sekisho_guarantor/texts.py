"""What `sekisho-guarantor` says, in both languages."""

from __future__ import annotations

from sekisho_wire.problems import Text

HELP: dict[str, Text] = {
    "": Text(
        "Vouch for what you saw: programs of organisations beside the log's operator.",
        "台帳の運営者とは別の組織が、見たものを保証するためのプログラムです。",
    ),
    "witness": Text(
        "Cosign the checkpoints of a log that extend all that was seen of it before.",
        "台帳の確認点が、以前に見た内容の続きであるときに立会署名します。",
    ),
    "landmark": Text(
        "Measure from a known place where sites can be at most.",
        "既知の場所から、拠点がどこまで離れうるかを測定します。",
    ),
    "landmark.init": Text(
        "Make the key of a new landmark, and print what others must know of it.",
        "新しい測位基準点の鍵を作り、公開する情報を表示します。",
    ),
    "landmark.run": Text(
        "Measure the sites of the configuration at random times until stopped, and keep signed transcripts.",
        "停止されるまで、設定した拠点を無作為な時刻に測定し、署名付きの測定記録を保存します。",
    ),
    "listener": Text(
        "Sign which canaries of an attempt arrived outside its site, and which did not.",
        "試行の遮断試験のうち、拠点の外に届いたものと届かなかったものに署名します。",
    ),
    "listener.init": Text(
        "Make the key of a new listener, and print what others must know of it.",
        "新しい観測者の鍵を作り、公開する情報を表示します。",
    ),
    "listener.run": Text("Listen until stopped.", "停止されるまで待ち受けます。"),
    "once": Text("measure each site once, then end", "各拠点を一度だけ測定して終了します"),
    "nonce": Text("with --once: what was asked with, 32 bytes", "--onceと併用：依頼の番号（32バイト）"),
    "witness.init": Text(
        "Make the state folder and the key of a new witness, and print its verifier key.",
        "新しい立会人の状態フォルダーと鍵を作り、検証鍵を表示します。",
    ),
    "witness.run": Text("Answer logs until stopped.", "停止されるまで台帳に応答します。"),
    "custodian": Text(
        "Hold the keys that data is encrypted under, and release data keys by recorded order only.",
        "データを暗号化する鍵を預かり、記録された指図に限ってデータ鍵を引き渡します。",
    ),
    "custodian.init": Text(
        "Make the signing key, the owner's token and the journal of a new custodian.",
        "新しい保管者の署名鍵、所有者トークン、日誌を作ります。",
    ),
    "custodian.run": Text("Answer orders until stopped.", "停止されるまで指図に応答します。"),
    "custodian.create": Text("Make a new key.", "新しい鍵を作ります。"),
    "custodian.rotate": Text(
        "Make a new version of a key; earlier ones still open what they wrapped.",
        "鍵の新しい版を作ります。以前の版で包んだものは引き続き開けます。",
    ),
    "custodian.destroy": Text(
        "Destroy a key for good: nothing it wrapped can be opened again. Prints signed evidence.",
        "鍵を完全に破棄します。包んだものは二度と開けません。署名付きの証拠を表示します。",
    ),
    "custodian.stop": Text("Release nothing more of a key, from now on.", "鍵の引き渡しを直ちに停止します。"),
    "custodian.resume": Text("Release a stopped key again.", "停止した鍵の引き渡しを再開します。"),
    "custodian.show": Text("Show the signed facts of a key.", "鍵に関する署名付きの事実を表示します。"),
    "key": Text("the key's id", "鍵の識別子"),
    "version": Text("only this version; all without it", "この版だけを対象とします（省略時はすべての版）"),
    "codes": Text(
        "Exit status: 0 done, 2 wrong use or configuration, 6 conflict or refused, 7 cannot listen or does not answer,"
        " 70 key or state unusable.",
        "終了コード：0 完了、2 使い方または設定の誤り、6 競合または拒否、7 待ち受け不可または応答なし、"
        "70 鍵または状態が使用不可。",
    ),
    "commands": Text("commands", "コマンド"),
    "help": Text("show this help and exit", "この説明を表示して終了します"),
    "config": Text("the configuration (TOML)", "設定ファイル（TOML）"),
    "lang": Text("language of messages: en or ja", "表示言語：enまたはja"),
    "json": Text("answer JSON on standard output", "標準出力にJSONで答えます"),
}

SAYS: dict[str, Text] = {
    "made": Text(
        "Witness ready in {folder}. Hand out its verifier key:\n{vkey}",
        "{folder}に立会人を用意しました。次の検証鍵を配布してください。\n{vkey}",
    ),
    "custodian.made": Text(
        "Custodian ready in {folder}; the owner's token is in owner.token there. Hand out its public key:\n{key}",
        "{folder}に鍵の保管者を用意しました。所有者トークンは同フォルダーのowner.tokenです。"
        "次の公開鍵を配布してください。\n{key}",
    ),
    "custodian.development": Text(
        "DEVELOPMENT ONLY: the keys lie in a file. They protect nothing from whoever runs this machine.",
        "開発専用：鍵はファイルに置かれています。この機械の管理者に対しては何も保護しません。",
    ),
    "listener.made": Text(
        "Listener ready in {folder}. Hand out its name and key:\n{name} {key}",
        "{folder}に観測者を用意しました。次の名前と鍵を配布してください。\n{name} {key}",
    ),
    "listening": Text(
        "{name} listens on {host}: TCP {tcp}, UDP {udp}, DNS {dns}",
        "{name}が{host}で待ち受けます：TCP {tcp}、UDP {udp}、DNS {dns}",
    ),
    "measuring": Text(
        "{name} measures each site (number: {count}) about every {seconds} s; transcripts go to {folder}",
        "{name}が{count}拠点を、それぞれ約{seconds}秒ごとに測定します。測定記録は{folder}に置きます",
    ),
    "following": Text(
        "{name} measures what {url} asks for; transcripts go to {folder}",
        "{name}が{url}の依頼に応じて測定します。測定記録は{folder}に置きます",
    ),
    "serving": Text("{name} answers at {url}", "{name}が{url}で応答します"),
}
