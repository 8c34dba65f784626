"""Streams whose records rest on attested hardware."""

from __future__ import annotations

from datetime import UTC, datetime

from sekisho_verify.attestation_file import FILE_NAME, AttestationFile, write_file
from sekisho_verify.canonical import digest
from tests.verify import tokens
from tests.verify.builders import Body, TestLog, record_body
from tests.verify.tokens import MEASURED, NOW_S, QUESTION, VERIFIERS

FILE = AttestationFile("site_1", QUESTION, tokens.token(), tokens.gpu_bundle(), VERIFIERS)
MACHINES: Body = {"measurements": [MEASURED]}
"""What an auditor's trust file says of the machines of these streams."""
CHOSEN: Body = {"site": "site_1", "country": "JP", "decision": "allow", "rules": [], "chosen": True}


def time_text(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def stream_of(
    log: TestLog, *files: AttestationFile | bytes, time_s: int = NOW_S + 60, detail: Body | None = None
) -> list[bytes]:
    """Records of the stream `s`, each naming one file; answers the files' bytes, each once."""
    data = [file if isinstance(file, bytes) else write_file(file) for file in files]
    log.append(
        record_body(
            "s",
            number,
            time=time_text(time_s),
            detail={"level": 2, "sites": [CHOSEN], "files": {FILE_NAME: digest(one)}} | (detail or {}),
        )
        for number, one in enumerate(data)
    )
    return [*dict.fromkeys(data)]
