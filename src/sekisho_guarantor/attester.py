"""A software attester: it stands in where there is no hardware to attest, so that the way can be walked to its end.

    python -m sekisho_guarantor.attester init FOLDER --issuer NAME
    python -m sekisho_guarantor.attester sign FOLDER --issuer NAME --nonce BASE64URL --key sha256:...

It attests NOTHING: whoever holds the folder signs whatever he likes. What it signs is graded D wherever it is shown, no
charter takes it for an attestation, and a control plane in production refuses it. It says so on standard error, each
time. Standard output holds the answer: for `init` the verifier's key, for `sign` the token.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sekisho_guarantor.clock import now_s
from sekisho_guarantor.errors import GuarantorError, complain
from sekisho_guarantor.landmark_config import create_key, read_key
from sekisho_verify.attestation_claims import NONCE_BYTES
from sekisho_verify.canonical import encode, from_base64url, to_base64url
from sekisho_verify.errors import CanonicalError
from sekisho_wire.problems import Exit, Language, Text, define

KID = "software-stand-in"
LIFETIME_S = 3600
SHOUT = (
    "SOFTWARE STAND-IN: no hardware attests anything here. Never use it for real data.\n"
    "ソフトウェアの代役です。機器の証明ではありません。実データには使わないでください。\n"
)
WRONG = define(
    "attester.wrong",
    400,
    Exit.USAGE,
    Text(
        "--nonce takes 32 bytes in base64url, --key a digest (sha256:...).",
        "--nonceには32バイトのbase64url、--keyには要約値（sha256:...）を指定してください。",
    ),
)
_digest = re.compile("sha256:[0-9a-f]{64}").fullmatch


def make_token(key: Ed25519PrivateKey, *, issuer: str, nonce: str, session_key: str, time_s: int) -> str:
    """A token for a nonce (base64url) and the digest of a session key, in the shape of kind `software`."""
    header: dict[str, object] = {"alg": "EdDSA", "kid": KID, "typ": "JWT"}
    claims: dict[str, object] = {
        "iss": issuer,
        "iat": time_s,
        "nbf": time_s,
        "exp": time_s + LIFETIME_S,
        "measurement": sha256(b"nothing was measured").hexdigest(),
        "sekisho": {"key": session_key, "nonce": nonce},
    }
    signed = ".".join(to_base64url(encode(part)) for part in (header, claims))
    return f"{signed}.{to_base64url(key.sign(signed.encode('ascii')))}"


def verifier_keys(key: Ed25519PrivateKey) -> list[dict[str, str]]:
    """Its key as `sekisho verifier add --keys` takes it."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [{"kid": KID, "alg": "EdDSA", "key": public.decode("ascii")}]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; answers the exit status."""
    options = _parser().parse_args(arguments)
    sys.stderr.write(SHOUT)
    try:
        if options.verb == "init":
            answer = json.dumps(verifier_keys(create_key(options.folder)))
        else:
            _check(options.nonce, options.key)
            answer = make_token(
                read_key(options.folder),
                issuer=options.issuer,
                nonce=options.nonce,
                session_key=options.key,
                time_s=now_s(),
            )
    except GuarantorError as error:
        complain(error, Language.EN)
        return int(error.problem.exit)
    sys.stdout.write(f"{answer}\n")
    return 0


def _check(nonce: str, key: str) -> None:
    try:
        size = len(from_base64url(nonce))
    except CanonicalError as error:
        raise GuarantorError(WRONG) from error
    if size != NONCE_BYTES or not _digest(key):
        raise GuarantorError(WRONG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sekisho_guarantor.attester", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for word in ("init", "sign"):
        verb = verbs.add_parser(word, allow_abbrev=False)
        verb.add_argument("folder", type=Path)
        verb.add_argument("--issuer", required=True)
        if word == "sign":
            verb.add_argument("--nonce", required=True)
            verb.add_argument("--key", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
