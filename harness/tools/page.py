"""The page about all tools, made from the catalogue: `python -m prong.harness.tools.page > docs/tools.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prong.agents.tools.touch import Touch
from prong.harness.tools.catalogue import ALWAYS, CATALOGUE, Record

_HEAD = """\
# Tools

This page is made from the catalogue in `harness/tools/catalogue.py`, from which agents and MCP clients are fed too:

<!-- not run: it would write into the checkout -->
```console
$ python -m prong.harness.tools.page > docs/tools.md
```

**Calls of one turn run at once** unless they touch the same thing. Many may read a thing at once; whoever changes it
has it alone, and calls that conflict keep the order in which they were written. A thing is a path of names: bash
changes `files`, so that it waits for an edit of one file that stands before it. Whoever changes *everything* parts the
calls before it from those behind it. What others can see is *told*, in order and after the changes of files before it.
Calls that only touch what is shared and cannot have to wait are one transaction where they stand side by side.

**After a death** of its agent a call is either run again, which does no harm because it only reads or bears a key, or
the model is told that it may have run partly.

**Results** are words, and for the primitives a line of JSON behind them; an MCP client gets the same as structured
content, which satisfies the schema that the tool declares.

| tool | what | for | reads only | may wait | after a death |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page, always the same for the same catalogue."""
    rows = [_row(record) for record in CATALOGUE]
    parts = ["\n".join(_section(record)) for record in CATALOGUE]
    return _HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(parts) + "\n"


def _row(record: Record) -> str:
    readers = "agents, MCP clients" if "clients" in record.offered else "agents"
    readers = readers if "agents" in record.offered else "MCP clients"
    waits = "yes" if record.waits == ALWAYS else ", ".join(sorted(record.waits)) or "no"
    cells = [
        f"[`{record.name}`](#{record.name})",
        record.title,
        readers,
        "yes" if record.annotations.read_only else "no",
        waits,
        "run again" if record.replay == "again" else "told",
    ]
    return f"| {' | '.join(cells)} |"


def _section(record: Record) -> Iterator[str]:
    yield f"## {record.name}"
    yield ""
    yield record.description
    yield ""
    yield "| input | type | meaning |"
    yield "|---|---|---|"
    required = record.input_schema.get("required", ())
    for key, schema in record.input_schema.get("properties", {}).items():
        must = " (required)" if key in required else ""
        yield f"| `{key}`{must} | {_type(schema)} | {_cell(schema.get('description', ''))} |"
    for example in record.definition.get("input_examples", ()):
        yield ""
        yield f"Example: `{json.dumps(example, ensure_ascii=False)}`"
    yield ""
    yield f"Touches: {'; '.join(_touches(name, touches) for name, touches in record.touches.items())}."
    if record.shapes:
        yield ""
        yield f"Data: {'; '.join(_data(record))}."


def _touches(operation: str, touches: Sequence[Touch]) -> str:
    what = ", ".join(map(str, touches))
    return f"`{operation}` {what}" if operation else what


def _data(record: Record) -> Iterator[str]:
    schema = record.output_schema or {}
    for each in schema.get("anyOf", [schema]):
        yield f"`{{{', '.join(each['properties'])}}}`"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema.get("type", "any JSON"))
    return f"array of {_type(schema['items'])}" if kind == "array" else kind


def _cell(text: str) -> str:
    """A text that no cell of a table is ended by."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
