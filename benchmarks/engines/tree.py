"""A process tree of which nothing is left afterwards, whatever its processes did to hide."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 600.0
"""How long one round of one engine may take, in seconds."""

_PR_SET_CHILD_SUBREAPER = 36
_LAST_WORDS = 1_500
"""How much is told of what a failed round wrote on standard error, in characters."""


class Failed(Exception):
    """A round that failed or took too long."""


def adopt_orphans() -> None:
    """Let whatever loses its parent below this process become this one's child, so that it is found and reaped.

    A request to terminate ends this process as an error would, so that its tree goes with it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(module: str, *arguments: str) -> Any:
    """What a module prints as JSON when it is run; its whole tree has ended then.  Raises `Failed`."""
    command = [sys.executable, "-m", module, *arguments]
    with (
        _temporary_folder() as folder,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=output, stderr=errors, env=_environment(folder)) as process,
    ):
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"it took more than {PATIENCE_S:g} s") from None
        finally:
            _end_all()
        if process.returncode:
            errors.seek(0)
            raise Failed(errors.read()[-_LAST_WORDS:])
        output.seek(0)
        return json.loads(output.read().splitlines()[-1])


def _environment(folder: str) -> dict[str, str]:
    """Ours, but that the engines are found from wherever this was started."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    return os.environ | {"TMPDIR": folder, "PYTHONPATH": path}


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """Where the tree keeps its files, which go with it; a server that runs as somebody else finds its way through."""
    with tempfile.TemporaryDirectory(prefix="prong-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield folder


def _end_all() -> None:
    """Kill what is left below this process, and reap it."""
    while left := psutil.Process().children(recursive=True):
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1.0)
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
