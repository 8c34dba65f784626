"""`sekisho-guarantor`: make and run a witness, a landmark, a custodian or a listener.

Standard output holds answers and nothing else; errors are one line on standard error.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import structlog

from sekisho_guarantor import (
    custodian_command,
    custodian_config,
    landmark,
    landmark_config,
    listener_config,
)
from sekisho_guarantor.clock import now_ms, now_s
from sekisho_guarantor.config import WitnessConfig, load_config
from sekisho_guarantor.door import Counts, GuarantorServer
from sekisho_guarantor.errors import GuarantorError, complain
from sekisho_guarantor.listener import Listener
from sekisho_guarantor.listener_door import ListenerServer
from sekisho_guarantor.state import WitnessState, read_key
from sekisho_guarantor.texts import HELP, SAYS
from sekisho_guarantor.witness import Witness, witness_key
from sekisho_verify.canonical import to_base64url
from sekisho_wire.problems import Language
from sekisho_wire.stopping import stop_at
from sekisho_wire.usage import parser_in

_VERBS = {
    "witness": ("init", "run"),
    "landmark": ("init", "run"),
    "custodian": ("init", "run", *custodian_command.ASKING),
    "listener": ("init", "run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; answers the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    language = _language(words)
    options = _parser(language).parse_args(words)
    try:
        kinds = {
            "witness": _witness,
            "landmark": _landmark,
            "custodian": _custodian,
            "listener": _listener,
        }
        return kinds[options.kind](options, language)
    except GuarantorError as error:
        complain(error, language)
        return int(error.problem.exit)


def _witness(options: argparse.Namespace, language: Language) -> int:
    config = load_config(Path(options.config))
    return _init(config, options, language) if options.verb == "init" else _run(config, language)


def _landmark(options: argparse.Namespace, language: Language) -> int:
    config = landmark_config.load_config(Path(options.config))
    if options.verb == "init":
        return landmark.init(config)
    return landmark.run(config, language, once=options.once, nonce=options.nonce)


def _listener(options: argparse.Namespace, language: Language) -> int:
    config = listener_config.load_config(Path(options.config))
    folder = Path(config.folder)
    if options.verb == "init":
        key = to_base64url(listener_config.create_key(folder).public_key().public_bytes_raw())
        said = SAYS["listener.made"].render(language, {"folder": folder, "name": config.name, "key": key})
        print(json.dumps({"name": config.name, "key": key}) if options.json else said)
        return 0
    _configure_logs("json")
    listener = Listener(config.name, listener_config.read_key(folder), config.keys(), now_ms)
    server, stopping = ListenerServer(listener, config), threading.Event()
    stop_at(stopping.set)
    server.start()
    tcp, udp, dns = server.ports
    values: dict[str, str | int] = {
        "name": config.name,
        "host": config.host,
        "tcp": tcp,
        "udp": udp,
        "dns": dns,
    }
    sys.stderr.write(f"{SAYS['listening'].render(language, values)}\n")
    sys.stderr.flush()
    stopping.wait()
    server.close()
    return 0


def _init(config: WitnessConfig, options: argparse.Namespace, language: Language) -> int:
    key = witness_key(config.name, WitnessState.create(config.folder))
    said = SAYS["made"].render(language, {"folder": config.folder, "vkey": key.vkey})
    print(json.dumps({"name": key.name, "vkey": key.vkey}) if options.json else said)
    return 0


def _run(config: WitnessConfig, language: Language) -> int:
    key = read_key(config.folder)
    state = WitnessState.open(config.folder)
    try:
        _configure_logs(config.log_form)
        witness = Witness(key, config.name, logs=config.known_logs(), state=state, now_s=now_s)
        _serve(GuarantorServer(witness, config), config.name, language)
    finally:
        state.close()
    return 0


def _custodian(options: argparse.Namespace, language: Language) -> int:
    config = custodian_config.load_config(Path(options.config))
    if options.verb == "init":
        return custodian_command.init(config, options, language)
    if options.verb != "run":
        return custodian_command.ask(config, options, language)
    running = custodian_command.Running(config, lambda: _configure_logs(config.log_form))
    try:
        custodian_command.shout(config, language)
        counts = Counts()
        server = GuarantorServer(running.program, config, counts)
        # The owner's own verbs, `stop` first of all, have places that no crowd at the other door can take.
        with GuarantorServer(running.program, config.for_owner(), counts) as owner:
            threading.Thread(target=owner.serve_forever, daemon=True).start()
            running.answers_at(owner.url)
            _serve(server, config.name, language)
            owner.shutdown()
    finally:
        running.close()
    return 0


def _serve(server: GuarantorServer, name: str, language: Language) -> None:
    """Until SIGTERM or SIGINT."""
    stop_at(server.shutdown)
    told = SAYS["serving"].render(language, {"name": name, "url": server.url})
    sys.stderr.write(f"{told}\n")
    sys.stderr.flush()
    with server:
        server.serve_forever(poll_interval=0.1)


def _language(words: Sequence[str]) -> Language:
    """`--lang`, else SEKISHO_LANG, else the locale; read before parsing because the help is in it."""
    wished = [after for before, after in pairwise(words) if before == "--lang"]
    wished += [os.environ.get(name, "") for name in ("SEKISHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG")]
    first = next(filter(None, wished), "")
    return Language.JA if first.startswith("ja") else Language.EN


def _parser(language: Language) -> argparse.ArgumentParser:
    def says(key: str) -> str:
        return HELP[key].render(language, {})

    parser = parser_in(language)(
        prog="sekisho-guarantor", description=says(""), epilog=says("codes"), add_help=False
    )
    _common(parser, says)
    kinds = parser.add_subparsers(dest="kind", title=says("commands"), metavar="", required=True)
    for name, words in _VERBS.items():
        kind = kinds.add_parser(
            name, help=says(name), description=says(name), add_help=False, allow_abbrev=False
        )
        kind.add_argument("-h", "--help", action="help", help=says("help"))
        verbs = kind.add_subparsers(dest="verb", title=says("commands"), metavar="", required=True)
        for word in words:
            about = says(f"{name}.{word}")
            verb = verbs.add_parser(word, help=about, description=about, add_help=False, allow_abbrev=False)
            verb.add_argument("-h", "--help", action="help", help=says("help"))
            verb.add_argument("--config", required=True, metavar="FILE", help=says("config"))
            _spoken(verb, says, by_default=argparse.SUPPRESS)
            if (name, word) == ("landmark", "run"):
                verb.add_argument("--once", action="store_true", help=says("once"))
                verb.add_argument("--nonce", default="", metavar="BASE64URL", help=says("nonce"))
            if word in custodian_command.ASKING:
                verb.add_argument("key", metavar="KEY", help=says("key"))
            if word == "destroy":
                verb.add_argument("--version", type=int, default=0, metavar="N", help=says("version"))
    return parser


def _common(parser: argparse.ArgumentParser, says: Callable[[str], str]) -> None:
    parser.add_argument("-h", "--help", action="help", help=says("help"))
    _spoken(parser, says, by_default=None)


def _spoken(parser: argparse.ArgumentParser, says: Callable[[str], str], *, by_default: str | None) -> None:
    """Before the verb or behind it; behind it without a default, which would undo what was said before."""
    parser.add_argument("--lang", default=by_default, choices=["en", "ja"], help=says("lang"))
    parser.add_argument("--json", action="store_true", default=by_default, help=says("json"))


def _configure_logs(form: str) -> None:
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if form == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
