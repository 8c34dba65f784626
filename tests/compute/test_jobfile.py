"""Job files: what a good one says, and for every bad one a single problem with its line and column."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.compute import jobfile
from sekisho.compute.jobfile import JobFile, parse
from sekisho.kernel.errors import SekishoError
from sekisho_wire.problems import Language
from tests.support import tree

HEAD = "name: a\nrun: echo\n"
WHOLE = """\
name: train-1.0
team: language-models
kind: batch
workdir: .
resources:
  accelerators: H100:8
  cpus: 16
  memory: 128+
  image: torch
  disk: 100
num_nodes: 1
envs: {STEPS: 100, NAME: "関所"}
secrets: [hub-token]
data:
  - {from: corpus, mount: /data}
  - {to: model, mount: /out}
charter:
  residency: [JP]
  operator: any
  sites: [ishikari]
  egress: ["example.jp:443"]
checkpoint: {path: /ckpt, every: 2m, grace: 20s}
time_limit: 48h
deadline: 2026-12-20T00:00:00+09:00
budget: {max_yen: 100000}
run: |
  python train.py
"""


def refused(text: str) -> tuple[str, int, int]:
    """Code, line and column of the problem with a file."""
    with pytest.raises(SekishoError) as caught:
        parse(text)
    params = caught.value.params
    return caught.value.code, int(params["line"]), int(params["column"])


def outcome(text: str) -> JobFile | SekishoError:
    """Whichever of the two comes of a text; any other error is the test's."""
    try:
        return parse(text)
    except SekishoError as error:
        return error


def test_a_file_that_says_everything() -> None:
    job = parse(WHOLE)
    assert (job.name, job.team, job.kind, job.run) == (
        "train-1.0",
        "language-models",
        "batch",
        "python train.py\n",
    )
    assert jobfile.accelerators(job.resources.accelerators) == ("H100", 8)
    assert jobfile.memory_bytes(job.resources.memory) == 128 << 30
    assert [(item.source, item.target, item.mount) for item in job.data] == [
        ("corpus", "", "/data"),
        ("", "model", "/out"),
    ]
    assert (job.charter.residency, job.charter.sites, job.charter.egress) == (
        ["JP"],
        ["ishikari"],
        ["example.jp:443"],
    )
    assert job.envs == {"STEPS": 100, "NAME": "関所"}
    assert jobfile.seconds(job.time_limit) == 48 * 3600
    assert jobfile.deadline_ms(job.deadline) == 1_797_692_400_000
    assert job.budget is not None
    assert job.checkpoint is not None
    assert (job.budget.max_yen, job.checkpoint.every) == (100_000, "2m")


def test_a_file_that_says_the_least() -> None:
    job = parse(HEAD)
    assert job == JobFile(name="a", run="echo")
    assert (job.charter.residency, job.charter.egress, job.checkpoint, job.budget) == (
        None,
        "none",
        None,
        None,
    )


@pytest.mark.parametrize(("example", "kind"), [("japanese-lm", "batch"), ("robot-arm", "array")])
def test_the_examples_are_good_files(example: str, kind: str) -> None:
    job = parse((tree.ROOT / "examples" / example / "job.yaml").read_text())
    assert (job.name, job.kind) == (example, kind)


