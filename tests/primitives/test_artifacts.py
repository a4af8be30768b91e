"""Artifacts: a large value is whole on the disk before a row names it; a reader gets it, or a clear error."""

import hashlib
import json
import math
import os
import pickle
import resource
import signal
import stat
import sys

import pytest

from prong.primitives import SharedMap, TooLarge
from prong.primitives.artifacts import ARTIFACT_BYTES, ArtifactLost, from_log, loaded, logged, stored
from prong.primitives.values import VALUE_BYTES
from prong.state import Invalid, StoreError

LARGE = "x" * VALUE_BYTES
"""Its JSON is two bytes over the bound of a row."""


def store_large(here):
    return stored(here.member, "a value", LARGE)


def store_large_on_a_full_disk(here, *, dying=False):
    """Store it where files cannot grow that long, which is an error as on a full disk, or the death of the process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dying else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (VALUE_BYTES // 2, before[1]))
    try:
        return stored(here.member, "a value", LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def store_large_and_die_before_it_is_named(here):
    sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == "os.rename" else None)
    return stored(here.member, "a value", LARGE)


@pytest.fixture
def files(store):
    return lambda: sorted(store.artifacts.iterdir()) if store.artifacts.exists() else []


def test_a_value_within_the_bound_is_its_own_text(member, files):
    for value in (None, [1, {"ä": 2.5}], "x" * (VALUE_BYTES - 2), "ä" * (VALUE_BYTES // 2 - 1)):
        text = stored(member, "a value", value)
        assert json.loads(text) == loaded(member, text) == value
    assert files() == []


@pytest.mark.parametrize("value", [LARGE, ["ä" * VALUE_BYTES], "ä" * (VALUE_BYTES // 2)], ids=["x", "list", "ä"])
def test_a_value_over_it_is_a_file_named_by_its_hash(member, store, files, value):
    text = stored(member, "a value", value)
    (file,) = files()
    data = file.read_bytes()
    assert text == f"@artifact {file.name} {len(data)}"
    assert hashlib.sha256(data).hexdigest() == file.name
    assert loaded(member, text) == loaded(store, text) == value
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_equal_values_share_a_file(member, files):
    assert stored(member, "a value", LARGE) == stored(member, "another", LARGE)
    (file,) = files()
    born = file.stat().st_ino
    stored(member, "a third", LARGE)
    assert file.stat().st_ino == born


def test_a_damaged_file_is_written_anew_with_the_next_equal_value(member, files):
    text = stored(member, "a value", LARGE)
    (file,) = files()
    for damage in (b"", b"y" * file.stat().st_size):
        file.write_bytes(damage)
        with pytest.raises(ArtifactLost):
            loaded(member, text)
        assert stored(member, "a value", LARGE) == text
        assert loaded(member, text) == LARGE
    assert files() == [file]


def test_a_file_that_is_gone_cut_or_changed_is_a_clear_error(member, files):
    text = stored(member, "a value", LARGE)
    (file,) = files()
    data = file.read_bytes()
    for damage, words in ((data[:-1], f"has {len(data) - 1} bytes instead"), (b"y" + data[1:], "not what was written")):
        file.write_bytes(damage)
        with pytest.raises(ArtifactLost, match=words):
            loaded(member, text)
    file.unlink()
    with pytest.raises(ArtifactLost, match="No such file") as caught:
        loaded(member, text)
    assert str(file) in str(caught.value)
    assert "write the value again" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path) == (str(caught.value), str(file))


def test_a_value_over_the_bound_of_artifacts_is_refused(member, files):
    value = "\0" * (ARTIFACT_BYTES // 6 + 1)  # of which JSON makes six bytes each
    with pytest.raises(TooLarge, match=rf"a value is {len(value) * 6 + 2} bytes, over the bound of {ARTIFACT_BYTES}"):
        stored(member, "a value", value)
    assert files() == []


def test_a_value_of_a_hundred_megabytes_comes_back(member):
    notes = SharedMap(member, "notes")
    notes["a"] = value = "x" * 100_000_000
    assert notes["a"] == value
    assert member.store.path.stat().st_size < 1_000_000


@pytest.mark.parametrize("value", [math.nan, {1, 2}, b"a", "caf\udce9", ["x" * VALUE_BYTES, math.inf]], ids=range(5))
def test_what_json_does_not_hold_is_refused(member, files, value):
    with pytest.raises(Invalid, match="a value cannot be stored"):
        stored(member, "a value", value)
    assert files() == []


def test_a_value_that_reads_like_a_marker_is_none(member, files):
    value = f"@artifact {'0' * 64} 300000"
    text = stored(member, "a value", value)
    assert loaded(member, text) == value
    assert from_log(member, logged(value, text)) == value
    assert files() == []


def test_the_log_holds_the_value_or_the_marker(member):
    assert logged([1], "[1]") == {"value": [1]}
    text = stored(member, "a value", LARGE)
    assert logged(LARGE, text) == {"artifact": text}
    assert (from_log(member, {"artifact": text}), from_log(member, {"value": [1]}), from_log(member, {})) == (
        LARGE,
        [1],
        None,
    )


def test_a_directory_that_cannot_be_made_is_a_store_error(member, store):
    store.artifacts.write_text("a file in its place")
    with pytest.raises(StoreError, match="Free some of the disk"):
        stored(member, "a value", LARGE)


def test_a_disk_that_is_full_leaves_nothing_half_written(processes, files):
    ada = processes("ada")
    with pytest.raises(StoreError):
        ada.run(store_large_on_a_full_disk)
    assert files() == []
    text = ada.run(store_large)
    assert [file.name for file in files()] == [text.split()[1]]


@pytest.mark.parametrize(
    ("death", "options"),
    [(store_large_on_a_full_disk, {"dying": True}), (store_large_and_die_before_it_is_named, {})],
)
def test_a_writer_killed_half_way_leaves_no_file_that_is_named(processes, member, files, death, options):
    ada = processes("ada")
    ada.start_running(death, **options).gone()
    assert [file.name[0] for file in files()] == ["."]
    text = stored(member, "a value", LARGE)
    assert loaded(member, text) == LARGE


def test_the_file_is_there_before_the_row_that_names_it(processes, member, files):
    ada = processes("ada", ("prong.primitives", "SharedMap", ("notes",), {}))
    ada.die(1, "before")
    ada.start("put", "a", LARGE).gone()
    assert len(files()) == 1
    notes = SharedMap(member, "notes")
    assert "a" not in notes
    ada = processes("bob", ("prong.primitives", "SharedMap", ("notes",), {}))
    ada.die(1, "after")
    ada.start("put", "a", LARGE).gone()
    assert notes["a"] == LARGE


def test_many_processes_that_store_the_same_value_share_one_file(processes, files):
    crowd = [processes(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(store_large)
    assert len({process.result() for process in crowd}) == 1
    assert len(files()) == 1
