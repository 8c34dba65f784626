"""Help in both languages, from the catalogue: usage, one sentence, arguments, options, examples, exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sekisho_client.commands import Catalogue, Entry, Field
from sekisho_client.render import pad, width

_WORDS: Mapping[str, tuple[str, str]] = {
    "usage": ("Usage", "使い方"),
    "daily": ("Every day", "日常のコマンド"),
    "nouns": ("Things, and what can be done with them", "対象と操作"),
    "verbs": ("Verbs", "操作"),
    "arguments": ("Arguments", "引数"),
    "options": ("Options", "オプション"),
    "examples": ("Examples", "例"),
    "exits": ("Exit status", "終了ステータス"),
    "required": ("needed", "必須"),
    "many": ("may be repeated", "繰り返し可"),
    "more": ("More", "詳しくは"),
}
_ABOUT = (
    "Runs AI on the GPUs of several providers as if they were one cloud, under one charter a machine checks.",
    "複数の事業者のGPUを、機械が検証する1つの憲章の下で、1つのクラウドのように使います。",
)
_GLOBAL: tuple[tuple[str, str, str], ...] = (
    ("--json", "JSON on standard output and nothing else", "標準出力にJSONだけを出します"),
    ("--lang en|ja", "language of sentences (also SEKISHO_LANG)", "表示の言語（SEKISHO_LANGでも指定可）"),
    ("--url URL", "the server (also SEKISHO_URL)", "サーバー（SEKISHO_URLでも指定可）"),
    ("--no-progress", "draw no progress", "進み具合を表示しません"),
    ("-h, --help", "this help", "このヘルプを表示します"),
)
_OF_PAGE = ("--all", "every page, not only the first", "すべてのページを取り出します")
_OF_FILE = (
    "-o, --output FILE",
    "where to write the file, - for standard output",
    "書き出すファイル（-は標準出力）",
)
_OF_FINAL = ("--yes", "do not ask; this cannot be undone", "確認しません（取り消せない操作です）")

EXITS: tuple[tuple[int, str, str], ...] = (
    (0, "done", "完了"),
    (1, "it ran and failed", "実行したが失敗"),
    (2, "wrong use or bad input", "使い方または入力の誤り"),
    (3, "denied by the charter", "憲章により不許可"),
    (4, "sign in, or the role is missing", "サインインまたは権限が必要"),
    (5, "not found, or not visible to you", "見つからないか閲覧不可"),
    (6, "changed meanwhile", "その間に変更された"),
    (7, "no answer; trying again may help", "応答なし（再試行の余地あり）"),
    (8, "still waiting when --timeout ended", "--timeoutの終了時も待機中"),
    (70, "our fault", "プログラムの不具合"),
    (130, "interrupted", "中断"),
)
_OF_EVERY_COMMAND = frozenset({0, 2, 3, 4, 5, 7})


class Help:
    """Writes help pages in one language."""

    def __init__(self, catalogue: Catalogue, language: str) -> None:
        """`language` is en or ja."""
        self._catalogue = catalogue
        self._language = language

    def top(self) -> str:
        """What can be done at all, daily words first."""
        daily = [(entry.daily, entry.about[self._language]) for entry in self._catalogue.daily.values()]
        alone = [
            (noun, entry.about[self._language])
            for (noun, verb), entry in sorted(self._catalogue.by_words.items())
            if not verb and not entry.daily
        ]
        nouns = [
            (noun, f"{about[self._language]}: {' '.join(self._catalogue.verbs(noun))}")
            for noun, about in sorted(self._catalogue.nouns.items())
        ]
        usage = self._pick(("sekisho <noun> <verb> [what]", "sekisho <対象> <操作> [引数]"))
        return self._page(
            [
                (self._word("usage"), [("", usage)]),
                ("", [("", self._pick(_ABOUT))]),
                (self._word("daily"), daily),
                (self._word("nouns"), [*nouns, *alone]),
                (self._word("options"), self._options(_GLOBAL)),
                (self._word("exits"), self._exits({code for code, _, _ in EXITS})),
                (self._word("more"), [("", "sekisho <noun> <verb> --help")]),
            ]
        )

    def noun(self, noun: str) -> str:
        """A noun's verbs."""
        verbs = [(verb, entry.about[self._language]) for verb, entry in self._catalogue.verbs(noun).items()]
        return self._page(
            [
                (self._word("usage"), [("", f"sekisho {noun} <verb> [...]")]),
                ("", [("", self._catalogue.nouns[noun][self._language])]),
                (self._word("verbs"), verbs),
                (
                    self._word("more"),
                    [("", f"sekisho {noun} {next(iter(self._catalogue.verbs(noun)), '')} --help")],
                ),
            ]
        )

    def command(self, entry: Entry) -> str:
        """Everything about one command."""
        words = [(self._metavar(field), self._about(field)) for field in entry.fields if field.word]
        options = [(self._option(field), self._about(field)) for field in entry.fields if not field.word]
        extra = [
            line
            for line, wanted in ((_OF_PAGE, entry.page), (_OF_FILE, entry.media), (_OF_FINAL, entry.final))
            if wanted
        ]
        conflicts = {6} if entry.keyed else set()
        return self._page(
            [
                (self._word("usage"), [("", self._usage(entry))]),
                ("", [("", entry.about[self._language])]),
                (self._word("arguments"), words),
                (self._word("options"), [*options, *self._options([*extra, *_GLOBAL])]),
                (self._word("examples"), [("", example) for example in self.examples(entry)]),
                (self._word("exits"), self._exits(_OF_EVERY_COMMAND | conflicts)),
            ]
        )

    def examples(self, entry: Entry) -> list[str]:
        """Two commands that can be pasted once their samples are replaced."""
        if entry.examples:
            return list(entry.examples)
        called = f"sekisho {entry.daily or entry.words}"
        needed = [
            field.sample if field.word else f"{field.option} {field.sample}"
            for field in entry.fields
            if field.required
        ]
        basic = " ".join([called, *needed])
        optional = next((f for f in entry.fields if not f.required and not f.word and f.kind == "text"), None)
        second = f"{basic} {optional.option} {optional.sample}" if optional else f"{basic} --json"
        return [basic, second]

    def _usage(self, entry: Entry) -> str:
        words = [
            self._metavar(field) if field.required else f"[{self._metavar(field)}]"
            for field in entry.fields
            if field.word
        ]
        needed = [self._option(field) for field in entry.fields if field.required and not field.word]
        rest = "[options]" if self._language == "en" else "[オプション]"
        return " ".join(["sekisho", entry.words, *words, *needed, rest])

    def _metavar(self, field: Field) -> str:
        return field.name.upper() + ("..." if field.many else "")

    def _option(self, field: Field) -> str:
        if field.kind == "boolean" and not field.required:
            return field.option
        value = (
            "|".join(field.choices)
            if field.choices
            else "FILE"
            if field.kind == "file"
            else field.name.upper()
        )
        return f"--{field.name.replace('_', '-')} {value}"

    def _about(self, field: Field) -> str:
        notes = [self._word("required")] if field.required and not field.word else []
        notes += [self._word("many")] if field.many else []
        notes += ["JSON, @FILE"] if field.kind == "json" else []
        notes += [" | ".join(field.choices)] if field.choices and field.word else []
        text = field.help[self._language]
        if not notes:
            return text
        return f"{text} ({', '.join(notes)})" if self._language == "en" else f"{text}（{'、'.join(notes)}）"

    def _options(self, lines: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
        return [(name, self._pick((english, japanese))) for name, english, japanese in lines]

    def _exits(self, wanted: Iterable[int]) -> list[tuple[str, str]]:
        return [
            (str(code), self._pick((english, japanese)))
            for code, english, japanese in EXITS
            if code in wanted
        ]

    def _pick(self, pair: tuple[str, str]) -> str:
        return pair[self._language == "ja"]

    def _word(self, name: str) -> str:
        return self._pick(_WORDS[name])

    def _page(self, parts: Iterable[tuple[str, list[tuple[str, str]]]]) -> str:
        blocks = []
        for title, lines in parts:
            if not lines:
                continue
            widest = max(width(name) for name, _ in lines)
            body = [
                f"  {pad(name, widest)}  {text}".rstrip() if name else f"  {text}" for name, text in lines
            ]
            if not title:
                body = [text for _, text in lines]
            colon = "：" if self._language == "ja" else ":"
            blocks.append("\n".join([title + colon, *body] if title else body))
        return "\n\n".join(blocks) + "\n"
