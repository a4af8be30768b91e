"""What every primitive can write, so that each fault meets each of them; and what the stepped processes do.

It stands alone, because a stepped process loads it by its path.
"""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import suppress
from typing import NamedTuple

import pytest

from prong import primitives
from prong.primitives import (
    Atomic,
    Barrier,
    BoundedSemaphore,
    BrokenBarrier,
    BrokenFuture,
    Condition,
    Event,
    Future,
    Lock,
    MessageQueue,
    Plan,
    RLock,
    Semaphore,
    SharedList,
    SharedMap,
    Topic,
    create_task,
    join,
)
from prong.primitives.values import VALUE_BYTES
from prong.state import Deposed, Invalid, Member, Membership, ProngError, Store, StoreBusy, StoreError


class Here(NamedTuple):
    """What a stepped process has, as far as is needed here."""

    store: Store
    member: Membership
    kept: dict


LARGE = "x" * (VALUE_BYTES + 1)
"""What becomes an artifact."""


def _held(lock):
    lock.acquire(timeout=0)
    return lock


def _taken(queue):
    queue.put("b")
    queue.get(timeout=0)
    return queue


def _subscribed(topic):
    topic.queue_of("ada")
    return topic


def _with(queue, *items):
    queue.put_many(items)
    return queue


def _create(member):
    with member.transaction() as tx:
        create_task(tx, Plan("a task", "do it"))


WRITES = {
    "lock acquire": (lambda m: Lock(m, "l"), lambda lock: lock.acquire(timeout=0)),
    "lock acquire shared": (lambda m: Lock(m, "s"), lambda lock: lock.acquire(timeout=0, shared=True)),
    "lock release": (lambda m: _held(Lock(m, "r")), lambda lock: lock.release()),
    "lock renew": (lambda m: _held(Lock(m, "n")), lambda lock: lock.renew(30)),
    "rlock acquire": (lambda m: RLock(m, "rl"), lambda lock: lock.acquire(timeout=0)),
    "rlock release": (lambda m: _held(RLock(m, "rr")), lambda lock: lock.release()),
    "semaphore acquire": (lambda m: Semaphore(m, "s", 2), lambda semaphore: semaphore.acquire(timeout=0)),
    "semaphore release": (lambda m: Semaphore(m, "sr", 0), lambda semaphore: semaphore.release(3)),
    "bounded semaphore release": (lambda m: _held(BoundedSemaphore(m, "b", 2)), lambda b: b.release()),
    "event set": (lambda m: Event(m, "e"), lambda event: event.set()),
    "condition notify": (
        lambda m: _held(Condition(m, "c")),
        lambda condition: (condition.notify_all(), condition.release()),
    ),
    "barrier wait": (lambda m: Barrier(m, "b", 1), lambda barrier: barrier.wait()),
    "barrier abort": (lambda m: Barrier(m, "a", 2), lambda barrier: barrier.abort()),
    "atomic add": (lambda m: Atomic(m, "a"), lambda atomic: atomic.add(1)),
    "atomic exchange, large": (lambda m: Atomic(m, "x"), lambda atomic: atomic.exchange(LARGE + "atomic")),
    "map put": (lambda m: SharedMap(m, "m"), lambda entries: entries.put("k", 1)),
    "map put, large": (lambda m: SharedMap(m, "ml"), lambda entries: entries.put("k", LARGE + "map")),
    "map pop": (lambda m: SharedMap(m, "mp").put("k", 1) and SharedMap(m, "mp"), lambda entries: entries.pop("k")),
    "map update": (lambda m: SharedMap(m, "mu"), lambda entries: entries.update({f"k{n}": n for n in range(500)})),
    "list append": (lambda m: SharedList(m, "l"), lambda items: items.append(1)),
    "list append, large": (lambda m: SharedList(m, "ll"), lambda items: items.append(LARGE + "list")),
    "list extend": (lambda m: SharedList(m, "le"), lambda items: items.extend(range(500))),
    "list pop": (lambda m: SharedList(m, "lp").append(1) or SharedList(m, "lp"), lambda items: items.pop()),
    "queue put": (lambda m: MessageQueue(m, "q", 5), lambda queue: queue.put("a")),
    "queue put, large": (lambda m: MessageQueue(m, "ql"), lambda queue: queue.put(LARGE + "queue")),
    "queue put_many": (lambda m: MessageQueue(m, "qm"), lambda queue: queue.put_many(list(range(500)))),
    "queue get": (lambda m: _with(MessageQueue(m, "qg"), "a"), lambda queue: queue.get(timeout=0)),
    "queue get for good": (
        lambda m: _with(MessageQueue(m, "qa", acknowledge="at_get"), "a"),
        lambda queue: queue.get(timeout=0),
    ),
    "queue task_done": (lambda m: _taken(MessageQueue(m, "qd")), lambda queue: queue.task_done()),
    "queue shutdown": (lambda m: _with(MessageQueue(m, "qs"), "a"), lambda queue: queue.shutdown(immediate=True)),
    "topic publish": (lambda m: _subscribed(Topic(m, "t")), lambda topic: topic.publish("news")),
    "future promise": (lambda m: Future(m, "p"), lambda future: future.promise()),
    "future set_result": (lambda m: Future(m, "f"), lambda future: future.set_result(1)),
    "future set_result, large": (lambda m: Future(m, "fl"), lambda future: future.set_result(LARGE + "future")),
    "future cancel": (lambda m: Future(m, "c"), lambda future: future.cancel()),
    "task create": (lambda m: m, _create),
    "atomic block": (
        lambda m: m,
        lambda m: _several(m, 1),
    ),
    "large atomic block": (
        lambda m: m,
        lambda m: _several(m, 4_000),
    ),
}
"""What it is called: how to prepare it, and the write."""


