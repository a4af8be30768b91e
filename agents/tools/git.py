"""Running git to search: its output is read as it comes, so that however much it is, memory stays bounded."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from prong.agents.sandbox import Sandbox
from prong.agents.tools.tool import ToolError

SEARCH_TIMEOUT_S = 30.0
"""How long one search may take, in seconds."""
READ_BYTES = 1024 * 1024
"""How much of git's output is read at once, in bytes."""
ERROR_CHARACTERS = 2_000
"""How much of git's own message an error repeats, in characters."""


class GitError(Exception):
    """git ended with an error; the text is its own."""


def run_search(
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    take: Callable[[bytes], object],
    timeout_s: float = SEARCH_TIMEOUT_S,
    sandbox: Sandbox | None = None,
    stdin: IO[bytes] | None = None,
) -> None:
    """Run git, or what searches in its stead, in `directory` and give its output to `take`, piece by piece.

    Raises `GitError` with git's message, and `ToolError` if it takes longer than `timeout_s`.  No match is no error.
    """
    command = list(command)
    if sandbox is not None:
        # The configuration that git reads there is the agent's, and can name programs.
        sandbox.prepare()
        command = sandbox.limited(command)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            _read_all(process, take, deadline=time.monotonic() + timeout_s)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if status > 1:
            errors.seek(0)
            raise GitError(errors.read().decode(errors="replace").strip()[:ERROR_CHARACTERS])


def _read_all(process: subprocess.Popen[bytes], take: Callable[[bytes], object], *, deadline: float) -> None:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    events = select.poll()
    events.register(descriptor, select.POLLIN)
    while True:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0 or not events.poll(remaining_s * 1000):
            raise ToolError("the search took too long and was ended. Search in fewer files: give `path` or `glob`.")
        data = os.read(descriptor, READ_BYTES)
        if not data:
            return
        take(data)
