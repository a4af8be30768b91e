r"""Tells git that nothing was changed in the rest of the second in which a workspace's first index was written.

    files written   index written   workspace handed out       the second is over
    --|--------------|---------------|--------------------------|---->
                                     \ changed here? then git has to read every file once more

Git compares times by the second: a file as young as the index may have been changed after git had looked at it.  After
a checkout that is nearly every file, so the first look at a workspace would read them all again.  The file system
knows better: when a file was last changed, to the nanosecond, as no program can set it.
Where nothing was changed from the moment the workspace was handed out to the end of that second, the index may say that
it was written a second later.
"""

import os
import struct
import time
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 1_000_000
"""How large an index may be, in bytes: with more files looking at each of them costs more than it saves."""

MOST_FILES = 20_000
"""At so many files and folders the looking ends, as those too count that git ignores."""

LATE_NS = 50_000_000
"""So long after a second's end no file gets a time within it any more: file systems read a clock that lags."""

_SECOND_NS = 1_000_000_000
_HANDED_OUT = "handed-out"

_VERSIONS = (2, 3)
"""The forms of an index that are read here; git writes another one only where it is asked to."""
_HEADER_BYTES, _NAME_AT, _EXTENDED = 12, 40, 0x40


def state_of(file: Path) -> str:
    """What differs where a file was written anew; times alone could be set back."""
    found = file.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def prepare(private: Path, index: Path) -> None:
    """Make ready what `mark` needs, for this index."""
    handed_out = private / _HANDED_OUT
    handed_out.write_text(state_of(index))
    handed_out.stat()  # a time that somebody has seen is the reason for newer kernels to tell the next one exactly


def mark(private: Path) -> None:
    """The workspace is about to be handed out: from now on its files may be changed."""
    os.utime(private / _HANDED_OUT)


def settle(private: Path, index: Path, directory: Path) -> None:
    """Let the first index count as written a second later, if no file was changed in the rest of its second.

    Nothing where that is not sure, or not worth it; then git reads what it has to.  Only the first time is it tried:
    the index of the next is another one.
    """
    handed_out = private / _HANDED_OUT
    try:
        marked, first = handed_out.stat().st_ctime_ns, handed_out.read_text()
    except FileNotFoundError:
        return
    handed_out.unlink(missing_ok=True)
    if first != state_of(index):
        return
    written = index.stat()
    end = (written.st_mtime_ns // _SECOND_NS + 1) * _SECOND_NS
    if time.time_ns() < end + LATE_NS:
        return
    is_small = written.st_size <= MOST_BYTES
    if marked >= end or (is_small and _is_unchanged(directory, since_ns=marked, until_ns=end)):
        os.utime(index, ns=(end, end))


def is_sure(index: Path, looked_at: float, *, name_bytes: int) -> bool:
    """Whether git will see what is changed behind a look, also in that second and under a time that was set back.

    It compares when a file was last changed by the second, too: of one that was changed in the second of the look, and
    was as in HEAD then, it would miss the next change.  `name_bytes` is how long the name of an object is.
    """
    data = index.read_bytes()
    kind, version, count = struct.unpack_from(">4sII", data)
    if kind != b"DIRC" or version not in _VERSIONS:
        return False
    flags = _NAME_AT + name_bytes
    second, at = int(looked_at - LATE_NS / _SECOND_NS), _HEADER_BYTES
    for _ in range(count):
        if struct.unpack_from(">I", data, at)[0] >= second:
            return False
        extended = version > _VERSIONS[0] and data[at + flags] & _EXTENDED
        end = data.index(b"\0", at + flags + (4 if extended else 2))
        at += (end - at) // 8 * 8 + 8
    return True


def _is_unchanged(directory: Path, *, since_ns: int, until_ns: int) -> bool:
    """Whether no file was changed within this time, or surely not; git's own do not count."""
    left = MOST_FILES
    waiting = [str(directory)]
    with suppress(OSError):  # somebody changes something right now
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [entry.path] * (entry.name != ".git")
                    elif left <= 0 or since_ns <= entry.stat(follow_symlinks=False).st_ctime_ns < until_ns:
                        return False
        return True
    return False
