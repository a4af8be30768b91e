"""Makes real repositories, looks at them from outside, and runs Prong in real processes that can be killed."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from prong.harness.repository.git import Author
from prong.harness.repository.repository import Repository

# Nothing of the machine's own configuration, and an identity, as every developer has one.
SURROUNDINGS = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_EDITOR": "true",
    "LC_ALL": "C",
    "PYTHONPATH": os.pathsep.join(sys.path),
}
EXECUTABLE = 0o755
# What most repositories here start with.
START = {"plain.txt": "one\ntwo\nthree\n", "folder/a": "a\n", "folder/b": "b\n", ".gitignore": "*.log\nout/\n"}
ODD_FILES = {
    "plain.txt": b"one\ntwo\nthree\n",
    "with space/a b.txt": b"space\n",
    "ünïcode/grüße.txt": "grüße\n".encode(),
    "new\nline.txt": b"newline\n",
    'quo"te\\back.txt': b"quotes\n",
    "-dash": b"dash\n",
    ":colon": b"colon\n",
    "tab\tname": b"tab\n",
    "*star?[a]": b"star\n",
    os.fsdecode(b"not-utf8-\xff\xfe"): b"latin\n",
    "binary.dat": bytes(range(256)) * 20,
    "crlf.txt": b"a\r\nb\r\n",
    "empty": b"",
    "deep/er/and/deeper.txt": b"deep\n",
}


def run(root, *arguments, fails=False, **more):
    """What a person's git says."""
    done = subprocess.run(["git", *arguments], cwd=root, env=SURROUNDINGS, capture_output=True, check=False, **more)
    assert fails or done.returncode == 0, done.stderr.decode()
    return os.fsdecode(done.stdout).removesuffix("\n")


def write(root, files):
    """Write, or with None delete, the files."""
    for name, content in files.items():
        path = Path(root, name)
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def commit(root, files, message="A change"):
    write(root, files)
    run(root, "add", "-A")
    run(root, "commit", "-q", "--allow-empty", "-m", message)
    return run(root, "rev-parse", "HEAD")


def make_repository(root, files=None, *init):
    """A repository with one commit."""
    root.mkdir(parents=True, exist_ok=True)
    run(root, "init", "-q", "--template=", "-b", "main", *init)
    (root / ".git/info").mkdir()
    write(root, {"plain.txt": "one\ntwo\nthree\n"} if files is None else files)
    run(root, "add", "-A")
    run(root, "commit", "-q", "--allow-empty", "-m", "The first commit")
    return root


def make_odd_repository(root, *init):
    """A repository with every kind of file and name."""
    write(root, ODD_FILES)
    Path(root, "run.sh").write_text("#!/bin/sh\n")
    Path(root, "run.sh").chmod(EXECUTABLE)
    Path(root, "link").symlink_to("plain.txt")
    Path(root, "dangling").symlink_to("no/such file")
    Path(root, "folder link").symlink_to("with space")
    return make_repository(root, {}, *init)


def files_in(root):
    """Name -> (kind, content or target) of everything below, except what git and Prong keep there."""
    found = {}
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", ".prong")]
        for name in (*files, *(name for name in folders if Path(place, name).is_symlink())):
            path = Path(place, name)
            if name == ".git":
                continue
            if path.is_symlink():
                found[str(path.relative_to(root))] = ("link", os.fsencode(path.readlink()))
            else:
                kind = "executable" if path.stat().st_mode & stat.S_IXUSR else "file"
                found[str(path.relative_to(root))] = (kind, path.read_bytes())
    return found


def files_of(root, commit_or_tree):
    """The same of a commit; of a submodule, its link."""
    kinds = {"100644": "file", "100755": "executable", "120000": "link", "160000": "submodule"}
    lines = run(root, "ls-tree", "-r", "-z", commit_or_tree).split("\0")[:-1]
    entries = [(*line.partition("\t")[0].split(" "), line.partition("\t")[2]) for line in lines]
    contents = contents_of(root, [sha for _, kind, sha, _ in entries if kind == "blob"])
    return {name: (kinds[mode], contents.get(sha, sha)) for mode, _, sha, name in entries}


