"""What may be stored: names and JSON values, with their bounds."""

from __future__ import annotations

import json
from typing import Any

from prong.primitives.errors import TooLarge
from prong.state import Invalid

NAME_CHARACTERS = 200
"""The longest name of a lock, barrier, map, key or queue, in characters."""

VALUE_BYTES = 256 * 1024
"""The largest value of a map key or queue message, in bytes of JSON."""


def checked_name(what: str, name: object) -> str:
    """The name, if it can be one."""
    if not isinstance(name, str) or not name or len(name) > NAME_CHARACTERS:
        raise Invalid(f"{what} {_short(name)}", f"a string of 1 to {NAME_CHARACTERS} characters")
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise Invalid(f"{what} {_short(name)}", "a string without NUL and without lone surrogates")
    return name


def encoded(what: str, value: Any) -> str:
    """The value as JSON text within its bound."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{what} cannot be stored ({error})", "what JSON holds, text without lone surrogates") from error
    if size > VALUE_BYTES:
        raise TooLarge(what, size, VALUE_BYTES)
    return text


def decoded(text: str) -> Any:
    """The value that was stored."""
    return json.loads(text)


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 60 else text[:57] + "…"  # noqa: PLR2004  what fits a line
