"""What a command of an agent may see, change and use up, as the arguments of bubblewrap and as limits.

    read and write   the workspace, the task's temporary directory, the swarm's shared directory
    its own          /tmp, the home directory, /dev, /proc, processes, memory that is shared, network (loopback only)
    read             the system, what PATH names, caches of tools, the objects of the repository, what the rules add
    not there        everything else: keys, other homes, the swarm's database, other agents, the user's working tree

Nothing is done here: paths and options go in, arguments come out.  That which is *not there* is simply never put in, so
what nobody thought of is hidden, too.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prong.agents.sandbox import readable as read
from prong.agents.sandbox.bubblewrap import NAMESPACES, Found, Missing
from prong.state import ProngError

OPEN_FILES = 4096
"""How many files one process may have open."""
PROCESSES = 512
"""How many processes one agent's commands may have at once, if nobody says otherwise."""
DISK_BYTES = 10 * 2**30
"""By how much one agent's commands may fill the disk, if nobody says otherwise, in bytes."""
MEMORY_SHARE = 0.5
"""How much of the machine's memory one agent's commands may have, if nobody says otherwise."""

_OWN = {Path("/tmp"): "tmp", Path("/var/tmp"): "tmp", Path("/dev/shm"): "shm"}  # noqa: S108  they are its own
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  as above
_NPROC_PER_NAMESPACE = (5, 14)
"""Since this version of Linux the bound on processes counts those in the same user namespace, not all of the user's."""


class SandboxMissing(ProngError):
    """A sandbox was demanded, and there is none."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"there is no sandbox: {self.reason}. Mend that, or say --no-sandbox to let commands do what you may do"
            " yourself"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the commands of one agent may use up together: memory and disk in bytes, and processes.

    `memory_bytes` is also what one process may have, and `disk_bytes` how long one file may be.
    """

    memory_bytes: int
    processes: int = PROCESSES
    disk_bytes: int = DISK_BYTES

    @classmethod
    def usual(cls) -> Limits:
        """What holds where nobody says otherwise."""
        return cls(memory_bytes=int(machine_memory_bytes() * MEMORY_SHARE))

    def script(self, *, own_users: bool) -> str:
        """The line with which bash bounds itself and all that it starts; `own_users`: in a user namespace of its own.

        Memory is bounded as data, not as address space, of which some runtimes reserve terabytes.
        """
        limits = f"-c 0 -n {OPEN_FILES} -f {self.disk_bytes // 1024} -d {self.memory_bytes // 1024}"
        # Outside of a namespace the user's other processes would count, too.
        processes = f" -u {self.processes}" if own_users and _counts_per_namespace() else ""
        return f"for limit in {shlex.quote(limits + processes)}; do builtin ulimit $limit; done; unset limit"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The jail of one agent's commands; without `bubblewrap` there are only the limits.

    `own` holds what stands for /tmp and /dev/shm, and lies where no command can reach it: who could put a link in its
    place would choose what the next sandbox shows.  For the same reason a directory in which something else is mounted
    is a new one in memory each time.  `hidden` is shown in no case.
    """

    bubblewrap: Found | None
    workspace: Path
    own: Path
    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    home: Path | None = None
    network: bool = False
    limits: Limits = field(default_factory=Limits.usual)

    @property
    def is_closed(self) -> bool:
        """Whether it keeps anything out, or only limits."""
        return self.bubblewrap is not None

    def command(self, arguments: Sequence[str], *, readable: Iterable[Path] = ()) -> list[str]:
        """`arguments`, to be run within, with these paths in sight besides; it begins in the workspace."""
        if self.bubblewrap is None:
            return list(arguments)
        network = () if self.network else ("--unshare-net",)
        return [
            *(self.bubblewrap.program, *NAMESPACES, *network, *self.bubblewrap.options, "--cap-drop", "ALL"),
            *self._mounts(readable),
            *("--chdir", str(self.workspace), "--", *arguments),
        ]

    def limited(self, arguments: Sequence[str]) -> list[str]:
        """The same for a program that is not a shell that bounds itself."""
        script = f'{self.limits.script(own_users=self.is_closed)}; exec "$@"'
        return self.command(["bash", "--noprofile", "--norc", "-c", script, "bash", *arguments])

    def in_memory(self) -> list[Path]:
        """Directories whose files take memory instead of disk."""
        return [path for path, mount in self._places(()).items() if mount == ("--tmpfs",)]

    def prepare(self) -> None:
        """Make the directories that stand for those that it has to itself."""
        for name in ("tmp", "shm"):
            (self.own / name).mkdir(parents=True, exist_ok=True)

    def _mounts(self, readable: Iterable[Path]) -> Iterator[str]:
        for link, target in read.system_links():
            yield from ("--symlink", target, link)
        places = sorted(self._places(readable).items(), key=lambda item: len(item[0].parts))
        in_memory = [(place, mount) for place, mount in places if place.is_relative_to(_SHARED_MEMORY)]
        for place, mount in places:
            if (place, mount) not in in_memory:
                yield from (*mount, str(place))
        yield from ("--proc", "/proc", "--dev", "/dev")
        for place, mount in in_memory:  # after the /dev that they lie in
            yield from (*mount, str(place))
        for secret in read.system_secrets():
            yield from ("--ro-bind", "/dev/null", str(secret))
        yield from ("--remount-ro", "/dev", "--remount-ro", "/")

    def _places(self, readable: Iterable[Path]) -> Mapping[Path, tuple[str, ...]]:
        """What lies where.  Sorted by depth, so that what lies deeper lies upon what it is in."""
        places: dict[Path, tuple[str, ...]] = {}
        for path in (*read.system(network=self.network), *self.readable):
            if not any(path.is_relative_to(one) for one in (*self.writable, *self.hidden)):
                places[path] = ("--ro-bind", str(path))
        for path in self.hidden:
            places[path] = ("--tmpfs",)
        for path in readable:
            places[path] = ("--ro-bind", str(path))
        for path in self.writable:
            places[path] = ("--bind", str(path))
        for path, own in _OWN.items():
            lasting = not any(one != path and one.is_relative_to(path) for one in places)
            places[path] = ("--bind", str(self.own / own)) if lasting else ("--tmpfs",)
        if self.home is not None:
            places[self.home] = ("--tmpfs",)
        return places


def confine(
    bubblewrap: Found | Missing | None,
    workspace: Path,
    *,
    writable: Sequence[Path],
    own: Path,
    readable: Sequence[Path],
    hidden: Sequence[Path],
    environment: Mapping[str, str],
    network: bool,
    limits: Limits,
) -> Sandbox:
    """The sandbox for a workspace in which commands see `environment`; `hidden` is never in sight, but for `writable`.

    What PATH and the variables of toolchains name becomes readable, the home directory one of its own.
    """
    home = read.home(environment)
    tools = read.tools(environment, home=home, hidden=[*hidden, workspace])
    return Sandbox(
        bubblewrap if isinstance(bubblewrap, Found) else None,
        workspace=workspace,
        own=own,
        writable=tuple(Path(os.path.realpath(path)) for path in (workspace, *writable)),
        readable=tuple(dict.fromkeys([*tools, *read.existing(readable)])),
        hidden=tuple(Path(os.path.realpath(path)) for path in hidden),
        home=home,
        network=network,
        limits=limits,
    )


def machine_memory_bytes() -> int:
    """How much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _counts_per_namespace() -> bool:
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in os.uname().release.split(".")[:2])
    return (major, minor) >= _NPROC_PER_NAMESPACE
