"""The examples in docstrings are true, and nothing that a user of the primitives calls goes without a word.

An example finds the name `swarm`: a member named ada of a new file that nobody else has joined, in an empty directory.
"""

import contextlib
import dataclasses
import doctest
import importlib
import inspect

import pytest

from prong import primitives
from prong.primitives import join

from .test_layers import SOURCES

WITH_EXAMPLES = [name for name, path in SOURCES.items() if ">>> " in path.read_text("utf-8")]
PUBLIC = {name: getattr(primitives, name) for name in primitives.__all__}
CLASSES = {name: one for name, one in PUBLIC.items() if inspect.isclass(one)}


@pytest.fixture
def elsewhere(tmp_path):
    with contextlib.chdir(tmp_path):
        yield tmp_path


def examples(text):
    return doctest.DocTestParser().get_examples(text or "")


def is_ours(function):
    return (getattr(function, "__module__", None) or "").startswith("prong.")


def methods(kind):
    """(name, function) of what a user calls of a class: public, and of our own making."""
    for name in dir(kind):
        found = inspect.getattr_static(kind, name)
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isroutine(function) and is_ours(function):
            yield name, function


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_in_docstrings_are_true(module, elsewhere):
    for number, test in enumerate(doctest.DocTestFinder().find(importlib.import_module(module))):
        with join(elsewhere / f"{number}.db", "ada") as swarm:
            told = []
            test.globs = {**test.globs, "swarm": swarm}
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            assert runner.run(test, out=told.append).failed == 0, "".join(told)


def test_everything_that_a_user_calls_says_what_it_does():
    silent = [name for name, one in PUBLIC.items() if not inspect.cleandoc(one.__doc__ or "")]
    silent += [
        f"{name}.{called}"
        for name, kind in CLASSES.items()
        for called, function in methods(kind)
        if not inspect.cleandoc(function.__doc__ or "")
    ]
    assert silent == []


def test_every_class_and_every_function_shows_how_it_is_used():
    # A record and an error are what other examples show.
    silent = [
        name
        for name, one in PUBLIC.items()
        if not (inspect.isclass(one) and (issubclass(one, Exception) or dataclasses.is_dataclass(one)))
        and not examples(one.__doc__)
    ]
    assert silent == []


def test_every_primitive_is_made_by_a_swarm():
    made = {name for name, _ in methods(primitives.Swarm) if name[0].isupper()}
    others = {"Swarm"}
    primitive = {
        name
        for name, kind in CLASSES.items()
        if not issubclass(kind, Exception) and not dataclasses.is_dataclass(kind) and name not in others
    }
    assert made == primitive
