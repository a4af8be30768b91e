"""The calls of one turn: together, in order where order counts, and never twice by accident."""

import json
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest

from prong.agents.calls import Calls
from prong.agents.conversation import Message
from prong.agents.slot import Slot
from prong.agents.tools.tool import Answer, Tool, ToolError
from prong.agents.tools.touch import changes, reads
from prong.state import Deposed, Invalid, waiter
from prong.state.secrets import without
from prong.state.ticket import Ticket


def touches(call):
    """What the input says: "+x" changes x, "x" reads it."""
    things = call.input.get("touches", [])
    return [changes(*thing[1:].split("/")) if thing[0] == "+" else reads(*thing.split("/")) for thing in things]


class Toolbox:
    def __init__(self, **runs):
        self.tools = {
            name: Tool(
                {"name": name},
                run,
                replay="again" if "again" in name else "uncertain",
                ordered="ordered" in name,
                instant=lambda _call, name=name: "instant" in name,
                touches=touches,
            )
            for name, run in runs.items()
        }
        self.ended = 0

    def begin_turn(self, turn):
        self.turn = turn

    def end_turn(self):
        self.ended += 1


class Work:
    def working(self):
        return nullcontext()


def turn(*names):
    """Calls by name; what one touches stands behind it: "note +a b"."""
    parts = [name.split() for name in names]
    blocks = [
        {"type": "tool_use", "id": f"call-{n}", "name": name, "input": {"touches": things}}
        for n, (name, *things) in enumerate(parts)
    ]
    return Message(1, "assistant", blocks)


def texts(results):
    return [(block["content"][0]["text"], block.get("is_error", False)) for block in results]


@pytest.fixture
def calls(claimed):
    member, task, _ = claimed()
    return lambda toolbox: Calls(member, task, toolbox, Work())


def test_calls_run_at_once_and_results_keep_their_order(calls):
    meeting = threading.Barrier(3, timeout=10)

    def meet(call):
        meeting.wait()
        return call.id

    assert texts(calls(Toolbox(meet=meet)).run(turn("meet", "meet", "meet"))) == [
        ("call-0", False),
        ("call-1", False),
        ("call-2", False),
    ]


def test_an_ordered_call_parts_those_before_it_from_those_behind_it(calls):
    order = []

    def note(call):
        order.append(call.name)
        return "noted"

    toolbox = Toolbox(first=note, ordered=note, last=note)
    calls(toolbox).run(turn("first", "first", "ordered", "last", "ordered"))
    assert order == ["first", "first", "ordered", "last", "ordered"]
    assert toolbox.ended == 1


def test_calls_that_touch_the_same_thing_keep_their_order_while_others_pass_them(calls):
    order = []
    passed = threading.Event()

    def note(call):
        order.append(call.id)
        return "noted"

    def slow(call):
        assert passed.wait(10)  # only the last call, which touches nothing of this, sets it
        return note(call)

    toolbox = Toolbox(slow=slow, note=note, last=lambda call: passed.set() or note(call))
    results = calls(toolbox).run(turn("slow +a/b", "note a/c", "note a", "note +a/b/c", "note +d", "last d"))
    assert texts(results) == [("noted", False)] * 6
    assert order.index("call-0") < order.index("call-2") < order.index("call-3")
    assert order.index("call-4") < order.index("call-5")
    assert order[3] == "call-0"
    assert sorted(order[4:]) == ["call-2", "call-3"]
    assert order.index("call-2") < order.index("call-3")


def test_an_answer_is_read_as_words_and_then_data(calls):
    toolbox = Toolbox(tell=lambda _call: Answer("Two.", {"n": 2, "é": None}))
    assert texts(calls(toolbox).run(turn("tell"))) == [('Two.\n{"n": 2, "é": null}', False)]


def test_a_refusal_is_a_result_that_the_model_reads(calls):
    def refuse(_call):
        raise ToolError("no such file; look with glob")

    def invalid(_call):
        raise Invalid("5 parties", "1 to 3")

    results = texts(calls(Toolbox(refuse=refuse, invalid=invalid)).run(turn("refuse", "invalid", "unknown")))
    assert results[0] == ("no such file; look with glob", True)
    assert results[1] == ("5 parties; use 1 to 3", True)
    assert results[2][1]
    assert "'unknown'" in results[2][0]
    assert "invalid, refuse" in results[2][0]


def test_a_broken_tool_ends_neither_the_turn_nor_the_agent(calls, capsys):
    def broken(_call):
        raise ZeroDivisionError

    results = texts(calls(Toolbox(broken=broken, fine=lambda _call: "")).run(turn("broken", "fine")))
    assert results == [("The tool broken broke (ZeroDivisionError). Try another way.", True), ("(no output)", False)]
    capsys.readouterr()


def test_an_agent_that_was_declared_dead_stops_at_once(calls):
    def deposed(_call):
        raise Deposed(1, 1, "it was silent")

    toolbox = Toolbox(deposed=deposed)
    with pytest.raises(Deposed):
        calls(toolbox).run(turn("deposed"))
    assert toolbox.ended == 1


def test_what_had_ended_before_a_restart_is_not_run_again(calls):
    ran = []
    toolbox = Toolbox(note=lambda call: ran.append(call.id) or "once")
    first = calls(toolbox).run(turn("note"))
    assert calls(toolbox).run(turn("note")) == first
    assert ran == ["call-0"]


