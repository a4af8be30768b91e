"""What `keys`, `items` and `values` of a map return: views, which read what is there whenever one looks.

One look shows one moment: a loop is not disturbed by writes, and no value belongs to another key.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prong.primitives.map_reading import MapReading


class Keys(KeysView[str]):
    """The keys as they are whenever one looks."""

    _mapping: MapReading

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._mapping)


class Items(ItemsView[str, Any]):
    """Keys and values, which belong together because they are read together."""

    _mapping: MapReading

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._mapping.copy().items())

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return reversed(self._mapping.copy().items())


class Values(ValuesView[Any]):
    """The values as they are whenever one looks."""

    _mapping: MapReading

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.copy().values())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping.copy().values())

    def __contains__(self, value: object) -> bool:
        return value in self._mapping.copy().values()
