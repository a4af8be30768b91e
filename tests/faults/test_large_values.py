"""A value of a hundred megabytes goes to a file and comes back; one over the bound is refused; the log stays small."""

import pytest

from prong.primitives import Atomic, Future, MessageQueue, SharedList, SharedMap, TooLarge
from prong.primitives.artifacts import ARTIFACT_BYTES

from .operations import sound

LARGE = "x" * 100_000_000

ROUND_TRIPS = {
    "map": (lambda m, value: SharedMap(m, "m").put("k", value), lambda m: SharedMap(m, "m")["k"]),
    "list": (lambda m, value: SharedList(m, "l").append(value), lambda m: SharedList(m, "l")[0]),
    "atomic": (lambda m, value: Atomic(m, "a").exchange(value), lambda m: Atomic(m, "a").get()),
    "queue": (lambda m, value: MessageQueue(m, "q").put(value), lambda m: MessageQueue(m, "q").get(timeout=0)),
    "future": (lambda m, value: Future(m, "f").set_result(value), lambda m: Future(m, "f").result(timeout=0)),
}


@pytest.mark.parametrize(
    "which", [one if one == "map" else pytest.param(one, marks=pytest.mark.long) for one in ROUND_TRIPS]
)
def test_a_value_of_a_hundred_megabytes_comes_back_and_stays_out_of_the_database(member, store, which):
    write, read = ROUND_TRIPS[which]
    write(member, LARGE)
    assert read(member) == LARGE
    assert store.row("select max(length(data)) from event")[0] < 1_000
    assert store.path.stat().st_size + store.path.with_name("state.db-wal").stat().st_size < 1_000_000
    assert [path.stat().st_size for path in store.artifacts.iterdir()] == [len(LARGE) + 2]
    assert sound(store)


def test_a_value_over_the_bound_is_refused_and_leaves_nothing(member, store):
    write, _ = ROUND_TRIPS["queue"]
    value = "x" * (ARTIFACT_BYTES - 1)  # with its quotes one byte too many
    with pytest.raises(TooLarge, match=rf"is {ARTIFACT_BYTES + 1} bytes, over the bound of {ARTIFACT_BYTES}"):
        write(member, value)
    assert not store.artifacts.exists()
    assert [row["kind"] for row in store.rows("select kind from event")] == ["agent.joined"]
