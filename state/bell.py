"""Bells: how a process that waits is woken at once, without polling.

Three functions are all there is: `read` a bell before looking whether there is something to wait for, `wait` until it
rings, `ring` it.  On Linux they are futexes, here; elsewhere datagrams (state/datagram.py).

The file `bells` beside the database is an array of 32-bit words that all processes map.  A waiter sleeps in the kernel
on one word (a futex) until somebody adds one to it.  There is nothing to register and nothing to clean up: a process
that is killed while it waits simply stops waiting.

A ring is one atomic kernel operation (FUTEX_WAKE_OP: add, then wake); read-add-write from Python would lose rings.
Several waiters may share a word; one of them that was not meant looks at its row and sleeps again.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import functools
import mmap
import os
import platform
import sys
import zlib
from pathlib import Path
from typing import Protocol

from prong.state.errors import StoreError
from prong.state.patience import Patience

SLOTS = 16_384
"""How many words the file has; the first two are taken, and waiter n uses word 2 + n mod (SLOTS - 2)."""

SCHEDULER_SLOT = 0
"""The word that the scheduler sleeps on."""

MERGER_SLOT = 1
"""The word that the merger sleeps on."""

LOOKS = 4_000
"""How often a word is looked at before one sleeps on it, which takes some 200 microseconds."""

_FUTEX_SYSCALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_FUTEX_WAIT = 0
_FUTEX_WAKE_OP = 5
_ADD_ONE = (1 << 28) | (1 << 12)
_EVERYBODY = 0x7FFF_FFFF


class Bells(Protocol):
    """The bells of one swarm, each known by its slot."""

    def read(self, slot: int) -> int:
        """What `wait` is to be told; read it *before* looking whether there is something to wait for."""
        ...

    def soon(self, slot: int, seen: int) -> bool:
        """Whether it rings in a moment so short that falling asleep and waking would take longer."""
        ...

    def wait(self, slot: int, seen: int, timeout_s: float) -> bool:
        """Sleep until it has rung since it was read, a signal comes, or `timeout_s` seconds pass (which is False)."""
        ...

    def ring(self, slot: int) -> bool:
        """Wake whoever sleeps on it, and whoever is about to; whether somebody slept, as far as can be told."""
        ...


def open_bells(path: Path) -> Bells:
    """The fastest bells that this machine has."""
    if sys.platform == "linux" and platform.machine() in _FUTEX_SYSCALL:
        return FutexBells(path)
    from prong.state.datagram import DatagramBells  # noqa: PLC0415  only where there are no futexes

    return DatagramBells(path)


def slot_of(waiter: int) -> int:
    """The slot of waiter number `waiter`."""
    return 2 + waiter % (SLOTS - 2)


@functools.lru_cache(1024)
def slot_of_all(object: str) -> int:
    """The slot of all who wait for an object and are woken together, by one ring."""
    return slot_of(zlib.crc32(object.encode()))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class FutexBells:
    """The words of one swarm.  Safe over fork: the mapping is shared, and no lock of ours is involved."""

    def __init__(self, path: Path) -> None:
        number = _FUTEX_SYSCALL.get(platform.machine())
        if sys.platform != "linux" or number is None:
            raise StoreError(
                str(path), f"waking needs Linux futexes, not {sys.platform} on {platform.machine()}", "Use Linux."
            )
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(str(path), str(error), "Make the file and its directory writable.") from error
        try:
            # A hole in the file would make a ring fail on a full disk.
            os.posix_fallocate(file, 0, SLOTS * 4)
            self._memory = mmap.mmap(file, SLOTS * 4)
        except OSError as error:
            raise StoreError(str(path), str(error), "Free some of the disk.") from error
        finally:
            os.close(file)
        self._patience = Patience()
        self._words = (ctypes.c_uint32 * SLOTS).from_buffer(self._memory)
        self._base = ctypes.addressof(self._words)
        libc = ctypes.CDLL(None, use_errno=True)
        # Two objects for one function, so that each knows its arguments and plain numbers can be passed.
        self._number, self._wait, self._ring = number, libc["syscall"], libc["syscall"]
        self._wait.argtypes = (
            ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p,
            ctypes.c_uint32,
        )  # fmt: skip
        self._ring.argtypes = (*self._wait.argtypes[:4], ctypes.c_long, ctypes.c_void_p, ctypes.c_uint32)

    def read(self, slot: int) -> int:
        """The word's value; read it *before* looking whether there is something to wait for."""
        return int(self._words[slot])

    def soon(self, slot: int, seen: int) -> bool:
        """Whether the word changes within `LOOKS` looks, where it pays to look."""
        if not self._patience.pays():
            return False
        words = self._words
        for _ in range(LOOKS):
            if words[slot] != seen:
                self._patience.hit()
                return True
        self._patience.missed()
        return False

    def wait(self, slot: int, seen: int, timeout_s: float) -> bool:
        """Sleep until the word differs from `seen`, a signal comes, or `timeout_s` seconds pass (which is False)."""
        whole = int(timeout_s)
        limit = _Timespec(whole, int((timeout_s - whole) * 1e9))
        place = self._base + slot * 4
        failed = self._wait(self._number, place, _FUTEX_WAIT, seen, ctypes.byref(limit), None, 0)
        return not failed or ctypes.get_errno() != errno.ETIMEDOUT

    def ring(self, slot: int) -> bool:
        """Wake whoever sleeps on the word, and whoever is about to; whether somebody slept."""
        place = self._base + slot * 4
        woken: int = self._ring(self._number, place, _FUTEX_WAKE_OP, _EVERYBODY, 0, place, _ADD_ONE)
        return woken > 0
