"""What this side refuses by itself, before or instead of asking the server: same shape as a server's problem.

Imports nothing heavy: the command line needs it before it knows whether a server will be asked at all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

USAGE, SIGN_IN, UNAVAILABLE, INTERNAL, INTERRUPTED = 2, 4, 7, 70, 130
"""Exit statuses; `sekisho_wire.problems.Exit` is the list, and a test holds these equal to it."""

_STATUS_MAX = 256

_SENTENCES: Mapping[str, tuple[int, str, str]] = {
    "client.address": (
        USAGE,
        "{url} is not an address of a server: https://host, or http:// on this machine only.",
        "{url}はサーバーのアドレスではありません。https://ホスト名（http://はこの機器のみ）で指定してください。",
    ),
    "client.answer": (
        UNAVAILABLE,
        "{url} answered something that is not Sekisho's (status {status}).",
        "{url}の応答はSekishoのものではありません（ステータス{status}）。",
    ),
    "client.certificate": (
        UNAVAILABLE,
        "{url}: the server's certificate could not be verified.",
        "{url}：サーバーの証明書を検証できません。",
    ),
    "client.unreachable": (
        UNAVAILABLE,
        "{url} does not answer.",
        "{url}が応答しません。",
    ),
    "client.interrupted": (INTERRUPTED, "Interrupted.", "中断しました。"),
    "client.internal": (
        INTERNAL,
        "A mistake in this program ({kind}).",
        "このプログラムの不具合です（{kind}）。",
    ),
    "client.device_expired": (
        UNAVAILABLE,
        "Nobody confirmed the sign-in in time.",
        "時間内にサインインが確認されませんでした。",
    ),
    "key.no_token": (
        USAGE,
        "Encrypting and opening need a token of the key's custodian: SEKISHO_CUSTODIAN_TOKEN or --token-file.",
        "暗号化と復号には鍵の保管者のトークンが必要です。SEKISHO_CUSTODIAN_TOKENか--token-fileで指定してください。",
    ),
    "key.custodian": (
        UNAVAILABLE,
        "The custodian at {url} gave no key: {what}.",
        "{url}の鍵の保管者が応じません：{what}。",
    ),
    "key.elsewhere": (
        USAGE,
        "The key is registered at {url}, and your own setting says {named}. No token was sent.",
        "鍵の登録先は{url}ですが、手元の設定は{named}です。トークンは送っていません。",
    ),
    "key.unpinned": (
        USAGE,
        "The server says that the key is at {url}. No token was sent. If that is your custodian: {accept}",
        "サーバーによると鍵は{url}にあります。トークンは送っていません。自分の鍵の保管者であれば：{accept}",
    ),
    "key.foreign": (
        UNAVAILABLE,
        "The custodian at {url} answered something else than what it was asked: {what}.",
        "{url}の鍵の保管者の回答が、依頼した内容に対するものではありません：{what}。",
    ),
    "seal.forged": (
        UNAVAILABLE,
        "What was fetched is not what was sealed ({what}). Nothing was written.",
        "取得したものは封印されたものと一致しません（{what}）。何も書き出していません。",
    ),
    "config.exposed": (
        USAGE,
        "Others can read {path}, which holds a token.",
        "{path}（トークンを含むファイル）が他の利用者から読めます。",
    ),
    "config.malformed": (
        USAGE,
        "{path} is not a configuration of this program.",
        "{path}はこのプログラムの設定ファイルではありません。",
    ),
    "config.no_server": (USAGE, "No server is set.", "接続先のサーバーが設定されていません。"),
    "config.value": (USAGE, "{name} cannot be {value}.", "{name}を{value}にはできません。"),
    "input.bad_file": (USAGE, "{path} is not a text in UTF-8.", "{path}はUTF-8のテキストではありません。"),
    "input.bad_value": (USAGE, "{name}: {value} is not {kind}.", "{name}：{value}は{kind}ではありません。"),
    "input.exists": (USAGE, "{path} is already there.", "{path}は既に存在します。"),
    "input.missing": (USAGE, "{name} is needed.", "{name}を指定してください。"),
    "input.needs_yes": (
        USAGE,
        "This cannot be undone; without a terminal it needs --yes.",
        "取り消せない操作です。端末以外では--yesが必要です。",
    ),
    "input.no_file": (USAGE, "no such file: {path}", "ファイルがありません：{path}"),
    "input.not_confirmed": (USAGE, "Nothing was done.", "何も実行していません。"),
    "input.tree": (USAGE, "{path}: {what}", "{path}：{what}"),
    "input.unknown_command": (USAGE, "No such command: {word}", "「{word}」というコマンドはありません。"),
    "input.unknown_field": (
        USAGE,
        '{command} takes no "{field}".',
        "{command}に「{field}」という項目はありません。",
    ),
    "release.over": (
        USAGE,
        "{release} can no longer be fetched. Ask for the export again.",
        "{release}の取り出し期限が過ぎました。持ち出しをもう一度申請してください。",
    ),
    "run.import": (
        USAGE,
        "{path}: cannot be kept: {names} ({why}).",
        "{path}：引き継げない項目：{names}（{why_ja}）。",
    ),
    "input.usage": (USAGE, "{what}", "{what}"),
}


class Refused(Exception):  # noqa: N818 - a refusal is not an error: the input cannot be taken
    """One refusal with its stable code. `hint` is a command that can be pasted, in no language."""

    def __init__(self, code: str, *, hint: str = "", **params: str | int) -> None:
        """KeyError for a code without a sentence."""
        self.code = code
        self.hint = hint
        self.params = params
        self.exit_status, self._english, self._japanese = _SENTENCES[code]
        super().__init__(self.sentence("en"))

    def sentence(self, language: str) -> str:
        """What happened, in one language."""
        return (self._japanese if language == "ja" else self._english).format_map(self.params)

    def details(self, language: str) -> dict[str, object]:
        """As a problem object, the same members as the server's."""
        found: dict[str, object] = {
            "type": f"urn:sekisho:problem:{self.code}",
            "title": "受け付けられません" if language == "ja" else "Refused",
            "status": 0,
            "code": self.code,
            "exit": self.exit_status,
            "detail": self.sentence(language),
            "params": self.params,
        }
        return found | ({"hint": self.hint} if self.hint else {})


class ProblemError(Exception):
    """The server said no. `details` is its problem object, in the caller's language."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        """Keep the whole object; the sentence is the error's text."""
        self.details = dict(details)
        super().__init__(f"{details.get('detail', '')} [{self.code}]")

    @property
    def code(self) -> str:
        """The stable code."""
        return str(self.details.get("code", "internal"))

    @property
    def exit_status(self) -> int:
        """What the command line ends with."""
        given = self.details.get("exit")
        return given if isinstance(given, int) and 0 < given < _STATUS_MAX else INTERNAL


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`, or nothing."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, 0.6)), "")
