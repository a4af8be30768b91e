"""How calls, results and exceptions travel between processes.

    function     'module:qualname', where that leads back to it      else a pickle
    arguments    JSON, where that gives back the very same values    else a pickle
    result       JSON, as above                                      else a pickle
    exception    type, arguments, fields, text and traceback as JSON; for an executor a pickle as well

A pickle runs code in whoever reads it.  So does the name of a function.  A plain `Future` therefore reads JSON only: an
exception is made anew only of a type that this process has imported already.  Pickles stand in columns of their own,
which executors alone write and read, and they refuse a database that another user could have written to.
"""

from __future__ import annotations

import base64
import builtins
import json
import math
import os
import pickle
import stat
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from prong.primitives.errors import RemoteError, RemoteTraceback
from prong.state import StoreError

TEXT_CHARACTERS = 16_384
"""How much of what an exception says is kept, and of the end of its traceback four times as much."""

_LOADING = "__mp_main__ that is being loaded"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def is_exact(value: Any) -> bool:
    """Whether JSON gives back the very same value, types and all.

    >>> is_exact({"a": [1, None]}), is_exact((1, 2)), is_exact({1: 2})
    (True, False, False)
    """
    try:
        return _same(value) and bool(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):  # too many digits, a lone surrogate, a circle
        return False


def _same(value: Any) -> bool:
    kind = type(value)
    if kind is list:
        return all(map(_same, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_same, value.values()))
    return value is None or kind in (str, int, bool) or (kind is float and math.isfinite(value))


def described(error: BaseException | type[BaseException]) -> dict[str, Any]:
    """An exception as JSON, with its traceback if it has one.

    >>> described(KeyError("a"))
    {'type': 'builtins:KeyError', 'args': ['a'], 'text': "'a'"}
    """
    if isinstance(error, type):
        return {"type": _name(error), "args": [], "text": ""}
    text = _clean(_said(error))[:TEXT_CHARACTERS]
    arguments, fields = list(error.args), dict(error.__dict__)
    exact = is_exact(arguments) and len(json.dumps(arguments)) <= TEXT_CHARACTERS
    description: dict[str, Any] = {"type": _name(type(error)), "args": arguments if exact else [text], "text": text}
    if fields and is_exact(fields) and len(json.dumps(fields)) <= TEXT_CHARACTERS:
        description["fields"] = fields
    if error.__traceback__ is not None or error.__cause__ is not None:
        lines = traceback.format_exception(error)
        description["traceback"] = _clean("".join(lines))[-4 * TEXT_CHARACTERS :]
    return description


def rebuilt(description: Mapping[str, Any]) -> BaseException:
    """The exception that was described; a `RemoteError` where its type is not one that this process knows.

    >>> rebuilt({"type": "builtins:KeyError", "args": ["a"], "text": "'a'"})
    KeyError('a')
    >>> rebuilt({"type": "os:system", "args": ["true"], "text": "no"})
    RemoteError('os:system', 'no')
    """
    try:
        error = _made(str(description["type"]), list(description["args"]), dict(description.get("fields", {})))
    except Exception:  # noqa: BLE001  whatever the constructor of a foreign type raises
        error = RemoteError(str(description.get("type")), str(description.get("text")))
        error.args = (error.type_name, error.text)
    if description.get("traceback"):
        error.__cause__ = RemoteTraceback(str(description["traceback"]))
    return error


def _made(name: str, arguments: list[Any], fields: dict[str, Any]) -> BaseException:
    module, _, path = name.partition(":")
    # Importing would run whatever the database names, so only what is there already will do.
    kind = reduce(getattr, path.split("."), sys.modules[module])
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise TypeError(name)
    # The interpreter's own types need their constructor, which is known to be harmless; others are not run.
    error: BaseException = kind(*arguments) if module == builtins.__name__ else kind.__new__(kind, *arguments)
    error.args = error.args if module == builtins.__name__ else tuple(arguments)
    error.__dict__.update(fields)
    return error


