"""How processes log: one JSON object a line on standard error, which the nursery's starter has led to a file.

Tracebacks show the lines of code and never the values of variables, which hold prompts and keys.
"""

from __future__ import annotations

import sys

import structlog


def configure() -> None:
    """Set logging up for this process and all that are forked from it."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
