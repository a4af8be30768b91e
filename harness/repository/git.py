"""Runs git, the same way whatever the person or an agent configured.

    git("rev-parse", "HEAD", cwd=root)  ->  "3f2a…"

Every call is closed to its surroundings: no GIT_* variable of the caller reaches it, no hook, no prompt,
no network, no signature and no garbage collection is started by it, and it takes no lock that it could do
without.  Text is passed as file names are (`os.fsdecode`), so that a name which is not UTF-8 survives.
"""

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

STDERR_SHOWN_CHARACTERS = 2_000
COMMAND_SHOWN_CHARACTERS = 300
# Nothing that git does here takes as long, unless something in a workspace, such as a pipe, makes it wait for ever.
TIMEOUT_S = 600

READ_BYTES = 1 << 20
"""How much of what a command prints is read at once, in bytes."""

STUCK_S = 2.0
"""After so many seconds it is asked whether a command is stuck."""

# A first clone of a large repository over a slow line.
ONLINE_TIMEOUT_S = 7_200
# How long git itself waits for a reference that another process is just updating.
REF_LOCK_TIMEOUT_MS = 10_000

# A -c option outranks every configuration file, so these hold in a repository that an agent may write to, too.
_OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    # A reflog would be one more file in the user's .git; the swarm's own log says more.
    "core.logAllRefUpdates=false",
    f"core.filesRefLockTimeout={REF_LOCK_TIMEOUT_MS}",
    f"core.packedRefsTimeout={REF_LOCK_TIMEOUT_MS}",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    # Otherwise `git log` would start the program named by gpg.program.
    "log.showSignature=false",
    "trailer.separators=:",
)
# Nothing but `git_online` talks to another machine; whoever tries has been tricked.
_OFFLINE = ("protocol.allow=never", "credential.helper=")
# Submodules are left as they are, and nothing is signed in the person's name.
_ONLINE = ("push.gpgSign=false", "push.followTags=false", "push.recurseSubmodules=no", "fetch.recurseSubmodules=no")


def _settings(*overrides: str) -> tuple[str, ...]:
    return tuple(part for override in overrides for part in ("-c", override))


_OPTIONS = _settings(*_OVERRIDES, *_OFFLINE)

# The configuration of a workspace is its agent's, and there `protocol.ext.allow` outranks our `protocol.allow`: with a
# promised object that is missing, git would run the command that a remote's address names.  These outrank both.
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}

_ENVIRONMENT = {
    b"LC_ALL": b"C",
    b"GIT_OPTIONAL_LOCKS": b"0",
    b"GIT_TERMINAL_PROMPT": b"0",
    b"GIT_NO_REPLACE_OBJECTS": b"1",
    b"GIT_LFS_SKIP_SMUDGE": b"1",
    b"GIT_PAGER": b"cat",
    b"GIT_EDITOR": b"false",
}


class RepositoryError(Exception):
    """What everything refused by the git part is; the text says what, where and what to do next."""


@dataclass(eq=False)
class GitMissing(RepositoryError):
    """There is no git to run."""

    def __str__(self) -> str:
        return "git is not installed, or not in PATH. Install git 2.38 or newer."


@dataclass(eq=False)
class GitFailed(RepositoryError):
    """A git command ended with an error; `output` is all that it had printed until then."""

    command: tuple[str, ...]
    cwd: str
    exit_code: int
    stderr: str
    output: str

    def __str__(self) -> str:
        command = " ".join(self.command)[:COMMAND_SHOWN_CHARACTERS]
        return f"'git {command}' in {self.cwd} ended with {self.exit_code}: {self.stderr or 'it said nothing'}"


