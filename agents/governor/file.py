"""The governor's book on disk: a small file that one process at a time reads, changes and writes.

Nothing is kept between two changes, neither a descriptor nor a copy, so that forks and threads need no care.  A change
takes microseconds.  A process that is killed in it has written a whole record or none, because each lies within one
page and has its checksum.  One that is stopped in it (SIGSTOP) holds the file's lock; after a while the others put a
copy in the file's place and go on, and whoever wakes up sees that its file is no longer the one, and changes the new.

    0     header: numbers of the book
    4096  records of 128 bytes, one a call, in any order; the header says how many there are at most
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import secrets
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from prong.agents.governor.book import FLYING, GRANTED, WAITING, Book, Bucket, Call
from prong.agents.governor.headers import KINDS
from prong.state.clock import boot_id
from prong.state.process import gone

STUCK_S = 1.0
"""For how long a change waits for another one to end, in seconds, before it goes on with a copy of the file."""

LONGEST_LOCK_PAUSE_S = 0.005
REPLACED_AT_MOST = 16
MAX_CALLS = 4_096
"""How many calls can be in the book; more stand outside and look again."""

SALT_BYTES = 32

_MAGIC = b"prong-g1"
_HEADER_BYTES = 4_096
_RECORD_BYTES = 128
_CHECK = struct.Struct("<I")
_NUMBERS = (
    "window", "opened", "halved_at", "closed_at", "closed_until", "next_start_at", "failing_since", "mean_input",
    "mean_output",
)  # fmt: skip
_COUNTS = ("streak", "refusals", "episodes", "answered", "arrivals", "closed_by", "front")
_head = struct.Struct(f"<8s36sI{len(_NUMBERS)}d{len(_COUNTS)}q{5 * len(KINDS)}d")
_record = struct.Struct("<q7q??2d3q")
_BUCKET = ("limit", "level", "at", "as_of", "rate")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose limits they are: calls of the same key to the same family of models at the same address share them."""

    base_url: str
    key: str = field(repr=False)
    family: str


class Damaged(Exception):
    """The file does not hold what was written into it."""


class BookFile:
    """One book under a directory.  `on_trouble` is told in words when the file was damaged or had to be replaced."""

    def __init__(self, directory: Path, identity: Identity, on_trouble: Callable[[str], None]) -> None:
        self.directory = directory
        self._identity = identity
        self._path: Path | None = None
        self._on_trouble = on_trouble

    def change(self, decide: Callable[[Book], T]) -> T:
        """Change the book; raises OSError where that cannot be done.

        `decide` is called again with another book where the file was replaced meanwhile.
        """
        for _ in range(REPLACED_AT_MOST):
            with self._opened() as file:
                if not _lock(file):
                    self._replace(file)
                    continue
                try:
                    if not self._is_current(file):
                        continue
                    records, book = self._read(file)
                    before = _header(book, len(records)), dict(records)
                    result = decide(book)
                    _write(file, book, records, before)
                    if self._is_current(file):
                        return result
                finally:
                    # Not by closing alone: a process that was forked just now has the descriptor too.
                    fcntl.flock(file, fcntl.LOCK_UN)
        raise OSError(f"{self._path}: replaced {REPLACED_AT_MOST} times while it was to be changed")

    def peek(self) -> Book:
        """The book as it is, without keeping others out; raises OSError where there is none, or Damaged."""
        for attempt in range(4):
            with self._opened() as file, suppress(Damaged):
                return _parse(file)[1]
            time.sleep(0.001 * attempt)  # somebody was writing just then
        raise Damaged

    @property
    def path(self) -> Path:
        """Where the book lies: its name tells nothing about the key."""
        if self._path is None:
            self._path = self.directory / f"{_name(self._identity, _salt(self.directory))}.book"
        return self._path

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = None  # with the directory the salt went, too
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield file
        finally:
            os.close(file)

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file))
        except FileNotFoundError:
            return False

    def _read(self, file: int) -> tuple[dict[int, bytes], Book]:
        try:
            return _parse(file)
        except Damaged:
            self._on_trouble("the book of calls was damaged and is begun anew")
            os.ftruncate(file, 0)
            return {}, Book()

    def _replace(self, file: int) -> None:
        """Put a copy in the file's place, because whoever changes it does not end."""
        if not self._is_current(file):
            return
        self._on_trouble(f"a process stands still in the book of calls for {STUCK_S:g} s; a copy takes its place")
        size = os.fstat(file).st_size
        copy, name = tempfile.mkstemp(prefix=self.path.name, dir=self.directory)
        try:
            os.write(copy, os.pread(file, size, 0))
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        finally:
            os.close(copy)


def is_dead(call: Call) -> bool:
    """Whether the process that makes the call has certainly ended."""
    where = f"{_boot()}/{call.namespace if call.namespace >= 0 else '-'}"
    return bool(call.birth) and gone(f"{where} {call.pid} {call.birth}")


def who(identity: str, pid: int) -> tuple[int, int, int]:
    """Process id, birth and namespace as a record holds them, from what `prong.state.process.identity` says."""
    where, _, rest = identity.partition(" ")
    if not rest:
        return pid, 0, -1
    namespace = where.rpartition("/")[2]
    return pid, int(rest.partition(" ")[2]), int(namespace) if namespace.isdigit() else -1


def _name(identity: Identity, salt: bytes) -> str:
    told = json.dumps([identity.base_url.rstrip("/"), identity.key, identity.family])
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), key=salt, digest_size=16).hexdigest()


