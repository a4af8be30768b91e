"""A database that must not be written says so, as does a directory, and works again when it may."""

import shutil
import tempfile
from pathlib import Path

import pytest

from prong.state import Store

from .operations import WRITES, become_nobody, refused_on_a_read_only_disk, use


@pytest.fixture
def foreign_directory():
    """A directory that a user without rights of his own can reach."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    for path in [directory, *directory.rglob("*")]:
        path.chmod(0o700)
    shutil.rmtree(directory)


@pytest.fixture
def swarm_of_others(foreign_directory):
    """A swarm whose files all may be written."""
    Store(foreign_directory / "swarm").close()
    foreign_directory.joinpath("swarm").chmod(0o777)
    for path in (foreign_directory / "swarm").iterdir():
        path.chmod(0o666)
    return foreign_directory / "swarm"


@pytest.fixture
def nobody(processes):
    ada = processes("nobody")
    ada.run(become_nobody)
    return ada


def test_a_write_on_a_read_only_file_system_says_so_and_changes_nothing(aboard):
    ada = aboard("ada")
    said = {which: ada.run(refused_on_a_read_only_disk, which) for which in WRITES}
    assert {which: text for which, text in said.items() if "Read-only file system" not in text} == {}
    assert {which: text for which, text in said.items() if "written" not in text and "writable" not in text} == {}


def test_what_may_be_written_can_be_used(nobody, swarm_of_others):
    assert nobody.run(use, swarm_of_others) is None


@pytest.mark.parametrize(
    ("file", "mode"),
    [
        ("state.db", 0o444),
        ("bells", 0o444),
        ("told", 0o444),
        ("gate", 0o444),
        ("state.db", 0),
        ("bells", 0),
        ("told", 0),
        ("gate", 0),
        (".", 0o555),
    ],
)
def test_what_must_not_be_written_says_so_and_can_be_used_when_it_may(nobody, swarm_of_others, file, mode):
    """SQLite makes files beside the database and removes them, so that the directory has to be writable, too."""
    (swarm_of_others / file).chmod(mode)
    said = nobody.run(use, swarm_of_others)
    assert str(swarm_of_others) in said
    assert any(word in said for word in ("readonly database", "Permission denied", "unable to open"))
    assert any(word in said for word in ("writable", "can be written", "may be read"))
    for path in [swarm_of_others, *swarm_of_others.iterdir()]:  # SQLite's own files have the mode of the database's
        path.chmod(0o777)
    assert nobody.run(use, swarm_of_others) is None


def test_a_new_swarm_where_nothing_may_be_made_is_refused(nobody, foreign_directory):
    foreign_directory.chmod(0o555)
    assert "Name a directory in which files can be made" in nobody.run(use, foreign_directory / "new")
    assert "Name a directory in which files can be made" in nobody.run(use, foreign_directory / "new.db")
