"""Processes that use every primitive at once, are killed at random, and write down what they ask and are told.

    python tests/workload.py FILE LOGS --seconds 5 --processes 8 --start fork --threads 1 --seed 7 --objects a

Each process writes to a file of its own in LOGS, one line before a call and one behind it, each with one `write`, so
that a kill takes nothing back.  Times are of the one monotonic clock that all processes of a machine share.

It stands alone, because processes that are started anew load it by its path.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import os
import queue
import random
import signal
import sys
import threading
import time
from pathlib import Path

from prong.primitives import NotDelivered, NotHeld, VersionConflict, join

PATIENCE_S = 30
"""How long what a dead process held may stay away, and how long a process may take to end."""

ATTEMPTS = 1_000_000
"""More failed deliveries than there are, so that nothing becomes a dead letter."""

LOCKS, ATOMICS, KEYS, NAMED = "ab", "ab", "abcd", 30


class Journal:
    """One process's own account of what it asks and is told."""

    def __init__(self, logs, member):
        self._file = os.open(Path(logs) / f"{member}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._numbers = itertools.count()

    def write(self, what, *rest, at=None):
        line = json.dumps([what, time.monotonic_ns() if at is None else at, *rest])
        os.write(self._file, f"{line}\n".encode())

    def call(self, name, kind, act, *arguments):
        """Do it, and return what it returned; what is unexpected is written down and ends the process."""
        number = next(self._numbers)
        self.write("ask", number, name, kind, arguments)
        try:
            result = act()
        except BaseException as error:
            self.write("raised", number, repr(error))
            raise
        self.write("told", number, result, at=time.monotonic_ns())
        return result


def answering(instead, *errors):
    """What a call returns where it raises one of these."""

    def decorate(act):
        @functools.wraps(act)
        def answer():
            try:
                return act()
            except errors as error:
                return instead(error) if callable(instead) else instead

        return answer

    return decorate


class Client:
    """One thread of a process, and all the objects that it uses at random."""

    def __init__(self, swarm, journal, who, objects):
        self.call = journal.call
        self.swarm = swarm
        self.random = random.Random(who)  # another one in each process, and the same in each run
        self.values = (f"{who}/{number}" for number in itertools.count())
        self.locks = {name: swarm.Lock(f"{objects} {name}") for name in LOCKS}
        self.guarded = {name: swarm.Atomic(f"{objects} guarded by {name}", None) for name in LOCKS}
        self.atomics = {name: swarm.Atomic(f"{objects} {name}") for name in ATOMICS}
        self.accounts = swarm.Atomic(f"{objects} debit"), swarm.Atomic(f"{objects} credit")
        self.map = swarm.SharedMap(f"{objects} keys")
        self.whole = swarm.SharedMap(f"{objects} whole")
        self.list = swarm.SharedList(f"{objects} list")
        make = functools.partial(swarm.MessageQueue, attempts=ATTEMPTS)
        self.queues = {
            "fifo": make(f"{objects} fifo"),
            "bound": make(f"{objects} bound", 3),
            "lifo": make(f"{objects} lifo", discipline="lifo"),
        }
        self.fence = dict.fromkeys(LOCKS, 0)

    def act(self):
        """One thing after the other, which is done to its end."""
        kinds = [self.lock, self.atomic, self.account, self.key, self.map_at_once, self.items, self.message]
        self.random.choices(kinds, weights=[5, 3, 1, 5, 2, 4, 6])[0]()

    def lock(self):
        name = self.random.choice(LOCKS)
        lock, guarded, shared = self.locks[name], self.guarded[name], self.random.random() < 0.4
        timeout = self.random.choice([0, 0.02, 0.3, -1])

        def acquire():
            return lock.grant.fence if lock.acquire(timeout=timeout, shared=shared) else None

        def release():
            lock.release()
            return True

        @answering(False, NotHeld)
        def write():
            with self.swarm.atomic():
                lock.check(fence)
                guarded.exchange(value)
            return True

        value = next(self.values)
        fence = self.fence[name]
        if self.random.random() < 0.2:  # as one who was stopped for long, and does not know that his time is over
            self.call(f"lock/{name}", "write", write, fence, value)
        if self.random.random() < 0.2:
            self.call(f"lock/{name}", "locked", lock.locked)
        fence = self.call(f"lock/{name}", "acquire", acquire, shared)
        if fence is not None:
            self.fence[name] = fence
            if self.random.random() < 0.5:
                self.call(f"lock/{name}", "write", write, fence, value)
            self.call(f"lock/{name}", "read", guarded.get)
            self.call(f"lock/{name}", "release", release, fence)

    def atomic(self):
        name = self.random.choice(ATOMICS)
        number, n, m = self.atomics[name], self.random.randrange(9), self.random.randrange(9)
        named = f"{number.name} {self.random.randrange(NAMED)}"

        def told(change):
            return change.old, change.new, change.version, change.changed

        asked = {
            "get": (number.get, ()),
            "add": (lambda: told(number.add(n)), (n,)),
            "min": (lambda: told(number.min(n)), (n,)),
            "max": (lambda: told(number.max(n)), (n,)),
            "exchange": (lambda: told(number.exchange(n)), (n,)),
            "compare_and_set": (lambda: told(number.compare_and_set(m, n)), (m, n)),
            "named": (lambda: told(number.add(n, once=named)), (n, named)),
        }
        kind = self.random.choice(list(asked))
        act, arguments = asked[kind]
        self.call(f"atomic/{name}", "add" if kind == "named" else kind, act, *arguments)

    def account(self):
        debit, credit = self.accounts
        n = self.random.randrange(1, 9)

        def transfer():
            with self.swarm.atomic():
                return debit.add(-n).new, credit.add(n).new

        def both():
            with self.swarm.atomic():
                return debit.get(), credit.get()

        if self.random.random() < 0.5:
            self.call("accounts/one", "transfer", transfer, n)
        else:
            self.call("accounts/one", "both", both)

    def key(self):
        key, n = self.random.choice(KEYS), self.random.randrange(99)
        version = [0]
        conflict = answering(lambda error: ("conflict", error.found), VersionConflict)

        def entry():
            found = self.map.entry(key)
            version[0] = found.version
            return found.value, found.version

        call = functools.partial(self.call, f"key/{key}")
        kind = self.random.choice(
            ["put", "put over", "add", "delete", "delete over", "pop", "setdefault", "get", "entry"]
        )
        if kind.endswith("over"):
            call("entry", entry)
        asked = {
            "put": (lambda: self.map.put(key, n), (n,)),
            "put over": (conflict(lambda: self.map.put(key, n, if_version=version[0])), (n, version[0])),
            "add": (lambda: self.map.add(key, n), (n,)),
            "delete": (lambda: self.map.delete(key), ()),
            "delete over": (conflict(lambda: self.map.delete(key, if_version=version[0])), (version[0],)),
            "pop": (lambda: self.map.pop(key, None), ()),
            "setdefault": (lambda: self.map.setdefault(key, n), (n,)),
            "get": (lambda: self.map.get(key), ()),
            "entry": (entry, ()),
        }
        act, arguments = asked[kind]
        call(kind.split()[0], act, *arguments)

    def map_at_once(self):
        pairs = {key: self.random.randrange(99) for key in self.random.sample(KEYS, 3)}

        def update():
            self.whole.update(pairs)
            return True

        def clear():
            self.whole.clear()
            return True

        asked = {
            "update": (update, (list(pairs.items()),)),
            "clear": (clear, ()),
            "popitem": (answering(None, KeyError)(self.whole.popitem), ()),
            "copy": (lambda: list(self.whole.copy().items()), ()),
            "len": (lambda: len(self.whole), ()),
        }
        kind = self.random.choice(list(asked))
        act, arguments = asked[kind]
        self.call("map/whole", kind, act, *arguments)

    def items(self):
        value, more, index = next(self.values), [next(self.values), next(self.values)], self.random.randrange(-3, 3)
        items = self.list
        missing = answering(None, IndexError)

        def extend():
            items.extend(more)
            return True

        def insert():
            items.insert(index, value)
            return True

        @answering(False, IndexError)
        def put():
            items[index] = value
            return True

        def reverse():
            items.reverse()
            return True

        asked = {
            "append": (lambda: items.append(value), (value,)),
            "extend": (extend, (more,)),
            "insert": (insert, (index, value)),
            "set": (put, (index, value)),
            "pop": (missing(lambda: items.pop(index)), (index,)),
            "get": (missing(lambda: items[index]), (index,)),
            "reverse": (reverse, ()),
            "copy": (items.copy, ()),
            "len": (lambda: len(items), ()),
        }
        kind = self.random.choices(list(asked), weights=[4, 1, 1, 2, 9, 2, 1, 2, 2])[0]
        act, arguments = asked[kind]
        self.call("list/one", kind, act, *arguments)

    def message(self):
        name = self.random.choice(list(self.queues))
        messages, value, timeout = self.queues[name], next(self.values), self.random.choice([0, 0.02, 0.3])
        call = functools.partial(self.call, f"queue/{name}")
        chance = self.random.random()
        if chance < 0.5:
            call("put", answering(None, queue.Full)(lambda: messages.put(value, timeout=timeout)), value)
        elif chance < 0.6:
            call("qsize", messages.qsize)
        elif chance < 0.8:
            found = call("get", answering(None, queue.Empty)(lambda: messages.get(timeout=timeout)))
            if found is not None:
                call("done", lambda: messages.task_done() or True, found)
        else:
            self.take(messages, call, timeout)

    def take(self, messages, call, timeout):
        taken = []

        def take():
            taken.extend(messages.take(timeout=timeout))
            return (taken[0].value, taken[0].deliveries) if taken else None

        @answering(False, NotDelivered)
        def done():
            messages.done(taken[0])
            return True

        call("take", take)
        if taken and self.random.random() < 0.3:
            call("fail", lambda: not messages.fail(taken[0], "at random"), taken[0].value)
        elif taken:
            call("done", done, taken[0].value)

    def look_at_all(self):
        """What is there in the end, when everything that the dead held has come back."""
        until = time.monotonic() + PATIENCE_S
        for name, lock in self.locks.items():
            acquired = lambda lock=lock: lock.grant.fence if lock.acquire(timeout=PATIENCE_S) else None  # noqa: E731  it is done at once
            fence = self.call(f"lock/{name}", "acquire", acquired, False)
            assert fence is not None, f"lock {name} never comes back"
            self.call(f"lock/{name}", "read", self.guarded[name].get)
            self.call(f"lock/{name}", "release", lambda lock=lock: lock.release() or True, fence)
        for name, number in self.atomics.items():
            self.call(f"atomic/{name}", "get", number.get)
        for key in KEYS:
            self.call(f"key/{key}", "get", functools.partial(self.map.get, key))
        self.call("map/whole", "copy", lambda: list(self.whole.copy().items()))
        self.call("list/one", "copy", self.list.copy)
        for name, messages in self.queues.items():
            while messages.statistics().queued or messages.statistics().delivered:
                assert time.monotonic() < until, f"a message of queue {name} never comes back"
                self.take(messages, functools.partial(self.call, f"queue/{name}"), 0.1)
            self.call(f"queue/{name}", "qsize", messages.qsize)


def work(options, member, until_ns):
    """A process's whole life."""
    journal = Journal(options.logs, member)
    swarm = join(options.file, member)

    def run(thread):
        client = Client(swarm, journal, f"{options.seed} {member}.{thread}", options.objects)
        while time.monotonic_ns() < until_ns:
            client.act()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, options.threads)]
    for thread in threads:
        thread.start()
    run(0)
    for thread in threads:
        thread.join()
    swarm.leave()
    journal.write("left")


