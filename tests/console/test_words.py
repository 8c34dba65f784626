"""Every text is there twice, says the same, and uses the words of the glossary."""

from __future__ import annotations

import re
import string
from importlib import resources

import pytest

from sekisho.compute import AttemptState, JobState
from sekisho.console import drawing, marks
from sekisho.console.words import WORDS
from tests.support import tree

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
HALF_WIDTH = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff][()]|[()][\u3040-\u30ff\u4e00-\u9fff]")
POLITE = re.compile(r"(です|ます|ました|ません|ください|ましょう|でした|ですか|ますか|完了|中|受け付け)$")
FORBIDDEN = (
    "目撃",
    "摂取",
    "君",
    "あなた",
    "ユーザー",
    "クラスター",
    "クラスタ",
    "チェックポイント",
    "メーカー",
)

# English word, the Japanese word that stands for it, and words before which the English one means something else.
GLOSSARY = (
    (r"charter", "憲章"),
    (r"\bsites?\b", "拠点"),
    (r"\bjobs?\b(?!\.yaml)", "ジョブ"),
    (r"attempts?", "試行"),
    (r"bundle", "証跡一式"),
    (r"stand-ins?", "代役"),
    (r"residency", "所在地条件"),
    (r"log checkpoint", "台帳の確認点"),
    (r"training checkpoints?", "学習の途中保存"),
    (r"fencing token", "実行権トークン"),
    (r"inclusion proof", "収録証明"),
    (r"canar", "遮断試験"),
    (r"sovereignty", "主権"),
)
# Where the sentence says it without the word: the subject is clear from the page it stands on.
WITHOUT = frozenset(
    {
        "attempt.canaries.none",
        "event.placed",
        "job.unproven.declared",
        "job.why.chosen",
        "live.ended",
        "map.label",
        "need.forbidden",
        "reason.CharterForbids",
        "submit.plan.never",
        "rule.P04",
        "rule.P11",
    }
)
NAMES_ALIKE = frozenset({"brand", "canary.udp", "frame.other", "frame.other.code"})
NO_SENTENCE = re.compile(r"[。？]")


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(WORDS))
def test_both_languages_have_the_same_placeholders(key: str) -> None:
    assert _placeholders(WORDS[key].en) == _placeholders(WORDS[key].ja)
    assert WORDS[key].en
    assert WORDS[key].ja


def test_japanese_is_japanese_and_english_is_english() -> None:
    assert [key for key, text in WORDS.items() if JAPANESE.search(text.en) and key not in NAMES_ALIKE] == []
    bare = {
        key
        for key, text in WORDS.items()
        if not JAPANESE.search(text.ja)
        and key not in NAMES_ALIKE
        and re.search("[A-Za-z]{4}", re.sub(r"\{\w+\}", "", text.ja))
    }
    assert bare == set()


def test_no_half_width_bracket_stands_beside_japanese() -> None:
    assert [key for key, text in WORDS.items() if HALF_WIDTH.search(text.ja)] == []


def test_forbidden_words_do_not_occur() -> None:
    assert [(key, word) for key, text in WORDS.items() for word in FORBIDDEN if word in text.ja] == []


def test_japanese_sentences_are_polite() -> None:
    found = []
    for key, text in WORDS.items():
        for sentence in re.findall(r"[^。？]+(?=[。？])", re.sub(r"（[^）]*）|\{\w+\}", "", text.ja)):
            bare = sentence.strip("」：、 ")
            if bare and not POLITE.search(bare):
                found.append((key, sentence))
    assert found == []


@pytest.mark.parametrize(("english", "japanese"), GLOSSARY)
def test_the_glossary_is_kept(english: str, japanese: str) -> None:
    found = [
        key
        for key, text in WORDS.items()
        if re.search(english, text.en, re.IGNORECASE) and japanese not in text.ja and key not in WITHOUT
    ]
    assert found == []


def _used() -> tuple[set[str], set[str]]:
    """Keys that templates and code name, whole or by their beginning."""
    folder = resources.files("sekisho.console")
    texts = [drawing.template_text(name) for name in drawing.template_names()]
    texts += [
        path.read_text() for path in tree.files("src/sekisho/console/*.py") if path.parent.name != "words"
    ]
    assert folder
    whole: set[str] = set()
    begun: set[str] = set()
    for text in texts:
        whole |= set(re.findall(r'"([a-zA-Z_]+(?:\.[a-zA-Z0-9_]+)+)"', text))
        begun |= set(re.findall(r'f?"([a-zA-Z_]+(?:\.[a-zA-Z_]+)*\.)(?:" ~|\{)', text))
        whole |= set(re.findall(r't\("([a-z_]+)"', text)) | set(
            re.findall(r'say\(\w+(?:\.\w+)?, "([a-z_]+)"', text)
        )
    return whole, begun


def test_every_text_is_used_somewhere() -> None:
    whole, begun = _used()
    table_made = (
        "job.state.",
        "attempt.state.",
        "site.state.",
        "dataset.state.",
        "choice.",
        "route.",
        "line.",
        "finding.",
    )
    unused = [
        key
        for key in WORDS
        if key not in whole and not key.startswith((*begun, *table_made)) and key != "brand.full"
    ]
    assert unused == []


def test_every_text_that_a_template_names_exists() -> None:
    named = {
        (name, key)
        for name in drawing.template_names()
        for key in re.findall(r'\bt\("([^"]+)"[,)]', drawing.template_text(name))
    }
    assert named
    assert [pair for pair in named if pair[1] not in WORDS] == []


def test_every_state_has_a_mark_with_a_word() -> None:
    tables = (
        marks.JOBS,
        marks.ATTEMPTS,
        marks.SITES,
        marks.CHOICES,
        marks.ROUTES,
        marks.LINES,
        marks.DATASETS,
    )
    words = [mark.word for table in tables for mark in table.values()]
    words += [*marks.GRADES.values(), *marks.LEVELS.values()]
    assert [word for word in words if word not in WORDS] == []
    assert set(marks.JOBS) == {state.value for state in JobState}
    assert set(marks.ATTEMPTS) == {state.value for state in AttemptState}


def test_a_state_nobody_knows_is_shown_as_unknown() -> None:
    assert marks.of(marks.JOBS, "teleporting").word == "state.unknown"
    assert marks.of(marks.JOBS, "teleporting").tint == "idle"


def test_every_reason_an_agent_gives_has_words() -> None:
    from sekisho_wire import messages

    reasons = [value for name, value in vars(messages).items() if name.startswith("REASON_")]
    assert reasons
    assert [reason for reason in reasons if f"reason.{reason}" not in WORDS] == []


def test_every_rule_of_the_shipped_charter_has_words() -> None:
    from sekisho.charter import default_policies

    families = {match.partition("-")[0] for match in re.findall(r'@id\("([^"]+)"\)', default_policies())}
    assert families
    assert [family for family in families if f"rule.{family}" not in WORDS] == []


def test_every_role_has_a_word() -> None:
    from sekisho.identity import ROLES

    assert [role for role in ROLES if f"role.{role}" not in WORDS] == []
