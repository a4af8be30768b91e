"""Takes secrets out of bytes that come piece by piece, so that one that is cut in two is found, too."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from prong.state.secrets import MASK, VALUE_CHARACTERS


class Masking:
    """The bytes with `[masked]` for exactly these values; without values they pass as they are.

    >>> masking = Masking(["hunter2hunter2"])
    >>> masking.take(b"it is hunter2", final=False), masking.take(b"hunter2!", final=True)
    (b'it is ', b'[masked]!')
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._values, self._find = _finder(tuple(secrets))
        self._held = b""

    def take(self, data: bytes, *, final: bool) -> bytes:
        """What may be shown now.  What may be the beginning of a secret is held back until more comes, or the end."""
        if self._find is None:
            return data
        data = self._find.sub(MASK.encode(), self._held + data)
        end = len(data) if final else self._whole(data)
        self._held = data[end:]
        return data[:end]

    def _whole(self, data: bytes) -> int:
        """How many bytes there are before those that a secret may begin with."""
        begins = {value[0] for value in self._values}
        longest = len(self._values[0])
        for place in range(max(0, len(data) - longest + 1), len(data)):
            if data[place] in begins and any(value.startswith(data[place:]) for value in self._values):
                return place
        return len(data)


@functools.lru_cache(maxsize=4)
def _finder(secrets: tuple[str, ...]) -> tuple[tuple[bytes, ...], re.Pattern[bytes] | None]:
    """The values, the longest first, and what finds any of them."""
    values = {value.encode("utf-8", "surrogateescape") for value in secrets if len(value) >= VALUE_CHARACTERS}
    longest_first = tuple(sorted(values, key=len, reverse=True))
    return longest_first, re.compile(b"|".join(map(re.escape, longest_first))) if values else None
