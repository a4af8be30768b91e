"""Hiding what looks like a key, wherever people or files get to see a text.

Two kinds are known: the values that this process was given as secrets, exactly, and the forms of keys that providers
publish.  A text may hide a key from this; it is the last line of defence and not the first.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable

MASK = "[masked]"
VALUE_CHARACTERS = 8
"""A value of the environment counts as a secret from so many characters on: shorter ones are words."""

_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_NO_SECRETS = frozenset({"SSH_AUTH_SOCK", "XAUTHORITY", "GPG_KEY"})

# Each form begins with a text that is looked for before: most texts have none of them, and that is found out quickly.
_FORMS = {
    begin: re.compile(re.escape(begin) + rest)
    for begin, rest in (
        ("-----BEGIN ", r"[A-Z ]*PRIVATE KEY-----(?:\\[nr]|[A-Za-z0-9+/=\s:,.])*(?:-----END [A-Z ]*PRIVATE KEY-----)?"),
        ("sk-", r"(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}"),
        ("AKIA", r"[A-Z0-9]{16}\b"),
        ("ASIA", r"[A-Z0-9]{16}\b"),
        ("ghp_", r"[A-Za-z0-9]{36,}"),
        ("gho_", r"[A-Za-z0-9]{36,}"),
        ("ghu_", r"[A-Za-z0-9]{36,}"),
        ("ghs_", r"[A-Za-z0-9]{36,}"),
        ("ghr_", r"[A-Za-z0-9]{36,}"),
        ("github_pat_", r"[A-Za-z0-9_]{40,}"),
        ("glpat-", r"[A-Za-z0-9_-]{20,}"),
        ("xox", r"[abeprs]-[A-Za-z0-9-]{10,}"),
        ("AIza", r"[A-Za-z0-9_-]{35}"),
        ("hf_", r"[A-Za-z0-9]{30,}"),
        ("npm_", r"[A-Za-z0-9]{36}"),
        ("pypi-", r"[A-Za-z0-9_-]{50,}"),
        ("eyJ", r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    )
}
_ASSIGNED = {
    word: re.compile(word + r"([\"']?\s?[=:]\s?[\"']?)[^\s\\\"'$\[;,)]{8,}")
    for word in ("API_KEY", "ACCESS_KEY", "SECRET_KEY", "PRIVATE_KEY", "TOKEN", "PASSWORD", "SECRET")
}
_IN_ADDRESS = re.compile(r"://([^\s/:@\"\\]{1,100}):[^\s/@\"\\]{3,200}@")


def masked(text: str) -> str:
    r"""The text with `[masked]` for all that looks like a key, and for the secrets of this process's environment.

    >>> masked("export OPENAI_API_KEY=abcdefghijk; curl https://ada:lovelace@example.org")
    'export OPENAI_API_KEY=[masked]; curl https://ada:[masked]@example.org'
    >>> masked("a key: AKIAIOSFODNN7EXAMPLE")
    'a key: [masked]'
    """
    exact = _exact(of_environment())
    if exact is not None:
        text = exact.sub(MASK, text)
    for begin, form in _FORMS.items():
        if begin in text:
            text = form.sub(MASK, text)
    for word, assigned in _ASSIGNED.items():
        if word in text:
            text = assigned.sub(rf"{word}\g<1>{MASK}", text)
    return _IN_ADDRESS.sub(rf"://\g<1>:{MASK}@", text) if "://" in text else text


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with `[masked]` for exactly these values; for what is stored, which no likeness may change.

    >>> without("it is hunter2hunter2", ["hunter2hunter2"])
    'it is [masked]'
    """
    exact = _exact(frozenset(value for value in secrets if len(value) >= VALUE_CHARACTERS))
    return text if exact is None else exact.sub(MASK, text)


def of_environment() -> frozenset[str]:
    """The values of this process's environment that are secrets, by the names of their variables."""
    return frozenset(
        value
        for name, value in os.environ.items()
        if len(value) >= VALUE_CHARACTERS and name not in _NO_SECRETS and _NAMES.search(name) and not value.isdigit()
        and not value.startswith("/")
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _exact(values: frozenset[str]) -> re.Pattern[str] | None:
    """What finds any of these values, the longer ones first."""
    longest_first = sorted(values, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if values else None
