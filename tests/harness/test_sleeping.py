"""Agents asleep: a wait outlives the process that began it, and its call returns what came of it, whatever that is."""

import pytest

from prong.agents import conversation
from prong.agents.calls import Calls
from prong.agents.conversation import Message
from prong.agents.slot import Slot
from prong.harness import sleeping
from prong.harness.dispatch import Dispatcher
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import (
    Barrier,
    BrokenBarrier,
    Event,
    Future,
    Lock,
    MessageQueue,
    Plan,
    Semaphore,
    SharedList,
    SharedMap,
    create_task,
    watch,
)
from prong.primitives import task as tasks
from prong.primitives.holdings import ASLEEP_S
from prong.state import Deposed, Member, Membership, join, process
from prong.state.calling import Calling


class Toolbox:
    """The tools of the primitives for one process of an agent."""

    def __init__(self, member):
        self._primitives = PrimitiveTools(member, siblings=None)
        self.tools = {tool.name: tool for tool in self._primitives.tools()}

    def begin_turn(self, turn):
        pass

    def end_turn(self):
        self._primitives.end_turn()


def work(here, order, turn, content):
    """What an agent's process does with a turn: run its calls; the texts of their results."""
    me = Member(order["agent"], order["incarnation"], order["task"])
    slot = Slot(here.store, me, order["fence"])
    member = Membership(here.store, me, slot.parking)
    member.calling = Calling(here.store, me.agent)
    with member.transaction() as tx:
        tx.execute("update agent set state = 'running' where id = :agent", agent=me.agent)
    found = Calls(member, me.task, Toolbox(member), slot).run(Message(turn, "assistant", content))
    return [block["content"][0]["text"] for block in found]


class Sleeper:
    """One agent in one slot, and the rounds of a dispatcher that lets no process wait."""

    def __init__(self, store, processes, until):
        self.store = store
        self.rounds = Dispatcher(store, slots=1, parked=0)
        self._processes = processes
        self._until = until
        with store.transaction(None) as tx:
            self.task = create_task(tx, Plan("waits", "Wait."))[0].id
        (self.order,) = self.rounds.round().forks
        self.agent = self.order["agent"]

    def falls_asleep(self, *calls, waits=1):
        """Begin a turn of these calls in a process, and end that process when so many of them wait."""
        self._content = [
            {"type": "tool_use", "id": f"toolu_{place}", "name": name, "input": given}
            for place, (name, given) in enumerate(calls)
        ]
        with self.store.transaction(None) as tx:
            self._turn = conversation.insert(tx, parent=None, role="assistant", content=self._content, task=self.task)
        self._sleeps(self._processes("first"), waits)

    def sleeps_again(self):
        """Wake in a new process, which comes to another wait."""
        (self.order,) = self.rounds.round().forks
        self._sleeps(self._processes("another"), 1)

    def _sleeps(self, process, waits):
        process.start_running(work, dict(self.order), self._turn, self._content)
        self.rounds.parked = 1
        self._until(lambda: self._waits(waits), "a wait")
        self._set_pid(process.pid)
        self.rounds.parked = 0
        self._until(lambda: self.rounds.round().sleeps == (self.agent,), "a sleep")
        process.kill()
        self._set_pid(None)
        assert self.rounds.round().forks == ()

    def wakes(self):
        """The results of the turn, once a new process has run its calls again."""
        (self.order,) = self.rounds.round().forks
        return self._processes("next").run(work, dict(self.order), self._turn, self._content)

    def _waits(self, count):
        self.rounds.round()  # a call that begins while another waits needs the slot again
        waiting = self.store.rows("select 1 from waiter where state = 'waiting' and kind <> 'slot'")
        return self.row()["state"] == "parked" and len(waiting) == count

    def row(self):
        return self.store.row("select task.*, agent.state as of_agent from task, agent where agent = agent.id")

    def _set_pid(self, pid):
        with self.store.transaction(None) as tx:
            tx.execute("update agent set pid = :pid where id = :agent", pid=pid, agent=self.agent)


@pytest.fixture
def sleeper(store, processes, until):
    return Sleeper(store, processes, until)


def take(tool, /, **given):
    return tool, given


def hold_lock(member):
    Lock(member, "index").acquire()
    return lambda: Lock(member, "index").release()


def hold_permit(member):
    Semaphore(member, "gpu", 1).acquire()
    return lambda: Semaphore(member, "gpu", 1).release()