def _several(member, count):
    """Several changes that are one; many are more than a connection keeps in memory."""
    with member.atomic():
        for n in range(count):
            SharedMap(member, f"several {count}")[f"key {n}"] = "x" * 500
        Atomic(member, f"several {count}").add(1)


def everything(store):
    """All rows of all tables, and the artifacts."""
    tables = [row[0] for row in store.rows("select name from sqlite_master where type = 'table' order by name")]
    found = {table: [tuple(row) for row in store.rows(f"select * from {table}")] for table in tables}
    found["artifacts"] = sorted(path.name for path in store.artifacts.glob("*")) if store.artifacts.exists() else []
    return found


def sound(store):
    """Whether SQLite finds nothing wrong with the database."""
    return [row[0] for row in store.rows("pragma integrity_check")] == ["ok"] and not store.rows(
        "pragma foreign_key_check"
    )


def fill(here):
    """Leave no room on the disk, nor in the files of the database, for the least of transactions."""
    here.store.rows("pragma wal_checkpoint(truncate)")
    with (here.store.directory / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))
    _write_until_refused(here)


def limit(here):
    """Let no file of this process grow beyond a few pages, which is what a quota does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    here.store.rows("pragma wal_checkpoint(truncate)")
    here.kept["limit"] = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, here.kept["limit"][1]))
    _write_until_refused(here)


def _write_until_refused(here):
    with pytest.raises(StoreError):  # noqa: PT012  any of them may be the one
        while True:
            with here.member.transaction() as tx:
                tx.event("grow")


def make_room(here):
    if "limit" in here.kept:
        resource.setrlimit(resource.RLIMIT_FSIZE, here.kept.pop("limit"))
    (here.store.directory / "filler").unlink(missing_ok=True)


def refused_and_then_done(here, which, full):
    """What a write said on the full disk; it must have changed nothing then, and do its work when there is room."""
    prepare, write = WRITES[which]
    made = prepare(here.member)
    {"fill": fill, "limit": limit}[full](here)
    before = everything(here.store)
    with pytest.raises(StoreError) as caught:
        write(made)
    assert everything(here.store) == before
    make_room(here)
    write(made)
    assert everything(here.store) != before
    assert sound(here.store)
    return str(caught.value)


def clean(here, disk):
    """Have the disk empty again."""
    make_room(here)
    here.store.close()
    for path in disk.iterdir():
        shutil.rmtree(path)


def swallow(here):
    """What a block did after one of its changes had found the disk full and the program went on regardless."""
    entries = SharedMap(here.member, "swallowed")
    entries["before"] = 0
    fill(here)
    with pytest.raises(StoreError) as caught, here.member.atomic():  # noqa: PT012  a whole block is what is tested
        entries["first"] = 1
        with suppress(Exception):
            _several(here.member, 4_000)
        make_room(here)
        entries["last"] = 1
    return str(caught.value), entries.copy()


def join_and_hold(here):
    """Be a member that others see die, and hold one of each."""
    swarm = here.kept["swarm"] = join(here.store.directory, "mortal")
    swarm.Lock("l").acquire()
    swarm.Semaphore("s").acquire()
    swarm.MessageQueue("q").put("a")
    swarm.MessageQueue("q").get()
    swarm.Future("f").promise()


def wait_for(here, which):
    """Wait for what another holds."""
    member = here.member
    if which == "lock":
        return Lock(member, "l").acquire()
    if which == "semaphore":
        return Semaphore(member, "s").acquire()
    if which == "queue":
        return MessageQueue(member, "q").get()
    try:
        return Future(member, "f").result()
    except BrokenFuture:
        return "broken"


def acquire(here, **options):
    here.kept["lock"] = Lock(here.member, "l")
    return here.kept["lock"].acquire(**options)


def release(here):
    here.kept["lock"].release()


def held(here):
    return here.kept["lock"].grant is not None


def waiting(here):
    """Who waits, as the database has it."""
    return [
        tuple(row)
        for row in here.store.rows("select agent, kind, state from waiter where state = 'waiting' order by id")
    ]


def check_sound(here):
    return sound(here.store)


def open_new(here, name):
    """Open a new swarm beside this one; what was said where that cannot be."""
    try:
        Store(here.store.directory.with_name(name)).close()
    except StoreError as error:
        return str(error)
    return None


def directory_name(here):
    return here.store.directory.name


def write_something(here):
    """Whatever a process does next: its next transaction."""
    SharedMap(here.member, "something")["k"] = 1


def read_only(here):
    """Let nothing be written any more where the swarm is, whoever asks."""
    here.store.close()
    for how in (
        ["--bind", here.store.directory, here.store.directory],
        ["-o", "remount,bind,ro", here.store.directory],
    ):
        subprocess.run(["mount", *how], check=True)


def writable(here):
    """Undo it."""
    here.store.close()
    subprocess.run(["umount", here.store.directory], check=True)


def refused_on_a_read_only_disk(here, which):
    """What a write said that came too late, and it must do its work when all is as before."""
    prepare, write = WRITES[which]
    made = prepare(here.member)
    before = everything(here.store)
    read_only(here)
    try:
        with pytest.raises(StoreError) as caught:
            write(made)
    finally:
        writable(here)
    after = everything(here.store)
    assert {table: after[table] for table in before if table != "artifacts"} == {
        table: before[table] for table in before if table != "artifacts"
    }
    write(made)
    assert sound(here.store)
    return str(caught.value)


def become_nobody(_here):
    """Be a user whom permissions bind."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)