BAD: list[tuple[str, str, int, int]] = [
    # text, code's last part, line, column
    ("", "malformed", 1, 1),
    ("# nothing\n", "malformed", 1, 1),
    ("- a\n- b\n", "invalid", 1, 1),
    ("just text", "invalid", 1, 1),
    ("42", "invalid", 1, 1),
    ("null", "invalid", 1, 1),
    ("name: a\n\trun: echo\n", "malformed", 2, 1),
    (HEAD + "resources:\n\tcpus: 1\n", "malformed", 4, 1),
    (HEAD + "residency: [JP]\n", "unknown_field", 3, 1),
    (HEAD + "charter:\n  residencyy: [JP]\n", "unknown_field", 4, 3),
    (HEAD + "set_up: pip install x\n", "unknown_field", 3, 1),
    (HEAD + "setup: [pip install x]\n", "invalid", 3, 1),
    (HEAD + f"setup: {'x' * 100_001}\n", "invalid", 3, 1),
    (HEAD + "data:\n  - mount: /data\n    form: x\n", "unknown_field", 5, 5),
    (HEAD + "<<: {run: evil}\n", "unknown_field", 3, 1),
    (HEAD + "run: twice\n", "malformed", 3, 1),
    (HEAD + "envs: {A: 1, B: 2, A: 3}\n", "malformed", 3, 20),
    ("run: echo\n", "invalid", 1, 1),
    ("name: a\n", "invalid", 1, 1),
    ("name: A\nrun: echo\n", "invalid", 1, 1),
    ('name: "a\\n"\nrun: echo\n', "invalid", 1, 1),
    ("name: ../a\nrun: echo\n", "invalid", 1, 1),
    ("name: [a]\nrun: echo\n", "invalid", 1, 1),
    ("name: a\nrun: ''\n", "invalid", 2, 1),
    ("name: a\nrun: 5\n", "invalid", 2, 1),
    (HEAD + "resources: {cpus: 0}\n", "invalid", 3, 13),
    (HEAD + "resources: {cpus: 1.5}\n", "invalid", 3, 13),
    (HEAD + "resources: {cpus: '2'}\n", "invalid", 3, 13),
    (HEAD + "resources: {cpus: true}\n", "invalid", 3, 13),
    (HEAD + "resources: {memory: 5kb}\n", "invalid", 3, 13),
    (HEAD + "resources: {memory: 0gb}\n", "invalid", 3, 13),
    (HEAD + "resources: {memory: 999999999tb}\n", "invalid", 3, 13),
    (HEAD + "resources: {accelerators: 'H100:8:2'}\n", "invalid", 3, 13),
    (HEAD + 'resources: {accelerators: "H100:8\\n"}\n', "invalid", 3, 13),
    (HEAD + "num_nodes: 0\n", "invalid", 3, 1),
    (HEAD + "num_nodes: 1025\n", "invalid", 3, 1),
    (HEAD + "kind: array\n", "invalid", 3, 1),
    (HEAD + "array: {size: 2}\n", "invalid", 3, 1),
    (HEAD + "kind: batch\narray: {size: 2}\n", "invalid", 4, 1),
    (HEAD + "kind: array\narray: {size: 0}\n", "invalid", 4, 9),
    (HEAD + "kind: array\narray: {size: 1001}\n", "invalid", 4, 9),
    (HEAD + "kind: array\narray: {parallel: 1}\n", "invalid", 4, 1),
    (HEAD + "kind: array\narray: {size: 2, paralel: 1}\n", "unknown_field", 4, 18),
    (HEAD + "kind: service\n", "invalid", 3, 1),
    (HEAD + "service: {replicas: 2}\n", "invalid", 3, 1),
    (HEAD + "kind: service\nservice: {replicas: 0}\n", "invalid", 4, 11),
    (HEAD + "kind: service\nservice: {drain: 21s}\n", "invalid", 4, 11),
    (HEAD + "kind: daemon\n", "invalid", 3, 1),
    (HEAD + "kind: service\nservice: {health: {every: 5s}}\n", "invalid", 4, 11),
    (HEAD + "kind: service\nservice: {health: {run: x, every: 0s}}\n", "invalid", 4, 28),
    (HEAD + "kind: service\nservice: {health: {run: x, faliures: 2}}\n", "unknown_field", 4, 28),
    (HEAD + "time_limit: 0s\n", "invalid", 3, 1),
    (HEAD + "time_limit: 1 day\n", "invalid", 3, 1),
    (HEAD + 'time_limit: "1h\\n"\n', "invalid", 3, 1),
    (HEAD + "deadline: tomorrow\n", "invalid", 3, 1),
    (HEAD + "deadline: 2026-13-45\n", "invalid", 3, 1),
    (HEAD + "deadline: 2026-12-20T00:00:00\n", "invalid", 3, 1),
    (HEAD + "budget: {max_yen: 0}\n", "invalid", 3, 10),
    (HEAD + "budget: {}\n", "invalid", 3, 1),
    (HEAD + "charter: {residency: []}\n", "invalid", 3, 11),
    (HEAD + "charter: {residency: [Japan]}\n", "invalid", 3, 23),
    (HEAD + "charter: {residency: [any]}\n", "invalid", 3, 23),
    (HEAD + "charter: {residency: JP}\n", "invalid", 3, 11),
    (HEAD + "charter: {sites: []}\n", "invalid", 3, 11),
    (HEAD + "charter: {egress: []}\n", "invalid", 3, 11),
    (HEAD + "charter: {egress: all}\n", "invalid", 3, 11),
    (HEAD + "charter: {operator: friendly}\n", "invalid", 3, 11),
    (HEAD + "data:\n  - mount: /data\n", "invalid", 4, 5),
    (HEAD + "data:\n  - {mount: /data, from: a, to: b}\n", "invalid", 4, 5),
    (HEAD + "data:\n  - {from: a}\n", "invalid", 4, 5),
    (HEAD + "data:\n  - {from: a, mount: data}\n", "invalid", 4, 15),
    (HEAD + "data:\n  - {from: a, mount: /../etc}\n", "invalid", 4, 15),
    (HEAD + "data:\n  - {from: a, mount: /d}\n  - {from: b, mount: /d}\n", "invalid", 5, 15),
    (HEAD + "data:\n  - {to: a, mount: /d}\n  - {to: a, mount: /e}\n", "invalid", 5, 6),
    (
        HEAD + "data:\n" + "".join(f"  - {{to: o{number}, mount: /o{number}}}\n" for number in range(17)),
        "invalid",
        3,
        1,
    ),
    (HEAD + "envs: {A: !!int ''}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: !!float ''}\n", "malformed", 3, 11),
    (HEAD + "data:\n  - {to: ../a, mount: /d}\n", "invalid", 4, 6),
    (HEAD + "secrets: [a, a]\n", "invalid", 3, 1),
    (HEAD + "envs: {1A: x}\n", "invalid", 3, 1),
    (HEAD + "envs: {A: null}\n", "invalid", 3, 1),
    (HEAD + "envs: {A: 1.5}\n", "invalid", 3, 1),
    (HEAD + 'team: "\\0"\n', "malformed", 3, 7),
    (HEAD + 'envs: {A: "\\uD800"}\n', "malformed", 3, 11),
    (HEAD + 'envs: {"\\0": a}\n', "malformed", 3, 8),
    (HEAD + "envs: {A: " + "9" * 5000 + "}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: 9007199254740992}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: 0x" + "f" * 5000 + "}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: 0b_}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: !!bool maybe}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: !!int x}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: !!binary aGk=}\n", "malformed", 3, 11),
    (HEAD + "envs: !!python/object:os.system {A: b}\n", "malformed", 3, 7),
    (HEAD + "secrets: !!set {a, b}\n", "malformed", 3, 10),
    (HEAD + "? [a, b]\n: c\n", "malformed", 3, 3),
    (HEAD + "envs: {A: *nowhere}\n", "malformed", 3, 11),
    (HEAD + "envs: {A: 'open}\n", "malformed", 4, 1),
    (HEAD + "--- \nname: b\n", "malformed", 3, 1),
    (HEAD + "secrets: &loop [*loop]\n", "malformed", 3, 10),
]