def _salt(directory: Path) -> bytes:
    """What keeps a key from being guessed by its file's name: random, one for a directory, for its owner only."""
    path = directory / "salt"
    for _ in range(REPLACED_AT_MOST):
        with suppress(FileNotFoundError):
            found = path.read_bytes()
            if len(found) == SALT_BYTES:
                return found
            path.unlink(missing_ok=True)  # a damaged one
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(prefix="salt", dir=directory)
        try:
            os.write(file, secrets.token_bytes(SALT_BYTES))
            # Unlike a rename, a link leaves the one that another process put there first.
            with suppress(FileExistsError):
                path.hardlink_to(name)
        finally:
            os.close(file)
            Path(name).unlink()
    raise OSError(f"{path}: cannot be made")


@functools.cache
def _boot() -> str:
    return boot_id()


def _lock(file: int) -> bool:
    """Take the lock; False where another process keeps it for too long."""
    pause, waited = 0.0001, 0.0
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waited >= STUCK_S:
                return False
            time.sleep(pause)
            waited += pause
            pause = min(LONGEST_LOCK_PAUSE_S, pause * 1.5)
        else:
            return True


def _parse(file: int) -> tuple[dict[int, bytes], Book]:
    """The records by their places as they were read, and the book."""
    data = os.pread(file, _HEADER_BYTES + MAX_CALLS * _RECORD_BYTES, 0)
    book = Book()
    if not data:
        return {}, book
    if len(data) < _HEADER_BYTES or _CHECK.unpack_from(data)[0] != zlib.crc32(data[4 : 4 + _head.size]):
        raise Damaged
    magic, boot, used, *values = _head.unpack_from(data, 4)
    if magic != _MAGIC:
        raise Damaged
    numbers, values = values[: len(_NUMBERS)], values[len(_NUMBERS) :]
    counts, levels = values[: len(_COUNTS)], values[len(_COUNTS) :]
    for name, value in (*zip(_NUMBERS, numbers, strict=True), *zip(_COUNTS, counts, strict=True)):
        setattr(book, name, value)
    for place, kind in enumerate(KINDS):
        book.buckets[kind] = Bucket(*levels[5 * place : 5 * place + 5])
    if boot != _boot().encode().ljust(36, b"\0")[:36]:
        _forget_times(book)
        return {}, book
    records: dict[int, bytes] = {}
    for place in range(min(used, MAX_CALLS)):
        start = _HEADER_BYTES + place * _RECORD_BYTES
        packed = data[start : start + _RECORD_BYTES]
        records[place] = packed
        call = _unpack(packed)
        if call is not None:
            call.place = place
            book.calls[call.ticket] = call
    return records, book


def _forget_times(book: Book) -> None:
    """The machine was started anew: its clock too, and all processes that called are gone.  What was learnt stays."""
    book.halved_at = book.closed_at = book.closed_until = book.next_start_at = book.failing_since = -1.0
    book.streak = book.front = 0
    for bucket in book.buckets.values():
        bucket.level, bucket.at, bucket.as_of = bucket.limit, 0.0, -1.0


def _write(file: int, book: Book, records: dict[int, bytes], before: tuple[bytes, dict[int, bytes]]) -> None:
    """Write what has changed: records first, and the header last, which says how many there are."""
    header_before, records_before = before
    taken = {call.place for call in book.calls.values() if call.place >= 0}
    free = (place for place in range(MAX_CALLS) if place not in taken)
    after: dict[int, bytes] = {}
    for call in book.calls.values():
        if call.place < 0:
            call.place = next(free, MAX_CALLS)
        if call.place < MAX_CALLS:
            after[call.place] = _pack(call)
    used = max(after, default=-1) + 1
    for place in range(max(used, len(records))):
        packed = after.get(place, b"\0" * _RECORD_BYTES)
        if packed != records_before.get(place):
            _put(file, packed, _HEADER_BYTES + place * _RECORD_BYTES)
    header = _header(book, used)
    if header != header_before or not records_before:
        _put(file, header, 0)


def _put(file: int, data: bytes, at: int) -> None:
    if os.pwrite(file, data, at) != len(data):
        raise OSError("the disk took only a part of what was written")


def _header(book: Book, used: int) -> bytes:
    levels = [getattr(book.buckets[kind], name) for kind in KINDS for name in _BUCKET]
    packed = _head.pack(
        _MAGIC,
        _boot().encode(),
        used,
        *(getattr(book, name) for name in _NUMBERS),
        *(getattr(book, name) for name in _COUNTS),
        *levels,
    )
    return (_CHECK.pack(zlib.crc32(packed)) + packed).ljust(_HEADER_BYTES, b"\0")


def _pack(call: Call) -> bytes:
    packed = _record.pack(
        call.ticket, call.arrival, call.state, call.priority, call.input, call.output, call.place, 0,
        call.heard, call.asleep, call.since, call.began, call.pid, call.birth, call.namespace,
    )  # fmt: skip
    return (_CHECK.pack(zlib.crc32(packed)) + packed).ljust(_RECORD_BYTES, b"\0")


def _unpack(packed: bytes) -> Call | None:
    """The call of a record; None where the place is free or the record damaged, whose call then is not counted."""
    if len(packed) < _RECORD_BYTES or _CHECK.unpack_from(packed)[0] != zlib.crc32(packed[4 : 4 + _record.size]):
        return None
    ticket, arrival, state, priority, input_, output, place, _, heard, asleep, *rest = _record.unpack_from(packed, 4)
    since, began, pid, birth, namespace = rest
    if state not in (WAITING, GRANTED, FLYING):
        return None
    return Call(
        ticket, pid, birth, namespace, priority, since, input_, output,
        arrival=arrival, state=state, began=began, heard=heard, asleep=asleep, place=place,
    )  # fmt: skip
