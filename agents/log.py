"""How processes log: one JSON object a line on standard error, which the nursery's starter has led to a file.

Tracebacks show the lines of code and never the values of variables, which hold prompts and keys.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import structlog

from prong.state.secrets import masked, without


def configure(*, secrets: Sequence[str] = ()) -> None:
    """Set logging up for this process and all that are forked from it; nothing of it shows any of the `secrets`."""

    def hidden(text: str) -> str:
        return masked(without(text, secrets))

    def hide(_logger: object, _method: str, text: Any) -> Any:
        return hidden(text)

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(hidden("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = tell
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            hide,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
