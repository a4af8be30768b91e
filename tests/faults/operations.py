"""What every primitive can write, so that each fault meets each of them; and what the stepped processes do.

It stands alone, because a stepped process loads it by its path.
"""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from contextlib import suppress

import pytest

from prong.primitives import (
    RLock,
    Atomic,
    Barrier,
    BoundedSemaphore,
    BrokenFuture,
    Condition,
    Event,
    Future,
    Lock,
    MessageQueue,
    Plan,
    Semaphore,
    SharedList,
    SharedMap,
    Topic,
    create_task,
    join,
)
from prong.primitives.values import VALUE_BYTES
from prong.state import Membership, Store, StoreBusy, StoreError

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
    with open(here.store.directory / "filler", "wb", buffering=0) as filler, suppress(OSError):
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
    with pytest.raises(StoreError):
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
    with pytest.raises(StoreError) as caught, here.member.atomic():
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
        tuple(row) for row in here.store.rows("select agent, kind, state from waiter where state = 'waiting' order by id")
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
    for how in (["--bind", here.store.directory, here.store.directory], ["-o", "remount,bind,ro", here.store.directory]):
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
