"""Judges attestation with no way out, and tells whether it looked for one. Run by test_t11 in a network namespace.

    unshare --user --map-root-user --net python tests/claims/attesting.py FOLDER

Prints one JSON object: what was found out, every socket that was made, and what a connection to outside comes to.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

from sekisho.sites import AddAttestation, ChallengeSite
from sekisho_verify import parse_trust, verify_bundle
from sekisho_verify.attestation import judge
from sekisho_verify.canonical import from_base64url
from tests.sites.verifiers import adding
from tests.sites.world import World
from tests.verify import tokens

_OUTSIDE = ("192.0.2.1", 443)
SOCKETS: list[str] = []


def watch(event: str, _arguments: tuple[Any, ...]) -> None:
    if event.startswith("socket."):
        SOCKETS.append(event)


def through_the_gate(folder: Path) -> list[str]:
    """A control plane that admits every verifier takes a token of each shape; answers the grades."""
    world = World(folder, f"sqlite:{folder / 'x.db'}")
    try:
        for issuer in tokens.ISSUERS:
            world.perform(world.administrator, adding(issuer))
        site = world.site("ishikari", world.office)
        operator = world.account("keeper", world.office, "site_operator")
        grades: list[str] = []
        for issuer, claims in tokens.SHAPES.values():
            nonce = from_base64url(world.perform(operator, ChallengeSite(site=site.id)).nonce)
            now_s = world.clock.now_ms() // 1000
            times = {"iat": now_s, "nbf": now_s, "exp": now_s + 600}
            header = {"jku": issuer.verifier.jku} if issuer.verifier.jku else None
            token = issuer.token(claims(tokens.bound(nonce)) | times, header=header)
            device = tokens.gpu(nonce=nonce) | times
            gpu = tokens.gpu_bundle(device, eat_nonce=device["eat_nonce"], **times)
            grades.append(world.perform(operator, AddAttestation(site=site.id, token=token, gpu=gpu)).grade)
        return grades
    finally:
        world.close()


def outside() -> str:
    """What becomes of a connection to outside; asked last, because asking makes a socket."""
    try:
        socket.create_connection(_OUTSIDE, timeout=2).close()
    except OSError as error:
        return type(error).__name__ + f" {error.errno}"
    return "connected"


def main() -> None:
    folder = Path(sys.argv[1])
    sys.addaudithook(watch)
    judged = {
        shape: judge(tokens.token(shape), tokens.gpu_bundle(), tokens.VERIFIERS, tokens.QUESTION).grade
        for shape in tokens.SHAPES
    }
    trust = parse_trust((folder / "trust.json").read_bytes())
    verdict = verify_bundle((folder / "bundle.zip").read_bytes(), trust)
    gate = through_the_gate(folder)
    sockets = [*SOCKETS]
    sys.stdout.write(
        json.dumps(
            {
                "judged": judged,
                "bundle": [line.code for line in verdict.lines if line.part == "attestation"],
                "exit": int(verdict.exit_code),
                "gate": gate,
                "sockets": sockets,
                "outside": outside(),
            }
        )
    )


if __name__ == "__main__":
    main()
