"""A repository that is elsewhere is cloned once, found again, and pushed to with a lease only."""

import http.server
import subprocess
import threading
from pathlib import Path

import pytest
from tests.harness.repositories import commit, files_of, make_repository, run, write

from prong.harness.repository import remote
from prong.harness.repository.remote import NoRemote, NotCloned, PushRefused, RemoteFailed
from prong.harness.repository.repository import Repository


@pytest.fixture(autouse=True)
def _clones(tmp_path, monkeypatch):
    monkeypatch.setenv("PRONG_REPOSITORIES", str(tmp_path / "clones"))


@pytest.fixture
def origin(tmp_path):
    """A bare repository that others use."""
    root = make_repository(tmp_path / "theirs", {"a": "a\n", ".gitattributes": "*.bin filter=lfs\n", "b.bin": "p\n"})
    run(tmp_path, "clone", "-q", "--bare", str(root), "origin.git")
    run(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    run(root, "push", "-q", "-u", "origin", "main")
    return tmp_path / "origin.git"


def merged(place, swarm="one"):
    """A swarm's branch with a commit, in the clone."""
    repository = Repository.open(place)
    branch = f"prong/{swarm}"
    ref = f"refs/heads/{branch}"
    old = repository.read_ref(ref) or repository.head()
    if repository.read_ref(ref) is None:
        repository.create_integration(branch, old)
    made = run(place, "commit-tree", f"{old}^{{tree}}", "-p", old, "-m", "Work")
    assert repository.advance(ref, made, old)
    return repository, branch, made


def test_the_clone_is_made_once_and_brought_up_to_date(origin, tmp_path):
    address = origin.as_uri()
    with pytest.raises(NotCloned, match="prong run --repo"):
        remote.find_clone(address)
    place, said = remote.fetch_clone(address)
    assert said == f"cloned {address} into {place}"
    assert remote.find_clone(address) == place
    newer = commit(tmp_path / "theirs", {"a": "newer\n"})
    run(tmp_path / "theirs", "push", "-q", "origin", "main")
    assert "brought" in remote.fetch_clone(address)[1]
    assert Repository.open(place).head() == newer
    assert (place / "a").read_text() == "newer\n"
    assert "is up to date" in remote.fetch_clone(address)[1]
    assert [path.name for path in place.parent.iterdir() if not path.name.endswith(".lock")] == [place.name]


def test_a_clone_that_somebody_works_in_is_left_as_it_is(origin, tmp_path):
    place, _ = remote.fetch_clone(origin.as_uri())
    write(place, {"a": "mine\n"})
    commit(tmp_path / "theirs", {"a": "newer\n"})
    run(tmp_path / "theirs", "push", "-q", "origin", "main")
    assert "left as it is" in remote.fetch_clone(origin.as_uri())[1]
    assert (place / "a").read_text() == "mine\n"


def test_a_clone_runs_no_hook_and_takes_none_over(origin, tmp_path, monkeypatch):
    write(tmp_path, {"home/.gitconfig": f"[init]\ntemplateDir = {tmp_path}/template\n"})
    write(tmp_path, {"template/hooks/post-checkout": f"#!/bin/sh\ntouch '{tmp_path}/trap'\n"})
    (tmp_path / "template/hooks/post-checkout").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place, _ = remote.fetch_clone(origin.as_uri())
    assert not (place / ".git/hooks").exists()
    assert not (tmp_path / "trap").exists()


def test_an_address_means_the_same_however_it_is_written():
    ways = ("https://host/a/b.git", "https://host/a/b", "https://Host/a/b.git/", "https://ada:secret@host/a/b.git")
    assert len({remote.clone_of(way) for way in ways}) == 1
    assert remote.clone_of("https://host/a/b").name.startswith("b-")
    assert remote.clone_of("https://host/a/c/b") != remote.clone_of("https://host/a/b")
    assert remote.clone_of("git@host:a/b.git").name.startswith("b-")


def test_what_cannot_be_cloned_leaves_nothing_and_shows_no_password(tmp_path):
    with pytest.raises(RemoteFailed) as refused:
        remote.fetch_clone("http://ada:secret@127.0.0.1:9/a.git")
    assert "secret" not in str(refused.value)
    with pytest.raises(RemoteFailed):
        remote.fetch_clone((tmp_path / "missing.git").as_uri())
    with pytest.raises(RemoteFailed):
        remote.fetch_clone("ext::touch x")
    assert [path for path in (tmp_path / "clones").iterdir() if not path.name.endswith(".lock")] == []


class Locked(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()

    def log_message(self, *_):
        pass


def test_nobody_is_asked_for_a_password(tmp_path, monkeypatch):
    # Neither in the terminal nor by a window; what could not be asked is said with what to do.
    write(tmp_path, {"ask": f"#!/bin/sh\ntouch {tmp_path}/asked\n"})
    (tmp_path / "ask").chmod(0o755)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(tmp_path / "ask"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(RemoteFailed, match="credential helper"):
                remote.fetch_clone(f"http://127.0.0.1:{server.server_port}/a.git")
        finally:
            server.shutdown()
            thread.join()
    assert not (tmp_path / "asked").exists()


def test_the_branch_is_pushed_and_nothing_else(origin):
    place, _ = remote.fetch_clone(origin.as_uri())
    before = run(origin, "for-each-ref", "refs/heads/main")
    repository, branch, made = merged(place)
    run(place, "tag", "mine")
    assert remote.push(repository, "one", branch).startswith("pushed prong/one to origin")
    assert run(origin, "rev-parse", branch) == made
    assert files_of(origin, branch).keys() == {"a", ".gitattributes", "b.bin"}
    assert "already" in remote.push(repository, "one", branch)
    again = merged(place)[2]
    remote.push(repository, "one", branch)
    assert run(origin, "rev-parse", branch) == again
    assert run(origin, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main", "refs/heads/prong/one"]
    assert run(origin, "for-each-ref", "refs/heads/main") == before


def test_a_branch_that_somebody_else_changed_is_not_overwritten(origin, tmp_path):
    place, _ = remote.fetch_clone(origin.as_uri())
    repository, branch, _ = merged(place)
    remote.push(repository, "one", branch)
    run(tmp_path / "theirs", "fetch", "-q")
    run(tmp_path / "theirs", "checkout", "-q", branch)
    theirs = commit(tmp_path / "theirs", {"more": "x"})
    run(tmp_path / "theirs", "push", "-q", "origin", branch)
    merged(place)
    with pytest.raises(PushRefused, match="somebody else"):
        remote.push(repository, "one", branch)
    assert run(origin, "rev-parse", branch) == theirs


def test_a_branch_of_that_name_that_was_there_before_is_not_overwritten(origin):
    run(origin, "branch", "prong/one", "main")
    place, _ = remote.fetch_clone(origin.as_uri())
    repository, branch, _ = merged(place)
    with pytest.raises(PushRefused):
        remote.push(repository, "one", branch)
    assert run(origin, "rev-parse", "prong/one") == run(origin, "rev-parse", "main")


def test_a_push_that_was_not_written_down_is_found_out(origin):
    place, _ = remote.fetch_clone(origin.as_uri())
    repository, branch, made = merged(place)
    remote.push(repository, "one", branch)
    repository.unpin("refs/prong/one/pushed")
    assert "already" in remote.push(repository, "one", branch)
    assert repository.read_ref("refs/prong/one/pushed") == made


def test_the_default_branch_is_never_pushed_to(origin):
    place, _ = remote.fetch_clone(origin.as_uri())
    repository, branch, _ = merged(place)
    run(origin, "symbolic-ref", "HEAD", "refs/heads/prong/one")
    run(origin, "branch", "prong/one", "main")
    with pytest.raises(PushRefused, match="default branch"):
        remote.push(repository, "one", branch)
    with pytest.raises(PushRefused):
        remote.push(repository, "one", "main")


def test_a_hook_of_the_remote_that_refuses_is_quoted(origin):
    write(origin, {"hooks/pre-receive": "#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n"})
    (origin / "hooks/pre-receive").chmod(0o755)
    place, _ = remote.fetch_clone(origin.as_uri())
    repository, branch, _ = merged(place)
    with pytest.raises(RemoteFailed, match="not on a Friday"):
        remote.push(repository, "one", branch)


def test_where_there_is_no_remote_a_push_is_refused_at_once(tmp_path):
    with pytest.raises(NoRemote, match="git remote add"):
        remote.check_remote(Repository.open(make_repository(tmp_path / "lonely")))


def test_a_git_server_serves_as_well(origin, tmp_path):
    port = _free_port()
    command = ["git", "daemon", f"--base-path={tmp_path}", "--export-all", "--enable=receive-pack", "--reuseaddr"]
    with subprocess.Popen([*command, f"--port={port}", "--listen=127.0.0.1", "--informative-errors"]) as daemon:
        try:
            _until_open(port)
            place, _ = remote.fetch_clone(f"git://127.0.0.1:{port}/{Path(origin).name}")
            repository, branch, made = merged(place)
            remote.push(repository, "one", branch)
            assert run(origin, "rev-parse", branch) == made
        finally:
            daemon.terminate()


def _free_port():
    with http.server.HTTPServer(("127.0.0.1", 0), Locked) as server:
        return server.server_port


def _until_open(port):
    run_for = ["git", "ls-remote", f"git://127.0.0.1:{port}/origin.git"]
    for _ in range(100):
        if subprocess.run(run_for, capture_output=True, check=False).returncode == 0:
            return
    raise AssertionError("git daemon does not answer")
