"""`--repo` with an address, `--include-dirty` and `--push`, as a person types them."""

import json

import pytest
from tests.harness.repositories import files_of, fingerprint, make_repository, run, write
from tests.harness.swarming import prong
from tests.harness.swarming import run as run_swarm


@pytest.mark.long
def test_a_swarm_on_an_address_pushes_its_branch_and_is_found_again(tmp_path):
    theirs = make_repository(tmp_path / "theirs", {"plain.txt": "one\n"})
    run(tmp_path, "clone", "-q", "--bare", str(theirs), "origin.git")
    main = run(tmp_path / "origin.git", "rev-parse", "main")
    address, clones = (tmp_path / "origin.git").as_uri(), str(tmp_path / "clones")
    told = prong("status", "--repo", address, cwd=tmp_path, code=2, PRONG_REPOSITORIES=clones)
    assert "there is no clone" in told.stderr
    made = run_swarm("Edit 2 files", "--repo", address, "--push", cwd=tmp_path, PRONG_REPOSITORIES=clones)
    again = prong("status", "--json", "--repo", address, cwd=tmp_path, PRONG_REPOSITORIES=clones)
    assert json.loads(again.stdout)["swarm"] == made["swarm"]
    pushed = run(tmp_path / "origin.git", "for-each-ref", "--format=%(refname)", "refs/heads/prong").split()
    assert len(pushed) == 1
    assert files_of(tmp_path / "origin.git", pushed[0]).keys() > {"plain.txt"}
    assert run(tmp_path / "origin.git", "rev-parse", "main") == main
    assert run(tmp_path / "origin.git", "for-each-ref", "refs/prong") == ""


def test_a_run_may_start_from_what_is_not_committed(root):
    write(root, {"plain.txt": "edited\n", "loose": "x"})
    before = fingerprint(root)
    told = prong("run", "--offline", "--include-dirty", "Survey", cwd=root)
    assert "1 changed and 1 untracked files" in told.stderr
    assert fingerprint(root)[1:] == before[1:]
    branch = run(root, "for-each-ref", "--format=%(refname)", "refs/heads/prong").split()[0]
    files = files_of(root, branch)
    assert (files["plain.txt"], files["loose"]) == (("file", b"edited\n"), ("file", b"x"))


def test_a_push_to_nowhere_is_refused_before_anything_begins(root):
    told = prong("run", "--offline", "--push", "Survey", cwd=root, code=2)
    assert "no remote to push to" in told.stderr
    assert not (root / ".prong").exists()