def call_of(function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """A call as JSON; raises whatever pickling raises where it cannot travel.

    >>> call_of(pow, [2, 3], {})
    {'function': 'builtins:pow', 'args': [2, 3], 'named': {}}
    """
    reference = reference_of(function)
    if reference is not None and is_exact(list(arguments)) and is_exact(dict(named)):
        call = {"function": reference, "args": list(arguments), "named": dict(named)}
        main = getattr(sys.modules["__main__"], "__file__", None)
        return call | {"main": str(Path(main).resolve())} if reference.startswith("__main__:") and main else call
    return {"pickled": packed((function, tuple(arguments), dict(named)))}


def reference_of(function: Any) -> str | None:
    """'module:qualname', if that leads back to the function.

    >>> reference_of(len), reference_of(lambda: 0)
    ('builtins:len', None)
    """
    name = f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', None)}"
    try:
        return name if _found(name) is function else None
    except (AttributeError, ImportError, ValueError):
        return None


def resolved(call: Mapping[str, Any], path: Path) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
    """The function and the arguments of a call that came through the database at `path`."""
    refuse_foreign(path)
    if "pickled" in call:
        function, arguments, named = unpacked(call["pickled"], path)
        return function, arguments, named
    return _found(call["function"], call.get("main")), call["args"], call["named"]


def _found(name: str, main: str | None = None) -> Any:
    module, _, path = name.partition(":")
    if module == "__main__":
        return reduce(getattr, path.split("."), program_at(main))
    __import__(module)
    return reduce(getattr, path.split("."), sys.modules[module])


def program_at(file: str | None) -> Any:
    """The program that a function is part of: this one, or else that one as a module, as multiprocessing loads it."""
    here = sys.modules["__main__"]
    if file is None or str(Path(getattr(here, "__file__", None) or "").resolve()) == file:
        return here
    import runpy  # noqa: PLC0415  only a worker of another program needs it
    from types import ModuleType  # noqa: PLC0415  as above

    name = f"__mp_main__ {file}"
    if name not in sys.modules:
        program = ModuleType(name)
        sys.modules[_LOADING] = program
        try:
            program.__dict__.update(runpy.run_path(file, run_name="__mp_main__"))
        finally:
            sys.modules.pop(_LOADING, None)
        # By this name its classes know it, so that what is made of them can be pickled here.
        sys.modules[name] = sys.modules["__mp_main__"] = program
    return sys.modules[name]


class Unguarded(RuntimeError):
    """A program that begins its work while it is loaded for one of its functions."""


def refuse_while_loading() -> None:
    """Raise `Unguarded` where this process loads a program for a function of it: its work must not begin."""
    program = sys.modules.get(_LOADING)
    if program is not None:
        file = program.__name__.removeprefix("__mp_main__ ")
        raise Unguarded(
            f"each process that runs a function of {file} imports it, and it then begins its work again; what it does,"
            ' but for its imports, functions and classes, belongs under `if __name__ == "__main__":`'
        )


def is_loading() -> bool:
    """Whether this process loads a program for a function of it."""
    return _LOADING in sys.modules


def packed(value: Any) -> str:
    """A pickle as text."""
    return base64.b85encode(pickle.dumps(value)).decode()


def unpacked(text: str, path: Path) -> Any:
    """What was pickled into the database at `path`; refused where another user could have done it."""
    refuse_foreign(path)
    return pickle.loads(base64.b85decode(text))  # noqa: S301  the same user's, see above


def refuse_foreign(path: Path) -> None:
    """Raise `StoreError` where others than this user or root can write to the database, and so could have code run."""
    for place in (path, path.parent):
        found = place.stat()
        mine = found.st_uid in (os.geteuid(), 0)
        shared = found.st_mode & (_WRITABLE_BY_OTHERS if place is path else stat.S_IWOTH)
        if not mine or (shared and not found.st_mode & stat.S_ISVTX):
            raise StoreError(
                str(place),
                "other users can write here, and what an executor reads here is run",
                "Make it yours alone, or use another place.",
            )


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  a broken __str__ must not hide the failure
        return f"<{type(error).__name__} that cannot tell what it is>"


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
