"""One connection, without a transport: what is done once, what is given back, what is forgotten."""

import psutil
import pytest
from tests.harness.swarming import eventually

from prong.harness.mcp import session as sessions
from prong.harness.mcp.session import Session
from prong.state import Store


@pytest.fixture
def place(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def join(place):
    made = []

    def joined(name, **options):
        made.append(Session(place, name, **options))
        return made[-1]

    yield joined
    for one in made:
        one.close()


def ask(session, tool, call_id=None, **given):
    told = session.call(tool, given, call_id).outcome.result(60)
    assert not told.is_error, told.text
    return told.data


def waits(place):
    return Store(place).rows("select count(*) as n from waiter where state = 'waiting'")[0]["n"]


CALLS = [
    ("atomic", {"op": "add", "name": "n", "value": 1}),
    ("shared_map", {"op": "add", "map": "m", "key": "k", "value": 1}),
    ("shared_list", {"op": "append", "list": "l", "value": 1}),
    ("message_queue", {"op": "put", "queue": "q", "message": 1}),
    ("create_task", {"title": "t", "prompt": "p"}),
    ("lock", {"op": "acquire", "name": "a"}),
    ("semaphore", {"op": "acquire", "name": "s", "permits": 3}),
]


@pytest.mark.parametrize(("tool", "given"), CALLS, ids=[tool for tool, _ in CALLS])
def test_a_call_that_is_repeated_after_it_was_forgotten_is_not_made_twice(join, place, tool, given):
    ada = join("ada")
    first = ask(ada, tool, "call 1", **given)
    ada._calls.clear()  # as after a thousand other calls
    assert ask(ada, tool, "call 1", **given) == first
    store = Store(place)
    counts = {
        "atomic": "select value as n from atomic",
        "shared_map": "select value as n from map_entry",
        "shared_list": "select length as n from list",
        "message_queue": "select count(*) as n from queue_message",
        "create_task": "select count(*) as n from task",
        "lock": "select fence as n from lock",
        "semaphore": "select count(*) as n from permit",
    }
    assert int(store.rows(counts[tool])[0]["n"]) == 1


def test_memory_is_bounded(join):
    ada = join("ada")
    for n in range(sessions.REMEMBERED + 20):
        ada.call("nothing", {}, str(n)).outcome.result(60)
    assert len(ada._calls) == sessions.REMEMBERED


def test_the_same_process_is_known_again_by_a_new_server(join):
    own = psutil.Process()
    ask(join("ada", process=own), "atomic", "call 1", op="add", name="n", value=1)
    assert ask(join("ada", process=own), "atomic", "call 1", op="add", name="n", value=1)["new"] == 1
    assert ask(join("bob", process=own), "atomic", "call 1", op="add", name="n", value=1)["new"] == 2
    assert ask(join("ada"), "atomic", "call 1", op="add", name="n", value=1)["new"] == 3


def test_what_was_read_is_dealt_with_by_the_next_get_and_else_goes_back(join, place):
    ada, bob = join("ada"), join("bob")
    for n in range(3):
        ask(ada, "message_queue", op="put", queue="q", message=n)
    get = {"op": "get", "queue": "q", "timeout": 0}
    assert ask(ada, "message_queue", **get)["messages"][0]["message"] == 0
    assert ask(ada, "message_queue", **get)["messages"][0]["message"] == 1
    ada.close("killed")
    read = [ask(bob, "message_queue", **get)["messages"][0]["message"] for _ in range(2)]
    assert read == [1, 2], "what ada had not dealt with comes again, at its old place"
    assert ask(bob, "message_queue", op="done", queue="q") == {"queue": "q", "done": 1}
    bob.close()
    assert not Store(place).rows("select id from queue_message")


def abandoned(join, place, tool, given, meanwhile):
    """A call of ada's that waits, is granted by what bob does meanwhile, and that nobody asks about any more."""
    ada = join("ada")
    call = ada.call(tool, given)
    eventually(lambda: waits(place), "ada waits")
    ada.ticket(call)
    seen = call.looked_at
    meanwhile()
    assert not call.outcome.result(60).is_error
    ada.abandon(call, seen)
    return ada


def test_a_lock_that_nobody_asks_about_any_more_goes_to_the_next(join, place):
    bob = join("bob")
    ask(bob, "lock", op="acquire", name="a")
    release = {"op": "release", "name": "a"}
    abandoned(join, place, "lock", {"op": "acquire", "name": "a"}, lambda: ask(bob, "lock", **release))
    assert ask(bob, "lock", op="acquire", name="a", timeout=0)["fence"] == 3


def test_a_task_that_nobody_asks_about_any_more_is_ready_again(join, place):
    bob = join("bob")
    create = {"title": "t", "prompt": "p"}
    abandoned(join, place, "claim_task", {}, lambda: ask(bob, "create_task", **create))
    assert ask(bob, "claim_task", timeout=0)["fence"] == 3


def test_a_message_that_nobody_asks_about_any_more_is_read_by_others(join, place):
    bob = join("bob")
    put = {"op": "put", "queue": "q", "message": "m"}
    abandoned(join, place, "message_queue", {"op": "get", "queue": "q"}, lambda: ask(bob, "message_queue", **put))
    assert ask(bob, "message_queue", op="get", queue="q", timeout=0)["messages"][0]["message"] == "m"


def test_who_asks_again_keeps_what_it_got(join, place):
    bob, ada = join("bob"), join("ada")
    ask(bob, "lock", op="acquire", name="a")
    call = ada.call("lock", {"op": "acquire", "name": "a"})
    eventually(lambda: waits(place), "ada waits")
    ada.ticket(call)
    seen = call.looked_at
    ask(bob, "lock", op="release", name="a")
    call.outcome.result(60)
    assert ask(ada, "lock", op="acquire", name="a")["fence"] == 2
    ada.abandon(call, seen)
    assert ask(ada, "lock", op="status", name="a")["holder"] == "ada"


def test_a_wait_that_nobody_asks_about_any_more_leaves_the_line(join, place):
    bob, ada = join("bob"), join("ada")
    ask(bob, "lock", op="acquire", name="a")
    call = ada.call("lock", {"op": "acquire", "name": "a"})
    eventually(lambda: waits(place), "ada waits")
    ada.ticket(call)
    ada.abandon(call, call.looked_at)
    assert call.outcome.result(60).is_error
    assert not waits(place)
