"""A damaged database: whoever comes upon the damage is told; nobody crashes or reads what was never written."""

import shutil

import pytest

from prong.primitives import SharedMap
from prong.state import Store, StoreError, join
from prong.state.schema import PAGE_BYTES

from .operations import WRITES, Here, outcomes, read_all

DAMAGED = r"(malformed|not a database|no database|disk image|disk I/O error)"


@pytest.fixture
def filled(store, member):
    """A database in which every primitive has written; all of it stands in the one file."""
    for which, (prepare, write) in WRITES.items():
        if "large" not in which:
            write(prepare(member))
    store.rows("pragma wal_checkpoint(truncate)")
    store.close()
    return store


@pytest.fixture
def copy_of(filled, tmp_path):
    """A copy of it, to be damaged."""

    def copy_of(name):
        shutil.copytree(filled.directory, tmp_path / name)
        return tmp_path / name

    return copy_of


@pytest.fixture
def right(filled, member):
    return {which: read() for which, read in read_all(Here(filled, member, {})).items()}


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def is_told(found):
    return isinstance(found, StoreError) and "keep a copy" in str(found)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("the first bytes", lambda path, _: overwrite(path, 0, b"\xff" * 16)),
        ("the page size", lambda path, _: overwrite(path, 16, b"\x01\x01")),
        ("the whole header", lambda path, _: overwrite(path, 0, bytes(100))),
        ("the schema's page", lambda path, _: overwrite(path, 100, b"\xff" * (PAGE_BYTES - 100))),
        ("all but the header", lambda path, size: overwrite(path, PAGE_BYTES, b"\xff" * (size - PAGE_BYTES))),
        ("all but the header, zeroed", lambda path, size: overwrite(path, PAGE_BYTES, bytes(size - PAGE_BYTES))),
    ],
)
def test_a_database_without_its_beginning_is_refused_at_the_first_use(copy_of, processes, name, damage):
    directory = copy_of("damaged")
    path = directory / "state.db"
    damage(path, path.stat().st_size)
    found = processes("ada").run(outcomes, directory)
    if isinstance(found, dict):
        assert all(isinstance(one, StoreError) for one in found.values()), name
        found = str(next(iter(found.values())))
    assert "damaged" in found or "Name another swarm" in found


@pytest.mark.parametrize("part", [0.25, 0.5, 0.9])
def test_a_database_that_was_cut_says_so_to_whoever_needs_what_is_gone(copy_of, processes, right, part):
    directory = copy_of("cut")
    path = directory / "state.db"
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * part))
    found = processes("ada").run(outcomes, directory)
    if isinstance(found, str):
        assert "damaged" in found
        return
    assert any(is_told(one) for one in found.values())
    wrong = {which: found[which] for which in right if found[which] != right[which] and not is_told(found[which])}
    assert wrong == {}


def test_whichever_page_is_damaged_nothing_is_read_wrong_and_the_error_says_what_it_is(copy_of, processes, right):
    ada = processes("ada")
    directory = copy_of("page by page")
    path = directory / "state.db"
    whole = path.read_bytes()
    told = 0
    for page in range(1, len(whole) // PAGE_BYTES, 4):
        for file in directory.iterdir():
            if file.name.startswith("state.db-"):
                file.unlink()
        path.write_bytes(whole)
        overwrite(path, page * PAGE_BYTES, b"\xff" * PAGE_BYTES)
        found = ada.run(outcomes, directory)
        if isinstance(found, str):
            assert "damaged" in found
            told += 1
            continue
        odd = {which: found[which] for which in right if found[which] != right[which] and not is_told(found[which])}
        assert odd == {}, page
        errors = {which: one for which, one in found.items() if which.startswith("write") and not is_told(one)}
        raw = {which: one for which, one in errors.items() if type(one).__module__ == "sqlite3"}
        assert raw == {}, page
        told += any(map(is_told, found.values()))
    assert told > 10


@pytest.mark.parametrize("damage", ["zeroed", "garbled", "cut"])
def test_a_damaged_write_ahead_log_loses_its_end_but_never_shows_half_a_change(directory, store, tmp_path, damage):
    """SQLite takes from the log what is whole, from its beginning; a change of two rows is there as a whole, or not."""
    member = join(store, "ada")
    entries = SharedMap(member, "pairs")
    for n in range(50):
        entries.update(a=n, b=n)
    other = tmp_path / "damaged"
    shutil.copytree(directory, other)
    log = other / "state.db-wal"
    size = log.stat().st_size
    (other / "state.db-shm").unlink()
    if damage == "cut":
        with log.open("r+b") as file:
            file.truncate(size * 2 // 3)
    else:
        overwrite(log, size // 2, bytes(5_000) if damage == "zeroed" else b"\xa5" * 5_000)
    again = Store(other, clock=store.clock)
    pairs = SharedMap(join(again, "bob"), "pairs").copy()
    assert pairs["a"] == pairs["b"] < 49
    assert [row[0] for row in again.rows("pragma integrity_check")] == ["ok"]
    again.close()


def test_a_write_ahead_log_that_is_all_zero_is_as_none(directory, store, tmp_path):
    entries = SharedMap(join(store, "ada"), "m")
    entries["before"] = 1
    store.rows("pragma wal_checkpoint(truncate)")
    entries["after"] = 1
    shutil.copytree(directory, tmp_path / "zeroed")
    log = tmp_path / "zeroed" / "state.db-wal"
    log.write_bytes(bytes(log.stat().st_size))
    (tmp_path / "zeroed" / "state.db-shm").unlink()
    again = Store(tmp_path / "zeroed", clock=store.clock)
    assert SharedMap(join(again, "bob"), "m").copy() == {"before": 1}
    again.close()