@pytest.mark.parametrize(
    ("text", "code", "line", "column"), BAD, ids=[str(number) for number in range(len(BAD))]
)
def test_a_bad_file_gets_one_problem_with_its_place(text: str, code: str, line: int, column: int) -> None:
    assert refused(text) == (f"compute.file.{code}", line, column)


@pytest.mark.parametrize("text", [text for text, *_ in BAD], ids=[str(number) for number in range(len(BAD))])
def test_what_is_wrong_is_said_in_both_languages_and_not_as_we_check_it(text: str) -> None:
    with pytest.raises(SekishoError) as caught:
        parse(text)
    error = caught.value
    english, japanese = (
        error.problem.text.render(language, error.filled(language)).partition(
            ":" if language == "en" else "："
        )
        for language in Language
    )
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", japanese[2])
    assert not re.search(r"Expected|regex|enum", english[2] + japanese[2])
    assert error.params == error.filled(Language.EN)


@pytest.mark.parametrize(
    ("field", "english"),
    [
        ("kind: servce", "needs one of: batch, array, service"),
        ("charter: {operator: foreign}", "needs one of: any, domestic"),
        ("time_limit: 7w", "needs a number and a unit: 30s, 10m, 2h or 7d"),
        ("num_nodes: 2000", "must be at most 1024"),
    ],
)
def test_a_value_that_is_refused_is_told_what_it_may_be(field: str, english: str) -> None:
    with pytest.raises(SekishoError) as caught:
        parse(f"{HEAD}{field}\n")
    assert caught.value.params["what"] == english


@pytest.mark.parametrize("character", ["\0", "\x01", "\x7f", "\ud800", "\ufffe"], ids=ascii)
def test_a_character_that_no_text_holds(character: str) -> None:
    assert refused(HEAD + f"team: a{character}\n")[0] == "compute.file.malformed"


@pytest.mark.parametrize(
    ("field", "guess"),
    [("nam", "name"), ("resource", "resources"), ("env", "envs"), ("time_limits", "time_limit")],
)
def test_a_misspelt_field_gets_a_guess(field: str, guess: str) -> None:
    with pytest.raises(SekishoError) as caught:
        parse(f"{HEAD}{field}: x\n")
    assert caught.value.params == {"line": 3, "column": 1, "field": field, "guess": guess}


