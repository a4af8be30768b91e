"""The tool `run_program` in one process: what a program can do, what ends it, and what it cannot do to its agent."""

import random
import struct
import threading
from contextlib import nullcontext, suppress

import pytest

from prong.agents.conversation import Message, insert
from prong.agents.sandbox import Limits, confine, find
from prong.agents.slot import Slot
from prong.agents.tools import tool_environment
from prong.agents.tools.tool import ToolCall, ToolError
from prong.harness.agent.programs import Programs
from prong.harness.dispatch import Dispatcher
from prong.harness.permissions.permission import Policy, Rule, judge, parts_of
from prong.harness.program import wire
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import Event, Plan, SharedMap, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership, Store, join
from prong.state.member import enlist

RAW = """
import os, socket, sys
line = next(socket.socket(fileno=int(fd)) for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}") and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"))
"""
"""Takes the line to the agent away from Prong's module."""


class Free:
    def working(self):
        return nullcontext()


class Agent:
    """An agent that can run programs, in a sandbox where there can be one."""

    def __init__(self, directory, *, parks=False, **limits):
        self.workspace, self.scratch = directory / "workspace", directory / "scratch" / "1"
        for one in (self.workspace, self.scratch):
            one.mkdir(parents=True)
        self.store = Store(directory / "swarm")
        with self.store.transaction(None) as tx:
            task, _ = create_task(tx, Plan(title="ada", prompt="do it"))
            agent = enlist(tx, "ada", pid=None, task=task.id, state="running", lease_s=None)
            fence = tasks.claim(tx, task.id, agent)
            turn = Message(insert(tx, parent=None, role="assistant", content=[], task=task.id), "assistant", [])
        me = Member(agent, 1, task.id)
        slot = Slot(self.store, me, fence) if parks else None
        self.member = Membership(self.store, me, *([slot.parking] if slot else []))
        task_tools = TaskTools(self.member, ForkSource(lambda *_: "0" * 40, lambda _turn: "hash"))
        task_tools.begin_turn(turn)
        self.tools = {
            tool.name: tool for tool in (*PrimitiveTools(self.member, siblings=None).tools(), *task_tools.tools())
        }
        names = tool_environment(self.workspace, {"TMPDIR": str(self.scratch)})
        usual = Limits.usual()
        sandbox = confine(
            find(), self.workspace, writable=[self.scratch], own=self.scratch.with_name(".1"), readable=[], hidden=[],
            environment=names, network=False,
            limits=Limits(limits.get("memory_bytes", usual.memory_bytes), limits.get("processes", 64), 2**30),
        )  # fmt: skip
        self.slot = slot
        self.programs = Programs(
            self.member, work=slot or Free(), tools=lambda: self.tools, workspace=self.workspace, scratch=self.scratch,
            environment=names, sandbox=sandbox,
        )  # fmt: skip

    def run(self, source, *, key="1:0", **more):
        with self.slot.working() if self.slot else nullcontext():
            return self.programs.tool().run(ToolCall("toolu", "run_program", {"program": source, **more}, key=key))

    def fails(self, source, **more):
        with pytest.raises(ToolError) as caught:
            self.run(source, **more)
        return str(caught.value)

    def made(self):
        return [row["title"] for row in self.store.rows("select title from task where parent is not null order by id")]

    def state(self):
        return self.store.row("select state from task where id = 1")["state"]


@pytest.fixture
def ada(tmp_path):
    agent = Agent(tmp_path)
    yield agent
    agent.store.close()


EVERY_PRIMITIVE = """
import queue
from prong.harness.program import *
m, numbers, line, value = shared_map("m"), shared_list("l"), message_queue("q"), atomic("a")
m["x"] = None
m.put("y", [1], if_version=0)
assert m["x"] is None and "x" in m and m.get("z", 7) == 7 and sorted(m) == ["x", "y"] and len(m) == 2
del m["x"]
assert m.items() == {"y": [1]} and m.watch(since=0)["entries"] and m.add("n", 2) == 2
assert numbers.append("one") == 0 and numbers.read() == ["one"] and len(numbers) == 1
line.put({"a": 1}); line.put(None)
assert len(line) == 2 and line.get() == {"a": 1} and line.take(5) == [None]
try:
    line.get(timeout=0)
except queue.Empty:
    pass
assert value.add(3) == 3 and value.set(4) == 3 and value.compare_and_set(4, None) and value.get() is None
event("e").set()
assert event("e").wait() and event("e").is_set()
event("e").clear()
future("f").set({"v": 1})
assert future("f").get() == {"v": 1}
with lock("k") as fence, semaphore("s", 2):
    assert fence >= 1
assert barrier("b", 1)["parties"] == 1
task = create_task("Do this\\nand that")
assert task.title == "Do this" and not task.ended and wait([task], timeout=0)[0].state == "ready"
assert wait([]) == [] and wait_any([task], timeout=0)[0].id == task.id == list_tasks()[0]["task"]
assert cancel_task(task, "done with it") == [task.id] and [one.state for one in as_completed([task])] == ["cancelled"]
try:
    call("bash", command="true")
except Refused as error:
    print(error.error, error)
"""


