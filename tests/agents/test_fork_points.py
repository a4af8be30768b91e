"""The fork point's row: who leads, what is lost, who writes the summary; and what a damaged prefix stops."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
from tests.stepped import until

from prong.agents import brief, fork_point
from prong.agents.calls import Calls
from prong.agents.conversation import Conversation, child_results, insert, load, prefix_hash
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.fork_point import CacheLost
from prong.agents.loop import Agent
from prong.agents.model import Endpoint, Model
from prong.harness.keeping import Keeper

from .test_loop import NOTE, SCRIPTS, Notes, Work

MODEL = "claude-opus-5-5"
LONG = "What everybody has to know. " * 4_000
"""Some 28,000 tokens: a prefix that is worth a scout."""


@pytest.fixture
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        yield emulator


def forget(emulator):
    """Another emulator at the same address, which remembers nothing."""
    os.kill(emulator.pid, signal.SIGKILL)
    until(emulator.revive, "a new emulator")


@pytest.fixture
def family(claimed, store, emulator):
    """A parent that has made forks from its first turn, and what makes the agent of each."""

    def agent(member, task, fence, system=LONG, **how):
        return Agent(
            member, Conversation(member, task, fence), model=Model(Endpoint(MODEL, emulator.url, "key"), store.clock),
            calls=Calls(member, task, Notes(), Work()), system=[{"type": "text", "text": system}], tools=[NOTE], **how,
        )  # fmt: skip

    member, parent, fence = claimed("think")
    Conversation(member, parent, fence).say("user", [{"type": "text", "text": "think"}])
    first = agent(member, parent, fence)
    first.step()
    turn = first._conversation.last
    with store.transaction(None) as tx:
        fork_point.declare(tx, turn.id, prefix_hash(MODEL, first._system, [NOTE], first._conversation.messages))

    def child(**how):
        mine, task, held = claimed("part", fork_point=turn.id, context="fork")
        call = turn.tool_uses()[0]["id"]
        with store.transaction(None) as tx:
            head = insert(tx, parent=turn.id, role="user", content=child_results(turn, call, "part"), task=task)
            tx.execute("update task set head = :head where id = :task", head=head, task=task)
        return lambda: agent(mine, task, held, **how)

    return turn, child, (member, parent, fence)


def test_a_fork_whose_beginning_is_another_is_held_before_it_has_cost_anything(family, store):
    turn, child, _ = family
    broken, whole = child(system="Something else."), child()
    with pytest.raises(CacheLost, match="not what its parent had sent"):
        broken().step()
    with pytest.raises(CacheLost):
        whole().step()
    assert store.row("select count(*) as n from model_call where task > 1")["n"] == 0
    stopped = store.rows("select data from event where kind = 'fork.stopped'")
    assert len(stopped) == 1
    assert json.loads(stopped[0]["data"])["children_held"] == 2
    assert store.row("select state from fork_point where message = :m", m=turn.id)["state"] == "lost"
    with store.transaction(None) as tx:
        tx.execute("update task set pays = 1 where id = 3")
    whole().step()
    assert store.row("select cache_read_tokens as n from model_call where task = 3")["n"] > 20_000


def test_a_cache_that_was_lost_in_between_is_found_before_anybody_has_paid_for_a_turn(family, store, emulator):
    _, child, _ = family
    children = [child() for _ in range(4)]
    forget(emulator)
    for held in children:
        with pytest.raises(CacheLost, match="the first child read 0 of"):
            held().step()
    (call,) = store.rows("select message, output_tokens from model_call where task > 1")
    assert (call["message"], call["output_tokens"]) == (None, 0)
    lost = json.loads(store.row("select data from event where kind = 'cache.lost'")["data"])
    stopped = json.loads(store.row("select data from event where kind = 'fork.stopped'")["data"])
    assert lost["lost_usd"] == pytest.approx(stopped["lost_usd"])
    assert stopped["children_held"] == 4


def test_a_child_that_leads_because_its_parent_waits_goes_on_and_its_siblings_stop(family, store, emulator):
    _, child, (_, parent, _) = family
    children = [child() for _ in range(4)]
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'parked' where id = :parent", parent=parent)
    forget(emulator)
    children[0]().step()
    for held in children[1:]:
        with pytest.raises(CacheLost, match="the first child read 0 of"):
            held().step()
    assert store.row("select count(*) as n from model_call where task > 1")["n"] == 1
    stopped = json.loads(store.row("select data from event where kind = 'fork.stopped'")["data"])
    assert stopped["children_held"] == 3


def test_children_that_may_go_on_pay_and_say_so(family, store, emulator):
    _, child, _ = family
    children = [child(stops_on_lost_cache=False) for _ in range(3)]
    forget(emulator)
    for one in children:
        one().step()
    assert store.row("select count(*) as n from event where kind = 'cache.lost'")["n"] == 1
    assert store.row("select count(*) as n from event where kind = 'fork.stopped'")["n"] == 0


def test_one_child_reads_the_prefix_before_the_others_and_all_of_them_read_all_of_it(family, store):
    turn, child, _ = family
    for one in [child() for _ in range(4)]:
        one().step()
    rows = store.rows(
        "select cache_read_tokens as n, prefix_tokens from model_call"
        " where prefix_tokens is not null and message is not null"
    )
    assert len(rows) == 4
    assert sum(max(0, row["prefix_tokens"] - row["n"]) for row in rows) < 200
    assert store.row("select proved from fork_point where message = :m", m=turn.id)["proved"] == 1


def test_a_summary_is_written_once_and_by_another_where_its_maker_dies(family, store, claimed):
    turn, _, _ = family
    first, *_ = claimed("one", brief_of=turn.id, context="brief")
    second, *_ = claimed("two", brief_of=turn.id, context="brief")
    assert fork_point.begin_brief_or_wait(first, turn.id) is None
    with store.transaction(None) as tx:
        tx.execute("update agent set ended_at = :now where id = :agent", now=tx.now, agent=first.me.agent)
        fork_point.abandon(tx, first.me.agent)
    assert fork_point.begin_brief_or_wait(second, turn.id) is None
    with second.transaction() as tx:
        fork_point.end_brief(tx, turn.id, "what is where")
    assert fork_point.begin_brief_or_wait(second, turn.id) == "what is where"


def test_a_summary_is_asked_for_with_the_parents_bytes_and_counted_for_the_child(family, store):
    turn, child, _ = family
    asks = child()()
    line = load(store, turn.id)
    wanted = brief.request(asks._system, asks._tools, line)
    assert [message.wire() for message in wanted.messages[:-1]] == [message.wire() for message in line]
    assert {block["type"] for block in wanted.messages[-1].content} == {"tool_result", "text"}
    text = brief.write(asks._member, asks, wanted)
    assert text
    call = store.row("select task, message, cache_read_tokens from model_call order by id desc limit 1")
    assert (call["message"], call["task"]) == (None, asks._conversation.task)
    assert call["cache_read_tokens"] > 20_000
    assert store.row("select brief from fork_point where message = :m", m=turn.id)["brief"] == text


def expires_in(store, seconds):
    with store.transaction(None) as tx:
        tx.execute("update fork_point set kept_until = :at", at=tx.now + seconds)


def waits_for_a_slot(store):
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'blocked' where fork_point is not null")


def keeper(store, asks):
    common = SimpleNamespace(system=asks._system, model_named=lambda _: asks._model)
    return Keeper(store, lambda: (common, asks._tools))


def test_a_prefix_that_is_about_to_go_is_kept_while_that_pays_for_children_to_come(family, store):
    turn, child, _ = family
    asks = child()()
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'blocked' where fork_point = :m", m=turn.id)
    one = keeper(store, asks)
    one.look()  # it will not go for long
    for kept in (1, 2):
        expires_in(store, 10)
        one.look()
        row = store.row("select kept_calls, kept_until from fork_point")
        assert row["kept_calls"] == kept
        assert row["kept_until"] > store.clock.now() + 200
    calls = store.rows("select * from model_call where keeps = :m", m=turn.id)
    assert len(calls) == 2
    assert all(call["cache_read_tokens"] > 20_000 and call["message"] is None for call in calls)
    told = [json.loads(row["data"]) for row in store.rows("select data from event where kind = 'cache.kept'")]
    assert [one["calls"] for one in told] == [1, 2]
    assert told[0]["usd"] > 0
    assert "less than writing" in told[0]["reason"]
    assert store.rows("select 1 from agent where name = 'cache keeper' and ended_at is null") == []
    assert store.rows("select 1 from reservation") == []
    with store.transaction(None) as tx:  # as much was spent on it as writing costs
        tx.execute("update fork_point set kept_calls = 30")
    expires_in(store, 10)
    one.look()
    one.look()
    (left,) = store.rows("select data from event where kind = 'cache.left'")
    assert "more than" in json.loads(left["data"])["reason"]
    assert len(store.rows("select 1 from model_call where keeps is not null")) == 2


def test_a_prefix_that_was_not_there_any_more_is_not_paid_for_again_and_again(family, store, emulator):
    turn, child, _ = family
    one = keeper(store, child()())
    waits_for_a_slot(store)
    for _ in range(3):
        forget(emulator)
        expires_in(store, 10)
        one.look()
    (call,) = store.rows("select * from model_call where keeps = :m", m=turn.id)
    assert call["cache_read_tokens"] == 0
    left, *_ = store.rows("select data from event where kind = 'cache.left'")
    assert "more than" in json.loads(left["data"])["reason"]


def test_an_endpoint_that_does_not_answer_holds_up_neither_the_keeper_nor_the_budget(family, store, emulator):
    turn, child, _ = family
    one = keeper(store, child()())
    waits_for_a_slot(store)
    os.kill(emulator.pid, signal.SIGKILL)
    expires_in(store, 10)
    one.look()  # it would be asked for half an hour
    (left,) = store.rows("select data from event where kind = 'cache.left'")
    assert "not asked a second time" in json.loads(left["data"])["reason"]
    assert (
        store.rows("select 1 from reservation") == store.rows("select 1 from model_call where keeps is not null") == []
    )
    assert store.row("select kept_calls as n from fork_point where message = :m", m=turn.id)["n"] == 0


def test_what_nobody_will_read_is_not_kept(family, store):
    _, child, _ = family
    one = keeper(store, child()())
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'done' where fork_point is not null")
    expires_in(store, 10)
    one.look()
    assert store.rows("select 1 from event where kind in ('cache.kept', 'cache.left')") == []


def test_the_fork_point_is_written_for_an_hour_where_all_its_children_wait_for_long_work(family, store, claimed):
    turn, child, (parent, _, _) = family
    begun = child()
    _, long_task, _ = claimed("long work")
    with store.transaction(None) as tx:
        (one,) = tx.rows("select id from task where fork_point = :m", m=turn.id)
        tx.execute("update task set state = 'blocked' where id = :id", id=one["id"])
        tx.execute("update task set estimate_s = 1800 where id = :id", id=long_task)
        tx.execute("insert into task_need (task, need) values (:task, :need)", task=one["id"], need=long_task)
    assert fork_point.lead_or_wait(parent, turn.id, child=None) == "lead"
    fork_point.warmed(parent, turn.id, read=20_000, child=None)
    (told,) = store.rows("select data from event where kind = 'fork.for_an_hour'")
    assert "start late" in json.loads(told["data"])["reason"]
    row = store.row("select lifetime, kept_until from fork_point")
    assert row["lifetime"] == "1h"
    assert row["kept_until"] > store.clock.now() + 3_000
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'running' where id = :id", id=one["id"])
    begun().step()  # nobody has really asked yet, so this request writes what stands behind its parent's
    call = store.row("select * from model_call where task = :id", id=one["id"])
    assert 0 < call["cache_write_1h_tokens"] < call["cache_write_tokens"]
    assert call["cache_read_tokens"] > 20_000