def test_the_guess_is_of_the_section_the_field_stands_in() -> None:
    with pytest.raises(SekishoError) as caught:
        parse(HEAD + "charter: {residence: [JP]}\n")
    assert caught.value.params["guess"] == "residency"


@pytest.mark.parametrize("field", ["a` - at `zzz", "` - at `", "a` - at `$.name", "x` - at `$[0]"])
def test_a_field_that_imitates_our_reader_is_one_more_unknown_field(field: str) -> None:
    assert refused(f'{HEAD}"{field}": 1\n')[0].startswith("compute.file.")


def test_deep_nesting_is_refused_where_it_goes_too_deep() -> None:
    for text in ("[" * 100_000, "{a: " * 50_000, "- " * 100_000, HEAD + "envs: " + "[" * 20 + "]" * 20):
        assert refused(text)[0] == "compute.file.malformed"


def test_aliases_do_not_multiply() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    begun = time.monotonic()
    assert refused(HEAD + "\n".join(layers))[0] == "compute.file.malformed"
    assert time.monotonic() - begun < 30


def test_an_alias_in_its_place_is_fine() -> None:
    job = parse(HEAD + "envs: {A: &value x, B: *value}\n")
    assert job.envs == {"A": "x", "B": "x"}


def test_a_long_file_is_refused_before_it_is_read_to_its_end() -> None:
    text = HEAD + "data:\n" + "- {from: a, mount: /d}\n" * 12_000
    assert refused(text)[0] == "compute.file.malformed"


def test_what_looks_like_base_60_stays_text() -> None:
    assert parse(HEAD + "envs: {AT: 10:30, IN: 1:30.5}\n").envs == {"AT": "10:30", "IN": "1:30.5"}
    begun = time.monotonic()
    assert refused(f"{HEAD}team: !!float {'1:' * 100_000}1\n")[0] == "compute.file.invalid"
    assert time.monotonic() - begun < 10


def test_what_looks_like_a_date_stays_text() -> None:
    assert parse(HEAD + "envs: {DAY: 2026-11-20, AT: 2026-11-20 10:00:00}\n").envs == {
        "DAY": "2026-11-20",
        "AT": "2026-11-20 10:00:00",
    }


FIELDS = [
    "name",
    "run",
    "envs",
    "data",
    "charter",
    "resources",
    "residency",
    "deadline",
    "secrets",
    "- ",
    "mount",
]
PIECES = st.sampled_from(
    [
        *FIELDS,
        ": ",
        "\n",
        "\n  ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "&a ",
        "*a",
        "!!int ",
        "|",
        "1_",
        "0x",
        "~",
        ",",
    ]
)


@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=40).map("".join)
    )
)
def test_any_text_is_a_job_file_or_one_problem(text: str) -> None:
    found = outcome(text)
    if isinstance(found, JobFile):
        assert found.run
        return
    assert found.code.startswith("compute.file.")
    assert int(found.params["line"]) >= 1
    assert int(found.params["column"]) >= 1
    assert found.problem.text.ja.format_map(found.params)


@given(st.text(max_size=30))
def test_any_text_in_a_field_is_kept_or_refused(text: str) -> None:
    """Written as JSON, which is YAML: what is kept is exactly what was meant."""
    for field in ("run", "team"):
        found = outcome(json.dumps({"name": "a", "run": "echo", field: text}))
        kept = getattr(found, field, None)
        assert kept == text or (isinstance(found, SekishoError) and found.code.startswith("compute.file."))


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("2", 2 << 30),
        ("16+", 16 << 30),
        ("16GB", 16 * 10**9),
        ("16 gib", 16 << 30),
        ("512MB", 512 * 10**6),
        ("512mib+", 512 << 20),
        ("1tb", 10**12),
        ("1TiB", 1 << 40),
    ],
)
def test_memory(text: str, size_bytes: int) -> None:
    assert (
        jobfile.memory_bytes(parse(f"{HEAD}resources: {{memory: '{text}'}}\n").resources.memory) == size_bytes
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90s", 90), ("5m", 300), ("48h", 172_800), ("2d", 172_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert jobfile.seconds(parse(f"{HEAD}time_limit: {text}\n").time_limit) == seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("", ("", 0)), ("H100", ("H100", 1)), ("B200:16", ("B200", 16))]
)
def test_accelerators(text: str, expected: tuple[str, int]) -> None:
    assert jobfile.accelerators(text) == expected


def test_setup_is_kept_as_it_was_written() -> None:
    assert parse(f"{HEAD}setup: |\n  pip install x\n  x --help\n").setup == "pip install x\nx --help\n"
    assert parse(HEAD).setup == ""
    assert len(parse(f"{HEAD}setup: {'x' * 100_000}\n").setup) == 100_000
