"""The witness: cosigns a log's checkpoint when it extends everything that it has cosigned of that log before.

C2SP tlog-witness and tlog-cosignature (Ed25519, `cosignature/v1`). It knows nothing of the log's content: two hashes
and a proof between them are all it looks at. What it cosigned is on disk before the cosignature exists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_guarantor.answers import TEXT_MEDIA, Answer
from sekisho_guarantor.errors import (
    HISTORY_DIFFERS,
    LOG_UNKNOWN,
    NOT_KEPT,
    NOT_SIGNED,
    PROOF_WRONG,
    REQUEST_MALFORMED,
    SIZE_CONFLICT,
    GuarantorError,
)
from sekisho_guarantor.state import Head, WitnessState
from sekisho_verify.canonical import to_base64, to_base64url
from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    SignedNote,
    VerifierKey,
    cosign_note,
    format_note,
    make_key,
    verify_log_lines,
)
from sekisho_verify.errors import ConsistencyError, NoteError, SignatureError
from sekisho_verify.merkle import verify_consistency
from sekisho_wire.problems import Problem
from sekisho_wire.witnessing import PATH, REQUEST_BYTES_MAX, SIZE_MEDIA, Request, encode_size, parse_request

_WITH_SIZE = frozenset({SIZE_CONFLICT, HISTORY_DIFFERS})

logger = structlog.get_logger("sekisho.witness")


class Witness:
    """Answers `add-checkpoint`, from any number of threads. Its lock makes check, write and memory one step."""

    paths: Final = {PATH: REQUEST_BYTES_MAX}

    def __init__(
        self,
        key: Ed25519PrivateKey,
        name: str,
        *,
        logs: Mapping[str, tuple[VerifierKey, ...]],
        state: WitnessState,
        now_s: Callable[[], int],
    ) -> None:
        """`logs` are the verifier keys by origin; `now_s` tells the time that cosignatures state."""
        self.key = witness_key(name, key)
        self._sign = key.sign
        self._logs = logs
        self._state = state
        self._now_s = now_s
        self._lock = threading.Lock()

    def post(self, path: str, body: bytes, token: str) -> Answer:
        """The one thing it is asked, by anybody: the log's signature is what counts."""
        del path, token
        return self.add_checkpoint(body)

    def ends_early(self, path: str) -> Answer:
        """Not a request."""
        del path
        return refusal(REQUEST_MALFORMED, what="ends early")

    def alive(self) -> dict[str, str]:
        """Its verifier key."""
        return {"status": "ok", "witness": self.key.vkey}

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign, or say why not; never raises for what is in the body."""
        origin, size = "", -1
        try:
            request = parse_request(body)
            origin, size = request.head.origin, request.head.size
            self._check_signed(request)
            with self._lock:
                self._extend(request)
                answer = self._cosign(request.note.text)
        except NoteError as error:
            answer = refusal(REQUEST_MALFORMED, what=error.detail)
        except GuarantorError as error:
            answer = refusal(error.problem, **error.params)
        logger.info("checkpoint", log=origin, size=size, status=answer.status, code=answer.code)
        return answer

    def _check_signed(self, request: Request) -> None:
        keys = self._logs.get(request.head.origin)
        if keys is None:
            raise GuarantorError(LOG_UNKNOWN)
        try:
            verify_log_lines(request.note, keys)
        except SignatureError as error:
            raise GuarantorError(NOT_SIGNED) from error
        if request.old_size > request.head.size:
            raise GuarantorError(REQUEST_MALFORMED, what="the old size is greater than the checkpoint's")

    def _extend(self, request: Request) -> None:
        """Under the lock: from what is remembered to this checkpoint, or not at all."""
        head = request.head
        size, root = self._state.seen(head.origin)
        if head.size == size and head.root != root:
            self._convict(request)
            raise GuarantorError(HISTORY_DIFFERS, size=size)
        if request.old_size != size:
            raise GuarantorError(SIZE_CONFLICT, size=size)
        try:
            verify_consistency(
                request.proof, first_size=size, first_root=root, second_size=head.size, second_root=head.root
            )
        except ConsistencyError as error:
            # Worth a look by the operator, yet no conviction: anybody can send a wrong proof with a log's signed head.
            logger.warning("proof_wrong", log=head.origin, size=head.size, seen=size)
            raise GuarantorError(PROOF_WRONG, size=size) from error
        if head.size > size:
            self._remember(request)

    def _remember(self, request: Request) -> None:
        head = request.head
        note = format_note(request.note).decode()
        try:
            self._state.advance(Head(head.origin, head.size, to_base64url(head.root), note))
        except OSError as error:
            logger.critical("state_not_written", log=head.origin, cause=error.strerror)
            raise GuarantorError(NOT_KEPT) from error

    def _convict(self, request: Request) -> None:
        """Two notes of one size with different roots, both signed by the log: kept, and shouted about."""
        note = format_note(SignedNote(request.note.text, request.note.signatures))
        digest = sha256(request.note.text.encode()).hexdigest()
        try:
            kept = self._state.keep_conflict(request.head.origin, note, digest)
        except OSError as error:
            kept = f"not kept: {error.strerror}"
        logger.error("two_histories", log=request.head.origin, size=request.head.size, evidence=kept)

    def _cosign(self, text: str) -> Answer:
        line = cosign_note(text, self.key, self._sign, time_s=self._now_s())
        written = f"\u2014 {line.name} {to_base64(line.key_id + line.data)}\n"
        return Answer(200, TEXT_MEDIA, written.encode())


def witness_key(name: str, key: Ed25519PrivateKey) -> VerifierKey:
    """The public half under the witness's name, as trust files and logs' settings name it."""
    return make_key(name, key.public_key().public_bytes_raw(), kind=COSIGNATURE_V1)


def refusal(problem: Problem, **params: str | int) -> Answer:
    """The answer for a problem: a sentence with its code, or for a conflict the size alone, as C2SP says."""
    if problem in _WITH_SIZE:
        return Answer(problem.status, SIZE_MEDIA, encode_size(int(params["size"])), problem.code)
    sentence = str(GuarantorError(problem, texts=None, **params))
    return Answer(problem.status, TEXT_MEDIA, f"{sentence} [{problem.code}]\n".encode(), problem.code)
