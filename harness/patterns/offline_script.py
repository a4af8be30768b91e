"""What plays `prong map` and `prong vote` offline where no script is named: it measures, by rules, whatever is asked.

An item that is a file of the repository is counted with `wc`; anything else is counted as text.  A vote is answered
with the first answer that its schema allows.  Numbers that are to be put together are added, and so are those that
needed tasks have found, where no file is named.
"""

from __future__ import annotations

import json
import re
import shlex

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script
from prong.agents.emulator.script import text_of as words_of

_REPOSITORY = re.compile(r"\n\n\(The repository is [^\n]*\)$")
_WORD = re.compile(r"[^\s'\"`()<>{},;:]+")
_FIGURE = re.compile(r"(\d+) (lines|words|characters)")
_PARTS = re.compile(r"^--- result \d+ of \d+ ---$", re.MULTILINE)
_OWN = "Do only this: "
_NEEDED = "You needed these tasks"
_MOST_WORDS = 400
_SHORT_CHARACTERS = 300


@script("", name="measure")
def measure(request: Request) -> Reply:
    """Count the file that is named, or else the text."""
    asked, value = _asked(request)
    if value is not None:
        return Reply([Text(json.dumps(value))])
    if asked.startswith("Read what is needed of this repository"):
        return _read(request)
    if _PARTS.search(asked):
        return Reply([Text(_added(_PARTS.split(asked, maxsplit=1)[1]))])
    done = [one for one in request.exchanges() if one.input.get("command", "").startswith("(set -- ")]
    if done:
        said = (done[-1].text or "").strip()
        if done[-1].is_error or not _FIGURE.search(said):
            needed = [text for text in _texts(request) if text.startswith(_NEEDED) and _FIGURE.search(text)]
            said = _added(needed[0]) if needed else _counted(asked)
        return Reply([Text(said)])
    names = [*_with_blanks(asked), *(word.rstrip(".") for word in _WORD.findall(asked)[:_MOST_WORDS])]
    command = (
        f'(set -- {" ".join(map(shlex.quote, names))}; for f; do if [ -f "$f" ]; then'
        ' wc -l -w -m < "$f" | { read l w c; echo "$f: $l lines, $w words, $c characters"; }; exit; fi; done)'
    )
    return Reply([ToolUse("bash", {"command": command})])


def _with_blanks(asked: str) -> list[str]:
    """What may be a file whose name has blanks or quotes: of a short text each end that begins with a word."""
    if len(asked) > _SHORT_CHARACTERS:
        return []
    text = asked.strip()
    ends = (text[found.end() :] for found in re.finditer(r"\s+", text))
    return [end for end in ends if not _WORD.fullmatch(end)]


def _read(request: Request) -> Reply:
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("bash", {"command": "git ls-files | head -n 200"})])
    count = len((done[-1].text or "").split())
    return Reply([Text("The repository has 1 file." if count == 1 else f"The repository has {count} files.")])


def _asked(request: Request) -> tuple[str, object]:
    """What this agent is asked, and the answer where a schema names it."""
    texts = _texts(request)
    schema = next((_schema(text) for text in reversed(texts) if "let it fit this JSON schema" in text), None)
    own = [text.split(_OWN, 1)[1] for text in texts if text.startswith("You are task ") and _OWN in text]
    return (own[-1] if own else _REPOSITORY.sub("", texts[0])), _first(schema)


def _texts(request: Request) -> list[str]:
    """What it was told, text by text."""
    return [
        block["text"]
        for message in request.messages
        if message["role"] == "user" and not isinstance(message["content"], str)
        for block in message["content"]
        if block["type"] == "text"
    ] or [words_of(message["content"]) for message in request.messages if message["role"] == "user"]


def _schema(text: str) -> object:
    return json.loads(text.rpartition("\n\n")[2])


def _first(schema: object) -> object:
    """The first value that fits a simple schema."""
    if not isinstance(schema, dict):
        return None
    if schema.get("enum"):
        return schema["enum"][0]
    kind = str(schema.get("type"))
    if kind == "object":
        return {name: _first(part) for name, part in schema.get("properties", {}).items()}
    return {"integer": schema.get("minimum", 0), "number": 0, "boolean": True, "array": [], "string": "text"}.get(kind)


def _counted(text: str) -> str:
    return f"{len(text.splitlines())} lines, {len(text.split())} words, {len(text)} characters"


def _added(text: str) -> str:
    sums = {"lines": 0, "words": 0, "characters": 0}
    for figure, what in _FIGURE.findall(text):
        sums[what] += int(figure)
    return "together: " + ", ".join(f"{count} {what}" for what, count in sums.items())
