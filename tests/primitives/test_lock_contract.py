"""CPython's own tests of its locks, run on ours: every habit that `threading` gave people has to hold."""

import importlib
import itertools
import unittest

import pytest

from prong.primitives import Lock
from prong.primitives.rlock import RLock
from prong.state import Store, SystemClock, join
from prong.state.clock import wall_minus_monotonic

NOT_OURS = {
    "test_timeout": "no timeout is too long here: one of centuries counts as none, which test_lock tests",
    "test_at_fork_reinit": "a forked child becomes a member of its own, so that there is nothing to set anew",
}

try:
    lock_tests = importlib.import_module("test.lock_tests")
    LACKING = None
except ImportError as error:  # Debian ships Python without its tests
    lock_tests, LACKING = None, f"this Python lacks its own tests: {error}"


def cases():
    if lock_tests is None:
        return [pytest.param(None, None, None, marks=pytest.mark.skip(reason=LACKING))]
    found = []
    for kind, suite in ((Lock, "LockTests"), (RLock, "RLockTests")):
        for name in unittest.defaultTestLoader.getTestCaseNames(getattr(lock_tests, suite)):
            marks = [pytest.mark.skip(reason=NOT_OURS[name])] if name in NOT_OURS else []
            found.append(pytest.param(kind, suite, name, marks=marks, id=f"{suite}.{name}"))
    return found


@pytest.mark.parametrize(("kind", "suite", "name"), cases())
def test_cpythons_own(kind, suite, name, tmp_path):
    store = Store(tmp_path / "swarm", clock=SystemClock(wall_minus_monotonic()))
    member = join(store, "test")
    names = itertools.count(1)
    case = getattr(lock_tests, suite)(name)
    case.locktype = lambda: kind(member, f"lock {next(names)}")
    outcome = unittest.TestResult()
    case.run(outcome)
    store.close()
    for _, text in outcome.errors + outcome.failures:
        pytest.fail(text)
    assert outcome.testsRun == 1
    if outcome.skipped:
        pytest.skip(outcome.skipped[0][1])
