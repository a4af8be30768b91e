"""Which simple commands a text for bash holds, those in substitutions, groups, loops and functions too.

The text is read as bash reads it, as far as that is certain; what is not raises `Unreadable`, and whoever asks has to
expect everything of it.  Nothing is run and nothing is looked up: a variable may be anything.

    make && echo "$(date) done" > log      make | date | echo ANY done, which writes to log
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from prong.harness.permissions.words import AFTER_WORD, ANY, BLANKS, Unreadable, Word, WordReader

DEPTH = 40
"""How deep substitutions and groups are followed."""

_SKIPPED = frozenset({"if", "then", "else", "elif", "fi", "while", "until", "do", "done", "{", "}", "!"})
_REDIRECTION = re.compile(r"[0-9]*(&>>|&>|<<<|<<-|<<|<>|<&|>&|>\||>>|<(?!\()|>(?!\())")
_DELIMITER = re.compile(r"[\w.+/:-]+")
_SAFE_NUMBERS = re.compile(r"(?<=\s)(-?[0-9]+|\$[#?])\s+-(eq|ne|lt|le|gt|ge)\s+(-?[0-9]+|\$[#?])(?=\s)")
_EVALUATES = re.compile(r"[\s(]-(eq|ne|lt|le|gt|ge|v|R)\s")
_LOOPS_OVER = re.compile(r"[a-z_][a-z0-9_]*(?<!_proxy)|[A-Z]")
"""Names that mean nothing to the programs of a loop; PATH does, say."""


@dataclass(frozen=True, slots=True)
class Redirection:
    """Where a command reads from or writes to."""

    operator: str
    target: Word


@dataclass(slots=True)
class Command:
    """A simple command: its words, assignments first, and its redirections.  `fed`: it reads a text written here.

    `evaluates`: it is none, but a part of which bash may run what stands in its variables; its one word is all of it.
    """

    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)
    fed: bool = False
    evaluates: bool = False


def read(text: str) -> list[Command]:
    """The simple commands of a text, in no certain order; raises `Unreadable`.

    >>> [[word.value for word in one.words] for one in read("cd x && make 'a b' | tee log")]
    [['cd', 'x'], ['make', 'a b'], ['tee', 'log']]
    """
    if ANY in text:
        raise Unreadable("a NUL character")
    reader = _Reader(text, 0)
    try:
        reader.script("")
    except RecursionError:
        raise Unreadable("it is nested too deep") from None
    return reader.found


@dataclass(slots=True)
class _Document:
    """A here-document whose text has not come yet."""

    delimiter: str
    quoted: bool
    indented: bool


class _Reader(WordReader):
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str, depth: int) -> None:
        if depth > DEPTH:
            raise Unreadable("it is nested too deep")
        self.found: list[Command] = []
        super().__init__(text)
        self._depth = depth
        self._documents: list[_Document] = []
        self._nested = 0

    def script(self, closer: str) -> None:
        """Commands up to the closer: "" for the end of the text, ")", or "case" for the end of one of its branches."""
        self._nested += 1
        if self._nested > DEPTH:
            raise Unreadable("it is nested too deep")
        self._commands(closer)
        if closer == ")" and self._documents:
            raise Unreadable("a here-document that begins outside of its parenthesis")
        self._nested -= 1

    def _commands(self, closer: str) -> None:
        command = Command()
        while True:
            self.pass_blanks()
            here = self._peek()
            if here == "" or (here == ")" and closer == ")"):
                self._end(command, here, closer)
                break
            if here in ";\n&|" and not self._text.startswith("&>", self._at):
                command = self._flush(command)
                if self._operator(closer):
                    break
            elif here == "(":
                self._parenthesis(command)
            elif here == ")":
                raise Unreadable("a parenthesis that nothing has opened")
            elif match := _REDIRECTION.match(self._text, self._at):
                self._redirection(command, match)
            elif self._take_up(command, closer):
                break

    def _end(self, command: Command, here: str, closer: str) -> None:
        if here != closer:
            raise Unreadable("it ends in the middle")
        self._flush(command)
        self._at += 1

    def _operator(self, closer: str) -> bool:
        """Pass an operator; whether it ends a branch of a case."""
        for operator in (";;&", ";;", ";&"):
            if self._text.startswith(operator, self._at):
                if closer != "case":
                    raise Unreadable(f"{operator} outside of a case")
                self._at += len(operator)
                return True
        newline = self._text[self._at] == "\n"
        self._at += 1
        if newline:
            self._read_documents()
        return False

    def _take_up(self, command: Command, closer: str) -> bool:
        """The next word: a reserved one at the beginning of a command, else one of its words; whether a branch ends."""
        begin = self._at
        word = self._word()
        if command.words or command.redirections or command.fed:
            command.words.append(word)
        elif word.raw == "esac":
            if closer != "case":
                raise Unreadable("esac outside of a case")
            self._at = begin
            return True
        elif word.raw == "function":
            self.pass_blanks()
            self._word()
            self.pass_blanks()
            self._pass_empty_parentheses()
        elif word.raw in ("for", "select"):
            self._for()
        elif word.raw == "case":
            self._case()
        elif word.raw == "[[":
            self._condition()
        elif word.raw == "coproc":
            raise Unreadable("coproc")
        elif word.raw not in _SKIPPED:
            command.words.append(word)
        return False

    def _flush(self, command: Command) -> Command:
        if command.words or command.redirections:
            self.found.append(command)
        return Command()

    def pass_blanks(self, more: str = "") -> None:
        """Pass blanks, joined lines and comments."""
        text = self._text
        while self._at < len(text):
            if text[self._at] in BLANKS or text[self._at] in more:
                newline = text[self._at] == "\n"
                self._at += 1
                if newline:
                    self._read_documents()
            elif text.startswith("\\\n", self._at):
                self._at += 2
            elif text[self._at] == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                return

    def _parenthesis(self, command: Command) -> None:
        """A subshell, arithmetic, or the parentheses behind a function's name."""
        if command.words or command.redirections:
            if len(command.words) != 1 or command.redirections or not self._pass_empty_parentheses():
                raise Unreadable("a parenthesis in the middle of a command")
            command.words.clear()
        elif self._text.startswith("((", self._at):
            self._at += 2
            self._arithmetic()
        else:
            self._at += 1
            self.read_inner_script()

    def evaluates(self, text: str) -> None:
        """Note a part of which bash may run what stands in its variables."""
        self.found.append(Command([Word(text, text)], evaluates=True))

    def read_text(self, text: str) -> None:
        """The commands of a text that stands in this one."""
        self._sub(text).script("")

    def read_inner_script(self) -> None:
        """The commands of a substitution or a subshell, up to the parenthesis that closes it."""
        if self._documents:
            raise Unreadable("a here-document whose text stands behind a parenthesis")
        self.script(")")

    def _pass_empty_parentheses(self) -> bool:
        if not self._text.startswith("(", self._at):
            return False
        before, self._at = self._at, self._at + 1
        self.pass_blanks()
        if self._text.startswith(")", self._at):
            self._at += 1
            return True
        self._at = before
        return False

    def _for(self) -> None:
        self.pass_blanks()
        if self._text.startswith("((", self._at):
            self._at += 2
            self._arithmetic()
            return
        if not _LOOPS_OVER.fullmatch(name := self._word().raw):
            self.evaluates(f"for {name}")
        self.pass_blanks("\n")
        before = self._at
        if self._peek() in ("", ";", "(") or self._word().raw != "in":
            self._at = before
            return
        self._words_until(";\n")

    def _case(self) -> None:
        self.pass_blanks()
        self._word()
        self.pass_blanks("\n")
        if self._word().raw != "in":
            raise Unreadable("a case without in")
        while True:
            self.pass_blanks("\n")
            if self._text.startswith("esac", self._at) and self._text[self._at + 4 : self._at + 5] in AFTER_WORD:
                self._at += 4
                return
            self._at += self._peek() == "("
            self._words_until(")", between="|")
            self._at += 1
            self.script("case")

    def _words_until(self, ends: str, between: str = "") -> None:
        while True:
            self.pass_blanks()
            here = self._peek()
            if here and here in ends:
                return
            if here and here in between:
                self._at += 1
            elif here == "" or here in ";\n&|()" or _REDIRECTION.match(self._text, self._at):
                raise Unreadable("a list of words that does not end")
            else:
                self._word()

    def _condition(self) -> None:
        """What stands between [[ and ]]."""
        begin = self._at
        while True:
            here = self._peek()
            if here == "":
                raise Unreadable("[[ without ]]")
            after = self._text[self._at + 2 : self._at + 3]
            if self._text.startswith("]]", self._at) and self._text[self._at - 1] in " \t\n" and after in AFTER_WORD:
                text = self._text[begin : self._at].replace("\\\n", "")
                if _EVALUATES.search(_SAFE_NUMBERS.sub("", text)):
                    self.evaluates(f"[[{text}]]")
                self._at += 2
                return
            self._piece(here)

    def _redirection(self, command: Command, match: re.Match[str]) -> None:
        self._at = match.end()
        self.pass_blanks()
        operator = match[1]
        if operator in ("<<", "<<-"):
            raw = self._word().raw
            delimiter = re.sub(r"[\\'\"]", "", raw)
            if not _DELIMITER.fullmatch(delimiter):
                raise Unreadable("a here-document with an odd delimiter")
            self._documents.append(_Document(delimiter, delimiter != raw, operator == "<<-"))
            command.fed = True
            return
        target = self._word()
        if operator == "<<<":
            command.fed = True
        else:
            command.redirections.append(Redirection(operator, target))

    def _read_documents(self) -> None:
        """Behind the end of a line stand the here-documents that it has announced."""
        documents, self._documents = self._documents, []
        for document in documents:
            lines = []
            while self._at < len(self._text):
                end = self._text.find("\n", self._at)
                end = len(self._text) if end < 0 else end
                line = self._text[self._at : end]
                self._at = min(end + 1, len(self._text))
                if (line.lstrip("\t") if document.indented else line) == document.delimiter:
                    break
                lines.append(line)
            if document.quoted:
                continue
            if any(line.endswith("\\") for line in lines):
                raise Unreadable("a here-document with joined lines")
            self._sub("\n".join(lines)).expand()

    def _sub(self, text: str) -> _Reader:
        inner = _Reader(text, self._depth + 1)
        inner.found = self.found
        return inner
