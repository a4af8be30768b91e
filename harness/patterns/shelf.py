"""Texts that are put aside until they are needed: they lie in a file, and only their places are held in memory.

put(3, "text") --> a file that nobody sees and that is gone with its process
shelf[3]       <-- read from there
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prong.harness.program.reducing import fitting

Name = int | str


class Shelf:
    """Texts by name, each cut to at most `most` characters; all names of one shelf are of one type.

    The file lies in `folder`, or where temporary files do.

    >>> with Shelf(most=100) as shelf:
    ...     shelf.put(2, "two")
    ...     shelf.put(1, "one")
    ...     shelf.names(), shelf[2], shelf.characters(1)
    ([1, 2], 'two', 3)
    """

    def __init__(self, *, most: int, folder: Path | None = None) -> None:
        self._most = most
        self._places: dict[Any, tuple[int, int, int]] = {}
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  it is closed with the shelf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: Name) -> str:
        """The text of that name; raises KeyError."""
        begin, size, _ = self._places[name]
        self._file.seek(begin)
        return self._file.read(size).decode(errors="surrogatepass")

    def put(self, name: Name, text: str) -> None:
        """Put a text there, in place of what was there."""
        text = fitting(text, self._most)
        data = text.encode(errors="surrogatepass")
        begin = self._file.seek(0, 2)
        self._file.write(data)
        self._places[name] = (begin, len(data), len(text))

    def characters(self, name: Name) -> int:
        """How long the text of that name is."""
        return self._places[name][2]

    def names(self) -> Sequence[Any]:
        """All names in their order."""
        return sorted(self._places)
