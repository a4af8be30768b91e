"""The executor: calls that other processes run, as `concurrent.futures` has it, and that survive who runs them."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from prong.primitives import holdings, remote, worker
from prong.primitives.errors import BrokenCall, BrokenPool, NotPromised, RemoteTraceback
from prong.primitives.executor import Executor
from prong.primitives.future import FORGET_S, Future
from prong.primitives.joined import join
from prong.primitives.message_queue import MessageQueue
from prong.state import FileClock, Invalid, Store, StoreError

PROGRAM = """
import os, sys, signal, time
from concurrent import futures
from pathlib import Path
from prong.primitives.joined import join

def die(where):
    with open(where, "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)

def die_once(where):
    if not os.path.exists(where):
        die(where)
    return "lived"

def square(x):
    return x * x

def slow(where):
    time.sleep(0.3)
    with open(where, "a") as file:
        file.write("x")

def initialize(text):
    os.environ["INITIALIZED"] = text
    if text == "fail":
        raise ValueError(text)

def main(swarm, here):
{body}

if __name__ == "__main__":
    with join(sys.argv[1], "program") as swarm:
        main(swarm, Path(sys.argv[1]).parent)
"""
"""A program whose executor starts processes, which import it: the test's own process would have them import pytest."""


@pytest.fixture
def swarm(tmp_path):
    with join(tmp_path / "swarm", "test") as swarm:
        yield swarm


@pytest.fixture
def pool(swarm):
    """An executor whose calls run where a test says so."""
    return Executor(swarm, "pool", workers="elsewhere")


@pytest.fixture
def program(tmp_path):
    """Runs a program with a pool of processes, and returns what it printed."""

    def program(body, *, until=None):
        file = tmp_path / "program.py"
        lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        file.write_text(PROGRAM.replace("{body}", lines))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / ".src")}
        process = subprocess.Popen(
            [sys.executable, file, tmp_path / "swarm"], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if until is not None:
            return process
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out.split("\n")[:-1]

    return program


def fail(error):
    raise error


class Odd:
    """No JSON."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value == other.value

    def __hash__(self):
        return 1

    def method(self, more):
        return self.value + more


class Picky(Exception):
    """Cannot be made of its own arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


class Trap:
    """Ends whoever unpickles it."""

    def __reduce__(self):
        return sys.exit, (3,)


def trap():
    return Trap()


# As the standard library's.


def test_a_call_runs_where_somebody_works(pool, swarm):
    call = pool.submit(pow, 2, exp=5)
    assert (call.done(), call.running()) == (False, False)
    assert Executor(swarm, "pool").work(calls=1) == 1
    assert call.result() == 32


@pytest.mark.parametrize("size", [0, -1])
def test_a_pool_of_none_is_refused(swarm, size):
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Executor(swarm, "pool", size)


def test_what_else_the_standard_library_refuses(swarm, pool):
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor(swarm, "pool", initializer=5)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        Executor(swarm, "pool", max_tasks_per_child="1")
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        Executor(swarm, "pool", max_tasks_per_child=0)
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        pool.map(pow, [], [], chunksize=0)
    with pytest.raises(TypeError):
        pool.submit()


@pytest.mark.parametrize("options", [{"name": "x" * 151}, {"name": ""}, {"attempts": 0}, {"workers": "none"}], ids=repr)
def test_other_arguments_that_are_none_are_refused(swarm, options):
    with pytest.raises(Invalid):
        Executor(swarm, **{"name": "pool", **options})


def test_after_shutdown_nothing_is_submitted(pool):
    before = pool.submit(pow, 2, 2)
    pool.shutdown(wait=False)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(pow, 2, 3)
    pool.work(calls=1)
    assert before.result() == 4
    pool.shutdown()


def test_shutdown_waits_for_what_runs_elsewhere(pool):
    call = pool.submit(pow, 2, 2)
    thread = threading.Thread(target=pool.work, kwargs={"calls": 1})
    thread.start()
    with pool:
        pass
    assert call.done()
    thread.join()


def test_shutdown_cancels_what_nobody_has_begun(pool):
    done, *others = [pool.submit(pow, 2, n) for n in range(4)]
    pool.work(calls=1)
    pool.shutdown(cancel_futures=True)
    assert done.result() == 1
    assert all(call.cancelled() for call in others)
    assert futures.wait(others, timeout=10).not_done == set()
    assert pool.work(timeout=0) == 0


def test_what_was_cancelled_is_not_run_and_those_who_wait_hear_it(pool, tmp_path):
    call = pool.submit(os.mkdir, str(tmp_path / "made"))
    assert call.cancel()
    assert futures.wait([call], timeout=0).not_done == {call}
    assert pool.work(timeout=0) == 0
    assert futures.wait([call], timeout=10).done == {call}
    assert not (tmp_path / "made").exists()


def test_what_runs_cannot_be_cancelled(pool):
    running = []
    call = pool.submit(meet, pool.name, str(pool._member.store.place))
    thread = threading.Thread(target=pool.work, kwargs={"calls": 1})
    thread.start()
    with join(pool._member.store.place, "friend") as friend:
        friend.Barrier("met", 2).wait()
        running += [call.running(), call.cancel()]
        friend.Barrier("met", 2).wait()
    thread.join()
    assert (running, call.result()) == ([True, False], pool.name)


def meet(name, place):
    with join(place, "meeting") as swarm:
        swarm.Barrier("met", 2).wait()
        swarm.Barrier("met", 2).wait()
    return name


@pytest.mark.parametrize("chunksize", [1, 2, 5])
def test_map_gives_results_in_order(pool, chunksize):
    thread = threading.Thread(target=pool.work, kwargs={"calls": -(-3 // chunksize)})
    thread.start()
    assert list(pool.map(pow, [1, 2, 3], [2, 2, 2, 2], chunksize=chunksize)) == [1, 4, 9]
    thread.join()


def test_map_raises_what_a_call_raised_and_cancels_the_others(pool):
    results = pool.map(divmod, [1, 1, 1], [1, 0, 1])
    pool.work(calls=2)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert pool.work(timeout=0) == 0


def test_map_times_out(pool):
    with pytest.raises(TimeoutError):
        next(pool.map(pow, [1], [1], timeout=0))


@pytest.mark.parametrize(
    ("function", "arguments", "result"),
    [
        (abs, (-1,), 1), (divmod, (7, 2), (3, 1)), (Odd, (5,), Odd(5)), (Odd("a").method, ("b",), "ab"),
        (sorted, ({3, 1},), [1, 3]), (dict, ([(1, 2)],), {1: 2}), (str.upper, ("a",), "A"),
        (str, ("x" * 400_000,), "x" * 400_000),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_arguments_and_results_keep_their_types(pool, function, arguments, result):
    call = pool.submit(function, *arguments)
    pool.work(calls=1)
    assert call.result() == result
    assert type(call.result()) is type(result)


@pytest.mark.parametrize("error", [KeyError("a"), ValueError({1}), OSError(2, "no"), SystemExit(3)], ids=repr)
def test_exceptions_keep_type_and_arguments_and_tell_where(pool, error):
    call = pool.submit(fail, error)
    pool.work(calls=1)
    got = call.exception()
    assert (type(got), got.args) == (type(error), error.args)
    assert isinstance(got.__cause__, RemoteTraceback)
    assert "raise error" in str(got.__cause__)
    assert "worker.py" not in str(got.__cause__)


def test_an_exception_that_pickle_cannot_make_again_is_described(pool):
    call = pool.submit(fail_pickily)
    pool.work(calls=1)
    assert "1 2" in str(call.exception())


def fail_pickily():
    raise Picky(1, 2)


def test_a_call_that_cannot_travel_fails_and_is_no_message(pool):
    call = pool.submit(lambda: 0)
    assert "pickle" in str(call.exception(timeout=0))
    assert pool.statistics().queued == 0


def test_a_result_that_cannot_travel_is_the_calls_exception(pool):
    call = pool.submit(threading.Lock)
    pool.work(calls=1)
    with pytest.raises(TypeError, match="cannot pickle"):
        call.result()


def test_a_result_that_ends_its_reader_ends_it_not(pool):
    call = pool.submit(trap)
    pool.work(calls=1)
    assert isinstance(call.exception(), BrokenCall)


def test_ctrl_c_in_a_call_ends_who_works_and_the_caller_hears_it(pool):
    call = pool.submit(fail, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pool.work()
    assert isinstance(call.exception(), KeyboardInterrupt)


# What is kept, and who may do what.


def test_a_call_can_be_read_by_its_name(pool, swarm):
    name = pool.submit(divmod, 7, 2).name
    assert name.startswith("pool/")
    pool.work(calls=1)
    assert Executor(swarm, "pool").future(name).result() == (3, 1)
    with pytest.raises(Invalid, match="a Python object"):
        Future(swarm, name).result()


def test_nobody_but_a_worker_sets_a_call(pool, swarm):
    call = pool.submit(pow, 2, 2)
    for change in (call.promise, call.set_running_or_notify_cancel, lambda: Future(swarm, call.name).set_result(5)):
        with pytest.raises(NotPromised, match="a worker of its executor"):
            change()


def test_messages_of_others_run_nothing_that_was_not_submitted(pool, swarm, tmp_path):
    Future(swarm, "forged").set_result({"function": "os:mkdir", "args": [str(tmp_path / "made")], "named": {}})
    queue = worker.queue_of(swarm, "pool")
    promised = Future(swarm, "promised").promise()
    for value in ("forged", "promised", "nothing", {"function": "os:mkdir", "args": [str(tmp_path / "made")]}, 5):
        queue.put(value)
    assert pool.work(timeout=0) == 0
    assert queue.statistics().delivered == 0
    assert promised.statistics().state == "pending"
    assert not (tmp_path / "made").exists()


def test_nobody_else_has_the_queue_of_an_executor(pool, swarm):
    call = pool.submit(pow, 2, 3)
    for made in (lambda: MessageQueue(swarm, "executor pool"), lambda: swarm.Topic("executor pool").queue_of("ada")):
        with pytest.raises(Invalid, match="executors have those that begin with 'executor '"):
            made()
    queue = worker.queue_of(swarm, "pool")
    assert pickle.loads(pickle.dumps(queue)) == queue
    assert MessageQueue(swarm, "executors").empty()
    assert pool.work(calls=1) == 1
    assert call.result() == 8


def test_a_message_that_comes_twice_runs_once(pool, swarm, tmp_path):
    call = pool.submit(os.mkdir, str(tmp_path / "made"))
    worker.queue_of(swarm, "pool").put(call.name)
    assert pool.work(timeout=0) == 1
    assert call.result() is None


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_database_that_others_can_write_to_is_refused(pool, swarm, mode):
    call = pool.submit(pow, 2, 2)
    swarm.store.path.chmod(mode)
    with pytest.raises(StoreError, match="other users can write here"):
        pool.submit(pow, 2, 2)
    with pytest.raises(StoreError):
        remote.unpacked(remote.packed(1), swarm.store.path)
    pool.work(calls=1)
    swarm.store.path.chmod(0o600)
    assert isinstance(call.exception(), StoreError)


def test_a_submission_in_an_atomic_block_is_undone_with_it(pool, swarm):
    def submit():
        with swarm.atomic():
            pool.submit(pow, 2, 2)
            raise KeyError

    with pytest.raises(KeyError):
        submit()
    assert pool.statistics().queued == 0
    pool.shutdown()


def test_what_its_caller_has_dropped_is_removed_after_an_hour(tmp_path):
    clock = FileClock(tmp_path / "clock")
    with join(tmp_path / "swarm", "test", clock=clock) as swarm:
        pool = Executor(swarm, "pool", workers="elsewhere")
        kept, dropped, waiting = (pool.submit(pow, 2, n) for n in range(3))
        pool.work(calls=2)
        names = [call.name for call in (kept, dropped, waiting)]
        assert dropped.result() == 2
        del dropped
        gc.collect()
        pool.shutdown(wait=False)

        def there():
            with swarm.transaction() as tx:
                holdings.expire(tx)
            rows = swarm.store.rows("select name from future")
            return [names.index(row["name"]) for row in rows]

        clock.advance(FORGET_S - 1)
        assert sorted(there()) == [0, 1, 2]
        clock.advance(1)
        assert sorted(there()) == [0, 2]
        with join(tmp_path / "swarm", "caller", clock=clock) as caller:
            other = Executor(caller, "other", workers="elsewhere")
            names += [other.submit(pow, 2, 2).name, other.submit(pow, 2, 2).name]
            other.work(calls=1)
        clock.advance(FORGET_S - 1)
        assert sorted(there()) == [0, 2, 3, 4]
        clock.advance(1)
        assert sorted(there()) == [0, 2, 4]  # the last has not run, which somebody may still do


def test_a_result_is_freed_with_the_callers_last_look(pool):
    call = pool.submit(Odd, 5)
    pool.work(calls=1)
    gone = weakref.ref(call.result())
    assert gone() is not None
    gc.disable()
    try:
        del call
        assert gone() is None
    finally:
        gc.enable()


def test_statistics_and_repr_tell_its_state(pool):
    pool.submit(pow, 2, 2)
    assert (pool.statistics().queued, pool.statistics().running, pool.statistics().idle) == (1, 0, 0)
    assert repr(pool) == "<Executor 'pool' open>"
    pool.shutdown(wait=False)
    assert repr(pool) == "<Executor 'pool' shut down>"


def test_executors_of_one_name_are_equal_and_pickle_as_it(pool, swarm):
    assert pool == Executor(swarm, "pool") != Executor(swarm, "other")
    assert len({pool, Executor(swarm, "pool"), Executor(swarm, "other")}) == 2
    copy = pickle.loads(pickle.dumps(pool))
    assert copy == pool
    call = copy.submit(pow, 2, 2)
    pool.work(calls=1)
    assert call.result() == 4


def test_a_function_of_another_program_is_loaded_from_its_file(pool, program):
    process = program("print(swarm.Executor('pool', workers='elsewhere').submit(square, 3).result())", until="read")
    assert pool.work(calls=1) == 1
    assert process.communicate(timeout=30)[0] == "9\n"


# Its own processes.


def test_a_pool_runs_calls_side_by_side_and_leaves_nothing(program):
    lines = program("""
with swarm.Executor("pool", 2) as pool:
    print(pool.submit(square, 3).result(), sorted(pool.map(square, range(20))) == [n * n for n in range(20)])
    print(list(pool.map(square, range(5), chunksize=2)))
    print({future.result() for future in futures.as_completed([pool.submit(square, n) for n in range(3)])})
    print(pool._pool.processes <= 2)
print(pool._pool.processes, swarm.store.row("select count(*) from agent where ended_at is null")[0])
print(swarm.store.row("select count(*) from queue_message")[0])
""")
    assert lines == ["9 True", "[0, 1, 4, 9, 16]", "{0, 1, 4}", "True", "0 1", "0"]


@pytest.mark.parametrize("start", ["spawn", "forkserver", "fork"])
def test_every_way_to_start_a_process_does(program, start):
    assert program(f"""
import multiprocessing
with swarm.Executor("pool", 1, mp_context=multiprocessing.get_context({start!r})) as pool:
    print(pool.submit(square, 3).result())
""") == ["9"]


def test_a_worker_that_is_killed_in_the_middle_of_a_call_is_replaced(program):
    lines = program("""
with swarm.Executor("pool", 1) as pool:
    print(pool.submit(die_once, str(here / "died")).result())
    call = pool.submit(die, str(here / "deaths"))
    after = pool.submit(square, 3)
    error = call.exception()
    print(type(error).__name__, isinstance(error, futures.process.BrokenProcessPool))
    print(error)
    print(len((here / "deaths").read_text()), after.result())
""")
    assert lines[:2] == ["lived", "BrokenCall True"]
    assert "3 workers died while they ran it, the last: worker process" in lines[2]
    assert "was killed by SIGKILL" in lines[2]
    assert lines[3] == "3 9"


@pytest.mark.long
def test_a_worker_elsewhere_that_is_killed_gives_its_call_to_another(pool, swarm, program, until):
    """Goal: no pool looks after that worker; the watch finds it dead.  Method: kill it while its call runs."""
    call = pool.submit(time.sleep, 600)
    process = program("swarm.Executor('pool').work()", until="killed")
    until(call.running, "the call runs")
    agent = swarm.store.row("select owner from future where name = :name", name=call.name)["owner"]
    process.kill()
    process.communicate()
    got = Executor(swarm, "pool", attempts=1)
    assert got.work(calls=1, timeout=10) == 0
    assert isinstance(call.exception(timeout=10), BrokenProcessPool)
    assert "1 workers died" in str(call.exception())
    assert swarm.store.row("select state from agent where id = :agent", agent=agent)["state"] == "dead"


def test_a_worker_that_was_declared_dead_cannot_set_its_call(pool, swarm):
    call = pool.submit(bury_me, str(swarm.store.place))
    with join(swarm.store.place, "slow") as slow, pytest.raises(Exception, match="no member any more"):
        Executor(slow, "pool").work(calls=1)
    assert call.running()
    assert Executor(swarm, "pool", attempts=5).work(calls=1, timeout=0) == 1
    assert call.result() == "buried"


def bury_me(place):
    store = Store(place)
    row = store.row("select id from agent where name = 'slow' and ended_at is null")
    if row is not None:
        with store.transaction(None) as tx:
            holdings.bury(tx, row["id"], state="dead", reason="too slow", task=None)
    return "buried"


def test_an_initializer_runs_in_each_process(program):
    assert program("""
with swarm.Executor("pool", 1, initializer=initialize, initargs=("yes",)) as pool:
    print(pool.submit(os.getenv, "INITIALIZED").result())
""") == ["yes"]


def test_an_initializer_that_fails_breaks_the_pool(program):
    lines = program("""
pool = swarm.Executor("pool", 2, initializer=initialize, initargs=("fail",))
call = pool.submit(square, 3)
print(isinstance(call.exception(), futures.BrokenExecutor), call.exception())
try:
    pool.submit(square, 3)
except futures.BrokenExecutor as error:
    print(type(error).__name__, error.reason)
pool.shutdown()
print(pool)
""")
    assert lines[0].startswith("True future 'pool/")
    assert "its initializer raised an exception" in lines[0]
    assert lines[1:] == ["BrokenPool its initializer raised an exception", "<Executor 'pool' broken>"]


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    "use", ["list(pool.map(abs, [-1, -2]))", "pool.submit(abs, -1).result()"], ids=["map", "submit"]
)
def test_a_program_without_a_guard_is_told_what_to_do(tmp_path, start, use):
    file = tmp_path / "program.py"
    file.write_text(
        "import multiprocessing, sys\nfrom prong.primitives import join\n"
        f"with join({str(tmp_path / 'work.db')!r}) as swarm:\n"
        f"    with swarm.Executor('pool', 2, multiprocessing.get_context({start!r})) as pool:\n"
        f"        print({use})\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / ".src")}
    ran = subprocess.run(
        [sys.executable, file], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("Traceback") == 1
    assert 'belongs under `if __name__ == "__main__":`' in ran.stderr.splitlines()[-1]
    assert len(ran.stderr.splitlines()[-1]) < 400


def test_a_program_may_make_its_executor_as_it_is_imported(tmp_path):
    made = "\npool = join(sys.argv[1], 'early').Executor('pool', 1)\n"
    file = tmp_path / "early.py"
    file.write_text(
        "import sys\nfrom prong.primitives import join\n" + made + 'if __name__ == "__main__":\n'
        "    print(pool.submit(abs, -1).result())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / ".src")}
    ran = subprocess.run(
        [sys.executable, file, tmp_path / "work.db"], env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("1\n", "")


def test_a_process_leaves_after_so_many_calls(program):
    assert program("""
with swarm.Executor("pool", 1, max_tasks_per_child=2) as pool:
    pids = [pool.submit(os.getpid).result() for _ in range(4)]
    print(len(set(pids)), len(set(pids[:2])))
""") == ["2 1"]


def test_a_program_that_ends_without_shutdown_runs_its_calls(program, tmp_path):
    program("swarm.leave = print\npool = swarm.Executor('pool', 1)\npool.submit(slow, str(here / 'ran'))")
    assert (tmp_path / "ran").read_text() == "x"


def test_shutdown_without_wait_returns_at_once_and_the_calls_run(program):
    lines = program("""
pool = swarm.Executor("pool", 1)
call = pool.submit(slow, str(here / "ran"))
pool.shutdown(wait=False)
print(call.done())
pool._pool.join()
print(call.done(), pool._pool.processes)
""")
    assert lines == ["False", "True 0"]


def test_an_executor_that_nobody_has_lets_its_processes_leave(program):
    assert program("""
import gc
pool = swarm.Executor("pool", 1)
call, processes = pool.submit(square, 3), pool._pool
del pool
gc.collect()
processes.join()
print(call.result(), processes.processes)
""") == ["9 0"]


def test_the_processes_of_a_program_that_is_killed_leave(program, swarm, until):
    process = program(
        """
pool = swarm.Executor("pool", 2)
pool.submit(square, 3).result()
print(os.getpid(), flush=True)
time.sleep(600)
""",
        until="killed",
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    workers = "select 1 from agent where name = 'pool worker' and ended_at is null"
    until(lambda: swarm.store.row(workers) is None, "its workers left")


def test_ctrl_c_ends_the_call_and_not_the_worker(program):
    assert program("""
import ctypes
with swarm.Executor("pool", 1) as pool:
    print(type(pool.submit(signal.raise_signal, signal.SIGINT).exception()).__name__)
    pid = pool.submit(os.getpid).result()
    while not pool.statistics().idle:
        pass
    os.kill(pid, signal.SIGINT)
    print(pool.submit(os.getpid).result() == pid)
""") == ["KeyboardInterrupt", "True"]


def test_the_default_context_is_spawn(swarm):
    assert Executor(swarm, "pool")._pool._context.get_start_method() == "spawn"
    assert multiprocessing.get_start_method(allow_none=True) in (None, "fork", "spawn", "forkserver")


def test_a_broken_pool_says_what_to_do():
    assert "make a new executor" in str(BrokenPool("pool", "no"))
