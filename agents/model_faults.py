"""What goes wrong when a model is asked: which faults pass, which do not, and how people are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import anthropic
import httpx2

from prong.agents.stream import DamagedStream, ErrorEvent
from prong.state import ProngError

Kind = Literal["provider", "request", "auth", "spend"]

_PASSING_STATUS = frozenset({408, 409, 429})
_SERVER_FAULTS = 500
_BAD, _TOO_LARGE = 400, 413
STATUS_OF_EVENT = {"overloaded_error": 529, "rate_limit_error": 429}
_KIND_OF_STATUS: Mapping[int, Kind] = {401: "auth", 402: "spend", 403: "auth"}
_SPEND_CODES = frozenset({"enforced_spend_limit_reached"})

_KIND_OF_EVENT: Mapping[str, Kind] = {
    "authentication_error": "auth",
    "permission_error": "auth",
    "billing_error": "spend",
}


class ModelUnavailable(ProngError):
    """The endpoint refused the request for good, or failed for too long.

    `kind` says what would help: "provider", its faults should pass and outlasted our patience; "request", it would be
    refused alike again; "auth", the key is missing, wrong, or may not do this; "spend", the money is used up.
    `status` is that of the HTTP response, where there was one.
    """

    def __init__(self, problem: str, attempts: int, kind: Kind = "provider", status: int | None = None) -> None:
        self.problem = problem
        self.attempts = attempts
        self.kind = kind
        self.status = status

    @property
    def is_too_long(self) -> bool:
        """Whether the request was refused because the conversation does not fit the model's window."""
        return self.status == _TOO_LARGE or (self.status == _BAD and "too long" in self.problem)

    @property
    def is_about_content(self) -> bool:
        """Whether the request was refused because of something that stands in it."""
        return self.status == _BAD and not self.is_too_long

    def __str__(self) -> str:
        tries = "at once" if self.attempts == 1 else f"after {self.attempts} attempts"
        return f"the model gave no answer ({tries}): {self.problem}"


FAULTS = (
    anthropic.APIError,
    anthropic.CredentialsError,
    httpx2.HTTPError,
    httpx2.StreamError,
    ValueError,
    DamagedStream,
    ErrorEvent,
)


def kind_of_final(error: Exception) -> Kind | None:
    """Of what kind an error is that another attempt would meet again; None for those that pass."""
    if isinstance(error, anthropic.CredentialsError):
        return "auth"
    if isinstance(error, ErrorEvent):
        return _KIND_OF_EVENT.get(error.kind)
    if not isinstance(error, anthropic.APIStatusError):
        return None
    if error.error_code in _SPEND_CODES:
        return "spend"
    status = error.status_code
    if status in _KIND_OF_STATUS:
        return _KIND_OF_STATUS[status]
    is_passing = status in _PASSING_STATUS or status >= _SERVER_FAULTS
    return None if is_passing else "request"


def in_words(error: Exception) -> str:
    """The error in one line, for people and for the log."""
    if isinstance(error, DamagedStream):
        return str(error)
    if isinstance(error, ErrorEvent):
        return f"the answer was broken off: {error}"[:500]
    if isinstance(error, anthropic.APIStatusError):
        return f"HTTP {error.status_code} {error.type or ''}: {error.api_message or error}"[:500]
    return f"{type(error).__name__}: {error}"[:500]
