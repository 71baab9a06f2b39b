"""Writes JSON logs, one object per line, with request id and job id. Logs never contain prompts, bodies, queries or keys."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SECRET_NAMES = re.compile(r"authorization|cookie|password|secret|token|pepper|api_?key|prompt|_url$", re.IGNORECASE)
SECRET_VALUES = re.compile(r"bnk_[0-9A-Za-z]{8}_[0-9A-Za-z]+|bnl_[0-9A-Za-z_-]{16,}|(?<=://)[^/@\s]*:[^/@\s]*(?=@)", re.ASCII)
"""Matches keys, and the user and password of a URL, anywhere in a text."""


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides secrets by field name, and keys anywhere in a text (a traceback, a library's message)."""
    for name, value in event.items():
        if SECRET_NAMES.search(name):
            event[name] = "[hidden]"
        elif isinstance(value, str):
            event[name] = SECRET_VALUES.sub("[hidden]", value)
    return event


SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact,
]
"""Run once for each record: structlog's before it is handed to the standard library, the others when they are formatted."""

TELL_ADDRESSES = ("httpx", "httpx2", "httpcore", "httpcore2")
"""Libraries that log every address they call. Webhook addresses of chat rooms and signed addresses of object stores are secrets."""


def route_logs() -> None:
    """Sends structlog's records to the standard library's logging, however logging is configured.

    Every application does this, because structlog's default prints local variables in tracebacks, and with them prompts and keys.
    """
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def configure_logging(level: str = "INFO") -> None:
    """Sends structlog's and the standard library's records to stderr as JSON lines. For programs, not for libraries."""
    route_logs()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line shows them
    for name in TELL_ADDRESSES:
        logging.getLogger(name).setLevel(logging.WARNING)
