"""Functions that another process cannot import, as JSON: those of a notebook, of `python -c`, and lambdas.

A function takes along what it names of its module and holds on to: other functions, modules by their names, and values
that can be pickled.  Code travels as the interpreter's own bytes, so both sides run the same Python.  What a program
with a file has made, its classes above all, is found in that file, which the other side imports.

>>> unpacked(packed(lambda number: number + 1))(2)
3
"""

from __future__ import annotations

import base64
import builtins
import dis
import importlib
import io
import marshal
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from prong.primitives.remote import program_at

_MAIN = ("__main__", "__mp_main__")
_OF_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")


MAKE_THERE = "Make it inside the function, from what can be pickled."


class NotPortable(TypeError):
    """A function that cannot be sent to another process."""

    def __init__(self, name: str, why: str, advice: str = "Put it into a module that can be imported.") -> None:
        self.name = name
        self.why = why
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.name} cannot run in another process: {self.why}. {self.advice}"


def needed(function: Callable[..., Any]) -> bool:
    """Whether no other process can import the function, although it is written in Python."""
    if not isinstance(function, FunctionType):
        return False
    typed = main_file() is None or function.__code__.co_filename.startswith("<")
    return "<" in function.__qualname__ or (function.__module__ == "__main__" and typed)


def main_file() -> str | None:
    """The file of this program; None for a notebook, `python -c` and what is typed in."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return str(Path(file).resolve()) if file else None


def dumped(value: Any) -> str:
    """A pickle as text, with functions in it that nobody can import; raises `NotPortable`, and what pickling raises."""
    data = io.BytesIO()
    _Pickler(data).dump(value)
    return _text(data.getvalue())


def loaded(text: str, file: str | None) -> Any:
    """What was pickled, by a program with that file or for it; whoever could write it can have code run here."""
    return _Unpickler(io.BytesIO(_bytes(text)), file).load()


def packed(function: Callable[..., Any]) -> dict[str, Any]:
    """The function with all that it names; raises `NotPortable`."""
    if not isinstance(function, FunctionType):
        raise NotPortable(repr(function), "it is no function")
    names: dict[str, Any] = {}
    told = _told(function, names)
    return {"version": sys.hexversion, "main": told, "names": names, "file": main_file()}


def unpacked(told: dict[str, Any]) -> Callable[..., Any]:
    """The function again; raises `NotPortable` where it was made by another Python."""
    if told["version"] != sys.hexversion:
        raise NotPortable(told["main"]["name"], "this is another version of Python")
    names: dict[str, Any] = {"__builtins__": builtins, "__name__": "__main__"}
    file = told["file"]
    for name, one in told["names"].items():
        if "module" in one:
            names[name] = importlib.import_module(one["module"])
        elif "pickled" in one:
            names[name] = loaded(one["pickled"], file)
        else:
            names[name] = _made(one, names, file)
    return _made(told["main"], names, file)


def _told(function: FunctionType, names: dict[str, Any]) -> dict[str, Any]:
    home = function.__globals__
    for name in _names(function.__code__):
        if name in names or name not in home:
            continue
        value = home[name]
        if isinstance(value, ModuleType):
            names[name] = {"module": value.__name__}
        elif isinstance(value, FunctionType) and value.__globals__ is home:
            names[name] = {}  # it may name itself
            names[name] = _told(value, names)
        else:
            names[name] = {"pickled": _pickle(value, f"{function.__name__} names {name}")}
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if any(cell.cell_contents is function for cell in cells.values()):
        raise NotPortable(function.__name__, "it is made inside another function and calls itself")
    held = [_pickle(cell.cell_contents, f"{function.__name__} holds on to {name}") for name, cell in cells.items()]
    defaults = (function.__defaults__, function.__kwdefaults__)
    return {
        "name": function.__name__,
        "code": _text(marshal.dumps(function.__code__)),
        "defaults": _pickle(defaults, f"{function.__name__} has defaults"),
        "cells": held,
    }


def _made(told: dict[str, Any], names: dict[str, Any], file: str | None) -> FunctionType:
    code = marshal.loads(_bytes(told["code"]))  # noqa: S302  the same user's, as all of it
    defaults, named = loaded(told["defaults"], file)
    cells = [loaded(one, file) for one in told["cells"]]
    function = FunctionType(code, names, told["name"], defaults, tuple(map(CellType, cells)) or None)
    function.__kwdefaults__ = named
    return function


def _names(code: CodeType) -> Iterator[str]:
    """The globals that it reads; names of attributes are none."""
    yield from (one.argval for one in dis.get_instructions(code) if one.opname in _OF_GLOBALS)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _pickle(value: Any, what: str) -> str:
    try:
        return dumped(value)
    except NotPortable as error:
        raise NotPortable(what, error.why, error.advice) from error
    except RecursionError as error:
        raise NotPortable(what, "it refers to itself") from error
    except Exception as error:
        raise NotPortable(what, f"that cannot be pickled ({error})", MAKE_THERE) from error


class _Pickler(pickle.Pickler):
    """Writes down functions by value where they have to be, and refuses what the other side would look for in vain."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType) and needed(value):
            return unpacked, (packed(value),)
        if isinstance(value, type) and value.__module__ == "__main__" and main_file() is None:
            raise NotPortable(value.__qualname__, f"the class {value.__qualname__} stands in this program alone")
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Finds what stands in the program in the program, whichever process it is in."""

    def __init__(self, data: io.BytesIO, file: str | None) -> None:
        super().__init__(data)
        self._main = file

    def find_class(self, module: str, name: str) -> Any:
        if module in _MAIN:
            return reduce(getattr, name.split("."), program_at(self._main))
        return super().find_class(module, name)


def _text(data: bytes) -> str:
    return base64.b85encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b85decode(text)
