"""The software attester: what it signs is read as what it is, and it shouts each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho_guarantor.attester import KID, SHOUT, main
from sekisho_verify.attestation import Question, Verifier, judge
from sekisho_verify.attestation_jwt import make_token_key, parse_json
from sekisho_verify.canonical import from_base64url, to_base64url
from tests.verify.tokens import KEY, NONCE

ISSUER = "https://stand-in.example"


def test_what_it_signs_is_of_grade_d(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--issuer", ISSUER]) == 0
    made = capsys.readouterr()
    assert made.err == SHOUT
    (key,) = json.loads(made.out)
    signed = ["sign", str(tmp_path), "--issuer", ISSUER, "--nonce", to_base64url(NONCE), "--key", KEY]
    assert main(signed) == 0
    told = capsys.readouterr()
    assert told.err == SHOUT
    keys = (make_token_key(key["kid"], key["alg"], key["key"].encode()),)
    verifier = Verifier("stand-in", "software", ISSUER, "JP", keys)
    issued = judge_time(told.out.strip())
    found = judge(told.out.strip(), "", [verifier], Question(NONCE, issued * 1000, issued * 1000))
    assert (found.grade, found.tee, found.key) == ("D", "software", KEY)
    assert key["kid"] == KID


def judge_time(token: str) -> int:
    """When a token says it was issued."""
    claims = parse_json(from_base64url(token.split(".")[1]), "token")
    assert isinstance(claims, dict)
    issued = claims["iat"]
    assert isinstance(issued, int)
    return issued


@pytest.mark.parametrize(
    ("nonce", "key"), [("AA", KEY), ("!", KEY), (to_base64url(NONCE), "sha256:x"), (to_base64url(NONCE), "")]
)
def test_it_signs_no_nonsense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nonce: str, key: str
) -> None:
    main(["init", str(tmp_path), "--issuer", ISSUER])
    assert main(["sign", str(tmp_path), "--issuer", ISSUER, "--nonce", nonce, "--key", key]) == 2
    assert "attester.wrong" in capsys.readouterr().err


def test_a_key_is_made_once_and_has_to_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign = ["sign", str(tmp_path / "a"), "--issuer", ISSUER, "--nonce", to_base64url(NONCE), "--key", KEY]
    assert main(sign) != 0
    make = ["init", str(tmp_path / "a"), "--issuer", ISSUER]
    assert (main(make), main(make) != 0) == (0, True)
    assert "landmark.key_unreadable" in capsys.readouterr().err
