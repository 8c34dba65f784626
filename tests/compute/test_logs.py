"""Log files: bytes at offsets, pieces that end on whole characters, a cap, an end."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.compute import LogFiles, logs
from sekisho.kernel.ids import new_id

# Fixed, because it stands in the names of tests, which every worker must collect alike.
ATTEMPT = "att_0000000001zm7ak5byyezz9r5t"
IN_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    return LogFiles(tmp_path / "logs")


def read_all(files: LogFiles, attempt: str = ATTEMPT) -> list[bytes]:
    """Pieces until nothing is left of a log that gets no more."""
    pieces: list[bytes] = []
    offset = 0
    while True:
        piece, length = files.read(attempt, offset, final=True)
        if offset >= length:
            assert piece == b""
            return pieces
        assert piece, "a reader that follows never stands still before the end"
        pieces.append(piece)
        offset += len(piece)


def test_a_log_that_nobody_wrote_is_empty(files: LogFiles) -> None:
    assert files.read(ATTEMPT, 0, final=False) == (b"", 0)
    assert files.read(ATTEMPT, 99, final=True) == (b"", 0)


@IN_FOLDER
@given(st.lists(st.binary(max_size=50), max_size=8), st.randoms())
def test_pieces_in_any_order_and_twice_make_the_same_log(
    tmp_path: Path, pieces: list[bytes], chance: random.Random
) -> None:
    files, attempt = LogFiles(tmp_path), new_id("att", 1)
    offsets = [sum(map(len, pieces[:number])) for number in range(len(pieces))]
    todo = list(zip(offsets, pieces, strict=True)) * 2
    chance.shuffle(todo)
    for offset, piece in todo:
        files.write(attempt, offset, piece)
    assert b"".join(read_all(files, attempt)) == b"".join(pieces)


@IN_FOLDER
@given(st.text(alphabet="aéж関🚧", max_size=40), st.integers(1, 9))
def test_text_is_read_in_whole_characters_while_it_grows(tmp_path: Path, text: str, step: int) -> None:
    files, attempt, content = LogFiles(tmp_path), new_id("att", 1), text.encode()
    shown, offset = "", 0
    for end in range(0, len(content) + step, step):
        files.write(attempt, max(0, end - step), content[max(0, end - step) : end])
        piece, _ = files.read(attempt, offset, final=False)
        shown += piece.decode("utf-8", "strict")
        offset += len(piece)
    assert shown == text


@IN_FOLDER
@given(content=st.binary(max_size=60), limit=st.integers(4, 16))
def test_a_reader_reaches_the_end_of_any_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, limit: int
) -> None:
    files, attempt = LogFiles(tmp_path), new_id("att", 1)
    files.write(attempt, 0, content)
    with monkeypatch.context() as patch:
        patch.setattr(logs, "READ_BYTES_MAX", limit)
        pieces = read_all(files, attempt)
    assert b"".join(pieces) == content
    assert all(len(piece) <= limit for piece in pieces)


@pytest.mark.parametrize("character", ["é", "関", "🚧"])
def test_the_rest_of_a_character_is_waited_for_and_given_up_at_the_end(
    files: LogFiles, character: str
) -> None:
    raw = character.encode()
    files.write(ATTEMPT, 0, b"a" + raw[:-1])
    assert files.read(ATTEMPT, 0, final=False) == (b"a", len(raw))
    assert files.read(ATTEMPT, 1, final=False) == (b"", len(raw))
    assert files.read(ATTEMPT, 1, final=True) == (raw[:-1], len(raw))
    files.write(ATTEMPT, len(raw), raw[-1:])
    assert files.read(ATTEMPT, 1, final=False) == (raw, len(raw) + 1)


@pytest.mark.parametrize("offset", [10, 11, 2**40, 2**53 - 1])
def test_beyond_the_end_there_is_nothing(files: LogFiles, offset: int) -> None:
    files.write(ATTEMPT, 0, b"0123456789")
    assert files.read(ATTEMPT, offset, final=False) == (b"", 10)


def test_what_would_grow_past_the_cap_is_dropped(files: LogFiles) -> None:
    files.write(ATTEMPT, logs.LENGTH_BYTES_MAX - 4, b"last")
    files.write(ATTEMPT, logs.LENGTH_BYTES_MAX, b"x")
    files.write(ATTEMPT, logs.LENGTH_BYTES_MAX - 1, b"xy")
    files.write(ATTEMPT, 2**53 - 1, b"x")
    content, length = files.read(ATTEMPT, logs.LENGTH_BYTES_MAX - 4, final=True)
    assert (content, length) == (b"last", logs.LENGTH_BYTES_MAX)


def test_one_answer_is_bounded(files: LogFiles) -> None:
    files.write(ATTEMPT, 0, b"x" * (logs.READ_BYTES_MAX + 7))
    piece, length = files.read(ATTEMPT, 0, final=True)
    assert (len(piece), length) == (logs.READ_BYTES_MAX, logs.READ_BYTES_MAX + 7)


def test_attempts_do_not_share_a_log(files: LogFiles) -> None:
    other = new_id("att", 2)
    files.write(ATTEMPT, 0, b"mine")
    files.write(other, 0, b"theirs")
    assert files.read(ATTEMPT, 0, final=True)[0] == b"mine"


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "att_1", "job_" + ATTEMPT[4:], ATTEMPT + "/x"]
)
def test_only_an_attempts_id_names_a_file(files: LogFiles, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(name)}$"):
        files.write(name, 0, b"x")
    with pytest.raises(ValueError, match=f"^{re.escape(name)}$"):
        files.read(name, 0, final=False)
    assert list((tmp_path / "logs").iterdir()) == []


def test_logs_are_for_their_owner_only(files: LogFiles, tmp_path: Path) -> None:
    files.write(ATTEMPT, 0, b"x")
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "logs").iterdir()} == {0o600}
