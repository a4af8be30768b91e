"""A deadlock in words: who holds what and waits for what, who gives way and why, and what to do next.

ada holds lock 'a' and waits for lock 'b', which bob holds; bob holds lock 'b' and waits for lock 'a', which ada holds
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prong.primitives.deadlock import Hold, Knot, Snapshot, Wait

SENTENCES = 12
"""How many waits of one knot are told of; the rest is counted."""

NAMES = 5
"""How many names one sentence lists; the rest is counted."""

_THINGS = {
    "lock": "lock {}",
    "semaphore": "a permit of semaphore {}",
    "event": "event {}",
    "condition": "condition {}",
    "barrier": "the others at barrier {}",
    "map": "a change of map {}",
    "list": "an item of list {}",
    "queue": "a message in queue {}",
    "room": "room in queue {}",
    "joined": "the end of all work on queue {}",
    "future": "future {}",
}
_NOBODY = {
    "semaphore": "which nobody is left to release",
    "event": "which nobody is left to set",
    "condition": "at which nobody is left to notify",
    "barrier": "where nobody is left to arrive",
    "map": "which nobody is left to change",
    "list": "to which nobody is left to append",
    "queue": "where nobody is left to put one",
    "room": "where nobody is left to take one",
    "joined": "where nobody is left to take the rest",
    "future": "which nobody is left to set",
}
_VERBS = {"condition": "whose lock {!r}", "semaphore": "whose permits", "joined": "whose messages"}
_GIVE_BACK = (
    "Release what you hold, let the others finish, then try again; if all take things in one order, it stays away."
)
_ITSELF = {
    "lock": "You hold it yourself: use an RLock, which its holder can take again, or release it first.",
    "shared": "You share it yourself: release it first.",
    "semaphore": "Its permits are with you: release one first.",
    "joined": "Its messages are with you: say that they are done first.",
}
_DO_WITHOUT = "Nobody else can end this wait: do what you wait for yourself, or go on without it."


def tell(snapshot: Snapshot, knot: Knot) -> dict[str, Any]:
    """The fields of the error that the victim gets (`errors.Deadlock`)."""
    story = _Story(snapshot, knot)
    return {
        "who": story.name(knot.victim.member),
        "waits_for": story.thing(knot.victim),
        "story": story.text(),
        "reason": knot.reason,
        "advice": story.advice(knot.victim),
    }


class _Story:
    """What the sentences of one knot are made from."""

    def __init__(self, snapshot: Snapshot, knot: Knot) -> None:
        self._parties: dict[int, str | int] = {
            member.id: member.id if member.process is None else member.process for member in snapshot.members
        }
        self._snapshot = snapshot
        self._missing = snapshot.missing or {}
        self._owners = snapshot.owners or {}
        self._members = {member.id: member for member in snapshot.members}
        self._tasks = {task.id: task for task in snapshot.tasks}
        self._waits = knot.waits
        self._caught = {self._parties[wait.member] for wait in knot.waits}
        wanted = {_held_as(wait) for wait in knot.waits} | {("lock", wait.wants.get("lock")) for wait in knot.waits}
        self._holds = [
            hold if hold.member in self._parties else hold._replace(member=None)
            for hold in snapshot.holds
            if (hold.kind, hold.object) in wanted
        ]
        names = [self._members[member].name for member in {wait.member for wait in knot.waits}]
        self._twice = {name for name in names if names.count(name) > 1}

    def text(self) -> str:
        """All sentences."""
        told = [self._sentence(wait) for wait in self._waits[:SENTENCES]]
        more = len(self._waits) - len(told)
        return "; ".join([*told, f"and {more} more wait in the same knot"] if more else told)

    def name(self, member: int) -> str:
        """The member's name, with its number where another one bears the same."""
        name = self._members[member].name
        return f"{name} (agent {member})" if name in self._twice else name

    def thing(self, wait: Wait) -> str:
        """What a wait is for."""
        if wait.kind == "tasks":
            numbers = wait.wants["tasks"]
            some = "one of " if wait.wants["mode"] == "any" and len(numbers) > 1 else ""
            return some + _listed(map(self._task, numbers))
        thing = _THINGS[wait.kind].format(repr(wait.object))
        return f"{thing} in shared mode" if wait.wants.get("shared") else thing

    def held_by(self, wait: Wait) -> list[str]:
        """What the wait's process holds that the knot is about."""
        party = self._parties[wait.member]
        own = [hold for hold in self._holds if hold.member is not None and self._parties[hold.member] == party]
        return list(dict.fromkeys(map(_held, own)))

    def advice(self, wait: Wait) -> str:
        """What to do instead of this wait, which was given up."""
        party = self._parties[wait.member]
        if {self._parties[one.member] for one in self._waits} == {party}:
            for hold in self._holds:
                if (hold.kind, hold.object) == _held_as(wait) and self._parties.get(hold.member or 0) == party:
                    return _ITSELF["shared" if hold.shared else wait.kind]
        return _GIVE_BACK if self.held_by(wait) else _DO_WITHOUT

    def _sentence(self, wait: Wait) -> str:
        held = _listed(self.held_by(wait))
        clauses = [clause for clause in (self._holders(wait), self._why(wait)) if clause]
        waits = f"waits for {self.thing(wait)}{', ' if clauses else ''}{' and '.join(clauses)}"
        return f"{self.name(wait.member)} {f'holds {held} and ' if held else ''}{waits}"

    def _holders(self, wait: Wait) -> str:
        """Who of the knot holds what the wait needs, as a clause."""
        wanted = ("lock", wait.wants.get("lock")) if wait.kind == "condition" else _held_as(wait)
        shared = wait.kind == "lock" and wait.wants.get("shared", False)
        holds = [hold for hold in self._holds if (hold.kind, hold.object) == wanted and not (shared and hold.shared)]
        caught = [hold for hold in holds if hold.member is None or self._parties[hold.member] in self._caught]
        names = list(dict.fromkeys(self._holder(hold, wait) for hold in caught))
        if not names:
            return ""
        verb = "holds" if len(names) == 1 else "hold"
        mode = " in shared mode" if all(hold.shared for hold in caught) else ""
        return f"{_VERBS.get(wait.kind, 'which').format(wanted[1])} {_listed(names)} {verb}{mode}"

    def _holder(self, hold: Hold, wait: Wait) -> str:
        if hold.member is None:
            return f"task {hold.task}"
        same = self._parties[hold.member] == self._parties[wait.member]
        return f"{self._members[hold.member].name} itself" if same else self.name(hold.member)

    def _why(self, wait: Wait) -> str:
        """Why nobody else ends it, as a clause: the line, the missing tasks, the owner, or that nobody is left."""
        match wait.kind:
            case "lock":
                clause = "" if self._holders(wait) else self._line(wait)
            case "tasks":
                clause = self._needs(wait.wants["tasks"])
            case "barrier" if wait.object in self._missing:
                missing = self._missing[wait.object]
                clause = f"where {_listed(map(self._task, missing))} has not arrived"
                clause = " and ".join(filter(None, [clause, self._needs(missing)]))
            case "future" if self._owners.get(wait.object) in self._members:
                clause = f"which {self.name(self._owners[wait.object])} has promised"
            case "semaphore" if wait.object in self._snapshot.lent:
                clause = "" if wait.wants.get("bounded") else "which nobody else is left to release"
            case "joined" if wait.object not in self._snapshot.queued:
                clause = ""
            case _:
                clause = _NOBODY.get(wait.kind, "") if self._snapshot.closed else ""
        return clause

    def _line(self, wait: Wait) -> str:
        ahead = [one for one in self._waits if _held_as(one) == _held_as(wait) and one.id < wait.id]
        names = [self.name(one.member) for one in ahead if not one.wants.get("shared")]
        return f"behind {_listed(names)} in line" if names else ""

    def _needs(self, numbers: Sequence[int]) -> str:
        """How those of the tasks that have not begun hang from others."""
        told: list[str] = []
        todo = list(numbers)
        for number in todo:  # which grows while it is read
            task = self._tasks.get(number)
            if task is not None and task.state == "blocked" and len(told) < NAMES:
                needs = [need for need in task.needs if need in self._tasks]
                told.append(f"task {number} needs {_listed(map(self._task, needs))}")
                todo += [need for need in needs if need not in todo]
        return f"where {' and '.join(told)}" if told else ""

    def _task(self, number: int) -> str:
        task = self._tasks.get(number)
        if task is None or task.member not in self._members:
            return f"task {number}"
        name = self._members[task.member].name
        return name if name == f"task {number}" else f"task {number} ({self.name(task.member)})"


def _held_as(wait: Wait) -> tuple[str, str]:
    """As what the snapshot lists those who hold a wait's object."""
    return ("queue" if wait.kind == "joined" else wait.kind, wait.object)


def _held(hold: Hold) -> str:
    if hold.kind == "queue":
        return f"messages of queue {hold.object!r}"
    thing = _THINGS[hold.kind].format(repr(hold.object))
    return f"{thing} in shared mode" if hold.shared else thing


def _listed(names: Iterable[str]) -> str:
    """Names in words: 'a', 'a and b', 'a, b and c', or the first of them and how many more."""
    all_ = list(names)
    shown = all_ if len(all_) <= NAMES else [*all_[: NAMES - 1], f"{len(all_) - NAMES + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