def contents_of(root, shas):
    asked = "".join(f"{sha}\n" for sha in shas).encode()
    told = os.fsencode(run(root, "cat-file", "--batch", input=asked)) + b"\n"
    found = {}
    for _ in shas:
        header, _, told = told.partition(b"\n")
        sha, _, size = header.decode().split(" ")
        found[sha], told = told[: int(size)], told[int(size) + 1 :]
    return found


def fingerprint(root):
    """What must not change in a user's repository: every byte but objects and Prong's own references."""
    common = Path(run(root, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    digests = {}
    for place, folders, files in os.walk(common):
        below = Path(place).relative_to(common)
        folders[:] = [
            name for name in folders if str(below / name) not in ("objects", "refs/prong", "refs/heads/prong")
        ]
        for name in files:
            digests[str(below / name)] = hashlib.sha256(Path(place, name).read_bytes()).hexdigest()
    mine = [line for line in run(root, "for-each-ref").split("\n") if "\trefs/prong/" not in line]
    return digests, [line for line in mine if "refs/heads/prong/" not in line], files_in(root)


def parents(root, revision):
    return run(root, "rev-parse", f"{revision}^@").split()


def message(root, revision):
    return run(root, "log", "-1", "--format=%B", revision).strip()


def finish(workspace, **trailers):
    """The task's one commit."""
    return workspace.commit_all("The work", Author("Ada", "ada@example.org", 1_700_000_000), trailers)


def show(workspace, made):
    """The files of a commit that so far is only in the workspace, seen by a repository that adopted it."""
    root = workspace.directory.parents[1] / "repository"
    Repository.open(root).adopt(workspace, made, "refs/prong/s/shown")
    return files_of(root, made)


PREAMBLE = """
import json, os, sys
from pathlib import Path
from prong.harness.repository.git import Author
from prong.harness.repository.merging import Conflict, Integration, Merged, find_merged, merge_delta
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace
given = json.loads(sys.argv[1])
sys.stdin.readline()
"""
# Counts the calls of git, and at the n-th kills the process that made it: before git runs, or after.  The answers of a
# git that stays and writes count as calls, too: killed there, its caller has not heard what git has done.
KILLER = r"""#!/bin/sh
echo >> "$KILLER_COUNT"
if [ "$(wc -l < "$KILLER_COUNT")" = "$KILLER_AT" ]; then
    [ "$KILLER_WHEN" = before ] || "$REAL_GIT" "$@"
    kill -9 $PPID
    exit 1
fi
case " $* " in *" --stdin-paths "* | *" update-ref "*" --stdin "*)
    "$REAL_GIT" "$@" | while IFS= read -r line; do
        echo >> "$KILLER_COUNT"
        [ "$(wc -l < "$KILLER_COUNT")" != "$KILLER_AT" ] || kill -9 $PPID
        printf '%s\n' "$line"
    done
    exit ;;
esac
exec "$REAL_GIT" "$@"
"""


class Child:
    """A process that runs a few lines of Python with `given`, once it is told to go."""

    def __init__(self, code, given, **variables):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + code, json.dumps(given)],
            env=SURROUNDINGS | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def result(self):
        """What it printed."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out.strip()

    def end(self):
        """Its exit code, which is negative if it was killed."""
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode in (0, -9), err
        return self.process.returncode


def together(code, *givens):
    """Run the lines in as many processes at the same time; what each printed."""
    children = [Child(code, given) for given in givens]
    for child in children:
        child.go()
    return [child.result() for child in children]


# What `Repository.open` calls git for.  It only reads, so being killed there proves nothing.
OPENING = 7


def killed_at_every_call(folder, code, given, *, after=OPENING, step=1):
    """Run the lines again and again, each time killed at a later call of git; yields after each death."""
    folder.mkdir()
    killer = folder / "git"
    killer.write_text(KILLER)
    killer.chmod(EXECUTABLE)
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True).stdout.strip()
    for number in range(after + 1, 100, step):
        count = folder / f"count-{number}"
        child = Child(
            code,
            given,
            PATH=f"{folder}{os.pathsep}{os.environ['PATH']}",
            REAL_GIT=real,
            KILLER_AT=str(number),
            KILLER_COUNT=str(count),
            KILLER_WHEN="before" if number % 2 else "after",
            TMPDIR=str(folder),
        ).go()
        if child.end() == 0:
            assert number > after + 1
            return
        yield number