def flag(member):
    def blink():
        Event(member, "go").set()
        Event(member, "go").clear()

    return blink


def write_key(member):
    findings = SharedMap(member, "findings")
    findings["before"] = 1
    return lambda: findings.put("src", 12)


def full_queue(member):
    queue = MessageQueue(member, "jobs", maxsize=1)
    queue.put("first")
    return lambda: queue.get(timeout=0)


WAITS = {
    "lock": (("lock", {"op": "acquire", "name": "index"}), hold_lock, "You hold lock 'index'"),
    "semaphore": (("semaphore", {"op": "acquire", "name": "gpu"}), hold_permit, "You hold a permit"),
    "barrier": (
        ("barrier", {"op": "wait", "name": "met", "parties": 2}),
        lambda member: lambda: Barrier(member, "met", 2).wait(),
        "All 2 parties have arrived",
    ),
    "event": (("event", {"op": "wait", "name": "go"}), flag, "is set; go on"),
    "map": (("shared_map", {"op": "watch", "map": "findings"}), write_key, '"key": "src", "value": 12'),
    "list": (
        ("shared_list", {"op": "read", "list": "steps", "timeout": 3600}),
        lambda member: lambda: SharedList(member, "steps").append("plan"),
        '"items": ["plan"]',
    ),
    "queue": (
        ("message_queue", {"op": "get", "queue": "jobs"}),
        lambda member: lambda: MessageQueue(member, "jobs").put("dig"),
        '"message": "dig"',
    ),
    "room": (("message_queue", {"op": "put", "queue": "jobs", "message": 2}), full_queue, "Put a message into"),
    "future": (
        ("future", {"op": "get", "name": "answer"}),
        lambda member: lambda: Future(member, "answer").set_result(42),
        '"value": 42',
    ),
}
"""Each wait: the call, what the others have and then do, and what the call returns."""


@pytest.mark.parametrize("wait", WAITS)
def test_what_is_decided_while_an_agent_sleeps_is_what_its_call_returns(sleeper, member, wait):
    call, prepared, words = WAITS[wait]
    happens = prepared(member)
    sleeper.falls_asleep(call)
    happens()
    (result,) = sleeper.wakes()
    assert words in result
    assert sleeper.row()["state"] == "running"


@pytest.mark.parametrize("wait", WAITS)
def test_the_time_of_a_wait_goes_on_while_its_agent_sleeps(sleeper, member, clock, wait):
    (name, given), prepared, words = WAITS[wait]
    prepared(member)
    sleeper.falls_asleep((name, {**given, "timeout": 60}))
    assert sleeper.rounds.pause_s(1000) == pytest.approx(60)
    clock.advance(59)
    assert sleeper.rounds.round().forks == ()
    clock.advance(2)
    (result,) = sleeper.wakes()
    assert words not in result
    assert sleeper.row()["state"] == "running"


def test_who_sleeps_keeps_its_place_in_line(sleeper, member, store):
    Lock(member, "index").acquire()
    sleeper.falls_asleep(take("lock", op="acquire", name="index"))
    other = join(store, "other")
    assert not Lock(other, "index").acquire(timeout=0)
    Lock(member, "index").release()
    assert store.row("select holder from lock")["holder"] == sleeper.agent
    assert not Lock(other, "index").acquire(timeout=0)
    sleeper.wakes()
    assert Lock(other, "index").acquire(timeout=0)  # the turn has ended, and the lock with it


def test_what_a_sleeping_agent_holds_is_renewed_by_who_watches_over_it(sleeper, member, clock, store):
    sleeper.falls_asleep(take("lock", op="acquire", name="index"), take("event", op="wait", name="go"))
    for _ in range(5):
        clock.advance(40)
        sleeping.renew(store)
    assert not Lock(member, "index").acquire(timeout=0)
    Event(member, "go").set()
    assert "You hold lock 'index'" in sleeper.wakes()[0]
    assert Lock(member, "index").acquire(timeout=0)  # given back at the end of the turn that the next process ended


def supervised_by(store, name):
    """Say that a process of this name runs the swarm."""
    with store.transaction(None) as tx:
        tx.execute("delete from swarm")
        tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state,"
            " supervisor_pid, supervisor_process, started_at)"
            " values ('s', 'g', '/', '0', 'b', 'm', 1, '{}', 'running', 1, :name, :now)",
            name=name, now=tx.now,
        )  # fmt: skip


