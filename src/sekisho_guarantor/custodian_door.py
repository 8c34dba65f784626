"""The custodian over HTTP: what is asked, by whom, and every refusal as problem details with a stable code."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import structlog
from msgspec import Meta

from sekisho_guarantor.answers import Answer
from sekisho_guarantor.custodian import Custodian
from sekisho_guarantor.custodian_config import May, PersonConfig
from sekisho_guarantor.errors import GuarantorError
from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire.custody import (
    ASK_BYTES_MAX,
    FACTS_PATH,
    MANAGE_PATH,
    OPEN_PATH,
    RELEASE_PATH,
    WRAP_PATH,
    Bytes32,
    CustodyError,
    KeyId,
)
from sekisho_wire.custody_checks import read_ask
from sekisho_wire.custody_problems import SHAPE, TOKEN
from sekisho_wire.envelope import DATA_KEY_BYTES, HEADER_BYTES_MAX, EnvelopeError, decode_header
from sekisho_wire.messages import SEALED_MEDIA_TYPE, Count
from sekisho_wire.problems import Details, Language, Problem, lookup, type_prefix

JSON_MEDIA: Final = "application/json"
PROBLEM_MEDIA: Final = "application/problem+json"
SMALL_BYTES_MAX: Final = 4096
OPEN_BYTES_MAX: Final = 2 * HEADER_BYTES_MAX + 256

AskT = TypeVar("AskT")

logger = structlog.get_logger("sekisho.custodian")


class AskFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a question for a key's facts."""

    key: KeyId


class AskWrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request to wrap: 32 bytes of data key in base64url, made by whoever encrypts."""

    key: KeyId
    data_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class AskOpen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of an owner's request to open: one envelope's header in base64url, and a one-time X25519 key."""

    header: Annotated[str, Meta(max_length=2 * HEADER_BYTES_MAX)]
    recipient: Bytes32


class AskManage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request of the owner; `version` 0 destroys all."""

    verb: Literal["create", "rotate", "destroy", "stop", "resume"]
    key: KeyId
    version: Count = 0


class CustodianProgram:
    """The program behind the door: `answers.Program`."""

    paths: Final = {
        RELEASE_PATH: ASK_BYTES_MAX,
        FACTS_PATH: SMALL_BYTES_MAX,
        WRAP_PATH: SMALL_BYTES_MAX,
        OPEN_PATH: OPEN_BYTES_MAX,
        MANAGE_PATH: SMALL_BYTES_MAX,
    }

    def __init__(self, custodian: Custodian, people: Sequence[PersonConfig]) -> None:
        """`people` hold the tokens; the owner's own is one of them."""
        self._custodian = custodian
        self._people = people

    def post(self, path: str, body: bytes, token: str) -> Answer:
        """Do what is asked, or say why not; never raises for what came in."""
        work = {
            RELEASE_PATH: self._release,
            FACTS_PATH: self._facts,
            WRAP_PATH: self._wrap,
            OPEN_PATH: self._open,
            MANAGE_PATH: self._manage,
        }
        try:
            answer = work[path](body, token)
        except GuarantorError as error:
            answer = refusal(error.problem, **error.params)
        except CustodyError as error:
            answer = refusal(lookup(error.code))
        if answer.code:
            logger.info("refused", path=path, status=answer.status, code=answer.code)
        return answer

    def ends_early(self, path: str) -> Answer:
        """Not a message."""
        del path
        return refusal(SHAPE)

    def alive(self) -> dict[str, str]:
        """Its name and verifier key, and how its keys are held."""
        store = self._custodian.store
        key = canonical.to_base64url(self._custodian.public)
        return {
            "status": "ok",
            "custodian": self._custodian.name,
            "key": key,
            "custody": store.custody,
            "store": store.description,
        }

    def _release(self, body: bytes, token: str) -> Answer:
        del token
        return Answer(200, SEALED_MEDIA_TYPE, self._custodian.release(read_ask(body)))

    def _facts(self, body: bytes, token: str) -> Answer:
        del token
        asked = _decoded(body, AskFacts)
        return Answer(200, SEALED_MEDIA_TYPE, self._custodian.sealed_facts(asked.key))

    def _wrap(self, body: bytes, token: str) -> Answer:
        by = self._person(token, {"wrap", "manage"})
        asked = _decoded(body, AskWrap)
        try:
            data_key = canonical.from_base64url(asked.data_key)
        except CanonicalError as error:
            raise GuarantorError(SHAPE) from error
        if len(data_key) != DATA_KEY_BYTES:
            raise GuarantorError(SHAPE)
        wrapped = self._custodian.wrap(asked.key, data_key, by=by)
        told = {
            "key": wrapped.key,
            "key_version": wrapped.key_version,
            "wrap": wrapped.algorithm,
            "wrapped": canonical.to_base64url(wrapped.data),
        }
        return Answer(200, JSON_MEDIA, canonical.encode(told))

    def _open(self, body: bytes, token: str) -> Answer:
        by = self._person(token, {"open", "manage"})
        asked = _decoded(body, AskOpen)
        try:
            header = decode_header(canonical.from_base64url(asked.header))
        except (CanonicalError, EnvelopeError) as error:
            raise GuarantorError(SHAPE) from error
        return Answer(200, SEALED_MEDIA_TYPE, self._custodian.open(header, asked.recipient, by=by))

    def _manage(self, body: bytes, token: str) -> Answer:
        asked = _decoded(body, AskManage)
        stops = asked.verb in {"stop", "resume"}
        by = self._person(token, {"stop", "manage"} if stops else {"manage"})
        custodian = self._custodian
        if asked.verb == "destroy":
            return Answer(200, SEALED_MEDIA_TYPE, custodian.destroy(asked.key, asked.version, by=by))
        work = {
            "create": custodian.create,
            "rotate": custodian.rotate,
            "stop": custodian.stop,
            "resume": custodian.resume,
        }
        work[asked.verb](asked.key, by=by)
        return Answer(200, SEALED_MEDIA_TYPE, custodian.sealed_facts(asked.key))

    def _person(self, token: str, needed: set[May]) -> str:
        """The name behind a token that may do one of these; every token is compared, whichever fits."""
        digest = canonical.digest(token.encode("utf-8", "surrogateescape")).encode()
        found = [each for each in self._people if hmac.compare_digest(each.token.encode(), digest)]
        allowed = [each.name for each in found if token and not needed.isdisjoint(each.may)]
        if not allowed:
            raise GuarantorError(TOKEN)
        return allowed[0]


def refusal(problem: Problem, **params: str | int) -> Answer:
    """The problem's details; nothing of what was sent is repeated."""
    details = Details(
        type=type_prefix + problem.code,
        title=problem.text.render(Language.EN, params),
        status=problem.status,
        code=problem.code,
        exit=int(problem.exit),
        params=params,
    )
    return Answer(problem.status, PROBLEM_MEDIA, msgspec.json.encode(details), problem.code)


def _decoded(body: bytes, kind: type[AskT]) -> AskT:
    try:
        return msgspec.json.decode(body, type=kind, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GuarantorError(SHAPE) from error
