"""Another program that holds the database: calls wait for it, and those that would wait too long name it."""

import subprocess
import sys
import time

import pytest

from .operations import WRITES, do, refused_by_a_foreigner

HOLD_S = 10
"""How long the other program holds a write transaction, in seconds."""

HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin immediate")
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("commit")
"""


def test_every_write_that_waits_too_long_names_the_program_and_changes_nothing(processes):
    ada = processes("ada")
    for which in WRITES:
        ada.run(refused_by_a_foreigner, which, ada.pid)


@pytest.mark.long
def test_every_write_waits_for_ten_seconds_and_is_done_then(processes, store):
    crowd = {which: processes(f"p{n}") for n, which in enumerate(list(WRITES)[::4])}
    command = [sys.executable, "-c", HOLD, store.path, str(HOLD_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"ready\n"
        began = time.monotonic()
        for which, process in crowd.items():
            process.start_running(do, which)
        assert store.rows("select * from agent")  # who reads waits for nobody
        assert time.monotonic() - began < HOLD_S / 2
        for process in crowd.values():
            process.result()
        assert time.monotonic() - began > HOLD_S - 1
    assert [row[0] for row in store.rows("pragma integrity_check")] == ["ok"]
