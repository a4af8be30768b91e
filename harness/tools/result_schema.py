"""Results that fit a JSON schema: what such a schema may be, and whether an agent's last words hold what fits.

    last words --found--> value --problem--> None: it fits
                |                  +-------> a text that the model can act on
                +--> `NoValue`: there is no JSON in them

A value is the whole text, or a fenced block or an object or array in lines of its own at its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from prong.primitives.task_record import SCHEMA_BYTES
from prong.state import Invalid

PROBLEMS_TOLD = 5
"""So many places that do not fit are told at once."""

PROBLEM_CHARACTERS = 300
"""How much is told of each, in characters: it may quote a long value."""

PLACES = 100
"""So many lines that could open the value at the end of a text are tried, the last first."""

_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)
_OPENS = re.compile(r"^[\[{]", re.MULTILINE)
_SAMPLES: tuple[Any, ...] = (None, True, 0, "", [], {})


class NoValue(Invalid):
    """There is no JSON value at the end of an agent's last words."""


def checked(schema: object) -> str:
    """The schema as text; raises `Invalid` where it cannot be used.

    It must be an object, say what is possible with draft 2020-12 of JSON Schema, and refer to nothing but itself.

    >>> checked({"type": "object", "required": ["bugs"]})
    '{"type":"object","required":["bugs"]}'
    """
    import jsonschema  # type: ignore[import-untyped]  # noqa: PLC0415  it has no types; it is heavy, and few tasks need it

    if not isinstance(schema, Mapping):
        raise Invalid("a result schema that is no object", 'an object such as {"type": "object", "properties": {…}}')
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"a result schema that is no JSON ({error})", "what JSON holds") from None
    if size > SCHEMA_BYTES:
        raise Invalid(f"a result schema of {size} bytes", f"at most {SCHEMA_BYTES}")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise Invalid(f"a result schema that refers to {reference[:100]!r}", "references to its own parts (#/…)")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        for sample in _SAMPLES:
            problem(schema, sample)
    except RecursionError:
        raise Invalid("a result schema that refers to itself without end or is too deep", "a flatter one") from None
    except Exception as error:  # noqa: BLE001  whatever the library says of a schema, it is the schema's fault
        said = " ".join(str(getattr(error, "message", error)).split())[:PROBLEM_CHARACTERS]
        raise Invalid(f"a result schema that is none: {said}", "JSON Schema, draft 2020-12") from None
    return text


def found(words: str) -> Any:
    r"""The value that an agent's last words are, or end with; raises `NoValue`.

    >>> found('Two bugs.\n```json\n{"bugs": 2}\n```')
    {'bugs': 2}
    """
    text = words.strip()
    for candidate in _candidates(text):
        try:
            value = json.loads(candidate, parse_constant=_refuse_constant)
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # not 1e999, nor half a surrogate pair
        except (ValueError, RecursionError):
            continue
        return value
    raise NoValue("a result without a JSON value at its end", "only JSON, or a block of JSON between ``` at its end")


def problem(schema: Mapping[str, Any], value: Any) -> str | None:
    """What of the value does not fit, place by place; None where all of it does.

    >>> problem({"properties": {"bugs": {"type": "integer"}}}, {"bugs": "two"})
    "at $.bugs: 'two' is not of type 'integer'"
    """
    import jsonschema  # noqa: PLC0415  as above
    import referencing  # noqa: PLC0415  as above

    # An empty registry: the library would fetch what it does not know from the network.
    validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
    errors = islice(validator.iter_errors(value), PROBLEMS_TOLD)
    told = [f"at {error.json_path}: {_short(error.message)}" for error in errors]
    return "; ".join(told) or None


def fitted(schema: str, words: str) -> tuple[Any, str | None]:
    """The value in an agent's last words, and what of it does not fit the schema with this text."""
    try:
        value = found(words)
        wanted = json.loads(schema)
        return value, problem(wanted, value) or _problem_of_plan(wanted, value)
    except NoValue as error:
        return None, str(error)
    except RecursionError:
        return None, "it is nested too deeply"


def _problem_of_plan(schema: Mapping[str, Any], value: Any) -> str | None:
    """What a schema cannot say of a plan: that its names are there, and that nothing goes round in a circle."""
    if "x-prong-plan" not in schema:
        return None
    from prong.harness.plans.writing import problem as of_plan  # noqa: PLC0415  only the task that writes a plan needs it

    return of_plan(value)


def _candidates(text: str) -> Iterator[str]:
    yield text
    fenced = _FENCED.findall(text)
    if fenced:
        yield fenced[-1]
    opens = [match.start() for match in _OPENS.finditer(text)][-PLACES:]
    yield from (text[place:] for place in opens)  # the outermost first: a line within it may open one that fits as well


def _references(schema: object) -> Iterator[str]:
    """All that it refers to, found without a stack of its own."""
    inside = [schema]
    while inside:
        one = inside.pop()
        if isinstance(one, Mapping):
            yield from (str(one[key]) for key in ("$ref", "$dynamicRef") if isinstance(one.get(key), str))
            inside += one.values()
        elif isinstance(one, list):
            inside += one


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _short(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= PROBLEM_CHARACTERS:
        return line
    half = PROBLEM_CHARACTERS // 2  # what is wanted stands at the end
    return f"{line[:half]} … {line[-half:]}"