def git(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    forbidden: str | None = None,
    stuck: Callable[[], None] = lambda: None,
) -> str:
    """Run one git command and return what it printed, without the line end.

    `env` is added to the clean environment; `stdin` is text, bytes or an open file; with `stdout` the output goes
    into that file and "" is returned; `forbidden` is a warning with which git goes on where we must not.
    `stuck` is called once where it takes longer than `STUCK_S`; what that raises ends the command.
    Raises `GitFailed` when the exit code is not 0, or upon a forbidden warning; `GitMissing` without git.
    """
    text = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin
    data, file = (text, None) if isinstance(text, bytes) else (None, text or subprocess.DEVNULL)
    given: dict[str, Any] = {"stdin": file} if data is None else {"input": data}
    how = {
        **given,
        "stdout": stdout or subprocess.PIPE,
        "cwd": cwd,
        "env": _clean_environment({**_NO_TRANSPORT, **(env or {})}),
    }
    return _run(_OPTIONS, arguments, how, timeout_s=TIMEOUT_S, forbidden=forbidden, stuck=stuck)


def git_online(*arguments: str, cwd: Path) -> str:
    """The same for a command that talks to another machine: the person's own credential helpers and ssh may serve it.

    Nobody is asked for a password, be it in the terminal or in a window.
    """
    ssh = os.environ.get("GIT_SSH_COMMAND") or _configured("core.sshCommand", cwd) or "ssh"
    quiet = {"GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "GIT_SSH_COMMAND": f"{ssh} -oBatchMode=yes"}
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "cwd": cwd, "env": _clean_environment(quiet)}
    return _run(_settings(*_OVERRIDES, *_ONLINE), arguments, how, timeout_s=ONLINE_TIMEOUT_S, forbidden=None)


def _configured(key: str, cwd: Path) -> str:
    try:
        return git("config", "--get", key, cwd=cwd)
    except GitFailed:
        # 1 means that it is not set.
        return ""


def _run(
    options: tuple[str, ...],
    arguments: tuple[str, ...],
    how: Mapping[str, Any],
    *,
    timeout_s: float,
    forbidden: str | None,
    stuck: Callable[[], None] = lambda: None,
) -> str:
    cwd = str(how["cwd"])
    try:
        done = _patiently(("git", *options, *arguments), how, timeout_s=timeout_s, stuck=stuck)
    except subprocess.TimeoutExpired as error:
        raise GitFailed(arguments, cwd, -1, f"not done within {timeout_s} s, so it was ended", "") from error
    except FileNotFoundError as error:
        if error.filename == "git":
            raise GitMissing from error
        raise GitFailed(arguments, cwd, -1, "there is no such directory", "") from error
    output = os.fsdecode(done.stdout or b"").removesuffix("\n")
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode or (forbidden and forbidden in said):
        raise GitFailed(arguments, cwd, done.returncode, said[-STDERR_SHOWN_CHARACTERS:], output)
    return output


