"""Who counts as a witness, and two histories of one log."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho_verify import Exit, Trust, parse_trust, verify_bundle, write_bundle
from sekisho_verify.__main__ import main
from sekisho_verify.checkpoint import COSIGNATURE_V1
from tests.verify.builders import (
    ORIGIN,
    WITNESSES,
    Signer,
    TestLog,
    job_log,
    job_members,
    job_stream,
    stream_name,
)


def test_the_logs_own_line_is_no_cosignature_though_a_witness_has_its_name() -> None:
    twin = Signer.make(ORIGIN, kind=COSIGNATURE_V1, seed="witness")
    log = TestLog(witnesses=())
    log.append(job_stream())
    plain = parse_trust(log.trust())
    trust = Trust(plain.origin, plain.keys, (twin.key,), quorum=1)
    assert verify_bundle(write_bundle(job_members(log)), trust).exit_code is Exit.DEMAND


@pytest.fixture
def forks(tmp_path: Path) -> dict[str, Path]:
    """One log's key, two histories of one size; each is cosigned by one of the two witnesses."""
    files: dict[str, Path] = {"trust": tmp_path / "trust.json"}
    files["trust"].write_bytes(job_log().trust())
    for name, witness in zip(("left", "right"), WITNESSES, strict=True):
        log = TestLog(witnesses=(witness,))
        log.append(job_stream())
        log.leaves.append(stream_name(name).encode()[:32])
        files[name] = tmp_path / f"{name}.zip"
        files[name].write_bytes(write_bundle(job_members(log)))
        files[f"{name}.checkpoint"] = tmp_path / name
        files[f"{name}.checkpoint"].write_bytes(log.checkpoint())
        log.append_noise(9)
        files[f"{name}.later"] = tmp_path / f"{name}-later.zip"
        files[f"{name}.later"].write_bytes(write_bundle(job_members(log, seen_size=6)))
    return files


def _run(forks: dict[str, Path], bundle: str, *against: str) -> int:
    options = [f"--against={forks[name]}" for name in against]
    return main([str(forks[bundle]), "--trust", str(forks["trust"]), *options])


def test_each_fork_alone_holds_and_both_together_do_not(forks: dict[str, Path]) -> None:
    for one, other in (("left", "right"), ("right", "left")):
        assert _run(forks, one) == Exit.HOLDS
        assert _run(forks, one, one) == Exit.HOLDS
        assert _run(forks, one, f"{one}.checkpoint") == Exit.HOLDS
        assert _run(forks, one, other) == Exit.CONSISTENCY
        assert _run(forks, one, f"{other}.checkpoint") == Exit.CONSISTENCY


def test_a_later_bundle_extends_its_own_past_and_no_others(forks: dict[str, Path]) -> None:
    assert _run(forks, "left.later", "left") == Exit.HOLDS
    assert _run(forks, "left.later", "left.checkpoint") == Exit.HOLDS
    assert _run(forks, "left.later", "right") == Exit.CONSISTENCY


def test_two_sizes_without_a_proof_are_said_to_be_unproven(
    forks: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(forks, "left", "right.later") == Exit.HOLDS
    assert "not shown" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK", b"hello\n", None])
def test_a_file_that_is_not_of_the_log_is_wrong_use(
    forks: dict[str, Path], tmp_path: Path, content: bytes | None
) -> None:
    stranger = tmp_path / "stranger"
    stranger.write_bytes(TestLog(origin="stranger.example/log").checkpoint(0) if content is None else content)
    forks["stranger"] = stranger
    assert _run(forks, "left", "stranger") == Exit.USAGE
    thief = TestLog(seed="thief", witnesses=())
    thief.append(job_stream())
    stranger.write_bytes(thief.checkpoint())
    assert _run(forks, "left", "stranger") == Exit.USAGE


def test_against_needs_a_trust_file_without_another_head(
    forks: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(forks["left"]), "--against", str(forks["right"])]) == Exit.USAGE
    assert "input.against_untrusted" in capsys.readouterr().err
    forks["trust"].write_bytes(job_log().trust(seen_size=3))
    assert _run(forks, "left", "right") == Exit.USAGE
    assert "input.against_seen" in capsys.readouterr().err
