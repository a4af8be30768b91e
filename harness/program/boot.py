"""The first thing that runs in a program's process: it asks for the source, runs it, and says how it ended.

Hashes and random numbers are the same in each run, so that a program that is run again does the same again.
"""

from __future__ import annotations

import inspect
import linecache
import os
import random
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

from prong.harness.program import door, wire

WRONG_VERSION = 71


def main(descriptor: int) -> None:
    """Run the program that comes over the line with this descriptor; ends the process."""
    os.set_inheritable(descriptor, False)  # what the program starts has no business on it
    line = socket.socket(fileno=descriptor)
    line.sendall(wire.encode({"hello": wire.VERSION}))
    order = wire.receive(line)
    if order is None or order.get("go") != wire.VERSION:
        sys.exit(WRONG_VERSION)
    ours = door.open_door(line)
    code = _run(order)
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ours.end(code)
    sys.exit(code)


def _run(order: Mapping[str, Any]) -> int:
    """Run the source as `__main__`; its exit code."""
    name, source = order["name"], order["source"]
    random.seed(order["seed"])
    sys.argv = [name, *order["arguments"]]
    door.arguments[:] = order["arguments"]
    sys.path.append(str(Path.cwd()))  # last: a file in the workspace stands in nobody's way
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = ModuleType("__main__")
    module.__dict__["__file__"] = name
    sys.modules["__main__"] = module
    try:
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102  this is what we are for
    except SystemExit as error:
        return _code(error.code)
    except BaseException as error:  # noqa: BLE001  whatever it is, it ends the program and not us
        sys.stderr.write("".join(_told(error)))
        return 1
    return 0


def _code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _told(error: BaseException) -> list[str]:
    """The traceback without what lies above and below the program: us, and the way to the agent."""
    ours = str(Path(__file__).parent)
    told = traceback.TracebackException.from_exception(error)
    seen: set[int] = set()
    chain: list[traceback.TracebackException | None] = [told]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        own = [frame for frame in one.stack if not frame.filename.startswith((ours, "<frozen", "<string>"))]
        while own and own[-1].filename == inspect.getfile(Future):
            own.pop()
        one.stack = traceback.StackSummary.from_list(own)
        chain += [one.__cause__, one.__context__]
    return list(told.format())
