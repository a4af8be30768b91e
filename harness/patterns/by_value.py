"""Functions that another process cannot import, as JSON: those of a notebook, of `python -c`, and lambdas.

A function takes along what it names of its module: other functions of it, modules by their names, and values that can
be pickled.  Code travels as the interpreter's own bytes, so both sides run the same Python.

>>> unpacked(packed(lambda number: number + 1))(2)
3
"""

from __future__ import annotations

import base64
import builtins
import importlib
import marshal
import pickle
import sys
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any


class NotPortable(TypeError):
    """A function that cannot be sent to another process."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why

    def __str__(self) -> str:
        return f"{self.name} cannot run in another process: {self.why}. Put it into a module that can be imported"


def needed(function: Callable[..., Any]) -> bool:
    """Whether no other process can import the function, although it is written in Python."""
    if not isinstance(function, FunctionType):
        return False
    module = sys.modules.get(function.__module__)
    if function.__module__ == "__main__" and getattr(module, "__file__", None) is None:
        return True
    return "<" in function.__qualname__


def packed(function: Callable[..., Any]) -> dict[str, Any]:
    """The function with all that it names; raises `NotPortable`."""
    if not isinstance(function, FunctionType):
        raise NotPortable(repr(function), "it is no function")
    names: dict[str, Any] = {}
    told = _told(function, names)
    return {"version": sys.hexversion, "main": told, "names": names}


def unpacked(told: dict[str, Any]) -> Callable[..., Any]:
    """The function again; raises `NotPortable` where it was made by another Python."""
    if told["version"] != sys.hexversion:
        raise NotPortable(told["main"]["name"], "this is another version of Python")
    names: dict[str, Any] = {"__builtins__": builtins, "__name__": "__main__"}
    for name, one in told["names"].items():
        if "module" in one:
            names[name] = importlib.import_module(one["module"])
        elif "pickled" in one:
            names[name] = pickle.loads(_bytes(one["pickled"]))  # noqa: S301  the same user's, as all of it
        else:
            names[name] = _made(one, names)
    return _made(told["main"], names)


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
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    more = (function.__defaults__, function.__kwdefaults__, cells)
    return {
        "name": function.__name__,
        "code": _text(marshal.dumps(function.__code__)),
        "more": _pickle(more, f"{function.__name__} holds on to {cells or 'its defaults'}"),
    }


def _made(told: dict[str, Any], names: dict[str, Any]) -> FunctionType:
    code = marshal.loads(_bytes(told["code"]))  # noqa: S302  as above
    defaults, named, cells = pickle.loads(_bytes(told["more"]))  # noqa: S301  as above
    function = FunctionType(code, names, told["name"], defaults, tuple(map(CellType, cells)) or None)
    function.__kwdefaults__ = named
    return function


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _pickle(value: Any, what: str) -> str:
    try:
        data = pickle.dumps(value)
    except Exception as error:
        raise NotPortable(what, f"that cannot be pickled ({error})") from error
    if getattr(type(value), "__module__", "") == "__main__":
        raise NotPortable(what, "its class stands in this program alone")
    return _text(data)


def _text(data: bytes) -> str:
    return base64.b85encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b85decode(text)
