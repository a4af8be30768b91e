"""What was decided, left where the one who waits sees it as it wakes, without asking the database.

    enrol --> awake --sleep--> asleep
                +--tell--> told <--tell--+

Asking would be a read of pages that have just changed: a quarter of what waking costs.  The file `told` beside the
database is an array of records that all processes map.  Whoever decides writes the decision there after its commit and
before it rings.  A record is a shortcut and no more: where it is missing, torn, too long or another waiter's, since
several share one, the row tells.  A waiter empties its record as it enrols, so that nothing old is ever believed, and
asks its row where anybody was declared dead meanwhile: it may be the waiter, and what it was granted is another's.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path

from prong.state.errors import StoreError

RECORDS = 512
"""How many records the file has; waiter n has record n mod `RECORDS`."""

RECORD_BYTES = 512
"""How long a record is; what is longer is read from the row."""

_head = struct.Struct("=qII")  # whose it is, how long the text is, and a sum over both; without text: it is awake
_LONGEST = RECORD_BYTES - _head.size


class Told:
    """The records of one swarm.  Safe over fork: the mapping is shared, and no lock of ours is involved."""

    def __init__(self, path: Path) -> None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(str(path), str(error), "Make the file and its directory writable.") from error
        try:
            # A hole in the file could not be written on a full disk.
            os.posix_fallocate(file, 0, RECORDS * RECORD_BYTES)
            self._memory = mmap.mmap(file, RECORDS * RECORD_BYTES)
        except OSError as error:
            raise StoreError(str(path), str(error), "Free some of the disk.") from error
        finally:
            os.close(file)

    def awake(self, waiter: int) -> None:
        """The waiter enrols: nothing is told yet, and it does not sleep yet."""
        _head.pack_into(self._memory, waiter % RECORDS * RECORD_BYTES, waiter, 0, 0)

    def asleep(self, waiter: int) -> None:
        """The waiter is about to sleep, or to end, and is to be found by its bell alone."""
        at = waiter % RECORDS * RECORD_BYTES
        if _head.unpack_from(self._memory, at) == (waiter, 0, 0):
            _head.pack_into(self._memory, at, 0, 0, 0)

    def tell(self, waiter: int, text: str) -> bool:
        """Leave what was decided for the waiter; whether it was awake and finds it without a ring."""
        at = waiter % RECORDS * RECORD_BYTES
        awake: bool = _head.unpack_from(self._memory, at) == (waiter, 0, 0)
        data = text.encode(errors="replace")
        end = len(data) + _head.size
        if end <= RECORD_BYTES:
            self._memory[at : at + end] = _head.pack(waiter, len(data), zlib.crc32(data, waiter & 0xFFFF_FFFF)) + data
        return awake

    def read(self, waiter: int) -> str | None:
        """What was decided; None where only the row can tell."""
        at = waiter % RECORDS * RECORD_BYTES
        whose, length, checked = _head.unpack_from(self._memory, at)
        if whose != waiter or not 0 < length <= _LONGEST:
            return None
        data = self._memory[at + _head.size : at + _head.size + length]
        return data.decode() if zlib.crc32(data, waiter & 0xFFFF_FFFF) == checked else None
