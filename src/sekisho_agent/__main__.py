"""`sekisho-agent`: register this site's agent, run it, or build an image by hand.

Exit status: 0 done, 2 wrong use or configuration, 1 anything else; errors are one line on standard error.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

import structlog

from sekisho_agent.config import AgentConfig, load_config
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import AgentError, ConfigError
from sekisho_agent.loop import AgentLoop
from sekisho_agent.registration import agent_version, register
from sekisho_agent.state import AgentState
from sekisho_verify import canonical
from sekisho_wire import typeinfo
from sekisho_wire.stopping import stop_at

EXIT_FAILED = 1
EXIT_USAGE = 2
CODE_VARIABLE = "SEKISHO_REGISTRATION_CODE"


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    options = _parser().parse_args(arguments)
    _configure_logs()
    typeinfo.build()
    try:
        config = load_config(Path(options.config))
        verbs = {"register": _register, "run": _run, "image": _image}
        return verbs[options.verb](config, options)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sekisho-agent", description="The site's agent of Sekisho.")
    parser.add_argument("--version", action="version", version=agent_version())
    verbs = parser.add_subparsers(dest="verb", required=True)
    joining = verbs.add_parser(
        "register", help="trade a one-time code for an identity; prints its id and public key"
    )
    joining.add_argument(
        "--code",
        default="",
        help=f"the code; '-' reads it from standard input; without it, {CODE_VARIABLE} is used",
    )
    joining.add_argument("--name", default="agent", help="what the site calls this agent")
    running = verbs.add_parser("run", help="pull and run what is placed at this site")
    building = verbs.add_parser("image", help="build an image from a hashed requirements file")
    building.add_argument("--lock", required=True, help="the requirements file, every line pinned and hashed")
    for verb in (joining, running, building):
        verb.add_argument("--config", required=True, help="the agent's configuration file")
    return parser


def _register(config: AgentConfig, options: argparse.Namespace) -> int:
    """A code on the command line can be seen by others on the machine: standard input or the environment are better."""
    code = sys.stdin.readline() if options.code == "-" else options.code or os.environ.get(CODE_VARIABLE, "")
    state = AgentState.open(config.state_folder)
    ca_file = Path(config.ca_file) if config.ca_file else None
    identity = register(state, config.control_url, code_text=code, name=options.name, ca_file=ca_file)
    key = canonical.to_base64url(identity.signing_key().public_key().public_bytes_raw())
    _print({"agent": identity.agent, "site": identity.site, "name": identity.name, "key": key})
    return 0


def _run(config: AgentConfig, _options: argparse.Namespace) -> int:
    state = AgentState.open(config.state_folder)
    loop = AgentLoop(config, state)
    stop_at(loop.stop)
    loop.run()
    return 0


def _image(config: AgentConfig, options: argparse.Namespace) -> int:
    engine = LocalEngine(config)
    image = engine.build_image(Path(options.lock), lambda step: _print({"event": "progress", "step": step}))
    engine.close()
    _print({"event": "done", "digest": image.digest, "folder": str(image.folder)})
    return 0


def _print(value: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _configure_logs() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