class Forked:
    """A process that was forked from this one, with what a `multiprocessing.Process` has."""

    def __init__(self, target, args):
        self.exitcode = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                target(*args)
                code = 0
            except BaseException:  # noqa: BLE001  nothing of a child goes on as its parent
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def join(self, patience_s=PATIENCE_S):
        until = time.monotonic() + patience_s
        while self.exitcode is None and time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exitcode = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.001)


class Crew:
    """So many processes, of which one is killed now and then, and another takes its place."""

    def __init__(self, options):
        self.options = options
        self.journal = Journal(options.logs, "crew")
        self.until_ns = time.monotonic_ns() + int(options.seconds * 1e9)
        self.processes = {}
        self.generation = itertools.count()

    def start(self):
        member = f"{self.options.objects}{next(self.generation)}"
        arguments = (self.options, member, self.until_ns)
        if self.options.start == "fork":
            self.processes[member] = Forked(work, arguments)
            return
        process = multiprocessing.get_context(self.options.start).Process(target=work, args=arguments)
        process.start()
        self.processes[member] = process

    def kill(self, member):
        process = self.processes.pop(member)
        self.journal.write("kill", member)
        process.kill()
        process.join()
        self.journal.write("dead", member)

    def run(self):
        chance = random.Random(self.options.seed)
        for _ in range(self.options.processes):
            self.start()
        while time.monotonic_ns() < self.until_ns:
            time.sleep(chance.uniform(0.5, 1.5) * self.options.kill_every)
            if time.monotonic_ns() < self.until_ns - 5e8:
                self.kill(chance.choice(list(self.processes)))
                self.start()
        for member, process in self.processes.items():
            process.join(PATIENCE_S)
            if process.exitcode is None:
                self.journal.write("stuck", member)
                process.kill()
            elif process.exitcode:
                self.journal.write("failed", member, process.exitcode)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("logs")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", choices=["fork", "spawn", "forkserver"], default="fork")
    parser.add_argument("--kill-every", type=float, default=0.2)
    parser.add_argument("--seed", default="7")
    parser.add_argument("--objects", default="a", help="a prefix of all names, for several runs on one file")
    options = parser.parse_args()
    Crew(options).run()
    with join(options.file, "last") as swarm:
        Client(swarm, Journal(options.logs, "last"), "last", options.objects).look_at_all()
        journal = Journal(options.logs, "buried")
        for row in swarm.store.rows("select name, ended_at from agent where state = 'dead'"):
            ago_s = swarm.store.clock.now() - row["ended_at"]
            journal.write("buried", row["name"], at=time.monotonic_ns() - int(ago_s * 1e9))


if __name__ == "__main__":
    main()
