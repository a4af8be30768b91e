"""What a command writes, kept within bounds: its head and tail for the model, the whole in a file if it is long."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from prong.agents.tools.masking import Masking

OUTPUT_CHARACTERS = 30_000
"""How much of a command's output the model reads, in characters; the middle of a longer one is left out."""
OUTPUT_FILE_BYTES = 256 * 1024 * 1024
"""How much of a command's output is kept in its file, in bytes."""
CHUNK_BYTES = 64 * 1024
"""How much is read at once, in bytes: what a pipe holds."""

_HALF = OUTPUT_CHARACTERS // 2


class Output:
    """Collects bytes: head and tail as text and, once there are too many or `keep` is called, all of them in a file.

    In neither is any of the `secrets`.
    """

    def __init__(self, directory: Path, *, secrets: Sequence[str] = ()) -> None:
        self._masking = Masking(secrets)
        self._directory = directory
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._raw = bytearray()  # all bytes, until there is a file
        self._head = ""
        self._tail = ""
        self._characters = 0
        self._file: int | None = None
        self._file_bytes = 0
        self._problem: str | None = None
        self.path: Path | None = None

    def write(self, data: bytes, *, final: bool = False) -> None:
        """Take the next bytes."""
        data = self._masking.take(data, final=final)
        # A NUL is legal JSON, but neither SQLite's text functions nor a terminal treat it as a character.
        text = self._decoder.decode(data, final).replace("\0", "\N{REPLACEMENT CHARACTER}")
        self._characters += len(text)
        room = _HALF - len(self._head)
        self._head += text[:room]
        self._tail += text[room:]
        if len(self._tail) > 2 * _HALF:
            self._tail = self._tail[-_HALF:]
        if self._file is not None:
            self._store(data)
        elif self._problem is None:
            self._raw += data
            if self._characters > OUTPUT_CHARACTERS:
                self.keep()

    def keep(self) -> None:
        """Put all there is, and all that comes, into a file."""
        if self._file is not None or self._problem is not None:
            return
        try:
            self._file, name = tempfile.mkstemp(prefix="output-", suffix=".txt", dir=self._directory)
        except OSError as error:
            self._problem = error.strerror
        else:
            self.path = Path(name)
            self._store(self._raw)
        self._raw = bytearray()

    def text(self) -> str:
        """What the model reads."""
        self.write(b"", final=True)
        if self._characters <= OUTPUT_CHARACTERS:
            return self._head + self._tail
        left_out = self._characters - len(self._head) - _HALF
        return f"{self._head}\n[{left_out:,} characters left out; {self._where()}]\n{self._tail[-_HALF:]}"

    def close(self) -> None:
        """Close the file, if there is one; it stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._problem = "closed"

    def _store(self, data: bytes | bytearray) -> None:
        if self._file is None:
            return
        part = memoryview(data)[: OUTPUT_FILE_BYTES - self._file_bytes]
        try:
            while part:
                written = os.write(self._file, part)
                self._file_bytes += written
                part = part[written:]
        except OSError as error:
            self.close()
            self._problem = error.strerror

    def _where(self) -> str:
        if self.path is None:
            return f"the whole output could not be kept: {self._problem}"
        if self._problem is not None:
            return f"only the first {self._file_bytes:,} bytes could be kept, in {self.path}: {self._problem}"
        if self._file_bytes == OUTPUT_FILE_BYTES:
            return f"the first {OUTPUT_FILE_BYTES:,} bytes of the output are in {self.path}"
        return f"the whole output is in {self.path}"