def _patiently(
    command: tuple[str, ...], how: Mapping[str, Any], *, timeout_s: float, stuck: Callable[[], None]
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; it is killed when that takes too long, or when `stuck` raises.

    Of its streams only one is a pipe, the others are files in memory.  So there is one to read, its end is the end of
    the command, and that is waited for without looking again and again.
    """
    given = {name: value for name, value in how.items() if name != "input"}
    with ExitStack() as undo:
        if "input" in how:
            given["stdin"] = undo.enter_context(_in_memory(how["input"]))
        errors = undo.enter_context(_in_memory(b"")) if given["stdout"] == subprocess.PIPE else None
        with subprocess.Popen(command, stderr=errors or subprocess.PIPE, **given) as process:
            pipe = process.stderr if errors is None else process.stdout
            assert pipe is not None
            try:
                told = _read_to_end(command, pipe, timeout_s=timeout_s, stuck=stuck)
            except BaseException:
                process.kill()
                raise
        if errors is None:
            return subprocess.CompletedProcess(command, process.returncode, None, told)
        errors.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, told, errors.read())


def _read_to_end(command: tuple[str, ...], pipe: IO[bytes], *, timeout_s: float, stuck: Callable[[], None]) -> bytes:
    """All that comes out of a pipe; raises `TimeoutExpired`."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    began = time.monotonic()
    asked = False
    parts: list[bytes] = []
    while True:
        passed_s = time.monotonic() - began
        if passed_s >= timeout_s:
            raise subprocess.TimeoutExpired(command, timeout_s)
        if passed_s >= STUCK_S and not asked:
            asked = True
            stuck()
        if waiting.poll(((timeout_s if asked else min(STUCK_S, timeout_s)) - passed_s) * 1000 + 1):
            data = os.read(pipe.fileno(), READ_BYTES)
            if not data:
                return b"".join(parts)
            parts.append(data)


def _in_memory(data: bytes) -> IO[bytes]:
    file = os.fdopen(os.memfd_create("prong-git"), "r+b", buffering=0)
    file.write(data)
    file.seek(0)
    return file


def start(*arguments: str, cwd: Path, env: Mapping[str, str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a git command that is spoken to by pipes for as long as it is needed; closed as `git` is."""
    try:
        return subprocess.Popen(
            ("git", *_OPTIONS, *arguments),
            cwd=cwd,
            env=_clean_environment({**_NO_TRANSPORT, **env}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    except FileNotFoundError as error:
        if error.filename == "git":
            raise GitMissing from error
        raise GitFailed(arguments, str(cwd), -1, "there is no such directory", "") from error


def _clean_environment(added: Mapping[str, str]) -> dict[bytes, bytes]:
    # As bytes, because text is decoded here and encoded again for the process: half of what a short command costs us.
    inherited = {name: value for name, value in os.environb.items() if not name.startswith(b"GIT_")}
    # From a directory that is relative, git would be the program of this name in the workspace.
    path = [part for part in inherited.get(b"PATH", os.defpath.encode()).split(b":") if part.startswith(b"/")]
    inherited[b"PATH"] = b":".join(path)
    return inherited | _ENVIRONMENT | {os.fsencode(name): os.fsencode(value) for name, value in added.items()}


@dataclass(frozen=True)
class Author:
    """Whose name a commit bears, and when it was written (`at`, seconds since 1970; None: now)."""

    name: str
    email: str
    at: int | None = None


PRONG = Author("prong", "prong@localhost")
AGENT = Author("prong agent", "agent@localhost")


def commit_variables(author: Author, committer: Author) -> dict[str, str]:
    """The environment in which `git commit-tree` writes a commit of these two."""
    variables = {}
    for role, person in (("AUTHOR", author), ("COMMITTER", committer)):
        variables[f"GIT_{role}_NAME"] = identity(person.name) or AGENT.name
        variables[f"GIT_{role}_EMAIL"] = identity(person.email) or AGENT.email
        if person.at is not None:
            variables[f"GIT_{role}_DATE"] = f"@{person.at} +0000"
    return variables


def identity(text: str) -> str:
    """Text without what git refuses in a name or address."""
    printable = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x1f\x7f<>]+", " ", printable).strip(" .,:;\"'\\")


def with_trailers(message: str, trailers: Mapping[str, str]) -> str:
    r"""The message with `Key: value` lines as its last paragraph.

    Prong finds out by its trailers what it has merged already, so a message, which a model writes, must not
    be able to forge one: its own lines that look like a trailer of Prong are left out.

    >>> print(with_trailers("Add a door\n\nProng-Task: 99", {"Prong-Task": "7"}))
    Add a door
    <BLANKLINE>
    Prong-Task: 7
    """
    text = message.encode("utf-8", "replace").decode().replace("\0", "").replace("\r\n", "\n")
    lines = [line.rstrip() for line in text.split("\n") if not _is_reserved(line, trailers)]
    body = "\n".join(lines).strip("\n") or "(no message)"
    last = [f"{key}: {' '.join(value.split())}" for key, value in trailers.items()]
    if not last:
        return body
    return body + ("\n" if _ends_in_trailers(body) else "\n\n") + "\n".join(last)


def _is_reserved(line: str, trailers: Mapping[str, str]) -> bool:
    key, colon, _ = line.partition(":")
    key = key.strip().lower()
    return bool(colon) and (key.startswith("prong-") or key in {trailer.lower() for trailer in trailers})


def _ends_in_trailers(body: str) -> bool:
    paragraphs = body.split("\n\n")
    return len(paragraphs) > 1 and all(re.match(r"[A-Za-z0-9-]+: ", line) for line in paragraphs[-1].split("\n"))