def test_what_was_under_way_at_a_restart_is_left_to_the_model(calls):
    class Killed(BaseException):
        pass

    def die(_call):
        raise Killed

    with pytest.raises(Killed):
        calls(Toolbox(note=die)).run(turn("note"))
    [(text, is_error)] = texts(calls(Toolbox(note=lambda _call: "ran")).run(turn("note")))
    assert is_error
    assert "restarted" in text


def test_what_may_be_repeated_is_run_again_after_a_restart(calls):
    ran = []
    toolbox = Toolbox(again=lambda call: ran.append(call.id) or "read")
    calls(toolbox).run(turn("again"))
    calls(toolbox).run(turn("again"))
    assert ran == ["call-0", "call-0"]


def test_a_turn_that_was_cut_off_runs_nothing(calls):
    toolbox = Toolbox(note=lambda _call: pytest.fail("it ran"))
    [(text, is_error)] = texts(calls(toolbox).refuse(turn("note")))
    assert is_error
    assert "cut off" in text


def test_calls_that_wait_for_nobody_are_one_transaction_where_they_stand_side_by_side(calls, store):
    inside = []

    def note(call):
        inside.append((call.name, store.inside_atomic))
        return "noted"

    results = calls(Toolbox(instant_again=note, slow=note)).run(
        turn("instant_again +a", "instant_again +a", "slow a", "instant_again +a")
    )
    assert inside == [("instant_again", True), ("instant_again", True), ("slow", False), ("instant_again", False)]
    assert texts(results) == [("noted", False)] * 4


def test_a_call_that_is_refused_undoes_only_itself(calls, store, claimed):
    member, _, _ = claimed()

    def say(call):
        with member.transaction() as tx:
            tx.event("said", object=call.id)
            if call.id == "call-1":
                raise ToolError("not this one")
        return "said"

    results = calls(Toolbox(instant_again=say)).run(turn(*["instant_again"] * 3))
    assert texts(results) == [("said", False), ("not this one", True), ("said", False)]
    said = store.rows("select object from event where kind = 'said' order by seq")
    assert [row["object"] for row in said] == ["call-0", "call-2"]


def test_calls_that_are_one_transaction_get_a_slot_before_it_begins(claimed, store):
    """The agent is parked when they begin, because another call of the turn waits; nobody can wait inside of them."""
    member, task, fence = claimed()
    slot, parks, over, ended = Slot(store, member.me, fence), *(threading.Event() for _ in range(3))

    def waits(_call):
        with slot.parking(Ticket(0, "future", "x")):
            parks.set()
            assert over.wait(20)
        return "waited"

    def scheduler():
        while not ended.wait(0.002):
            with store.transaction(None) as tx:
                for row in waiter.line(tx, "slot", str(task)):
                    tx.execute("update task set state = 'running' where id = :task", task=task)
                    waiter.grant(tx, row["id"])

    toolbox = Toolbox(waits=waits, slow=lambda _call: str(parks.wait(20)), instant=lambda _call: over.set() or "put")
    grants = threading.Thread(target=scheduler)
    grants.start()
    try:
        results = Calls(member, task, toolbox, slot).run(turn("waits", "slow +x", "instant +x", "instant +x"))
    finally:
        ended.set()
        grants.join()
    assert texts(results) == [("waited", False), ("True", False), ("put", False), ("put", False)]


def test_a_call_that_has_to_wait_after_all_parts_those_that_would_be_one_transaction(calls, store, claimed):
    member, _, _ = claimed()

    def say(call):
        with member.transaction() as tx:
            tx.event("said", object=call.id, inside=store.inside_atomic)
        return "said"

    def ask(call):
        with member.transaction() as tx:
            tx.event("asked", object=call.id)
            if call.id == "call-1":
                ticket = waiter.enrol(tx, "approval", "1", timeout=0)
        if call.id == "call-1":
            waiter.wait(member, ticket)

    toolbox = Toolbox(instant_again=say)
    toolbox.tools["instant_again"] = replace(toolbox.tools["instant_again"], permit=ask)
    results = calls(toolbox).run(turn(*["instant_again"] * 4))
    assert texts(results) == [("said", False)] * 4
    said = store.rows("select object, data from event where kind = 'said' order by seq")
    assert [row["object"] for row in said] == ["call-0", "call-1", "call-2", "call-3"]
    assert [json.loads(row["data"])["inside"] for row in said] == [True, False, True, True]


def test_no_key_of_the_users_is_stored_or_sent(claimed, store):
    member, task, _ = claimed()

    def leaks(call):
        if call.id == "call-1":
            raise ToolError("it was hunter2hunter2")
        return "key=hunter2hunter2"

    hide = partial(without, secrets=["hunter2hunter2"])
    results = Calls(member, task, Toolbox(leaks=leaks), Work(), hide=hide).run(turn("leaks hunter2hunter2", "leaks"))
    assert texts(results) == [("key=[masked]", False), ("it was [masked]", True)]
    assert "hunter2" not in "".join(row["data"] for row in store.rows("select data from event"))
    assert "hunter2" not in str([dict(row) for row in store.rows("select * from tool_call")])


def test_no_key_stands_in_the_log_even_where_a_process_breaks():
    program = (
        "import structlog; from prong.agents import log; log.configure(secrets=['hunter2hunter2']);"
        "structlog.get_logger().info('x', said='hunter2hunter2'); raise ValueError('hunter2hunter2')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "hunter2" not in done.stderr.replace(repr(program), "")
    assert done.stderr.count("[masked]") >= 2
