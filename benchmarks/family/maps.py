"""Reads of the map against redis-py: `map[key]` against `client.get(key)`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from claims import Claim
from family import redis_server
from family.contest import Scale, middle, ratio_at_least, take_turns
from family.crew import Crew, Make, Work, counting, per_second
from family.ours import joined, swarm_directory

KEYS = 1_000
"""How many keys the map has; each read takes one at random."""


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Reads by one and by eight processes, and by as many as contend elsewhere."""
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        directory = stack.enter_context(swarm_directory())
        socket = stack.enter_context(redis_server.server())
        sides = {"prong": _of_prong(directory)}
        if socket is not None:
            sides["redis-py"] = _of_redis(socket)
        for side in sides.values():
            with Crew(1, side) as crew:
                crew.run(None)  # fills it
        for size in scale.crews:
            rate = _reads(scale, sides, size)
            rows += [{"map read": name, "processes": size, "per s": round(one)} for name, one in rate.items() if one]
            claims.append(
                ratio_at_least(
                    f"map reads by {size} / redis-py",
                    rate["prong"],
                    rate.get("redis-py"),
                    5,
                    lacks=redis_server.lacks(),
                )
            )
    return claims, rows


def _reads(scale: Scale, sides: dict[str, Make], size: int) -> dict[str, float | None]:
    with ExitStack() as stack:
        turns = {}
        for name, side in sides.items():
            crew = stack.enter_context(Crew(size, side))
            crew.run(scale.window_s / 4)
            turns[name] = lambda crew=crew: per_second(crew.run(scale.window_s))
        return {name: middle(found, float) for name, found in take_turns(scale.rounds, turns).items()}


def _key() -> str:
    return f"key {random.randrange(KEYS)}"


def _of_prong(directory: Any) -> Make:
    @contextmanager
    def make(_index: int) -> Iterator[Work]:
        with joined(directory) as swarm:
            entries = swarm.SharedMap("findings")

            def fill() -> None:
                for number in range(KEYS):
                    entries[f"key {number}"] = number

            read = counting(lambda: entries[_key()])
            yield lambda window_s: fill() if window_s is None else read(window_s)

    return make


def _of_redis(socket: str) -> Make:
    @contextmanager
    def make(_index: int) -> Iterator[Work]:
        with redis_server.client(socket) as client:

            def fill() -> None:
                for number in range(KEYS):
                    client.set(f"key {number}", number)

            # What is stored comes back as bytes here and as the value itself from ours.
            read = counting(lambda: client.get(_key()))
            yield lambda window_s: fill() if window_s is None else read(window_s)

    return make
