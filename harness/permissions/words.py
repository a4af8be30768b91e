"""The words of a text for bash: what is written, and what it says without its quotes and expansions."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANY = "\0"
"""Stands in a value for whatever an expansion may become; no text for bash can hold it itself."""

BLANKS = " \t"
ENDS_WORD = " \t\n;&|()<>"
AFTER_WORD = ("", *ENDS_WORD)
_ARRAY = re.compile(r"[A-Za-z_]\w*\+?=")
_PARAMETER = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]", re.ASCII)
_PLAIN_PARAMETER = re.compile(r"#?([A-Za-z_]\w*|[0-9]+|[@*#?$!-])(\[([@*]|[0-9]+)\])?(:?[-=?+]|[#%/^,@]|$)", re.ASCII)


class Unreadable(Exception):
    """The text is no bash, or bash of a kind that is not read here."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it is written, and its value without quotes, in which `ANY` stands for what an expansion makes."""

    raw: str
    value: str


class WordReader:
    """Reads words from a text.  Who knows what a script is says how what stands in substitutions is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read_inner_script(self) -> None:
        """The commands of a substitution, up to the parenthesis that closes it."""
        raise NotImplementedError

    def read_text(self, text: str) -> None:
        """The commands of a text that stands in this one, such as between backquotes."""
        raise NotImplementedError

    def pass_blanks(self, more: str = "") -> None:
        """Pass blanks, joined lines, comments and what is in `more`."""
        raise NotImplementedError

    def evaluates(self, text: str) -> None:
        """A part was read of which bash runs what stands in its variables: arithmetic does that with `a[$(…)]`."""
        raise NotImplementedError

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def expand(self) -> str:
        """The value of a whole text in which only expansions count, as in a here-document."""
        return self._quoted("")

    def _word(self) -> Word:
        """The word that begins here."""
        begin = self._at
        value = ""
        wild = False
        while (here := self._peek()) and (here not in ENDS_WORD or self._text[self._at : self._at + 2] in ("<(", ">(")):
            if here == "{" and not self._is_plain_brace(begin):
                wild = True
            value += self._piece(here)
        raw = self._text[begin : self._at]
        if self._peek() == "(" and _ARRAY.fullmatch(raw):
            self._at += 1
            self._array()
            if self._peek() not in AFTER_WORD:
                raise Unreadable("a word that goes on behind an array")
            raw, value = self._text[begin : self._at], raw + ANY
        if raw == "":
            raise Unreadable("a word is missing")
        if raw == "[":
            value = "["
        elif raw.startswith("~"):
            value = ANY + value[1:]
        return Word(raw.replace("\\\n", ""), ANY if wild else value)

    def _is_plain_brace(self, begin: int) -> bool:
        after = self._text[self._at + 1 : self._at + 2]
        return after == "}" or (begin == self._at and after in AFTER_WORD)

    def _array(self) -> None:
        while True:
            self.pass_blanks("\n")
            here = self._peek()
            if here == ")":
                self._at += 1
                return
            if here == "" or here in ";&|(<>":
                raise Unreadable("an array that does not end")
            self._word()

    def _piece(self, here: str) -> str:
        """A character, a quoted text or an expansion; its value."""
        self._at += 1
        if here == "\\":
            after = self._peek()
            self._at += 1
            return "" if after == "\n" else after or "\\"
        if here in "'\"":
            return self._quoted('"') if here == '"' else self._literally()
        if here == "$":
            return self._dollar()
        if here == "`":
            return self._backquoted()
        if here in "<>" and self._peek() == "(":
            self._at += 1
            self.read_inner_script()
            here = ANY
        return ANY if here in f"{ANY}*?[" else here

    def _literally(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise Unreadable("a quote that does not end")
        quoted, self._at = self._text[self._at : end], end + 1
        return quoted

    def _quoted(self, closer: str) -> str:
        """Up to the closer, "" for the end of the text; only expansions and backslashes mean something."""
        value = ""
        while (here := self._peek()) != closer:
            if here == "":
                raise Unreadable("a quote that does not end")
            self._at += 1
            if here == "\\":
                after = self._peek()
                self._at += 1
                value += "" if after == "\n" else after if after and after in '$`"\\' else f"\\{after}"
            elif here == "$":
                value += self._dollar(quoted=True)
            elif here == "`":
                value += self._backquoted()
            else:
                value += here
        self._at += 1
        return value

    def _dollar(self, *, quoted: bool = False) -> str:
        text, here = self._text, self._peek()
        if here == "'" and not quoted:
            end = re.compile(r"(?:[^'\\]|\\.)*'", re.DOTALL).match(text, self._at + 1)
            if end is None:
                raise Unreadable("a quote that does not end")
            self._at = end.end()
        elif here == '"' and not quoted:
            self._at += 1
            return self._quoted('"')
        elif text.startswith("((", self._at):
            self._at += 2
            self._arithmetic()
        elif here == "(":
            self._at += 1
            self.read_inner_script()
        elif here == "{":
            self._at += 1
            self._parameter()
        elif here == "[":
            raise Unreadable("arithmetic in brackets")
        elif match := _PARAMETER.match(text, self._at):
            self._at = match.end()
        else:
            return "$"
        return ANY

    def _parameter(self) -> None:
        """Behind ${ up to its }."""
        if self._peek() == "" or self._peek() in " \t\n|":
            raise Unreadable("a command in braces")
        begin = self._at
        while (here := self._peek()) != "}":
            if here in ("", "'"):
                raise Unreadable("an expansion that does not end, or holds a quote")
            self._piece(here)
        if self._text[begin : self._at].endswith("@P"):
            raise Unreadable("an expansion that runs what is in a variable")
        if not _PLAIN_PARAMETER.match(self._text[begin : self._at]):
            self.evaluates(f"${{{self._text[begin : self._at]}}}")
        self._at += 1

    def _arithmetic(self) -> None:
        """Behind (( up to the )) that closes it; where another character stands between those, it is none."""
        open_, begin = 0, self._at
        while (here := self._peek()) != ")" or open_:
            if here in ("", "'", "\n") or (here in "<>" and self._text[self._at + 1 : self._at + 2] == "("):
                raise Unreadable("arithmetic that does not end, or holds a quote")
            open_ += (here == "(") - (here == ")")
            self._piece(here)
        if not self._text.startswith("))", self._at):
            raise Unreadable("parentheses that may be arithmetic or not")
        if re.search(r"[^\W\d]|[$`]", self._text[begin : self._at]):
            self.evaluates(f"(({self._text[begin : self._at]}))")
        self._at += 2

    def _backquoted(self) -> str:
        match = re.compile(r"((?:[^`\\]|\\.)*)`", re.DOTALL).match(self._text, self._at)
        if match is None:
            raise Unreadable("a backquote that does not end")
        if '\\"' in match[1]:
            raise Unreadable("a quote in backquotes, which means one thing in quotes and another outside")
        self._at = match.end()
        self.read_text(re.sub(r"\\([$`\\])", r"\1", match[1]))
        return ANY
