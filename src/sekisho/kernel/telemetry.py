"""Structured logs. No secret is ever a field: handlers log ids and codes, never input."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(*, level: str, form: str) -> None:
    """Set up structlog for the whole process; everything goes to standard error."""
    number = getattr(logging, level.upper())
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if form == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names its part of the program."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return bound
