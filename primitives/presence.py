"""Which processes are gone, asked of many of them again and again.

    unknown --looked at in /proc once--> watched --the kernel says that it has ended--> looked at once more

Reading /proc of hundreds of members twice a second is most of what an idle swarm would cost.  A descriptor of a process
(Linux's pidfd) tells the same, and one call asks all of them.
"""

from __future__ import annotations

import functools
import os
import select
import weakref

from prong.state import process

WATCHED = 256
"""How many processes are watched by a descriptor, a quarter of those that a program may usually have; /proc tells of
the others."""


class Processes:
    """The processes that one keeper of the watch knows, by the names that `process.identity` gives."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._poll = select.poll()
        _all().add(self)

    def look(self) -> None:
        """Have the kernel say which of them have ended; `gone` looks at these anew."""
        for file, _ in self._poll.poll(0):
            self._poll.unregister(file)
            del self._files[self._names.pop(file)]
            os.close(file)

    def gone(self, name: str) -> bool:
        """Whether the process of this name has certainly ended, as `process.gone` has it, at the last `look`."""
        if name in self._files:
            return False
        # The descriptor comes first: where it is another process's, because the number is used again, the name is gone.
        file = self._opened(name)
        if process.gone(name):
            if file is not None:
                os.close(file)
            return True
        if file is not None:
            self._files[name], self._names[file] = file, name
            self._poll.register(file, select.POLLIN)
        return False

    def close(self) -> None:
        """Give the descriptors back."""
        files, self._files, self._names, self._poll = self._files, {}, {}, select.poll()
        for file in files.values():
            os.close(file)

    def __del__(self) -> None:
        self.close()

    def _opened(self, name: str) -> int | None:
        """A descriptor of the process with this number; None where there is none to have."""
        where, _, rest = name.partition(" ")
        if len(self._files) >= WATCHED or where != _here(os.getpid()) or not hasattr(os, "pidfd_open"):
            return None
        try:
            return os.pidfd_open(int(rest.partition(" ")[0]))
        except (OSError, ValueError):  # it has ended, or the kernel is too old for it, or there are too many open files
            return None


@functools.cache
def _here(_pid: int) -> str:
    """How the names of all processes begin that can be seen from this one."""
    return process.identity().partition(" ")[0] or "nowhere"


@functools.cache
def _all() -> weakref.WeakSet[Processes]:
    """All of this process: a forked child has no use for its parent's descriptors."""
    found: weakref.WeakSet[Processes] = weakref.WeakSet()

    def close() -> None:
        for processes in list(found):
            processes.close()

    os.register_at_fork(after_in_child=close)
    return found
