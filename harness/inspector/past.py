"""A swarm as it was: its tasks, agents, locks and maps after any event, folded from the log.

The fold is kept every `KEPT_EVERY` events once it has been made, so that going to and fro on a slider reads few events.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import Any

KEPT_EVERY = 5_000
"""After how many events the fold is kept, so that the next look need not begin at the first."""

KEPT = 200
"""How many folds are kept; of more, every other one goes."""

KEPT_ENTRIES = 2_000_000
"""How many tasks, agents, locks and keys they may hold together, or every other one goes as well."""

SHOWN = 2_000
"""The most keys of maps that are told of one moment; the rest is counted."""

_FINAL = {"task.done": "done", "task.failed": "failed", "task.cancelled": "cancelled"}
_READ = "select seq, at, agent, task, kind, object, data from event where seq > ? and seq <= ? order by seq"


@dataclass
class Moment:
    """What was so after event `seq`, at a time of the wall clock."""

    seq: int = 0
    at: float = 0.0
    swarm: str = "created"
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    agents: dict[int, dict[str, Any]] = field(default_factory=dict)
    locks: dict[str, dict[str, Any]] = field(default_factory=dict)
    maps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def copied(self) -> Moment:
        """The same moment, which goes on by itself; what is known of one thing is replaced and never changed."""
        maps = {name: dict(entries) for name, entries in self.maps.items()}
        return Moment(
            self.seq, self.at, self.swarm, dict(self.tasks), dict(self.agents), dict(self.locks), maps
        )  # fmt: skip

    @property
    def entries(self) -> int:
        """How many things it knows of."""
        return len(self.tasks) + len(self.agents) + len(self.locks) + sum(map(len, self.maps.values()))

    def take(self, event: tuple[Any, ...]) -> None:
        """One event more."""
        self.seq, self.at, agent, task, kind, about, data = event
        told = json.loads(data)
        family, _, what = kind.partition(".")
        if family == "task":
            self._task(int(about), kind, what, told)
        elif family == "agent":
            self._agent(about, what, told, task)
        elif family == "lock":
            self._lock(about, what, told, agent)
        elif family == "map" and what in ("put", "add", "deleted"):
            self._map(about, what, told)
        elif family == "swarm":
            self.swarm = what

    def _task(self, number: int, kind: str, what: str, told: dict[str, Any]) -> None:
        if what == "created":
            self.tasks[number] = {
                "title": told["title"], "state": told["state"], "parent": told["parent"], "priority": told["priority"]
            }  # fmt: skip
        elif number in self.tasks:
            state = _FINAL.get(kind) or {
                "ready": "ready", "claimed": "running", "parked": "parked", "unparked": "running", "returned": "ready",
                "retried": "ready", "backs_off": "ready", "held": "parked",
            }.get(what)  # fmt: skip
            new = {"state": state} if state else {}
            if what == "claimed":
                new["agent"] = told["holder"]
            if what == "prioritised":
                new["priority"] = told["priority"]
            self.tasks[number] = {**self.tasks[number], **new}

    def _agent(self, about: str, what: str, told: dict[str, Any], task: int | None) -> None:
        if what == "joined":
            self.agents[told["agent_id"]] = {"name": about, "task": task, "state": "starting"}
        elif about.isdecimal() and int(about) in self.agents:
            one = self.agents[int(about)]
            state = {"running": "running", "asleep": "asleep", "ended": "ended", "dead": "dead"}.get(what, one["state"])
            self.agents[int(about)] = {**one, "state": state}

    def _lock(self, name: str, what: str, told: dict[str, Any], agent: int | None) -> None:
        if what in ("acquired", "inherited"):
            self.locks[name] = {"holder": told.get("holder", agent), "fence": told.get("fence"), "since_at": self.at}
        elif what in ("released", "expired") and self.locks.get(name, {}).get("fence") == told.get("fence"):
            self.locks.pop(name)

    def _map(self, name: str, what: str, told: dict[str, Any]) -> None:
        entries = self.maps.setdefault(name, {})
        if what == "deleted":
            entries.pop(told["key"], None)
        else:
            entries[told["key"]] = {"value": told.get("value"), "version": told.get("version")}


class Past:
    """The moments of one swarm's log."""

    def __init__(self) -> None:
        self._kept: list[Moment] = [Moment()]
        self._lock = threading.Lock()

    def at(self, connection: sqlite3.Connection, seq: int) -> Moment:
        """The moment after event `seq`, or after the last before it."""
        with self._lock:
            start = next(one for one in reversed(self._kept) if one.seq <= seq)
            moment = start.copied()
            for event in connection.execute(_READ, (moment.seq, seq)):
                moment.take(event)
                if moment.seq - self._kept[-1].seq >= KEPT_EVERY:
                    self._kept.append(moment.copied())
                    self._thin_out()
            return moment

    def _thin_out(self) -> None:
        """Keep fewer where there are too many; the first, which is empty, and the newest stay."""
        if len(self._kept) > KEPT or sum(one.entries for one in self._kept) > KEPT_ENTRIES:
            self._kept = [self._kept[0], *reversed(self._kept[:0:-2])]


def between(before: Moment, after: Moment) -> dict[str, Any]:
    """What changed from one moment to another: tasks and agents by state, locks by holder, keys of maps."""
    return {
        "tasks": _changed(before.tasks, after.tasks, "state"),
        "agents": _changed(before.agents, after.agents, "state"),
        "locks": _changed(before.locks, after.locks, "holder"),
        "keys": [
            {"map": name, "key": key, "before": old.get(key, {}).get("value"), "after": new.get(key, {}).get("value")}
            for name in sorted({*before.maps, *after.maps})
            for old, new in [(before.maps.get(name, {}), after.maps.get(name, {}))]
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ][:SHOWN],
    }


def told(moment: Moment) -> dict[str, Any]:
    """A moment as JSON tells it, with at most `SHOWN` keys of maps."""
    keys = [
        {"map": name, "key": key, **entry} for name, entries in moment.maps.items() for key, entry in entries.items()
    ]
    return {
        "seq": moment.seq,
        "at": moment.at,
        "swarm": moment.swarm,
        "tasks": [{"id": number, **one} for number, one in moment.tasks.items()],
        "agents": [{"id": number, **one} for number, one in moment.agents.items()],
        "locks": [{"name": name, **one} for name, one in moment.locks.items()],
        "keys": keys[:SHOWN],
        "keys_in_all": len(keys),
    }


def _changed(before: dict[Any, Any], after: dict[Any, Any], what: str) -> list[dict[str, Any]]:
    return [
        {"id": one, "before": before.get(one, {}).get(what), "after": after.get(one, {}).get(what)}
        for one in sorted({*before, *after})
        if before.get(one, {}).get(what) != after.get(one, {}).get(what)
    ]
