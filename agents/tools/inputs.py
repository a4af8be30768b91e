"""Reading what a model sent: every value is checked, and whatever is wrong becomes a `ToolError` that it can act on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from prong.agents.tools.tool import ToolCall, ToolError

SHOWN_CHARACTERS = 60
"""How much of a wrong value an error repeats, in characters."""

_KINDS: Mapping[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
    list: "an array",
    dict: "an object",
}


def shown(value: object) -> str:
    """A wrong value as an error repeats it: short, in one line, plain ASCII."""
    if not isinstance(value, str):
        return _KINDS.get(type(value), "a value that is not JSON")
    return ascii(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")


class Inputs:
    """The input of one call, read key by key.  A key that is null counts as left out."""

    def __init__(self, call: ToolCall, *, keys: Collection[str]) -> None:
        self._tool = call.name
        given: object = call.input
        if not isinstance(given, Mapping):
            raise self.refuse(f"its input must be an object, not {shown(given)}. Send the keys {', '.join(keys)}.")
        unknown = [key for key in given if key not in keys]
        if unknown:
            raise self.refuse(f"it knows no {shown(unknown[0])}. It takes only {', '.join(keys)}; send the call again.")
        self._given: dict[str, object] = {key: value for key, value in given.items() if value is not None}

    def refuse(self, reason: str) -> ToolError:
        """The error to raise: it opens with the tool's name."""
        return ToolError(f"{self._tool if isinstance(self._tool, str) else 'tool'}: {reason}")

    def __contains__(self, key: str) -> bool:
        return key in self._given

    def text(self, key: str, *, most_characters: int, default: str | None = None) -> str:
        """A string that UTF-8 can write and that holds no NUL."""
        value = self._given.get(key, default)
        if value is None:
            raise self.refuse(f"`{key}` is missing. Send the call again with `{key}`, a string.")
        if not isinstance(value, str):
            raise self.refuse(f"`{key}` must be a string, not {shown(value)}. Send it as a string.")
        if len(value) > most_characters:
            raise self.refuse(f"`{key}` has {len(value):,} characters, the most is {most_characters:,}. Split it up.")
        if "\0" in value:
            raise self.refuse(
                f"`{key}` contains a NUL character, which no file name, command or text may. Leave it out."
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            code = f"U+{ord(value[error.start]):04X}"
            raise self.refuse(f"`{key}` contains half a surrogate pair ({code}). Send the whole character.") from None
        return value

    def filled(self, key: str, *, most_characters: int) -> str:
        """A text that is not empty."""
        value = self.text(key, most_characters=most_characters)
        if not value:
            raise self.refuse(f"`{key}` is empty. Send the call again with a `{key}` that is not.")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false when left out."""
        value = self._given.get(key, False)
        if not isinstance(value, bool):
            raise self.refuse(f"`{key}` must be true or false, not {shown(value)}.")
        return value

    def integer(self, key: str, *, least: int, most: int, default: int | None = None) -> int:
        """A whole number from `least` to `most`."""
        value = self._given.get(key, default)
        if value is None:
            raise self.refuse(f"`{key}` is missing. Send the call again with `{key}`, a whole number.")
        return self._bounded(key, value, least, most)

    def integers(self, key: str, *, count: int, least: int, most: int) -> Sequence[int]:
        """An array of `count` whole numbers from `least` to `most`."""
        value = self._given.get(key)
        if not isinstance(value, (list, tuple)) or len(value) != count:
            raise self.refuse(f"`{key}` must be an array of {count} whole numbers, not {shown(value)}.")
        return [self._bounded(key, item, least, most) for item in value]

    def choice(self, key: str, choices: Sequence[str], *, default: str | None = None) -> str:
        """One of `choices`."""
        value = self._given.get(key, default)
        if not isinstance(value, str) or value not in choices:
            problem = "is missing" if value is None else f"cannot be {shown(value)}"
            raise self.refuse(f"`{key}` {problem}. It must be one of {', '.join(choices)}.")
        return value

    def _bounded(self, key: str, value: object, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(f"`{key}` must be a whole number, not {shown(value)}.")
        if not least <= value <= most:
            raise self.refuse(f"`{key}` is out of range: it must be from {least} to {most}.")
        return value
