"""A file of results: one JSON object a line, appended and flushed as they come, so that a kill costs at most one line.

what is there of this map                    stays: those items are not run again
a line that was cut off                      is taken away
an item that has changed, or that failed
and is to be tried again                     is taken away, and comes anew
"""

from __future__ import annotations

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
        self._file: Any = None
        self._keys: set[str] = set()

    def __enter__(self) -> Self:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def clean(self, keep: Callable[[Outcome], bool]) -> int:
        """Before anything is written: keep those lines only, and no half one; how many were taken away.

        Raises `Invalid`, and changes nothing, where something else stands in the file.
        """
        if not self.path.exists():
            return 0
        fresh = self.path.with_name(f"{self.path.name}.new")
        gone = 0
        try:
            with fresh.open("w", encoding="utf-8") as file:
                for line, outcome in self._lines():
                    if keep(outcome) and outcome.key not in self._keys:
                        self._keys.add(outcome.key)
                        file.write(line)
                    else:
                        gone += 1
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        return gone

    def add(self, outcome: Outcome) -> None:
        """Append an outcome; one that is there already is left as it is."""
        if outcome.key not in self._keys:
            self._keys.add(outcome.key)
            self._file.write(line_of(outcome) + "\n")
            self._file.flush()

    def outcomes(self) -> Iterator[Outcome]:
        """All that stand there, one after the other."""
        if self.path.exists():
            for _, outcome in self._lines():
                yield outcome

    def _lines(self) -> Iterator[tuple[str, Outcome]]:
        with self.path.open(encoding="utf-8", errors="replace") as file:
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