def test_what_a_sleeping_agent_holds_is_kept_while_its_supervisor_is_stopped_and_runs_out_once_it_is_gone(
    sleeper, member, clock, store
):
    supervised_by(store, process.identity())  # a process that lives, and looks at nothing
    sleeper.falls_asleep(take("lock", op="acquire", name="index"), take("event", op="wait", name="go"))
    for _ in range(3):
        clock.advance(0.6 * ASLEEP_S)
        watch.Round(store)()  # as whoever waits does
        assert not Lock(member, "index").acquire(timeout=0)
    here, pid, _birth = process.identity().split(" ")
    supervised_by(store, f"{here} {pid} 0")  # a process of that number which is gone
    watch.Round(store)()
    clock.advance(59)
    assert not Lock(member, "index").acquire(timeout=0)
    clock.advance(2)
    assert Lock(member, "index").acquire(timeout=0)
    assert store.row("select fence from lock")["fence"] == 2
    Lock(member, "index").release()
    Event(member, "go").set()
    assert '"fence": 3' in sleeper.wakes()[0]  # the call is made again, and is told of its own new right


def test_a_call_that_has_waited_is_not_made_again_because_a_later_one_sleeps(sleeper, member):
    sleeper.falls_asleep(take("event", op="wait", name="go"), take("event", op="wait", name="then"))
    flag(member)()
    sleeper.sleeps_again()
    Event(member, "then").set()
    first, second = sleeper.wakes()
    assert "Event 'go' is set" in first
    assert "Event 'then' is set" in second


def test_several_waits_of_one_turn_sleep_together(sleeper, member):
    sleeper.falls_asleep(take("future", op="get", name="one"), take("future", op="get", name="two"), waits=2)
    Future(member, "two").set_result(2)
    sleeper.sleeps_again()  # for the other, whose place it has taken up
    Future(member, "one").set_result(1)
    one, two = sleeper.wakes()
    assert ('"value": 1' in one, '"value": 2' in two) == (True, True)


def test_the_death_of_the_supervisor_wakes_nobody_and_loses_no_place(sleeper, member, store):
    sleeper.falls_asleep(take("event", op="wait", name="go"))
    with store.transaction(None) as tx:
        assert sleeping.go_on(tx) == []
    assert sleeper.rounds.round().forks == ()
    flag(member)()
    assert len(sleeper.rounds.round().forks) == 1  # and the supervisor dies before it can fork
    with store.transaction(None) as tx:
        assert sleeping.go_on(tx) == []
    assert sleeper.row()["held"] == "asleep"
    assert "is set; go on" in sleeper.wakes()[0]


def test_who_cannot_be_given_a_process_sleeps_on_in_its_place(sleeper, member, store, clock):
    sleeper.falls_asleep(take("event", op="wait", name="go"))
    flag(member)()
    (order,) = sleeper.rounds.round().forks
    with store.transaction(None) as tx:  # the machine has no room for one more
        assert sleeping.sleeps_on(tx, order["agent"], pause_s=5)
        assert not sleeping.sleeps_on(tx, order["agent"], pause_s=5)
    assert sleeper.rounds.round().forks == ()
    clock.advance(5)
    assert sleeper.row()["held"] == "asleep"
    assert "is set; go on" in sleeper.wakes()[0]


def test_what_an_ended_process_would_still_write_is_refused(sleeper, store):
    first = Member(sleeper.agent, sleeper.order["incarnation"], sleeper.task)
    sleeper.falls_asleep(take("event", op="wait", name="go"))
    with pytest.raises(Deposed), store.transaction(first):
        pass


def test_a_task_that_is_cancelled_while_its_agent_sleeps_waits_for_nothing_any_more(sleeper, member, do, store):
    sleeper.falls_asleep(take("barrier", op="wait", name="met", parties=2))
    do(tasks.cancel, sleeper.task, reason="not needed")
    assert sleeper.rounds.round().forks == ()
    with pytest.raises(BrokenBarrier):
        Barrier(member, "met", 2).wait(timeout=0)
    assert store.row("select state from task")["state"] == "cancelled"


def test_whoever_decides_for_an_agent_without_a_process_rings_for_the_scheduler(sleeper, member, store):
    sleeper.falls_asleep(take("future", op="get", name="answer"))
    before = store.bells.read(0)
    Future(member, "answer").set_result(1)
    assert store.bells.read(0) != before
