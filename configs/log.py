"""Structured logs: one line an event, for people (console) or machines (json), room and peer bound.

`structlog.contextvars.bind_contextvars(room=…, peer=…)` in a connection's task puts both on each of
its lines. Values of keys that name a secret are hidden whatever logs them.
"""

import logging
import sys
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

SECRET_KEYS: Final = frozenset(
    {"key", "stream_key", "passphrase", "password", "token", "access_token", "authorization"}
)

PACKAGES: Final = ("commerce", "configs", "media", "scripts", "signaling", "transcoder", "__main__")


def configure(format_: Literal["console", "json"], level: str) -> None:
    """Sets up structlog and the standard library's root logger once, at start."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    renderer: structlog.typing.Processor
    if format_ == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Where rich is installed, structlog would print each frame's variables, keys included.
            exception_formatter=structlog.dev.plain_traceback,
        )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Ours as asked for; libraries only when something is wrong: what they tell in debug are, among
    # other things, SQL statements with their values, passphrases and hashes included.
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level.upper())


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in SECRET_KEYS & event.keys():
        event[key] = "[hidden]"
    return event
