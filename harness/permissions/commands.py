"""What a call of the tool `bash` does, as far as rules can look at it: its simple commands, and the files they name.

A rule that forbids is to see through what a command is wrapped in, a rule that lets through only what is written:

    sudo rm -rf x          forbidden as "sudo rm -rf x" and as "rm -rf x";     let through as "sudo rm -rf x"
    timeout 9 make         let through as "timeout 9 make" and as "make", since that adds nothing
    sh -c "make; rm x"     three commands: the shell, make, rm
    $X y, eval "$X"        may be anything
    make > log             a command, and the edit of a file
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prong.harness.permissions.shell import Command, Redirection, read
from prong.harness.permissions.words import ANY, Unreadable, Word

DEPTH = 10
"""How deep texts that are run by commands are followed."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(\[[^]]*\])?\+?=")
_ONE_WORD = re.compile(r'"[^"]*"|\$[#?]')
_HARMLESS_BEHIND = re.compile(r"\w+|[]<>]|==?|!=|-(eq|ne|lt|le|gt|ge|nt|ot|ef|a|o)")
"""What may stand in `test` behind a word that may be -v: an operator, or the name of a variable that is no array's."""

_DURATION = re.compile(r"[0-9]+(\.[0-9]+)?[smhd]?")

_WRAPPERS = frozenset({
    "builtin", "busybox", "caffeinate", "chroot", "chrt", "command", "doas", "env", "exec", "find", "flock", "ionice",
    "ltrace", "nice", "nohup", "nsenter", "parallel", "prlimit", "runuser", "script", "setarch", "setpriv", "setsid",
    "stdbuf", "strace", "su", "sudo", "systemd-run", "taskset", "time", "timeout", "toybox", "unshare", "watch",
    "xargs", "xvfb-run",
})  # fmt: skip
"""Commands that run another, which stands somewhere behind them."""

_ADDS_WORDS = frozenset({"xargs", "parallel", "find"})
"""Those that put more words behind it, or into it."""

_GIT_WITH_VALUE = frozenset({"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--exec-path"})
"""Options of git before its command that are followed by a value."""

_EXECUTES = frozenset({"-exec", "-execdir", "-ok", "-okdir"})

_PLAIN_WRAPPERS = {"time": "p", "nice": "n", "nohup": "", "timeout": "ks", "stdbuf": "ioe"}
"""Wrappers that change nothing of what a command does, and their options that have a value."""

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "rbash"})
_OBSCURE = frozenset({"bind", "enable", "complete", "hash", "fc", "shopt", "mapfile", "readarray"})
"""Builtins that can run a text, or change what a word means, in ways that nobody needs here."""

_HARMLESS = frozenset({"cd", "pwd", "true", "false", ":", "echo", "test", "[", "wait", "exit", "return"})
"""Commands that do nothing to anything outside the shell; their redirections count for themselves."""


@dataclass(frozen=True, slots=True)
class Doing:
    """A simple command.  `shown` is how it is written; a rule that forbids looks at every one of `seen`.

    `as_written` is what a rule that lets through may look at; `obscure`: it may do anything.
    """

    shown: str
    seen: tuple[str, ...] = ()
    as_written: tuple[str, ...] = ()
    obscure: bool = False
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Touching:
    """A file that the shell itself opens for a command; `path` may hold `ANY`."""

    path: str
    writes: bool


def doings(text: str) -> list[Doing | Touching]:
    """What the text for bash does.

    >>> [one.shown for one in doings("make && (cd x; sh -c 'rm y')")]
    ['make', 'cd x', "sh -c 'rm y'", 'rm y']
    """
    return list(_doings(text, 0))


def _doings(text: str, depth: int) -> Iterator[Doing | Touching]:
    try:
        commands = read(text) if depth <= DEPTH else None
    except Unreadable:
        commands = None
    if commands is None:
        yield Doing(text, obscure=True)
        return
    for command in commands:
        yield from _of_command(command, depth)


def _of_command(command: Command, depth: int) -> Iterator[Doing | Touching]:
    words = command.words
    if command.evaluates:
        yield Doing(words[0].raw, (words[0].raw,), (words[0].raw,))
        return
    begin = next((n for n, word in enumerate(words) if not _ASSIGNMENT.match(word.raw)), len(words))
    inner = _Inner(depth)
    seen = {_joined(words), *inner.look(words[begin:])}
    if words:
        raw = " ".join(word.raw for word in words)
        written = (raw, " ".join(word.value for word in words), *_unwrapped(words))
        harmless = begin == 0 and words[0].value in _HARMLESS and not _evaluates(words)
        yield Doing(raw, tuple(seen), tuple(dict.fromkeys(written)), obscure=inner.obscure, harmless=harmless)
    yield from inner.found
    yield from _touched(command.redirections)


