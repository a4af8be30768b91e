"""How file names are shown to a model: one line each, and a name that is not plain in a form that bash can read."""

from __future__ import annotations

_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "'": r"\'", "\\": r"\\"}


def shown_name(name: str | bytes) -> str:
    r"""The name itself, or bash's $'…' form if it holds control characters or is not UTF-8.

    >>> shown_name("a b.txt")
    'a b.txt'
    >>> print(shown_name(b"two\nlines\xff"))
    $'two\nlines\xff'
    """
    text = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "$'" + "".join(_escaped(character) for character in text) + "'"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(rf"\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
