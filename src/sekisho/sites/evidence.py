"""Which evidence files the facts of a site rest on: records that rely on those facts name the files."""

from __future__ import annotations

from sekisho.kernel.tx import Tx
from sekisho.sites import tables_attestation
from sekisho_verify import attestation_file


def evidence_files(tx: Tx, site: str, now_ms: int) -> dict[str, str]:
    """Digest by name of every file that holds at this moment; empty for a site of which all is declared."""
    files: dict[str, str] = {}
    attested = tables_attestation.attestation(tx, site)
    if attested is not None and attested["expires_ms"] > now_ms:
        files[attestation_file.FILE_NAME] = attested["file"]
    return files
