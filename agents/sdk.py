"""The SDK, of which each part is read when somebody asks for it.

`import anthropic` reads three thousand modules, which takes a processor two seconds; whoever asks for messages needs a
third of them.  Most of the rest is read because packages gather the names of all their modules.  Here these packages
are empty at first, and find each name in its module when it is asked for; for what they do not gather they are read
whole, as ever.  So every name is there, and nobody sees a difference but in time and memory.

It holds for all of a process, so it is for those that are Prong's own: the nursery, from which agents are forked.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_ROOT = "anthropic"
_GATHERING = ("types", "resources", "lib")
"""Below these stand the packages that gather names, as does the SDK itself."""


def on_demand() -> None:
    """Let this process read the SDK part by part; does nothing where it has been read, or is to log what it does."""
    if _ROOT not in sys.modules and not os.environ.get("ANTHROPIC_LOG"):  # only the whole SDK looks at that
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the packages that gather names; all other modules are found as ever."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, *below = fullname.split(".")
        if root != _ROOT or (below and below[0] not in _GATHERING):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None or spec.submodule_search_locations is None or spec.origin is None:
            return None
        spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Makes a package without reading it; `whole` reads it."""

    def __init__(self, whole: Loader) -> None:
        self.whole = whole

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is read yet."""


class _Package(ModuleType):
    """A package that finds the names that it gathers one by one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__", "__title__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        known = self.__dict__.get("_gathered")
        if known is None:
            known = self._gathered = _gathered(Path(str(self.__file__)))
        if name in known:
            module, there = known[name]
            found = getattr(importlib.import_module(module, self.__name__), there)
        elif PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__) is not None:
            found = importlib.import_module(f".{name}", self.__name__)
        else:
            found = self._read_whole(name)
        setattr(self, name, found)
        return found

    def _read_whole(self, name: str) -> Any:
        """What a package has that it does not gather; raises `AttributeError`."""
        spec = self.__spec__
        if spec is not None and isinstance(spec.loader, _Loader):
            spec.loader = spec.loader.whole
            spec.loader.exec_module(self)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def _gathered(file: Path) -> Mapping[str, tuple[str, str]]:
    """Name: (the module that has it, what it is called there), of all that a package takes from modules of its own."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.parse(file.read_bytes()).body:
        if (
            isinstance(node, ast.ImportFrom) and node.level and node.module
        ):  # others are modules, which are found anyhow
            module = "." * node.level + node.module
            found |= {alias.asname or alias.name: (module, alias.name) for alias in node.names if alias.name != "*"}
    return found