def use(_here, path):
    """Open a store, read and write; what was said where that cannot be."""
    try:
        store = Store(path, patience_s=0.2)
    except StoreError as error:
        return str(error)
    try:
        store.rows("select * from agent")
        with store.transaction(None) as tx:
            tx.event("written")
    except StoreError as error:
        return str(error)
    finally:
        store.close()
    return None


def refused_by_a_foreigner(here, which, pid):
    """A write while another program holds the database for longer than this one waits."""
    prepare, write = WRITES[which]
    store = Store(here.store.directory, clock=here.store.clock, patience_s=0.02)
    try:
        made = prepare(Membership(store, here.member.me))
        foreigner = sqlite3.connect(store.path, isolation_level=None)
        try:
            foreigner.execute("begin immediate")
            before = everything(store)
            with pytest.raises(StoreBusy, match=f"process {pid} has kept") as caught:
                write(made)
            assert caught.value.holders == (pid,)
            after = everything(store)
            after["artifacts"] = before["artifacts"]  # a value's file is there before the transaction begins
            assert after == before
        finally:
            foreigner.close()
        write(made)
        assert sound(store)
    finally:
        store.close()


def do(here, which):
    prepare, write = WRITES[which]
    write(prepare(here.member))


def read_all(here):
    """What each primitive says when it is read, for comparison."""
    m = here.member
    return {
        "lock": lambda: Lock(m, "r").statistics().holder,
        "semaphore": lambda: Semaphore(m, "s", 2).statistics().value,
        "event": lambda: Event(m, "e").is_set(),
        "barrier": lambda: Barrier(m, "b", 1).statistics().round,
        "atomic": lambda: Atomic(m, "a").get(),
        "map": lambda: SharedMap(m, "mu").copy(),
        "list": lambda: SharedList(m, "le").copy(),
        "queue": lambda: [message.value for message in MessageQueue(m, "qm").peek(count=1_000)],
        "topic": lambda: Topic(m, "t").queues(),
        "future": lambda: Future(m, "f").result(timeout=0),
        "history": lambda: [change.value for change in SharedMap(m, "m").history("k")],
    }


