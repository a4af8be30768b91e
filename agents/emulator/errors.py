"""The API's errors: what is raised inside the emulator and how it looks on the wire.

{"type": "error", "error": {"type", "message"[, "details": {"error_code"}]}, "request_id"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

FAULT_MESSAGES = {
    429: "This request would exceed your organization's rate limit (a fault played on purpose)",
    529: "Overloaded (a fault played on purpose)",
}


class ApiError(Exception):
    """A request that gets an error instead of a reply; `headers` go out with it, besides those of every response."""

    def __init__(
        self, status: int, message: str, *, error_code: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.error_code = error_code
        self.retry_after_s = retry_after_s
        self.headers: Mapping[str, str] = {}

    def __str__(self) -> str:
        return f"{self.status} {self.type}: {self.message}"

    @property
    def type(self) -> str:
        """The API's name for errors of this status."""
        return ERROR_TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")  # noqa: PLR2004 - the first server error

    def wire(self, request_id: str) -> dict[str, Any]:
        """The body of the response."""
        error: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.error_code:
            error["details"] = {"error_code": self.error_code}
        return {"type": "error", "error": error, "request_id": request_id}


def bad_request(message: str, *, error_code: str | None = None) -> ApiError:
    """A 400, the error of nearly every check."""
    return ApiError(400, message, error_code=error_code)


def played(status: int, retry_after_s: float | None) -> ApiError:
    """The error of a fault that a script or an option asked for."""
    message = FAULT_MESSAGES.get(status, f"HTTP {status} (a fault played on purpose)")
    return ApiError(status, message, retry_after_s=retry_after_s)
