"""What tests of the shared state have in common: a swarm of their own, a clock that stands still, stepped processes."""

import gc
import os
import shutil

import pytest
from hypothesis import settings

from prong.agents import sdk
from prong.primitives import Plan, create_task
from prong.state import FileClock, Store, join

from . import stepped

# On CI the same examples every time: a new one that fails is for whoever changes something, not for whoever comes by.
# And fewer, since they find nothing there that they have not found before.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=20)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

sdk.on_demand()  # every worker of the test run would read all of it, as agents do not


LONGEST = tuple(
    f"tests/{name}"
    for name in (
        "test_readme.py",
        "harness/test_control.py",
        "harness/test_swarm.py",
        "harness/test_approvals.py",
        "harness/patterns/",
        "harness/test_roles.py",
        "harness/plans/test_apply.py",
        "harness/test_merging_swarms.py",
        "harness/workers/",
        "harness/test_economics.py",
        "harness/test_programs.py",
        "harness/inspector/test_browser.py",
    )
)
"""Where tests take many seconds each: begun last, one of them would keep a worker when the others are done."""


def pytest_collection():
    gc.disable()


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items):
    """Each worker gets so many in a row to begin with: the longest files go to the workers in turn, and stand first."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first, rest = [[] for _ in range(workers)], []
    files = {}
    for item in items:
        if item.nodeid.startswith(LONGEST):
            first[files.setdefault(item.path, len(files)) % workers].append(item)
        else:
            rest.append(item)
    share = len(items) // workers
    ordered = []
    for long in first:
        more = max(0, share - len(long))
        ordered += long + rest[:more]
        del rest[:more]
    items[:] = ordered + rest


def pytest_collection_finish():
    """Thousands of tests are no garbage, and to look through them again and again takes long."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def directory(tmp_path):
    """Where the swarm lives."""
    return tmp_path / "swarm"


@pytest.fixture
def clock(tmp_path):
    """The time of all processes of the test."""
    return FileClock(tmp_path / "clock")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A database as it is made; copying it takes a quarter of the time."""
    folder = tmp_path_factory.mktemp("fresh")
    store = Store(folder, clock=FileClock(folder / "clock"))
    store.close()
    return store.path


@pytest.fixture
def store(directory, clock, fresh):
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(fresh, directory / fresh.name)
    store = Store(directory, clock=clock)
    yield store
    store.close()


@pytest.fixture
def member(store):
    """The test itself, as a member of the swarm."""
    return join(store, "test")


@pytest.fixture(scope="session")
def nest():
    nest = stepped.Nest()
    yield nest
    nest.close()


@pytest.fixture
def processes(nest, store, tmp_path):
    """Makes stepped processes; each acts on the object that its `target` makes: ("module", "Class", (…,), {…})."""
    made = []

    def fork(name, target=None):
        process = nest.fork(name, store.directory, tmp_path / "clock", target)
        made.append(process)
        process.agent = process.result()
        return process

    yield fork
    for process in made:
        process.close()


@pytest.fixture
def until():
    """Waits until a condition on the shared state holds: `until(lambda: …, "what never came")`."""
    return stepped.until


@pytest.fixture
def in_line(store):
    """Waits until so many wait for an object of a kind."""

    def in_line(kind, count=1):
        def waiting():
            rows = store.rows("select id from waiter where kind = :kind and state = 'waiting' order by id", kind=kind)
            return rows if len(rows) == count else None

        return stepped.until(waiting, f"{count} waiters of kind {kind}")

    return in_line


@pytest.fixture
def events(store):
    """The log so far, as (kind, object)."""

    def events(prefix=""):
        rows = store.rows("select kind, object from event where kind like :like order by seq", like=prefix + "%")
        return [(row["kind"], row["object"]) for row in rows]

    return events


@pytest.fixture
def do(store):
    """Runs one function in a transaction of the harness."""

    def do(function, *arguments, **options):
        with store.transaction(None) as tx:
            return function(tx, *arguments, **options)

    return do


@pytest.fixture
def make(do):
    """Makes a task that needs others; its number."""
    return lambda *needs, **how: do(create_task, Plan("work", "do it", needs=needs, **how))[0].id
