"""A process that stands still for longer than its leases: others go on, and it is refused when it wakes."""

from pathlib import Path

import pytest

from prong.primitives import Future, Lock, SharedMap
from prong.primitives.lock import LEASE_S
from prong.state.gate import process_inside

from .operations import acquire, hold_all, stop_inside, take_all, take_most, told_when_awake


def test_who_stops_while_it_holds_loses_it_all_and_is_told_so(processes, member, clock):
    ada, bob = processes("ada"), processes("bob")
    ada.run(hold_all)
    ada.stop()
    clock.advance(LEASE_S + 1)
    assert bob.run(take_all) == (True, True, True, True, "a")
    ada.go_on()
    said = ada.run(told_when_awake)
    assert said.pop("grant") is None
    kinds = {which: kind for which, (kind, _) in said.items()}
    assert kinds == {
        "check": "NotHeld",
        "renew": "NotHeld",
        "release": "NotHeld",
        "release rlock": "NotHeld",
        "release share": "NotHeld",
        "release permit": "PermitLost",
        "done": "NotDelivered",
        "task_done": "NotDelivered",
    }
    assert "bob holds it now" in said["release"][1]
    assert "lease had run out" in said["release permit"][1]
    assert "delivered anew, to bob" in said["done"][1]
    assert Lock(member, "l").statistics().holder == "bob"
    assert [row[0] for row in member.store.rows("pragma integrity_check")] == ["ok"]


def test_who_stops_for_less_than_its_leases_loses_nothing(processes, clock):
    ada, bob = processes("ada"), processes("bob")
    ada.run(hold_all)
    ada.stop()
    clock.advance(LEASE_S - 1)
    assert not bob.run(take_most)
    ada.go_on()
    said = ada.run(told_when_awake)  # which releases all, one by one, and once too often
    assert said == {"task_done": ("ValueError", "task_done() called too many times"), "grant": None}
    assert bob.run(take_most)


def test_who_stops_inside_the_gate_keeps_all_writers_out_and_no_reader(processes, member, store, until):
    """Nobody can write past it, so a swarm's supervisor ends it; which process it is, the gate tells."""
    number = Future(member, "f")
    ada, bob = processes("ada"), processes("bob")
    ada.start_running(stop_inside)
    until(lambda: process_inside(store.directory / "gate") == ada.pid and _stopped(ada.pid), "ada stops inside")
    bob.start_running(acquire, timeout=0)
    with pytest.raises(TimeoutError):
        bob.result(timeout=0.5)
    assert SharedMap(member, "m").copy() == {}
    assert not number.done()
    assert process_inside(store.directory / "gate") == ada.pid
    ada.kill()
    assert bob.result()
    kinds = [row["kind"] for row in store.rows("select kind from event")]
    assert "half way" not in kinds
    assert [row[0] for row in store.rows("pragma integrity_check")] == ["ok"]


def test_who_goes_on_inside_the_gate_ends_what_it_began_before_the_others(processes, store, until):
    ada, bob = processes("ada"), processes("bob")
    ada.start_running(stop_inside)
    until(lambda: _stopped(ada.pid), "ada stops inside")
    bob.start_running(acquire, timeout=0)
    assert bob.busy()
    ada.go_on()
    ada.result()
    assert bob.result()
    kinds = [row["kind"] for row in store.rows("select kind from event order by seq")]
    assert kinds.index("half way") < kinds.index("whole") < kinds.index("lock.acquired")


def _stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
