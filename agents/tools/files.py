"""Reading and writing the text files that an editor may touch: inside given roots, whole or not at all.

Confinement keeps a model from editing the wrong file by mistake; it is no jail, since `bash` runs beside it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from prong.agents.tools.names import shown_name
from prong.agents.tools.tool import ToolError
from prong.agents.tools.unlinked import folder_unlinked, open_unlinked

FILE_BYTES = 10 * 1024 * 1024
"""The largest file that is read or written, in bytes."""


@dataclass(frozen=True, slots=True)
class Text:
    r"""A file's text with `\n` line ends; `crlf` says that all of them were `\r\n` and will be again.

    Bytes that are not UTF-8 are kept as lone surrogates, so that an edit elsewhere in the file leaves them as they are.
    """

    content: str
    crlf: bool

    @classmethod
    def of(cls, data: bytes) -> Text:
        """The text that these bytes are."""
        content = data.decode(errors="surrogateescape")
        crlf = 0 < content.count("\n") == content.count("\r\n")
        return cls(content.replace("\r\n", "\n") if crlf else content, crlf)

    def adapt(self, text: str) -> str:
        """What a model sent, with the line ends of `content`."""
        return text.replace("\r\n", "\n") if self.crlf else text

    def encode(self, content: str) -> bytes:
        """The bytes of `content` as this file has them."""
        return (content.replace("\n", "\r\n") if self.crlf else content).encode(errors="surrogateescape")


class Files:
    """The files below `workspace` and `roots`; a relative path is relative to the workspace."""

    def __init__(self, workspace: Path, roots: Sequence[Path] = ()) -> None:
        self._workspace = workspace.absolute()
        self._roots = [Path(os.path.realpath(root)) for root in (workspace, *roots)]

    def locate(self, path: str) -> Path:
        """The real place that `path` names, all links followed."""
        place = Path(os.path.realpath(self._workspace / path))
        if not any(place.is_relative_to(root) for root in self._roots):
            allowed = ", ".join(shown_name(str(root)) for root in self._roots)
            raise ToolError(
                f"Error: {shown_name(path)} is outside of what may be edited ({allowed}). Give a path inside.",
            )
        return place

    def read(self, place: Path) -> Text:
        """The text of a regular file."""
        with opened(place) as file:
            _check_size(os.fstat(file.fileno()).st_size, place)
            data = file.read(FILE_BYTES + 1)
        _check_size(len(data), place)
        if b"\0" in data:
            raise ToolError(
                f"Error: {shown_name(str(place))} is a binary file. Use bash (file, xxd, strings) to look at it."
            )
        return Text.of(data)

    def write(self, place: Path, data: bytes) -> bool:
        """Put `data` there at once: a reader sees the old file or the new one; the mode stays.  True if one was."""
        _check_size(len(data), place)
        with _explained(place, "write to"):
            mode = _mode(place)
            temporary = f".{secrets.token_hex(8)}.tmp"
            with folder_unlinked(place.parent, make=True) as folder:
                # Not tempfile: a new file gets the mode that the umask leaves, as if an editor had made it.
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
                try:
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(data)
                        if mode is not None:
                            os.fchmod(descriptor, mode)
                    os.replace(temporary, place.name, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
            return mode is not None


@contextlib.contextmanager
def opened(place: Path) -> Iterator[BinaryIO]:
    """A regular file for reading; what the system says against it becomes what the model reads."""
    with _explained(place, "read"):
        # Not blocking, because to open a fifo would wait for its writer.
        descriptor = open_unlinked(place, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ToolError(f"Error: {shown_name(str(place))} is not a regular file. Use bash to look at it.")
            yield file


def is_directory(place: Path) -> bool:
    """Whether it is one; false too if it cannot be known, which whoever opens it will be told."""
    try:
        return place.is_dir()
    except OSError:
        return False


def _mode(place: Path) -> int | None:
    """The permissions of the file that is there; None if none is.  A file that may not be written is not replaced."""
    try:
        status = place.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise ToolError(f"Error: {shown_name(str(place))} is there and is not a regular file. Choose another path.")
    if not os.access(place, os.W_OK):
        raise PermissionError
    return stat.S_IMODE(status.st_mode)


def _check_size(size_bytes: int, place: Path) -> None:
    if size_bytes > FILE_BYTES:
        raise ToolError(
            f"Error: {shown_name(str(place))} has more than {FILE_BYTES:,} bytes, the most that this tool takes. "
            "Use bash (sed -n, head, tail, split) for it.",
        )


@contextlib.contextmanager
def _explained(place: Path, action: str) -> Iterator[None]:
    """Turn what the system says into what the model reads: the words of the tool's documentation, where it has some."""
    name = shown_name(str(place))
    try:
        yield
    except FileNotFoundError as error:
        raise ToolError(f"Error: File not found: {name}. Find its path with glob.") from error
    except PermissionError as error:
        raise ToolError(
            f"Error: Permission denied. Cannot {action} file. ({name}; ls -l in bash shows who may.)"
        ) from error
    except OSError as error:
        raise ToolError(f"Error: cannot {action} {name}: {error.strerror}. Check the path.") from error
