"""The clock of a swarm: one for all processes, and it never goes back."""

import time

import pytest

from prong.state import FileClock, Store, SystemClock, join


def offset(_here, directory):
    return Store(directory).clock.offset_s


def test_all_processes_of_a_boot_share_one_offset(processes, tmp_path):
    directory = tmp_path / "real"
    crowd = [processes(f"p{n}") for n in range(3)]
    for process in crowd:
        process.start_running(offset, directory)
    assert len({process.result() for process in crowd} | {Store(directory).clock.offset_s}) == 1


def test_now_goes_on_with_the_monotonic_clock_and_looks_like_the_wall_clock(tmp_path):
    clock = Store(tmp_path).clock
    before = time.monotonic()
    now = clock.now()
    assert before <= now - clock.offset_s <= time.monotonic()
    assert abs(clock.now() - clock.wall()) < 1


@pytest.mark.parametrize(
    "write",
    [
        "update agent set beat_at = :later",
        "update agent set ended_at = :later, state = 'ended'",
        "insert into task (title, prompt, context, state, created_at) values ('t', 'p', 'fresh', 'done', :later)",
        "insert into lock (name, fence, lease_s, acquired_at) values ('a', 1, 1, :later)",
        "insert into map_entry (map, key, value, version, updated_at) values ('m', 'k', '1', 1, :later)",
        "insert into queue_message (queue, body, put_at) values ('q', '1', :later)",
    ],
)
def test_after_a_reboot_with_the_wall_clock_set_back_time_goes_on_from_what_was_written(tmp_path, write):
    """The earlier boot is this one under another name, with a point in time an hour ahead of the wall clock."""
    store = Store(tmp_path)
    join(store, "ada")
    later = store.clock.now() + 3600
    with store.transaction(None) as tx:
        tx.execute("update boot set id = 'the boot before'")
        tx.execute(write, later=later)
    store.close()
    rebooted = Store(tmp_path)
    assert later <= rebooted.clock.now() <= later + 5
    assert rebooted.row("select count(*) as n from boot")["n"] == 2


def test_a_reboot_without_history_starts_from_the_wall_clock(tmp_path):
    assert abs(Store(tmp_path).clock.now() - time.time()) < 5


def test_the_system_clock_is_the_monotonic_one_shifted():
    assert SystemClock(1000.0).now() - time.monotonic() == pytest.approx(1000.0, abs=0.5)


def test_a_file_clock_stands_still_and_is_shared(tmp_path):
    one, two = FileClock(tmp_path / "clock"), FileClock(tmp_path / "clock")
    before = one.now()
    assert two.now() == before == one.wall()
    one.advance(12.5)
    assert two.now() == before + 12.5
