"""How the repository is divided, and what the parts tell of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Edges = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By part: `imports`, how many of its files import from part n; `touches`, how many of its test files do."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of the tracked files; `number` counts from 1, `folder` holds all of it (empty: the repository)."""

    number: int
    name: str
    folder: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts in order, and what the measuring program needs to find them again."""

    repository: str
    readme: str
    starts: Sequence[int]
    checksum: int
    parts: Sequence[Part]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Plan:
        """Read what `divide.py` printed."""
        rows = enumerate(data["parts"], 1)
        parts = [Part(number, row["name"], row["folder"], row["files"], row["bytes"]) for number, row in rows]
        return cls(data["repository"], data["readme"], data["starts"], data["checksum"], parts)


@dataclass(frozen=True, slots=True)
class Uses:
    """Who uses a part: files that import from it by part, test files, and how many parts were asked."""

    imported_by: Mapping[str, int]
    tests: int
    asked: int

    @classmethod
    def among(cls, part: Part, edges: Edges) -> Uses:
        """What all parts that shared their imports say of this one."""
        number = str(part.number)
        imported_by = {
            name: edge["imports"][number] for name, edge in sorted(edges.items()) if number in edge["imports"]
        }
        return cls(imported_by, sum(edge["touches"].get(number, 0) for edge in edges.values()), len(edges))

    @classmethod
    def of(cls, value: object) -> Uses | None:
        """Read what a part wrote about itself; nothing where it is something else."""
        if isinstance(value, dict) and value.keys() == {"imported_by", "tests", "asked"}:
            return cls(**value)
        return None
