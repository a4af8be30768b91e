"""What tests of primitives have in common."""

import linecache
import sys
from contextlib import contextmanager

import pytest

from prong.primitives import holdings
from prong.state import Member, Membership, join
from prong.state.member import end, enlist


@pytest.fixture
def people(store):
    """Makes more members in the test's own process."""
    return lambda *names: [join(store, name) for name in names]


@pytest.fixture
def bury(store):
    """Declares a member or a stepped process dead, as the supervisor does when it hears of it."""

    def bury(who, task=None, reason="killed"):
        agent = who.agent if hasattr(who, "agent") else who.me.agent
        with store.transaction(None) as tx:
            return holdings.bury(tx, agent, state="dead", reason=reason, task=task)

    return bury


@pytest.fixture
def during():
    """A member that does something in the middle of its wait: as it falls asleep, or as it wakes."""

    def during(member, asleep=lambda: None, awake=lambda: None):
        @contextmanager
        def parking(_ticket):
            asleep()
            try:
                yield
            finally:
                awake()

        return Membership(member.store, member.me, parking)

    return during


@pytest.fixture
def interrupt():
    def interrupt():
        raise KeyboardInterrupt

    return interrupt


@pytest.fixture
def waiters(store):
    waiting = "select agent, state from waiter where state = 'waiting' order by id"
    return lambda: [tuple(row) for row in store.rows(waiting)]


class Interrupted(Exception):
    """Raised in the middle of a wait."""


@pytest.fixture
def interrupt_at():
    """Runs a call and raises `Interrupted` at the n-th line of ours that it comes to; whether it came that far."""

    def interrupt_at(n, call):
        left = n

        def trace(frame, event, _):
            nonlocal left
            code = frame.f_code
            ours = code.co_filename.endswith("state/waiter.py") or "/primitives/" in code.co_filename.split("prong")[-1]
            # Whoever is interrupted when the call is over, or has not begun, has nothing that the call could undo.
            if not ours or "/tests/" in code.co_filename or code.co_name in ("__init__", "__enter__", "__exit__"):
                return None
            if event == "line" and "Place(" not in linecache.getline(code.co_filename, frame.f_lineno):
                left -= 1
                if left == 0:
                    raise Interrupted
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        except Interrupted:
            return True
        finally:
            sys.settrace(before)
        return False

    return interrupt_at


@pytest.fixture
def dying():
    """The same member, but it dies as soon as it waits; what is said of it then is the test's business."""

    def dying(member):
        @contextmanager
        def parking(_ticket):
            with member.store.transaction(None) as tx:
                end(tx, member.me.agent, state="dead", reason="it died while it waited")
            yield

        return Membership(member.store, member.me, parking)

    return dying


@pytest.fixture
def agent(do):
    """The number of a new agent."""
    return lambda task=None: do(enlist, "agent", pid=None, task=task, state="running", lease_s=None)


@pytest.fixture
def under(store, agent):
    """A member that acts for a task."""
    return lambda task: Membership(store, Member(agent(task), 1, task))
