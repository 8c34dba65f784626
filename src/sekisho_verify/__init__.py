"""The offline verifier: evidence in, verdict out, with the standard library and `cryptography` only.

The names here are its face. Other programs also use the files beneath by name (`canonical`, `merkle`,
`tiles`, `checkpoint`, `record`, `sealed`, `bundle`), each of which is public as a whole.
"""

from sekisho_verify.bundle import Bundle, Consistency, Proof, assemble, parse_bundle, write_bundle
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.lines import Line
from sekisho_verify.text import document, render
from sekisho_verify.trust import Trust, parse_trust
from sekisho_verify.verdict import Verdict, verify_bundle

__all__ = [
    "Bundle",
    "Consistency",
    "Exit",
    "Line",
    "Proof",
    "Trust",
    "Verdict",
    "VerifyError",
    "assemble",
    "document",
    "parse_bundle",
    "parse_trust",
    "render",
    "verify_bundle",
    "write_bundle",
]