class _Inner:
    """Looks for the commands that a command runs; `found` are those of texts, `obscure` where one may be anything."""

    def __init__(self, depth: int) -> None:
        self.found: list[Doing | Touching] = []
        self.obscure = False
        self._depth = depth
        self._looked: set[tuple[int, str]] = set()

    def look(self, words: Sequence[Word], *, more: str = "") -> Iterator[str]:
        """All forms of the command in these words; `more` stands for words that are added behind them."""
        if not words or (len(words), more) in self._looked:
            return
        self._looked.add((len(words), more))
        name = posixpath.basename(words[0].value)
        if ANY in words[0].value or not name or re.search(r"\s", words[0].value):
            self.obscure = True
            return
        yield _joined(words) + more
        if name != words[0].value:
            yield _joined([Word(name, name), *words[1:]]) + more
        if name == "git":
            yield _joined(_plain_git(words)) + more
        if name in _OBSCURE or (name == "env" and any(word.value.startswith(("-S", "--s")) for word in words)):
            self.obscure = True
        elif name in _WRAPPERS:
            yield from self._wrapped(name, words, more)
        else:
            self._of_texts(name, words[1:])

    def _wrapped(self, name: str, words: Sequence[Word], more: str) -> Iterator[str]:
        """What a wrapper runs: which of its words the command begins with nobody needs to know."""
        added = ANY if name in _ADDS_WORDS else more
        for n in range(1, len(words)):
            if not words[n].value.startswith("-") and (name != "find" or words[n - 1].value in _EXECUTES):
                yield from self.look(words[n:], more=added)
        if name == "find":  # what it looks for may be anything, but not the words that say what it does
            self.obscure |= any(ANY in word.value and word.raw[0] in "$`" for word in words)

    def _of_texts(self, name: str, words: Sequence[Word]) -> None:
        """What a command runs that takes texts, or files, with commands in them."""
        if name in _SHELLS:
            self._of_shell(words)
        elif name == "eval":
            self._of_text([word.value for word in words])
        elif name in ("trap", "alias"):
            for word in words:
                self._of_text([word.value.partition("=")[2] if name == "alias" else word.value], more=name == "alias")
        elif name in ("source", "."):
            self.obscure |= any(ANY in word.value or word.value.startswith("/dev/") for word in words[:1])

    def _of_shell(self, words: Sequence[Word]) -> None:
        """A shell runs the text behind -c, or a file; without both, what it reads."""
        text = False
        for word in words:
            if ANY in word.value:
                self.obscure = True
                return
            if text and not word.value.startswith(("-", "+")):
                self._of_text([word.value])
                return
            if word.value.startswith(("-", "+")) and not word.value.startswith("--"):
                text = text or "c" in word.value
                if "s" in word.value or word.value in ("-o", "+o", "-O", "+O"):
                    break
            elif word.value.startswith("--"):
                if word.value not in ("--login", "--norc", "--noprofile", "--posix"):
                    break
            else:
                self.obscure |= word.value.startswith("/dev/")
                return
        self.obscure = True

    def _of_text(self, values: Sequence[str], *, more: bool = False) -> None:
        if any(ANY in value for value in values):
            self.obscure = True
            return
        for one in _doings(" ".join(values), self._depth + 1):
            if more and isinstance(one, Doing):
                added = (f"{seen} {ANY}" for seen in one.seen)
                self.found.append(Doing(one.shown, (*one.seen, *added), one.as_written, one.obscure))
            else:
                self.found.append(one)


def _evaluates(words: Sequence[Word]) -> bool:
    """Whether test or wait may be given the name of a variable, as in `-v 'a[$(rm x)]'`, of which bash runs a part."""
    name, given = words[0].value, words[1:]
    if name == "wait":
        return any(word.value.startswith("-") or (ANY in word.value and word.raw != "$!") for word in given)
    if name not in ("test", "["):
        return False
    if any(ANY in word.value and not _ONE_WORD.fullmatch(word.raw) for word in given):
        return True  # it may become several
    return any(
        (ANY in one.value or one.value in ("-v", "-R")) and not _HARMLESS_BEHIND.fullmatch(after.value)
        for one, after in itertools.pairwise(given)
    )


def _plain_git(words: Sequence[Word]) -> list[Word]:
    """The same without the options that stand before git's own command: `git -C x push` is a push."""
    at = 1
    while at < len(words) and words[at].value.startswith("-"):
        at += 2 if words[at].value in _GIT_WITH_VALUE else 1
    return [Word("git", "git"), *words[at:]]


def _joined(words: Sequence[Word]) -> str:
    """The command with single blanks; a word that may vanish or become several takes the blanks around it with it."""
    text = " ".join(word.value for word in words if word.value)
    return re.sub(rf" ?(?<![^ ]){ANY}(?![^ ]) ?", ANY, text)


def _unwrapped(words: Sequence[Word]) -> Iterator[str]:
    """The command without wrappers that change nothing."""
    while words and words[0].value in _PLAIN_WRAPPERS:
        name, rest = words[0].value, list(words[1:])
        while rest and rest[0].value.startswith("-"):
            option = rest.pop(0).value
            if len(option) == 2 and option[1] in _PLAIN_WRAPPERS[name] and option != "-p" and rest:  # noqa: PLR2004  a dash and a letter
                rest.pop(0)
        if name == "timeout" and not (rest and _DURATION.fullmatch(rest.pop(0).value)):
            return
        words = rest
        if not words or ANY in words[0].value or _ASSIGNMENT.match(words[0].raw):
            return
        yield " ".join(word.raw for word in words)
        yield " ".join(word.value for word in words)


def _touched(redirections: Sequence[Redirection]) -> Iterator[Touching]:
    for one in redirections:
        target = one.target.value
        copies = one.operator in ("<&", ">&") and re.fullmatch(r"[0-9]*-?", target)
        if copies or target == "/dev/null" or re.fullmatch(r"[<>]\(.*\)", one.target.raw, re.DOTALL):
            continue
        yield Touching(target, writes="<" not in one.operator or one.operator == "<>")
