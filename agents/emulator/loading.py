"""Finding scripts: in a Python file, or among those that Prong brings along."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from prong.agents.emulator.journal import fingerprint
from prong.agents.emulator.script import Script

BUILTIN_MODULES = ("prong.agents.emulator.survey",)


class ScriptsNotFound(Exception):
    """There are no scripts where scripts were expected, or they cannot be loaded."""


def load_scripts(path: Path) -> tuple[Script, ...]:
    """Every `Script` at the top level of a Python file, in the order in which the file names them.

    Raises ScriptsNotFound where the file cannot be read, fails while it runs, or holds no script.
    """
    try:
        module = _run(path)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())  # One line, whatever the file raised.
        message = f"{path} cannot be loaded: {type(error).__name__}: {reason}"
        raise ScriptsNotFound(message) from error
    scripts = _scripts_of(vars(module).values())
    if not scripts:
        message = f"{path} has no script: put @script(r'^pattern') above a function from Request to Reply"
        raise ScriptsNotFound(message)
    _check_patterns(scripts, str(path))
    return scripts


def builtin_scripts() -> tuple[Script, ...]:
    """The scripts that Prong brings along.

    Raises ImportError where one of their modules is missing.
    """
    modules = [importlib.import_module(name) for name in BUILTIN_MODULES]
    scripts: tuple[Script, ...] = tuple(script for module in modules for script in module.SCRIPTS)
    _check_patterns(scripts, "the built-in scripts")
    return scripts


def builtin_script(name: str) -> Script:
    """The built-in script of this name; raises ScriptsNotFound with the names that there are."""
    scripts = builtin_scripts()
    for script in scripts:
        if script.name == name:
            return script
    message = f"no built-in script is called {name!r}; there is {', '.join(script.name for script in scripts)}"
    raise ScriptsNotFound(message)


def _run(path: Path) -> ModuleType:
    # Two files of the same name must not overwrite each other.
    name = f"prong_script_{path.stem}_{fingerprint(str(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = "it is no Python file"
        raise ImportError(message)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while it still runs.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _scripts_of(values: Iterable[object]) -> tuple[Script, ...]:
    scripts = {id(value): value for value in values if isinstance(value, Script)}
    return tuple(scripts.values())


def _check_patterns(scripts: Sequence[Script], place: str) -> None:
    for script in scripts:
        try:
            re.compile(script.match)
        except re.error as error:
            message = f"{place}: the pattern {script.match!r} of script {script.name!r} is wrong: {error}"
            raise ScriptsNotFound(message) from error
