"""First contact: a one-time code carries the control plane's key, so that the very first answer can be checked."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import msgspec

from sekisho_agent.client import PATIENT, STATUS_OK, open_http, post, problem_from
from sekisho_agent.errors import ConfigError, UnreachableError
from sekisho_agent.state import AgentState, Identity
from sekisho_verify import canonical
from sekisho_wire.messages import (
    LANE_REGISTER,
    PROTOCOL_VERSION,
    Registered,
    RegisterRequest,
    parse_registration_code,
)
from sekisho_wire.signing import SealError, decode_public_key, encode_public_key, open_sealed


def register(
    state: AgentState, url: str, *, code_text: str, name: str, ca_file: Path | None = None
) -> Identity:
    """Trade a one-time code for an identity and keep it in the state folder.

    The private key stays in that folder. With the same key the control plane gives the same answer to the same code
    again, so a lost answer costs nothing. ConfigError for a text that is no code, ProblemError when the control plane
    refuses, UnreachableError when no answer under the code's key comes; in none of these is an identity kept.
    """
    code = parse_registration_code(code_text)
    if code is None:
        raise ConfigError("registration.malformed", "this is not a registration code")
    private_key = state.registration_key()
    request = RegisterRequest(
        code=code.text(),
        name=name,
        public_key=encode_public_key(private_key.public_key()),
        version=agent_version(),
        protocol=PROTOCOL_VERSION,
    )
    with open_http(url, timeout=PATIENT, ca_file=ca_file) as http:
        status, content = post(
            http,
            "/agent/v1/register",
            msgspec.json.encode(request),
            media_type="application/json",
        )
    if status != STATUS_OK:
        raise problem_from(status, content)
    answer = _registered(code.control_key, content)
    if answer.site != code.site:
        raise UnreachableError("agent.answer.foreign", "the answer names another site than the code")
    identity = Identity(
        agent=answer.agent,
        site=answer.site,
        name=answer.name,
        control_key=code.control_key,
        private_key=canonical.to_base64url(private_key.private_bytes_raw()),
    )
    state.save_identity(identity)
    return identity


def agent_version() -> str:
    """The version of the installed distribution, as told to the control plane."""
    try:
        return metadata.version("sekisho")
    except metadata.PackageNotFoundError:
        return "0.0.0+source"


def _registered(control_key: str, content: bytes) -> Registered:
    try:
        reply = open_sealed(decode_public_key(control_key), content)
    except SealError as error:
        raise UnreachableError("agent.answer.unsealed", f"the answer: {error.detail}") from error
    if reply.lane != LANE_REGISTER or not isinstance(reply.body, Registered):
        raise UnreachableError("agent.answer.foreign", "the answer is not one to a registration")
    return reply.body
