"""The house: state <- primitives | agents <- harness, and nothing happens at import time."""

import ast
import subprocess
import sys

import pytest

from .checkout import ENVIRONMENT, PACKAGES, ROOT

MAY_IMPORT = {
    "state": {"state"},
    "primitives": {"primitives", "state"},
    "agents": {"agents", "state"},
    "harness": {"harness", "primitives", "agents", "state"},
}
SOURCES = {
    f"prong.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}".removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
PROGRAMS = sorted(path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))


def imported(source, module, *, is_package=False):
    """(line, dotted name) of everything that a module imports, wherever in it, or names in a string."""
    home = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home[: len(home) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            # `from prong import agents` and `from .. import agents` name the package behind the word import.
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = node.value.split(".")
            if parts[0] == "prong" and len(parts) > 1 and all(part.isidentifier() for part in parts):
                yield node.lineno, node.value


def wrong_arrows(source, module, **more):
    own = module.split(".")[1]
    for line, name in imported(source, module, **more):
        first, *rest = name.split(".")
        if first in PACKAGES:
            yield f"{module}:{line} imports {name}; import it as prong.{name}"
        elif first == "prong" and (rest[:1] or ["all of prong"])[0] not in MAY_IMPORT[own]:
            yield f"{module}:{line} imports {name}; {own} may import only {sorted(MAY_IMPORT[own])}"


def test_every_package_imports_only_what_lies_below_it():
    arrows = [
        arrow
        for module, path in SOURCES.items()
        for arrow in wrong_arrows(path.read_text("utf-8"), module, is_package=path.name == "__init__.py")
    ]
    assert arrows == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("prong.state.store", "import prong.primitives"),
        ("prong.state.store", "from prong.harness.cli.command import main"),
        ("prong.state.store", "from ..agents import model"),
        ("prong.state.store", "from .. import agents"),
        ("prong.state.store", "from prong import agents"),
        ("prong.state.store", "import prong"),
        ("prong.state.store", "import_module('prong.agents.model')"),
        ("prong.state.store", "def later():\n    import prong.primitives as p"),
        ("prong.state.store", "if TYPE_CHECKING:\n    from prong.primitives import Lock"),
        ("prong.primitives.lock", "from prong.agents import model"),
        ("prong.agents.tools.bash", "from ...primitives import Lock"),
        ("prong.agents.model", "from prong.harness import cli"),
        ("prong.harness.cli.command", "import state"),
        ("prong.harness.cli.command", "from agents.model import ask"),
    ],
)
def test_a_wrong_arrow_is_seen(module, source):
    assert len(list(wrong_arrows(source, module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("prong.state.store", "import json, prong.state.clock\nfrom . import clock\nfrom .clock import Clock"),
        ("prong.primitives.lock", "from ..state import Store\nfrom prong.primitives import values"),
        ("prong.agents.tools.bash", "from ..model import ask\nfrom ...state import Store\nimport statement"),
        ("prong.harness.cli.command", "import prong.state, prong.primitives, prong.agents\nfrom prong import harness"),
        ("prong.state.store", "'see prong.agents for more'\nfrom mcp import state"),
    ],
)
def test_a_right_arrow_is_let_through(module, source):
    assert list(wrong_arrows(source, module)) == []


def test_no_program_beside_the_packages_imports_them_by_their_flat_names():
    flat = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in PROGRAMS
        for line, name in imported(path.read_text("utf-8"), path.stem)
        if name.split(".")[0] in PACKAGES
    ]
    assert flat == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_tells_type_checkers_that_it_has_types(package):
    assert (ROOT / package / "py.typed").read_bytes() == b""


# Reads module names from its arguments.  Each is imported twice: all in one process that watches what imports do, then
# each as the first of its top package in a fork, which shows a module that can only be imported after another.  What a
# layer may import is there already, since none of it imports anything of the layer; and what a module's own packages
# import before it needs no fork.
WATCH = """
import gc, importlib, os, signal, sys, threading

DOES = ("fcntl.flock", "os.chdir", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.link",
        "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.spawn", "os.symlink",
        "os.system", "os.truncate", "os.unsetenv", "os.utime", "pty.spawn", "signal.pthread_kill", "socket.__new__",
        "socket.bind", "socket.connect", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen",
        "tempfile.mkdtemp", "tempfile.mkstemp", "urllib.Request")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
now, watching = None, True

def watch(event, arguments):
    if watching and (event in DOES or event == "open" and (arguments[2] or 0) & WRITES):
        print(f"{now} does at import: {event} {arguments}"[:300])

def profile(*_):
    sys.setprofile(None)
    print(f"{now} starts a thread at import: {threading.current_thread()}")

def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}

environment, before = dict(os.environ), handlers()
sys.addaudithook(watch)
threading.setprofile(profile)  # runs in every thread that starts
for now in sys.argv[1:]:
    importlib.import_module(now)
watching = False
if handlers() != before: print("signal handlers have changed")
if dict(os.environ) != environment: print("the environment has changed")

def first(names):
    while names:
        name = names[0]
        below = [one for one in names if one == name or one.startswith(name + ".")]
        names = names[len(below):]
        if name in sys.modules: first(below[1:])
        elif not os.fork():
            try:
                importlib.import_module(name)
                first(below[1:])
            except BaseException as error: print(f"{name} cannot be imported first: {type(error).__name__}: {error}")
            finally: sys.stdout.flush(); os._exit(0)
        else: os.wait()

ours = {name.split(".")[0] for name in sys.argv[1:]}
for name in [name for name in sys.modules if name.split(".")[0] in ours]: del sys.modules[name]
gc.disable()
for package in dict.fromkeys(tuple(name.split(".")[:2]) for name in sys.argv[1:]):
    layer = [name for name in sys.argv[1:] if tuple(name.split(".")[:2]) == package]
    gc.freeze()
    first(sorted(layer))
    for name in layer: importlib.import_module(name)
"""


def watch(*modules, where):
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", WATCH, *modules],
        env=ENVIRONMENT | {"PYTHONPATH": str(where)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.long
def test_nothing_happens_at_import_time():
    from_below = sorted(SOURCES, key=lambda module: len(MAY_IMPORT[module.split(".")[1]]))
    assert watch(*from_below, where=ROOT / ".src") == ""


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import threading; threading.Thread(target=int).start()", "starts a thread"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import os; open(os.devnull, 'w').close()", "open"),
        ("import sqlite3; sqlite3.connect(':memory:').close()", "sqlite3.connect"),
        ("import os; os.environ['A'] = 'b'", "environment has changed"),
        ("import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "signal handlers have changed"),
        ("print('hello')", "hello"),
        ("import warnings; warnings.warn('old')", "old"),
    ],
)
def test_what_happens_at_import_time_is_seen(source, seen, tmp_path):
    (tmp_path / "busy.py").write_text(source)
    assert seen in watch("busy", where=tmp_path)


def test_a_module_that_can_only_be_imported_after_another_is_seen(tmp_path):
    odd = tmp_path / "above/odd"
    odd.mkdir(parents=True)
    (odd / "early.py").write_text("import above.odd.late\nX = 1")
    (odd / "late.py").write_text("from above.odd.early import X")
    seen = watch("above.odd.late", "above.odd.early", where=tmp_path)
    assert seen.startswith("above.odd.early cannot be imported first: ImportError: ")
    assert seen.count("\n") == 1