def test_each_tool_is_there_as_python_values_and_no_way_past_the_sandbox(ada):
    found = ada.run(EVERY_PRIMITIVE)
    assert "ToolError a program has no tool 'bash'" in found.words
    assert found.data["exit_code"] == 0
    assert found.data["tasks"] == [2]
    assert found.data["calls"] > 30


def test_a_program_imports_neither_a_database_nor_a_model(ada):
    source = "import sys, prong.harness.program\nprint(sorted({'sqlite3', 'anthropic', 'click'} & set(sys.modules)))"
    assert ada.run(source).words == "[]"


AGAIN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from prong.harness.program import atomic, create_task, message_queue, shared_list, shared_map
names = list("abcdefgh")
with ThreadPoolExecutor(4) as pool:
    tasks = list(pool.map(create_task, names if sys.argv[1] == "1" else reversed(names)))
same = [create_task("like the others").id for _ in range(2)]
timed = create_task(f"It is run {sys.argv[1]}", key="timed")
for number in (1, 1):
    shared_map("m").add("n", number), atomic("a").add(number), shared_list("l").append(number)
print(sorted(task.id for task in tasks), same, timed.id, atomic("a").get(), len(shared_list("l")))
"""


def test_a_program_that_runs_again_finds_what_it_did_in_whichever_order_its_threads_come(ada):
    first = ada.run(AGAIN, args=["1"])
    again = ada.run(AGAIN, args=["2"])
    assert first.words == again.words
    assert sorted(ada.made()) == ["It is run 1", *"abcdefgh", "like the others", "like the others"]
    other = ada.run(AGAIN, args=["1"], key="2:0")
    assert other.words != first.words


def test_another_agent_of_the_task_finds_them_too(ada):
    ada.run("from prong.harness.program import *\ncreate_task('once')\nshared_map('m').add('n', 1)")
    with ada.store.transaction(None) as tx:
        agent = enlist(tx, "bob", pid=None, task=1, state="running", lease_s=None)
    ada.programs._member = Membership(ada.store, Member(agent, 1, 1))
    ada.run("from prong.harness.program import *\ncreate_task('once')\nshared_map('m').add('n', 1)")
    assert ada.made() == ["once"]
    assert SharedMap(ada.member, "m")["n"] == 1


def test_limits_refuse_with_what_is_left_and_who_goes_on_all_the_same_is_ended(ada):
    with ada.store.transaction(None) as tx:
        tasks.set_limits(tx, children=3)
    text = ada.fails(
        "from prong.harness.program import *\nn = 0\nwhile True:\n    n += 1\n    try:\n"
        "        create_task(f'number {n}')\n"
        "    except Refused as error:\n        assert error.error == 'TooManyTasks'\n"
    )
    assert len(ada.made()) == 3
    assert "it went on after 1,000 refused calls in a row" in text
    assert "children 0" in text
    assert "It has created tasks 2, 3, 4, which go on" in text


def test_work_is_bounded_by_the_timeout_and_waits_are_not(ada):
    assert "it worked for more than 1 s" in ada.fails("while True: pass", timeout=1)
    text = ada.fails("from prong.harness.program import *\nprint('on')\nwhile True: event('e').wait(0.01)", timeout=2)
    assert text.startswith("on\n[it worked for more than 2 s")
    assert ada.run("from prong.harness.program import *\nprint(event('e').wait(4))", timeout=1.5).words == "False"


def test_what_a_program_leaves_behind_ends_with_it(ada):
    waits = (
        "import subprocess, threading, time\nfrom prong.harness.program import *\n"
        "subprocess.Popen(['sleep', '986'], start_new_session=True)\n"
        "threading.Thread(target=event('never').wait, daemon=True).start()\n"
        "while not list_tasks('all', of='all'): pass\nshared_map('m')['begun'] = 1\nprint('x' * 40_000)"
    )
    text = ada.run(waits).words
    assert "characters left out; the whole output is in" in text
    assert ada.store.rows("select 1 from waiter") == []
    assert not [one for one in threading.enumerate() if one.name == "sandbox guard"]


def test_a_program_that_was_killed_begins_again_while_it_gets_further(ada):
    source = (
        "import os, signal\nfrom prong.harness.program import *\n"
        "for n in range(6):\n    new = f'number {n}' not in [t['title'] for t in list_tasks('all')]\n"
        "    create_task(f'number {n}')\n    if new: os.kill(os.getpid(), signal.SIGKILL)\nprint('through')"
    )
    assert ada.run(source).words == "through"
    assert len(ada.made()) == 6
    text = ada.fails("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", key="2:0")
    assert "[it was killed]" in text


def test_an_agent_whose_program_waits_holds_no_slot(tmp_path, until):
    ada = Agent(tmp_path, parks=True)
    source = (
        "from concurrent.futures import ThreadPoolExecutor\nfrom prong.harness.program import *\n"
        "shared_map('m')['begun'] = 1\n"
        "with ThreadPoolExecutor(3) as pool: print(list(pool.map(lambda n: event(f'e{n}').wait(), range(3))))"
    )
    done = []
    thread = threading.Thread(target=lambda: done.append(ada.run(source).words))
    thread.start()
    until(lambda: ada.state() == "parked", "it is parked")
    bob = join(ada.store, "bob")
    for number in range(3):
        Event(bob, f"e{number}").set()
    scheduler = Dispatcher(ada.store, slots=1, parked=9)
    until(lambda: scheduler.round() and done, "it goes on with a slot")
    thread.join()
    assert done == ["[True, True, True]"]
    assert ada.state() == "running"
    ada.store.close()


HOSTILE = [
    b"", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\2[]", b"\0\0\0\2{}", b"\0\0\0\4null", b"\0\0\0\3NaN",
    b"\0\x40\0\1", b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 200_000) + b"[" * 200_000,
]  # fmt: skip


def frame(message):
    return wire.encode(message)


def hostile(chance):
    """Bytes that no honest program writes."""
    odd = [None, -1, 2**70, "x", [], {}, True, "\ud800", "漢" * 50, 1.5]
    kinds = [
        lambda: chance.choice(HOSTILE),
        lambda: chance.randbytes(chance.randrange(1, 200)),
        lambda: frame({chance.choice(["id", "tool", "input", "bye", "go"]): chance.choice(odd) for _ in range(3)}),
        lambda: frame({
            "id": chance.choice([1, 1, *odd]), "tool": chance.choice(["atomic", "create_task", "run_program", *odd]),
            "input": chance.choice([{}, {"op": "add"}, {"title": 1}, {"prompt": "x" * 9, "title": "\ud800"}, *odd]),
            "once": chance.choice([None, "a", "\0", "x" * 500, *odd]),
        }),
        lambda: frame({"id": 1, "tool": "wait_tasks", "input": {"tasks": chance.choice([[1], [10**9], odd])}}),
    ]  # fmt: skip
    return b"".join(chance.choice(kinds)() for _ in range(chance.randrange(1, 12)))


def test_a_program_that_writes_garbage_to_its_agent_hurts_only_itself(ada):
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    for number in range(12):
        data = hostile(chance)
        tail = "os._exit(0)" if number % 2 else "import time; time.sleep(0.2); os._exit(0)"
        source = f"{RAW}\nline.sendall(bytes.fromhex('{data.hex()}'))\n{tail}"
        with suppress(ToolError):
            ada.run(source, key=f"{number}:0", timeout=5)
    assert not ada.made() or set(ada.made()) <= {"task"}, f"seed {seed}"
    assert ada.run("print('well')", key="last").words == "well", f"seed {seed}"


def test_memory_and_processes_are_those_of_the_sandbox(tmp_path):
    ada = Agent(tmp_path, memory_bytes=200 * 2**20, processes=20)
    assert "MemoryError" in ada.fails("x = bytearray(400 * 2**20)")
    many = "import subprocess\nall = [subprocess.Popen(['sleep', '9']) for _ in range(40)]\nall[-1].wait()"
    text = ada.fails(many, key="2:0")
    assert "there were more than 20 processes at once" in text or "Resource temporarily unavailable" in text
    ada.store.close()


def test_rules_for_bash_hold_for_programs(tmp_path):
    given = {"program": "print(1)"}
    for rule, effect in (("bash", "deny"), ("bash(python3*)", "deny"), ("run_program", "deny"), ("read", "allow")):
        policy = Policy(deny=(Rule.read(rule),))
        assert judge(policy, parts_of("run_program", given, tmp_path)).effect == effect


@pytest.mark.parametrize("given", [{}, {"program": ""}, {"program": "1", "args": "x"}, {"program": "1", "timeout": 0}])
def test_wrong_inputs_are_refused(ada, given):
    with pytest.raises(ToolError, match="run_program: "):
        ada.programs.tool().run(ToolCall("toolu", "run_program", given, key="1:0"))
