"""`python -m sekisho_guarantor.landmark`: a challenger at a known place, run by somebody who is not the site.

    init --config FILE         makes the key and prints the landmark's public description
    run  --config FILE [--once] [--nonce BASE64URL]
                               measures the sites of the configuration at random times and keeps signed transcripts

Standard output holds the answers, one JSON object a line; errors are one line on standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_guarantor.landmark_config import LandmarkConfig, create_key, load_config, read_key
from sekisho_guarantor.landmark_errors import CONFIG_INVALID, NOT_KEPT, LandmarkError
from sekisho_guarantor.landmark_session import Target, measure
from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_verify.location import bound_km
from sekisho_verify.location_packets import NONCE_BYTES
from sekisho_verify.location_transcript import Session, encode_landmark
from sekisho_wire.problems import Language

TRANSCRIPTS = "transcripts"
SUFFIX = ".transcript"
NOBODY = bytes(NONCE_BYTES)
"""The nonce of a session that nobody asked for."""


class Runner:
    """A running landmark: its key, its sites, and the folder its transcripts go to."""

    def __init__(self, config: LandmarkConfig, key: Ed25519PrivateKey) -> None:
        self._config = config
        self._key = key
        self._landmark = config.landmark(key)
        self._targets = config.targets()
        self._folder = Path(config.folder) / TRANSCRIPTS
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the session that runs; may be called from a signal handler."""
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

    def _measure(self, target: Target, nonce: bytes) -> bool:
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
        except LandmarkError as error:
            _complain(error, _language())
            return False
        _say(
            {
                "site": target.site,
                "transcript": str(path),
                "rounds": len(session.rounds),
                "rtt_ns": session.rtt_ns_min,
                "bound_km": round(bound_km(session.rtt_ns_min), 1),
            }
        )
        return True

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
        except OSError as error:
            raise LandmarkError(NOT_KEPT, folder=str(self._folder)) from error
        return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; answers the exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(Path(options.config))
        return _init(config) if options.verb == "init" else _run(config, options)
    except LandmarkError as error:
        _complain(error, _language())
        return int(error.problem.exit)


def _init(config: LandmarkConfig) -> int:
    key = create_key(Path(config.folder))
    print(encode_landmark(config.landmark(key)).decode())
    return 0


def _run(config: LandmarkConfig, options: argparse.Namespace) -> int:
    nonce = _nonce(options.nonce) if options.nonce else NOBODY
    runner = Runner(config, read_key(Path(config.folder)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: runner.stop())
    if options.once:
        return 0 if runner.once(nonce) else 1
    runner.forever()
    return 0


def _nonce(text: str) -> bytes:
    try:
        nonce = canonical.from_base64url(text)
    except VerifyError as error:
        raise LandmarkError(CONFIG_INVALID, what=f"--nonce: {error.detail}") from error
    if len(nonce) != NONCE_BYTES:
        raise LandmarkError(CONFIG_INVALID, what=f"--nonce: {NONCE_BYTES} bytes are needed")
    return nonce


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sekisho_guarantor.landmark",
        description="Measure sites from a known place. 既知の場所から拠点を測定します。",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("init", help="make the key; print the public description / 鍵を作成します")
    running = verbs.add_parser("run", help="measure the sites of the configuration / 拠点を測定します")
    running.add_argument("--once", action="store_true", help="each site once, then end / 一度だけ測定します")
    running.add_argument(
        "--nonce", default="", help="with --once: what was asked with, 32 bytes in base64url / 依頼の番号"
    )
    for verb in (making, running):
        verb.add_argument("--config", required=True, help="the landmark's TOML file / 設定ファイル")
    return parser


def _started_ms(path: Path) -> int:
    text = path.name.removesuffix(SUFFIX).rpartition(".")[2]
    return int(text) if text.isdecimal() else 0


def _say(value: dict[str, str | int | float]) -> None:
    print(json.dumps(value), flush=True)


def _language() -> Language:
    wished = (os.environ.get(name, "") for name in ("SEKISHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    return Language.JA if next(filter(None, wished), "").startswith("ja") else Language.EN


def _complain(error: LandmarkError, language: Language) -> None:
    sentence = error.problem.text.render(language, error.params)
    sys.stderr.write(f"error: {sentence}  [{error.code}]\n")


if __name__ == "__main__":
    sys.exit(main())
