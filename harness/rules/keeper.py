"""What a running swarm makes of a change of its rules: what can change does, and all of it is an event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from prong.harness.bounds import Bounds
from prong.harness.permissions import policies
from prong.harness.rules.rules import Change, Rules, RulesInvalid, differences, load
from prong.harness.rules.watch import watch
from prong.harness.swarms import Swarm, set_on_lost_cache, set_roles
from prong.primitives.budget import SWARM, Budget, below, drop_bound, raise_bound
from prong.primitives.budget_sums import Unit
from prong.primitives.task import free_held
from prong.state import Invalid, Store, Transaction

_BOUNDS: Mapping[str, str] = {
    "limits.depth": "depth", "limits.children": "children", "limits.open": "open", "limits.tasks": "tasks",
    "limits.attempts": "attempts", "limits.parked": "parked", "ageing": "ageing_s",
    "priority": "priority",
}  # fmt: skip
"""Rules and the bounds that they are."""

_OWN: Mapping[str, Callable[[Rules], Any]] = {
    "ageing": lambda rules: rules.ageing_s, "priority": lambda rules: rules.usual_priority,
}  # fmt: skip

Changed = Callable[[int, Bounds], None]
"""Gets the number of slots and the bounds that hold from now on."""


class RuleKeeper:
    """Keeps a swarm to the rules of its repository while these change."""

    def __init__(self, swarm: Swarm, store: Store, changed: Changed) -> None:
        self._swarm = swarm
        self._store = store
        self._changed = changed
        found = _rules(swarm)
        self._readable = found is not None
        self._known = found or Rules.none()
        self.slots = swarm.options.slots
        self.bounds = swarm.options.bounds

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within this block a change of the file takes effect, and what it says of calls of tools before."""
        if self._readable:
            with self._store.transaction(None) as tx:
                policies.set_rules(tx, policies.FILE, self._known.permissions, self._known.roles)
        with watch(self._swarm.repository.root, self._heard, known=self._known):
            yield

    def _heard(self, new: Rules | RulesInvalid) -> None:
        """Called in the watch's own thread."""
        try:
            with self._store.transaction(None) as tx:
                if isinstance(new, RulesInvalid):
                    tx.event("rules.invalid", object="PRONG.md", problem=str(new))
                    return
                for change in differences(self._known, new):
                    self._obey(tx, change, new)
                set_roles(tx, new.roles)
                policies.set_rules(tx, policies.FILE, new.permissions, new.roles)
                self.bounds.set_limits(tx)
            self._known = new
            self._changed(self.slots, self.bounds)
        finally:
            self._store.close()

    def _obey(self, tx: Transaction, change: Change, new: Rules) -> None:
        overridden = change.key in self._swarm.options.given
        effect = "at the next run" if change.fixed else "not in this run: it was given when the run began"
        if not change.fixed and not overridden:
            effect = self._take_up(tx, change.key, new) or "now"
        tx.event("rules.changed", object=change.key, before=change.old, after=change.new, effect=effect)

    def _take_up(self, tx: Transaction, key: str, new: Rules) -> str | None:
        """Make a rule hold; why it does not, where it cannot."""
        if key in _BOUNDS:
            section, _, name = key.rpartition(".")
            value: Any = getattr(new.limits, name) if section else _OWN[key](new)
            self.bounds = replace(self.bounds, **{_BOUNDS[key]: value})
        elif key == "limits.agents":
            self.slots = new.limits.agents
        elif key == "limits.load":
            self.bounds = self.bounds.with_load(new.limits.load)
        elif key == "limits.memory":
            self.bounds = self.bounds.with_memory(new.limits.memory)
        elif key == "on_lost_cache":
            set_on_lost_cache(tx, new.on_lost_cache)
        elif key == "budget.tokens":
            return _set_budget(tx, Budget(tokens=new.budget.tokens), "tokens", new)
        elif key == "budget.usd":
            return _set_budget(tx, Budget(usd=new.budget.usd), "nanousd", new)
        return None


def _set_budget(tx: Transaction, budget: Budget, unit: Unit, new: Rules) -> str | None:
    if budget == Budget() and new == Rules.none():  # moved away for a moment, say: that must not cost a fortune
        return "not: the file says nothing any more, and a bound is dropped only where it says something else"
    try:
        if budget == Budget():  # it stands there no more
            drop_bound(tx, SWARM, unit)
        else:
            raise_bound(tx, SWARM, budget)
    except Invalid as error:
        return f"not: {error}"
    free_held(tx, below(tx, SWARM))
    return None


def _rules(swarm: Swarm) -> Rules | None:
    """The rules as they are when the run begins; None where they cannot be read, so that the next change counts."""
    try:
        return load(swarm.repository.root)
    except RulesInvalid:
        return None
