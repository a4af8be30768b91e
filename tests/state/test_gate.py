"""The gate: one writer at a time, in turns, and it opens when its holder dies."""

import os
import time

import pytest

from prong.state.gate import Gate, process_inside


def add_one(here, path, times):
    """Read, add and write a number in a plain file, with nothing but the gate against others."""
    gate = Gate(here.store.directory / "gate")
    for _ in range(times):
        gate.enter()
        try:
            number = int(path.read_text())
            os.sched_yield()
            path.write_text(str(number + 1))
        finally:
            gate.leave()


def hold(here):
    here.kept["gate"] = Gate(here.store.directory / "gate")
    here.kept["gate"].enter()


def let_go(here):
    here.kept["gate"].leave()


def compete(here, moment, total):
    """Write as often as we can until the log has so many entries; how often we did."""
    while here.store.clock.now() < moment:
        time.sleep(0.0005)
    done = 0
    while True:
        with here.member.transaction() as tx:
            if tx.value("select max(seq) from event") >= total:
                return done
            tx.event("turn")
            done += 1


def test_processes_that_add_to_a_plain_file_in_the_gate_lose_nothing(processes, tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    crowd = [processes(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(add_one, path, 250)
    for process in crowd:
        process.result()
    assert path.read_text() == "1000"


def test_the_gate_says_which_process_is_inside(processes, directory):
    assert process_inside(directory / "gate") is None
    ada, bob = processes("ada"), processes("bob")
    ada.run(hold)
    assert process_inside(directory / "gate") == ada.pid
    ada.run(let_go)
    assert process_inside(directory / "gate") is None
    bob.run(hold)
    assert process_inside(directory / "gate") == bob.pid


def test_a_gate_that_was_never_used_is_free(tmp_path):
    assert process_inside(tmp_path / "gate") is None


@pytest.mark.timeout(20)
def test_a_stopped_writer_is_named_and_its_death_opens_the_gate(processes, directory, member, events):
    ada = processes("ada")
    ada.run(hold)
    ada.stop_anywhere()
    assert process_inside(directory / "gate") == ada.pid
    ada.kill()
    assert process_inside(directory / "gate") is None
    with member.transaction() as tx:
        tx.event("next")
    assert events("next") == [("next", None)]


def test_asking_who_is_inside_does_not_let_others_in(processes, directory):
    ada, bob = processes("ada"), processes("bob")
    ada.run(hold)
    bob.start_running(hold)
    for _ in range(100):
        assert process_inside(directory / "gate") == ada.pid
    assert bob.busy()
    ada.run(let_go)
    bob.result()
    assert process_inside(directory / "gate") == bob.pid


def test_writers_take_turns(processes, clock):
    """Goal: nobody starves.  Method: four write as fast as they can; each gets a fair part of the turns."""
    crowd = [processes(f"p{n}") for n in range(4)]
    moment = clock.now() + 1
    for process in crowd:
        process.start_running(compete, moment, 20_000)
    clock.advance(1)
    turns = [process.result() for process in crowd]
    assert sum(turns) == 20_000 - len(crowd)  # the log's first entries tell who joined
    assert min(turns) > 1000
