"""A landmark: a challenger at a known place, run by somebody who is not the site.

It measures the sites of its configuration at random times and keeps signed transcripts. Standard output holds the
answers, one JSON object a line; errors are one line on standard error.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_guarantor.clock import monotonic_s, now_ms
from sekisho_guarantor.errors import GuarantorError, complain
from sekisho_guarantor.landmark_config import LandmarkConfig, create_key, read_key
from sekisho_guarantor.landmark_control import ControlPlane
from sekisho_guarantor.landmark_errors import ADDRESS_UNUSABLE, CONFIG_INVALID, NOT_KEPT
from sekisho_guarantor.landmark_follow import Asker, Follower
from sekisho_guarantor.landmark_session import Target, measure
from sekisho_guarantor.texts import SAYS
from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_verify.location import bound_km
from sekisho_verify.location_packets import NONCE_BYTES
from sekisho_verify.location_transcript import Session, encode_landmark
from sekisho_wire.answering import AnswerService, Responder
from sekisho_wire.problems import Language
from sekisho_wire.stopping import stop_at

TRANSCRIPTS = "transcripts"
SUFFIX = ".transcript"
FILES_MAX = 20_000
"""How many transcripts are kept of all sites together: whoever makes up sites fills no disk."""
NOBODY = bytes(NONCE_BYTES)
"""The nonce of a session that nobody asked for."""


class Runner:
    """A running landmark: its key, its sites, and the folder its transcripts go to."""

    def __init__(self, config: LandmarkConfig, key: Ed25519PrivateKey, language: Language) -> None:
        """Complaints are in `language`."""
        self._config = config
        self._key = key
        self._language = language
        self._landmark = config.landmark(key)
        self._targets = config.targets()
        self._folder = Path(config.folder) / TRANSCRIPTS
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the session that runs; from any thread, never from a signal handler."""
        self._stopping.set()

    def once(self, nonce: bytes = NOBODY) -> bool:
        """Measure every site once; whether all of them gave a transcript."""
        measured = [self._measure(target, nonce) for target in self._targets]
        return all(measured)

    def forever(self) -> None:
        """Measure one site after another at times nobody can foresee, each about once in the interval."""
        while self._targets and not self._stopping.is_set():
            for target in self._targets:
                mean_ms = self._config.interval_seconds * 1000 // len(self._targets)
                self._stopping.wait(secrets.randbelow(2 * mean_ms + 1) / 1000)
                if self._stopping.is_set():
                    return
                self._measure(target, NOBODY)

    def follow(self, control: Asker, poll_seconds: float) -> None:
        """Measure what the control plane asks for and hand it in, until stopped; what fails is said and tried again."""
        follower = Follower(control, self._session, lambda error: complain(error, self._language), _say)
        follower.run(self._stopping, poll_seconds)

    def _measure(self, target: Target, nonce: bytes) -> bool:
        return bool(self._session(target, nonce))

    def _session(self, target: Target, nonce: bytes) -> bytes:
        """Hold a session and keep its transcript; nothing where it came to nothing."""
        try:
            data, session = measure(
                self._landmark,
                self._key.sign,
                target,
                plan=self._config.plan(),
                nonce=nonce,
                wait=self._stopping.wait,
            )
            path = self._keep(target, data, session)
        except GuarantorError as error:
            complain(error, self._language)
            return b""
        _say(
            {
                "site": target.site,
                "transcript": str(path),
                "rounds": len(session.rounds),
                "rtt_ns": session.rtt_ns_min,
                "bound_km": round(bound_km(session.rtt_ns_min), 1),
            }
        )
        return data

    def _keep(self, target: Target, data: bytes, session: Session) -> Path:
        """Write a transcript whole, and let the oldest of this site go."""
        path = self._folder / f"{target.site}.{session.started_ms}{SUFFIX}"
        draft = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
            mine = sorted(self._folder.glob(f"{target.site}.*{SUFFIX}"), key=_started_ms)
            for old in mine[: -self._config.kept]:
                old.unlink(missing_ok=True)
            every = [*self._folder.glob(f"*{SUFFIX}")]
            for old in sorted(every, key=_started_ms)[:-FILES_MAX] if len(every) > FILES_MAX else ():
                old.unlink(missing_ok=True)
        except OSError as error:
            raise GuarantorError(NOT_KEPT, folder=str(self._folder)) from error
        return path


def init(config: LandmarkConfig) -> int:
    """Make the key of a new landmark, and print what others must know of it."""
    key = create_key(Path(config.folder))
    print(encode_landmark(config.landmark(key)).decode())
    return 0


def run(config: LandmarkConfig, language: Language, *, once: bool, nonce: str) -> int:
    """Measure until stopped, or each site once: then 1 when one of them gave no transcript."""
    asked = _nonce(nonce) if nonce else NOBODY
    key = read_key(Path(config.folder))
    runner = Runner(config, key, language)
    stop_at(runner.stop)
    if once:
        return 0 if runner.once(asked) else 1
    with _answering(config, key):
        if config.control is None:
            _announce(config, language)
            runner.forever()
            return 0
        with contextlib.closing(ControlPlane(config.control, config.name)) as control:
            _announce(config, language)
            runner.follow(control, config.control.poll_seconds)
    return 0


def _announce(config: LandmarkConfig, language: Language) -> None:
    """Say what goes on now: the first session may be long in coming."""
    values: dict[str, str | int] = {
        "name": config.name,
        "count": len(config.sites),
        "seconds": config.interval_seconds,
        "folder": str(Path(config.folder) / TRANSCRIPTS),
        "url": config.control.url if config.control else "",
    }
    said = SAYS["following" if config.control else "measuring"].render(language, values)
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _answering(config: LandmarkConfig, key: Ed25519PrivateKey) -> Iterator[None]:
    """Answer other landmarks for the length of the block, where the configuration says so."""
    if config.answer is None:
        yield
        return
    responder = Responder(key, config.answer.names(), now_ms=now_ms, monotonic=monotonic_s)
    try:
        service = AnswerService(config.answer.listen, responder)
    except ValueError as error:
        raise GuarantorError(ADDRESS_UNUSABLE, what=str(error)) from error
    service.start()
    try:
        yield
    finally:
        service.stop()


def _nonce(text: str) -> bytes:
    try:
        nonce = canonical.from_base64url(text)
    except VerifyError as error:
        raise GuarantorError(CONFIG_INVALID, what=f"--nonce: {error.detail}") from error
    if len(nonce) != NONCE_BYTES:
        raise GuarantorError(CONFIG_INVALID, what=f"--nonce: {NONCE_BYTES} bytes are needed")
    return nonce


def _started_ms(path: Path) -> int:
    text = path.name.removesuffix(SUFFIX).rpartition(".")[2]
    return int(text) if text.isdecimal() else 0


def _say(value: Mapping[str, str | int | float]) -> None:
    """One line, whole: sessions end in several threads."""
    print(json.dumps(value) + "\n", end="", flush=True)
