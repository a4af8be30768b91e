"""A file of results: one JSON object a line, appended and flushed as they come, so that a kill costs at most one line.

what is there of this map                    stays: those items are not run again
a line that was cut off                      is taken away
an item that has changed, or that failed
and is to be tried again                     is taken away, and comes anew
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prong.harness.patterns.outcome import Outcome
from prong.state import Invalid


class ResultsFile:
    """The results of one map, whose keys begin with its `identity`; written to inside a `with` block."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self._begins = f"{identity}-"
        self._real = Path(os.path.realpath(path))
        self._file: Any = None
        self._reading: Any = None
        self._lock: int | None = None
        self._places: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._hold()
        self._file = self._real.open("ab")
        self._reading = self._real.open("rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._reading.close()
        self.let_go()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Outcome | None:
        """What stands there under this key; None: nothing."""
        place = self._places.get(key)
        if place is None:
            return None
        self._reading.seek(place)
        return Outcome.from_json(json.loads(self._reading.readline()))

    def clean(self, keep: Callable[[Outcome], bool]) -> int:
        """Before anything is written: keep those lines only, and no half one; how many were taken away.

        Raises `Invalid`, and changes nothing, where something else stands in the file, or another map writes into it.
        """
        if self._real.exists() and not self._real.is_file():  # such as /dev/null: it would be replaced
            raise self._refusal()
        self._hold()
        fresh = self._real.with_name(f"{self._real.name}.new")
        gone = 0
        try:
            with fresh.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                for line, outcome in self._lines():
                    if keep(outcome) and outcome.key not in self._places:
                        self._places[outcome.key] = file.tell()
                        file.write(line.encode())
                    else:
                        gone += 1
                file.flush()
                os.fsync(file.fileno())
                fresh.replace(self._real)
                held = os.dup(file.fileno())
            self.let_go()
            self._lock = held
        except BaseException:
            self.let_go()
            raise
        finally:
            fresh.unlink(missing_ok=True)
        return gone

    def let_go(self) -> None:
        """Let others write into the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> None:
        """Be the only one that writes into the file; raises `Invalid` where somebody does already."""
        while self._lock is None:
            held = os.open(self._real, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(held), self._real.stat()):  # else it was replaced meanwhile
                    self._lock, held = held, -1
            except BlockingIOError:
                problem = f"the file {self.path}, into which another map is writing"
                raise Invalid(problem, "one map at a time; wait for the other, or name another file") from None
            except FileNotFoundError:
                continue
            finally:
                if held >= 0:
                    os.close(held)

    def add(self, outcome: Outcome) -> None:
        """Append an outcome; one that is there already is left as it is."""
        if outcome.key not in self._places:
            self._places[outcome.key] = self._file.tell()
            self._file.write(f"{line_of(outcome)}\n".encode())
            self._file.flush()

    def outcomes(self) -> Iterator[Outcome]:
        """All that stand there, one after the other; nothing is changed."""
        if self._real.exists():
            for _, outcome in self._lines():
                yield outcome

    def _lines(self) -> Iterator[tuple[str, Outcome]]:
        with self._real.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.endswith("\n"):
                    self._refuse_unless_ours(line)
                    return
                try:
                    outcome = Outcome.from_json(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    raise self._refusal() from None
                if not outcome.key.startswith(self._begins):
                    raise self._refusal()
                yield line, outcome

    def _refuse_unless_ours(self, half: str) -> None:
        """Whoever wrote the last line was killed over it; of another's file no line is taken away."""
        begin = f'{{"key": "{self._begins}'
        if not (half.startswith(begin) or begin.startswith(half)):
            raise self._refusal()

    def _refusal(self) -> Invalid:
        return Invalid(
            f"the file {self.path}, in which something else stands", "the results of this very map, or a new file"
        )


def line_of(outcome: Outcome) -> str:
    """An outcome as a line of JSON; readable, unless it holds what is no text."""
    told = outcome.as_json()
    try:
        line = json.dumps(told, ensure_ascii=False)
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(told)
    return line
