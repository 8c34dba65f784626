"""Who counts as a witness, and two histories of one log."""

from __future__ import annotations

from sekisho_verify import Exit, Trust, parse_trust, verify_bundle, write_bundle
from sekisho_verify.checkpoint import COSIGNATURE_V1
from tests.verify.builders import ORIGIN, Signer, TestLog, job_members, job_stream


def test_the_logs_own_line_is_no_cosignature_though_a_witness_has_its_name() -> None:
    twin = Signer.make(ORIGIN, kind=COSIGNATURE_V1, seed="witness")
    log = TestLog(witnesses=())
    log.append(job_stream())
    plain = parse_trust(log.trust())
    trust = Trust(plain.origin, plain.keys, (twin.key,), quorum=1)
    assert verify_bundle(write_bundle(job_members(log)), trust).exit_code is Exit.DEMAND
