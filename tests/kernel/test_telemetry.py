"""Logs are lines of JSON on standard error, from the level that was asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from sekisho.kernel import telemetry


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == "", "standard output belongs to answers"
    return err.splitlines()


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="info", form="json")
    telemetry.logger("ledger").warning("step_refused", code="a.b", place="石狩", text="two\nlines")
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "step_refused",
        "level": "warning",
        "part": "ledger",
        "code": "a.b",
        "place": "石狩",
        "text": "two\nlines",
    }
    assert "石狩" in line


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_less_severe_lines_are_left_out(
    capsys: pytest.CaptureFixture[str], level: str, expected: list[str]
) -> None:
    telemetry.configure(level=level, form="json")
    log = telemetry.logger("x")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("said")
    assert [json.loads(line)["level"] for line in lines(capsys)] == expected


def test_a_fault_is_written_with_its_traceback_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="info", form="json")
    try:
        int("what broke")
    except ValueError:
        telemetry.logger("x").error("step_failed", exc_info=True)
    (line,) = lines(capsys)
    assert "what broke" in json.loads(line)["exception"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="info", form="text")
    telemetry.logger("x").info("said", code="a.b")
    (line,) = lines(capsys)
    assert "said" in line
    assert "a.b" in line
    assert "\x1b" not in line, "no colours where nobody looks at a terminal"
