"""What operations cost in a file that has grown, beside the same ones in an empty file.

The full file has a million events, a map of 100,000 keys, a queue of 100,000 messages and 10,000 tasks; map and queue
operations act on those very objects.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from claims import Claim
from family.contest import Scale, middle, ratio_at_most, take_turns
from family.crew import Crew, Make, Work, counting, per_second
from family.floor import OPERATIONS
from family.ours import Swarm, joined, swarm_directory
from family.rows import prepared

from prong.primitives import Plan, create_task

EVENTS, KEYS, MESSAGES, TASKS = 1_000_000, 100_000, 100_000, 10_000
_CREATE_TASK = "task create"
_FEW = 100
"""How many keys the map of the empty file has, so that there is something to read."""


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Every operation in both files."""
    shrink = 10 if scale.quick else 1
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        crews = {}
        for name, keys, divisor in (("empty", _FEW, 0), ("full", KEYS // shrink, shrink)):
            directory = stack.enter_context(swarm_directory())
            _fill(directory, keys, divisor)
            crews[name] = stack.enter_context(Crew(1, _of_prong(directory, keys)))
        for operation in [*OPERATIONS, _CREATE_TASK, *_READS]:
            turns = {name: lambda crew=crew: _cost(crew, operation, scale.window_s / 2) for name, crew in crews.items()}  # noqa: B023  called at once
            take_turns(1, turns)
            cost = {name: middle(found, float) for name, found in take_turns(scale.rounds, turns).items()}
            rows.append(
                {
                    "operation": operation,
                    **{f"us {name}": round(one, 1) for name, one in cost.items() if one is not None},
                }
            )
            claims.append(
                ratio_at_most(
                    f"{operation}: cost in a full file{' of a tenth' if scale.quick else ''} / in an empty one",
                    cost["full"],
                    cost["empty"],
                    1.5,
                )
            )
    return claims, rows


def _cost(crew: Crew, operation: str, window_s: float) -> float:
    """Microseconds of one operation."""
    return 1e6 / per_second(crew.run((operation, window_s)))


def _of_prong(directory: Path, keys: int) -> Make:
    @contextmanager
    def make(_index: int) -> Iterator[Work]:
        with joined(directory) as swarm:
            works: dict[str, Work] = {}

            def work(order: tuple[str, float]) -> Any:
                operation, window_s = order
                if operation not in works:
                    works[operation] = counting(_once(swarm, operation, keys))
                return works[operation](window_s)

            yield work

    return make


def _once(swarm: Swarm, operation: str, keys: int) -> Callable[[], Any]:
    entries, messages = swarm.SharedMap("large"), swarm.MessageQueue("large")
    if operation in _READS:
        read = _READS[operation]
        return lambda: read(entries, messages, keys)
    if operation == "map put":
        return lambda: entries.put(_key(keys), 1)
    if operation == _CREATE_TASK:
        return lambda: _create_task(swarm)
    return prepared(swarm, operation, "large")


def _create_task(swarm: Swarm) -> None:
    with swarm.transaction() as tx:
        create_task(tx, Plan(title="one more", prompt="do it"))


def _key(keys: int) -> str:
    return f"key {random.randrange(keys)}"


_READS: dict[str, Callable[[Any, Any, int], Any]] = {
    "map get": lambda entries, _, keys: entries[_key(keys)],
    "map len": lambda entries, _, __: len(entries),
    "map statistics": lambda entries, _, __: entries.statistics(),
    "queue qsize": lambda _, messages, __: messages.qsize(),
    "queue statistics": lambda _, messages, __: messages.statistics(),
}


_NUMBERS = "with recursive n (i) as (select 1 union all select i + 1 from n where i < ?) insert into "

_ENTRIES = f"""{_NUMBERS} map_entry (map, key, version, write, event, updated_at, value)
select 'large', 'key ' || (i - 1), 1, i, i, 0, '1' from n"""

_EVENTS = f"""{_NUMBERS} event (at, task, kind, object, data)
select 0, nullif(i % 5, 0), 'map.put', 'large', json_object('key', 'k', 'version', i, 'value', 1) from n"""

_MESSAGES = f"{_NUMBERS} queue_message (id, queue, body, put_at) select i, 'large', '1', 0 from n"

_TASKS = f"""{_NUMBERS} task (title, prompt, context, state, created_at, ready_at)
select 'task ' || i, 'do it', 'fresh', 'ready', 0, 0 from n"""


def _fill(directory: Path, keys: int, divisor: int) -> None:
    """Fill by SQL; a divisor of 0 leaves all empty but the few keys."""
    with closing(sqlite3.connect(directory / "state.db", isolation_level=None)) as connection:
        connection.execute("begin")
        connection.execute(_ENTRIES, (keys,))
        connection.execute("insert into map (name, keys, writes) values ('large', ?, ?)", (keys, keys))
        if divisor:
            for sql, count in ((_EVENTS, EVENTS), (_MESSAGES, MESSAGES), (_TASKS, TASKS)):
                connection.execute(sql, (count // divisor,))
        connection.execute("commit")
        connection.execute("pragma wal_checkpoint(truncate)")
