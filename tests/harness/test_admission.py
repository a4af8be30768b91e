"""How many agents may start, and why not more; and how the machine is read, from files as kernels write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.harness import pressure
from prong.harness.admission import MIB, Limits, Provider, admit
from prong.harness.pressure import Pressure

percent = st.none() | st.floats(0, 100)
sizes = st.none() | st.integers(0, 64 * 1024 * MIB)
pressures = st.none() | st.builds(
    Pressure, percent, percent, percent, st.none() | st.floats(0, 50), st.integers(1, 64), sizes, sizes
)
words = st.none() | st.just("because")
ROOMY = {"available_bytes": 64 * 1024 * MIB, "total_bytes": 64 * 1024 * MIB}


@given(st.integers(1, 20), st.integers(0, 30), pressures, words, words)
def test_no_more_start_than_slots_are_free_and_only_a_pause_or_the_budget_stops_the_last(
    slots, taken, machine, budget, paused
):
    room = admit(slots=slots, taken=taken, pressure=machine, budget=budget, paused=paused)
    assert 0 <= room.starts <= room.free <= max(0, slots - taken)
    if taken == 0 and not budget and not paused:
        assert room.starts >= 1
    if paused is None:
        assert room.free == max(0, slots - taken)  # whose wait has ended is not held by pressure
    if room.free and room.starts < room.free:
        assert room.tight.reason in ("budget", "memory", "cpu")


@pytest.mark.parametrize(
    ("machine", "starts", "reason"),
    [
        (Pressure(cpu_percent=94, cores=2, **ROOMY), 6, "slots"),
        (Pressure(cpu_percent=95, cores=2, **ROOMY), 0, "cpu"),
        (Pressure(cpu_percent=95, cores=4, **ROOMY), 2, "cpu"),
        (Pressure(load=1.9, **ROOMY), 6, "slots"),
        (Pressure(load=2.0, **ROOMY), 0, "cpu"),
        (Pressure(cpu_percent=10, load=30.0, **ROOMY), 6, "slots"),  # the kernel knows better
        (Pressure(memory_some_percent=20, **ROOMY), 0, "memory"),
        (Pressure(memory_full_percent=5, **ROOMY), 0, "memory"),
        (Pressure(cpu_percent=99, memory_full_percent=5, cores=8), 0, "memory"),
        (Pressure(available_bytes=(256 + 3 * 64) * MIB, total_bytes=1024 * MIB), 3, "memory"),
        (Pressure(available_bytes=(800 + 64) * MIB, total_bytes=16000 * MIB), 1, "memory"),
        (Pressure(available_bytes=100 * MIB, total_bytes=1024 * MIB), 0, "memory"),
        (Pressure(), 6, "slots"),
    ],
)
def test_a_machine_under_pressure_starts_fewer_and_says_why(machine, starts, reason):
    room = admit(slots=8, taken=2, pressure=machine)
    told = room.full if room.starts == room.free else room.tight
    assert (room.starts, told.reason) == (starts, reason)


def test_agents_that_the_reading_does_not_show_yet_count_as_memory_taken():
    machine = Pressure(available_bytes=(256 + 5 * 64) * MIB, total_bytes=1024 * MIB)
    assert [admit(slots=9, taken=1, pressure=machine, unseen=unseen).starts for unseen in (0, 2, 9)] == [5, 3, 0]


def test_the_limits_are_whatever_the_user_says():
    machine = Pressure(cpu_percent=50, available_bytes=1000, total_bytes=1000)
    limits = Limits(cpu_percent=60, reserve_bytes=400, agent_bytes=200)
    assert admit(slots=9, taken=1, pressure=machine, limits=limits).starts == 3
    assert admit(slots=9, taken=1, pressure=machine, limits=Limits(cpu_percent=40, least=3)).starts == 2


def test_each_reason_says_what_is_so_in_words():
    stalled = admit(slots=4, taken=1, pressure=Pressure(memory_full_percent=12)).tight
    assert stalled.detail == "nothing could run for want of memory for 12 % of the last 10 s; none starts from 5 %"
    assert admit(slots=4, taken=4).full.detail == "all 4 slots are taken"
    assert admit(slots=4, taken=0, paused="ada paused it").full.detail == "ada paused it"


def test_a_provider_that_is_closed_says_until_when_and_one_that_is_full_lets_one_of_ours_in():
    closed = Provider(closed_until=90.0, concurrency=8)
    assert (closed.free(60.0, running=0), closed.free(90.0, running=0)) == (0, 8)
    assert closed.refusal("anthropic", 60.0).until == 90.0
    full = Provider(concurrency=4, in_flight=4)
    assert (full.free(0.0, running=1), full.free(0.0, running=0)) == (0, 1)
    assert "4 calls at once" in full.refusal("anthropic", 0.0).detail
    assert Provider().free(0.0, running=5) is None


def write(root, files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def read(root):
    return pressure.read(root / "proc", root / "cgroup")


def test_the_kernels_pressure_is_read_as_shares_of_the_last_ten_seconds(tmp_path):
    write(
        tmp_path / "proc" / "pressure",
        {
            "cpu": "some avg10=70.27 avg60=50.00 avg300=9.00 total=1\n",
            "memory": "some avg10=1.50 avg60=0 avg300=0 total=1\nfull avg10=0.25 avg60=0 avg300=0 total=1\n",
        },
    )
    found = read(tmp_path)
    assert (found.cpu_percent, found.memory_some_percent, found.memory_full_percent) == (70.27, 1.5, 0.25)


@pytest.mark.parametrize("text", [None, "", "some", "some avg10=", "\0\0", "some avg60=1"])
def test_a_machine_that_tells_no_pressure_is_read_by_its_load_and_its_memory(tmp_path, text):
    if text is not None:
        write(tmp_path / "proc" / "pressure", {"cpu": text, "memory": text})
    found = read(tmp_path)
    assert (found.cpu_percent, found.memory_some_percent, found.memory_full_percent) == (None, None, None)
    assert found.load is not None
    assert found.cores >= 1
    assert 0 < found.available_bytes <= found.total_bytes


def test_the_tightest_control_group_above_this_process_bounds_its_memory(tmp_path):
    write(tmp_path / "proc" / "self", {"cgroup": "0::/outer/inner\n"})
    write(
        tmp_path / "cgroup" / "outer",
        {
            "memory.max": f"{100 * MIB}\n",
            "memory.current": f"{90 * MIB}\n",
            "memory.stat": f"anon 5\ninactive_file {30 * MIB}\n",
            "inner/memory.max": "max\n",
            "inner/memory.current": "5\n",
        },
    )
    found = read(tmp_path)
    assert (found.available_bytes, found.total_bytes) == (40 * MIB, 100 * MIB)


def test_the_older_control_groups_bound_it_too_and_may_show_only_their_root_in_a_container(tmp_path):
    write(tmp_path / "proc" / "self", {"cgroup": "5:cpu:/\n4:memory:/docker/abc\n"})
    write(
        tmp_path / "cgroup" / "memory",
        {
            "memory.limit_in_bytes": f"{50 * MIB}\n",
            "memory.usage_in_bytes": f"{60 * MIB}\n",
            "memory.stat": "total_inactive_file 0\n",
        },
    )
    found = read(tmp_path)
    assert (found.available_bytes, found.total_bytes) == (0, 50 * MIB)


def test_this_machine_can_be_read():
    assert pressure.read().cores >= 1
