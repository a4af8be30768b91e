"""Finding out whether bubblewrap works here: by running it, because everything else only guesses.

It may be installed and yet be of no use: in a container without user namespaces, under a security module that forbids
them, on an old kernel, or in another sandbox.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

TRIAL_TIMEOUT_S = 20.0
"""How long the trial may take, in seconds."""
REASON_CHARACTERS = 300
"""How much of what bubblewrap says of its failure is told, in characters."""

NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
"""What is always the sandbox's own.  The user namespace is what takes every right from a sandbox that root starts."""
NO_USER_NAMESPACES = ("--disable-userns",)
"""For bubblewrap 0.8 and newer: whoever cannot make a user namespace cannot get rights in it to try the kernel with."""


@dataclass(frozen=True, slots=True)
class Found:
    """A bubblewrap that works: its absolute path, and the options beyond the usual ones that it understands."""

    program: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """There is none that works: why not, as half a sentence."""

    reason: str


@functools.cache
def find() -> Found | Missing:
    """The bubblewrap of this machine, tried once in the life of a process."""
    return attempt(shutil.which("bwrap", path=_absolute(os.environ.get("PATH") or os.defpath)))


def attempt(program: str | None) -> Found | Missing:
    """The same for the bubblewrap at a path; None: it is not installed."""
    if program is None:
        return Missing("bubblewrap is not installed (for example: apt-get install bubblewrap)")
    for options in (NO_USER_NAMESPACES, ()):
        problem = _try(program, options)
        if problem is None:
            return Found(program, options)
    return Missing(f"bubblewrap is installed and does not work here: {problem}")


def _try(program: str, options: tuple[str, ...]) -> str | None:
    """Run `true` in a sandbox with every kind of isolation that will be asked for; what went wrong, or None."""
    isolation = (*NAMESPACES, "--unshare-net", *options, "--cap-drop", "ALL")
    mounts = ("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev")
    try:
        done = subprocess.run(
            (program, *isolation, *mounts, "--", "true"),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = " ".join(done.stderr.decode(errors="replace").split())[:REASON_CHARACTERS]
    return None if done.returncode == 0 else said or f"it ended with {done.returncode}"


def _absolute(path: str) -> str:
    """`path` without directories that depend on where one is: an agent might have put a program there."""
    return os.pathsep.join(part for part in path.split(os.pathsep) if Path(part).is_absolute())
