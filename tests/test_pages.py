"""The pages in docs/primitives: every primitive has one, and the costs that they tell of are counted here.

That their programs print what they show is tests/test_readme.py's.
"""

import inspect
import re

import pytest

from prong import primitives
from prong.harness.tools.definitions import PRIMITIVES
from prong.primitives import Plan, TaskFuture, create_task, join, wait_tasks

from . import checkout
from .documents import blocks, links

PAGES = {path.name: path.read_text("utf-8") for path in sorted((checkout.ROOT / "docs/primitives").glob("*.md"))}
OWN = [name for name in PAGES if name != "README.md"]
LINES = 80
COST = re.compile(r"^\| `(.+)` \| (\d+)(, a read)? \|$", re.MULTILINE)
TOLD = {name: [(code, int(count), not read) for code, count, read in COST.findall(PAGES[name])] for name in OWN}


@pytest.fixture
def names(tmp_path):
    """What an operation in a table of costs may name."""
    with join(tmp_path / "work.db", "ada") as swarm:
        with swarm.transaction() as tx:
            task, _ = create_task(tx, Plan("Count", "Count the files."))
        swarm.SharedMap("shared")["number"] = 1
        swarm.SharedList("items").append("first")
        yield {
            "TaskFuture": TaskFuture,
            "alone": swarm.Barrier("alone", 1),
            "atomic": swarm.Atomic("atomic"),
            "bounded": swarm.MessageQueue("bounded", 5),
            "condition": swarm.Condition("condition"),
            "elsewhere": swarm.Executor("elsewhere", workers="elsewhere"),
            "event": swarm.Event("event"),
            "items": swarm.SharedList("items"),
            "lock": swarm.Lock("lock"),
            "queue": swarm.MessageQueue("queue"),
            "rlock": swarm.RLock("rlock"),
            "semaphore": swarm.Semaphore("semaphore", 2),
            "shared": swarm.SharedMap("shared"),
            "signal": swarm.Semaphore("signal", 0),
            "swarm": swarm,
            "task": task,
            "wait_tasks": wait_tasks,
        }


@pytest.fixture
def counted(names):
    """Does what a line of a table says; how many statements that took, and whether they were a transaction."""
    done = []

    def counted(code):
        names["swarm"].store._own.door.connection.set_trace_callback(done.append)
        exec(code, names)
        names["swarm"].store._own.door.connection.set_trace_callback(None)
        statements = [sql.split(None, 1)[0] for sql in done]
        done.clear()
        count = sum(word not in ("begin", "commit", "savepoint", "release", "--") for word in statements)
        return count, "begin" in statements

    return counted


@pytest.mark.parametrize("name", [name for name in OWN if TOLD[name]])
def test_an_operation_takes_as_many_statements_as_its_page_says(name, names, counted):
    for turn in range(1, 4):
        names["fence"] = 2 * turn - 1  # a turn of lock.md ends with a second grant
        names["future"] = names["swarm"].Future(f"future {turn}")  # which is set only once
        found = [(code, *counted(code)) for code, *_ in TOLD[name]]
    wrong = [
        f"{code} takes {now[0]} statements, {'written' if now[1] else 'a read'}; docs/primitives/{name} says {told[0]}"
        for (code, *now), (_, *told) in zip(found, TOLD[name], strict=True)
        if now != told
    ]
    assert wrong == []


@pytest.mark.parametrize("name", OWN)
def test_a_page_tells_its_cost_shows_a_drawing_and_a_program_with_what_it_prints(name):
    found = blocks(name, PAGES[name])
    assert TOLD[name]
    assert [block.language for block in found][:2] == ["text", "python"]
    assert all(block.output for block in found if block.language == "python")
    assert len(PAGES[name].splitlines()) <= LINES


def test_every_primitive_and_every_page_is_in_the_table():
    table = "".join(line for line in PAGES["README.md"].splitlines(keepends=True) if line.startswith("| ["))
    made = {name for name, one in inspect.getmembers(primitives.Swarm) if name[0].isupper() and callable(one)}
    assert set(re.findall(r"\w+", " ".join(re.findall(r"\[(.+?)\]", table)))) == made | {"Tasks"}
    assert sorted(links(table)) == OWN


def test_every_error_is_explained_somewhere():
    told = "".join(PAGES.values())
    public = {name: getattr(primitives, name) for name in primitives.__all__}
    errors = [name for name, one in public.items() if inspect.isclass(one) and issubclass(one, Exception)]
    assert [name for name in errors if f"`{name}`" not in told] == []


def test_every_tool_that_agents_have_is_named_on_a_page():
    told = "".join(PAGES[name] for name in OWN)
    assert [tool["name"] for tool in PRIMITIVES if f"`{tool['name']}`" not in told] == []