def outcomes(here, path):
    """What each primitive says of a database that may be damaged: its value, or the error's text."""
    found = {}
    try:
        store = Store(path, clock=here.store.clock)
    except StoreError as error:
        return str(error)
    there = Here(store, Membership(store, Member(1, 1)), None)
    for which, read in read_all(there).items():
        try:
            found[which] = read()
        except (StoreError, Deposed) as error:
            found[which] = error
    for which, (prepare, write) in WRITES.items():
        if "large" not in which:
            try:
                write(prepare(there.member))
            except Exception as error:  # noqa: BLE001  the test looks at what it is
                found[f"write: {which}"] = error
    store.close()
    return found


def stop_inside(here):
    """Be stopped in the middle of a transaction."""
    with here.member.transaction() as tx:
        tx.event("half way")
        os.kill(os.getpid(), signal.SIGSTOP)
        tx.event("whole")


def swarm_of(here):
    """A joined member, whose heart beats, by the clock of the test."""
    if "swarm" not in here.kept:
        here.kept["swarm"] = join(here.store.directory, "stopped", clock=here.store.clock)
    return here.kept["swarm"]


def hold_all(here):
    """Hold one of each that has a lease; the fence of the lock."""
    swarm = swarm_of(here)
    here.kept |= {"l": swarm.Lock("l"), "r": swarm.RLock("r"), "s": swarm.Semaphore("s"), "q": swarm.MessageQueue("q")}
    here.kept["shared"] = swarm.Lock("shared")
    for held in "lrs":
        assert here.kept[held].acquire()
    assert here.kept["shared"].acquire(shared=True)
    here.kept["fence"] = here.kept["l"].grant.fence
    here.kept["q"].put("a")
    here.kept["message"] = here.kept["q"].take()[0]


def told_when_awake(here):
    """What somebody hears who still believes to hold it all."""
    kept = here.kept
    calls = {
        "check": lambda: kept["l"].check(kept["fence"]),
        "renew": kept["l"].renew,
        "release": kept["l"].release,
        "release rlock": kept["r"].release,
        "release share": kept["shared"].release,
        "release permit": kept["s"].release,
        "done": lambda: kept["q"].done(kept["message"]),
        "task_done": kept["q"].task_done,
    }
    said = {}
    for which, call in calls.items():
        try:
            call()
        except (ProngError, ValueError) as error:
            said[which] = type(error).__name__, str(error)
    return said | {"grant": kept["l"].grant}


def take_all(here):
    """What another member gets of it when it comes."""
    m = here.member
    queue = here.kept["queue"] = MessageQueue(m, "q")
    return (
        Lock(m, "l").acquire(timeout=20),
        RLock(m, "r").acquire(timeout=20),
        Lock(m, "shared").acquire(timeout=20),
        Semaphore(m, "s").acquire(timeout=20),
        queue.get(timeout=20),
    )


def memory(_here):
    """How much memory this process has needed at most, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def take_most(here):
    """Whether another member gets any of it at once."""
    m = here.member
    locks = Lock(m, "l"), RLock(m, "r"), Lock(m, "shared"), Semaphore(m, "s")
    return sum(lock.acquire(timeout=0) for lock in locks) > 0


def wait_for_kind(here, kind):
    """Wait for the event `e` or the future `f`."""
    return Event(here.member, "e").wait() if kind == "event" else Future(here.member, "f").result()


def disagree(here, moment, kind, arguments, more, method, options):  # noqa: PLR0917  it comes over a wire
    """Make and use a primitive at a moment; the refusal where there was one."""
    while here.store.clock.now() < moment:
        time.sleep(0.0005)
    try:
        getattr(getattr(primitives, kind)(here.member, *arguments, **more), method)(**options)
    except (Invalid, BrokenBarrier) as error:
        return error
    return None
