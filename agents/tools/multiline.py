"""A search whose matches may span lines: a program of its own, so that a pattern that never ends can be ended.

Reads the names of files from its input, each ended by a NUL, and writes what it found as `git grep -z` does.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from typing import Any

FILE_BYTES = 10 * 1024 * 1024
"""The largest file that is searched, in bytes."""


def search(settings: Mapping[str, Any]) -> None:
    """Search in all files; a wrong pattern raises `re.error`."""
    flags = re.MULTILINE | re.DOTALL | (re.IGNORECASE if settings["ignore_case"] else re.NOFLAG)
    pattern = re.compile(re.escape(settings["pattern"]) if settings["fixed"] else settings["pattern"], flags)
    for name in sys.stdin.buffer.read().split(b"\0"):
        data = _read(name)
        if data is None:
            continue
        text = data.decode(errors="surrogateescape").replace("\r\n", "\n")
        sys.stdout.buffer.write(b"".join(_found(pattern, name, text, settings["mode"])))


def _read(name: bytes) -> bytes | None:
    """The content of a text file; None if it is none.  A link is not followed: it may lead anywhere."""
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  a descriptor
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
                return None
            data = file.read(FILE_BYTES)
    except (OSError, ValueError):
        return None
    return None if b"\0" in data[:8_000] else data


def _found(pattern: re.Pattern[str], name: bytes, text: str, mode: str) -> Iterator[bytes]:
    spans = (match.span() for match in pattern.finditer(text))
    if mode == "count":
        count = sum(1 for _ in spans)
        if count:
            yield b"%b\0%d\n" % (name, count)
        return
    lines = text.split("\n") if mode == "content" else []
    shown, at, line = 0, 0, 1
    for start, end in spans:
        if mode == "files":
            yield name + b"\0"
            return
        first = line + text.count("\n", at, start)
        last = first + text.count("\n", start, max(start, end - 1))
        at, line = start, first
        for number in range(max(first, shown + 1), last + 1):
            yield b"%b\0%d\0%b\n" % (name, number, lines[number - 1].encode(errors="surrogateescape"))
        shown = max(shown, last)


def main() -> int:
    """What git grep would end with: 2 for a pattern that is none."""
    try:
        search(json.loads(sys.argv[1]))
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        sys.stderr.write(f"{error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
