"""What the benchmark of the primitives prints can be read by programs, and its floor is a floor."""

import json
import subprocess
import sys

import pytest

from .checkout import ENVIRONMENT, ROOT

OPERATIONS = [
    "lock acquire, release",
    "semaphore acquire, release",
    "event set, clear",
    "barrier wait",
    "atomic add",
    "map put",
    "map put, delete",
    "list append, pop",
    "queue put, get, task_done",
    "queue put, get at once",
    "future set",
]


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT / "benchmarks",
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT / ".src")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_quick_benchmark_of_one_part_prints_valid_claims():
    done = python("primitives.py", "--quick", "--only", "map", "--json")
    assert done.returncode in (0, 1), done.stderr
    printed = json.loads(done.stdout)
    assert printed["benchmark"] == "primitives"
    assert printed["rows"]
    for claim in printed["claims"]:
        assert claim.keys() == {"claim", "value", "unit", "bound", "holds"}
        assert claim["claim"].startswith("map reads by ")
        if claim["holds"] is None:
            assert claim["value"] is None
            assert "install" in claim["claim"]
        else:
            assert claim["holds"] is (claim["value"] >= 5)
    assert done.returncode == (1 if any(claim["holds"] is False for claim in printed["claims"]) else 0)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_floor_of_an_operation_writes_the_rows_that_the_operation_writes(operation):
    done = python(
        "-c", "import sys; from family.rows import differing_rows; print(differing_rows(sys.argv[1]))", operation
    )
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.long
@pytest.mark.parametrize("what", ["lock", "queue", "queue, at_get", "barrier"])
def test_a_bare_loop_writes_the_rows_that_prong_writes_where_one_process_wakes_another(what):
    done = python(
        "-c", "import sys; from family.hand_overs import differing_hand_over as d; print(d(sys.argv[1]))", what
    )
    assert (done.stdout, done.stderr) == ("\n", "")


def test_every_operation_that_has_a_floor_is_compared():
    done = python("-c", "from family.floor import OPERATIONS; print(*OPERATIONS, sep='\\n')")
    assert done.stdout.splitlines() == OPERATIONS
