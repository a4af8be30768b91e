"""`prong locks`, `maps`, `queues` and `show`: what is shared, as a person reads it and as a program does."""

import json
import threading

import pytest
from click.testing import CliRunner
from tests.harness.repositories import make_repository

from prong.harness.cli.command import main
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.primitives import join


@pytest.fixture
def file(tmp_path):
    return tmp_path / "work.db"


@pytest.fixture
def swarm(file):
    with join(file, "ada") as swarm:
        yield swarm


@pytest.fixture
def prong(file):
    """Runs a command on the file; its lines, or with `--json` its objects."""

    def prong(*arguments, code=0):
        result = CliRunner().invoke(main, [*map(str, arguments), "--file", str(file)])
        assert result.exit_code == code, result.output
        lines = result.output.splitlines()
        return [json.loads(line) for line in lines] if "--json" in arguments else lines

    return prong


def test_what_clients_share_without_a_swarm_is_seen_by_its_name_or_by_none(tmp_path):
    root = make_repository(tmp_path / "repository")

    def told(*arguments):
        return CliRunner().invoke(main, ["maps", *arguments, "--repo", str(root), "--json"])

    assert "no swarm has run" in told().output
    assert "no swarm has run" in told("shared").output
    with join(root / ".prong/shared", "ada") as ada:
        ada.SharedMap("seen")["k"] = 1
    assert json.loads(told().output)["name"] == json.loads(told("shared").output)["name"] == "seen"
    create(Repository.open(root), Options(goal="look", model="prong-emulator", slots=1))
    assert told().output == ""
    assert json.loads(told("shared").output)["name"] == "seen"
    assert "there is no swarm 'other'" in told("other").output


def test_locks_tell_who_holds_them_and_how_many_wait(swarm, prong, file, until):
    swarm.Lock("index").acquire()
    swarm.Lock("doc").acquire(shared=True)
    swarm.Semaphore("gpu", 2).acquire()
    with join(file, "bob") as bob:
        waits = threading.Thread(target=bob.Lock("index").acquire)
        waits.start()
        until(lambda: swarm.Lock("index").statistics().waiting, "bob waits")
        table, tree = prong("locks")[:4], prong("locks")[5:]
        assert tree[0] == "ada holds up 1"
        assert tree[1].startswith("└─ bob waits ")
        assert tree[1].endswith(" s for lock index")
        (wait,) = [one for one in prong("locks", "--json") if one["kind"] == "wait"]
        assert (wait["waits_for"], wait["name"], len(wait["held_by"])) == ("lock", "index", 1)
        assert [line.split() for line in table] == [
            ["kind", "name", "held", "by", "expires", "in", "fence", "waiting"],
            ["lock", "doc", "ada", "(shared)", "1", "0"],
            ["lock", "index", "ada", "60", "s", "1", "1"],
            ["semaphore", "gpu", "1", "of", "2", "permits", "0"],
        ]
        assert any(line.strip().startswith("bob for") for line in prong("show", "index"))
        swarm.Lock("index").release()
        waits.join()
    held = prong("locks", "--json")
    assert [(one["kind"], one["name"], one.get("holder")) for one in held] == [
        ("lock", "doc", None), ("lock", "index", None), ("semaphore", "gpu", None)
    ]  # fmt: skip


def test_maps_lists_and_atomic_values_are_listed(swarm, prong):
    swarm.SharedMap("findings").update({"src": 1, "docs": 2})
    swarm.SharedList("log").extend("abc")
    swarm.Atomic("hits").add(7)
    rows = {line.split()[1]: line.split()[2:] for line in prong("maps")[1:]}
    assert rows == {"findings": ["2", "2", "0"], "log": ["3", "0"], "hits": ["1", "1", "0"]}
    assert prong("maps", "--json")[0] == {"kind": "map", "name": "findings", "keys": 2, "writes": 2, "waiting": 0}


def test_queues_tell_what_is_where(swarm, prong):
    inbox = swarm.MessageQueue("inbox", 5)
    inbox.put_many(["a", "b"])
    inbox.get()
    (row,) = prong("queues", "--json")
    assert (row["name"], row["queued"], row["delivered"], row["maxsize"]) == ("inbox", 1, 1, 5)
    assert prong("queues")[1].split()[:5] == ["inbox", "fifo", "1", "1", "0"]


def test_show_tells_contents_and_what_happened_last(swarm, prong):
    swarm.SharedMap("findings")["src"] = {"files": 12}
    swarm.MessageQueue("findings").put("hello")
    (shared,) = prong("show", "map:findings", "--json")
    assert shared["contents"] == [{"key": "src", "version": 1, "value": {"files": 12}}]
    assert shared["last"][0]["kind"] == "map.put"
    assert [one["kind"] for one in prong("show", "findings", "--json")] == ["map", "queue"]
    assert any("hello" in line for line in prong("show", "queue:findings"))


def test_what_is_not_there_is_refused_with_what_is(swarm, prong):
    assert prong("locks") == ["There is no lock or semaphore here."]
    assert prong("maps") == ["There is no map, list or atomic here."]
    assert "nothing is named 'nix' here" in prong("show", "nix", code=2)[0]
    swarm.Lock("index").acquire()
    assert "one of: index" in prong("show", "nix", code=2)[0]


def test_a_swarm_or_a_file_is_asked_and_not_both(prong, tmp_path):
    join(tmp_path / "work.db").leave()
    assert "name a swarm or a file, not both" in prong("locks", "some-swarm", code=2)[-1]
