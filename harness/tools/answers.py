"""What the tools of the primitives have in common: reading a call, and answering in words and data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Answer, ToolCall
from prong.primitives import once
from prong.primitives.values import NAME_CHARACTERS
from prong.state import Membership

LONGEST_WAIT_S = 86_400.0
"""The longest timeout that a model can ask for, in seconds."""


VALUE_LEVELS = 100
"""How deep a value may be nested, in levels: whoever reads it later has only so much of a stack."""


def answer(words: str, data: Mapping[str, Any]) -> Answer:
    """A result: words for reading, and data for acting on."""
    return Answer(words, data)


def read(call: ToolCall, definition: Mapping[str, Any]) -> Inputs:
    """The call's input, refused where it has a key that the definition does not know."""
    return Inputs(call, keys=list(definition["input_schema"]["properties"]))


def op_of(inputs: Inputs, definition: Mapping[str, Any]) -> str:
    """Which of the definition's operations is asked for."""
    return inputs.choice("op", definition["input_schema"]["properties"]["op"]["enum"])


def name_of(inputs: Inputs, key: str = "name") -> str:
    """The name of what the call is about."""
    return inputs.filled(key, most_characters=NAME_CHARACTERS)


def value_of(inputs: Inputs, call: ToolCall, key: str = "value") -> Any:
    """Any JSON value, which has to be there."""
    if key not in call.input:
        raise inputs.refuse(f"`{key}` is missing. Send it with op {call.input.get('op')}.")
    value = call.input[key]
    if _deeper_than(value, VALUE_LEVELS):
        raise inputs.refuse(f"`{key}` is nested more than {VALUE_LEVELS} levels deep. Send a flatter value.")
    return value


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether a value has more levels, told level by level without a stack of its own."""
    inside = [value]
    for _ in range(levels + 1):
        inside = [part for each in inside for part in _parts(each)]
        if not inside:
            return False
    return True


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def number_of(inputs: Inputs, call: ToolCall, key: str = "value") -> float:
    """A number, which has to be there."""
    value = value_of(inputs, call, key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise inputs.refuse(f"`{key}` must be a number.")
    return value


def timeout_of(inputs: Inputs, call: ToolCall) -> float | None:
    """Seconds to wait; None where it was left out."""
    value = call.input.get("timeout")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_WAIT_S:
        raise inputs.refuse(
            f"`timeout` must be a number of seconds from 0 to {LONGEST_WAIT_S:g}. Leave it out to wait."
        )
    return float(value)


def made_once(member: Membership, call: ToolCall, what: str, change: Callable[[], object]) -> bool:
    """Make a change that must not wait, under the call's name, which makes it never again; False if it said so."""
    with member.atomic() as tx:
        before: bool | None = once.returned(tx, what, call.key)
        if before is not None:
            return before
        return once.remember(tx, what, call.key, change() is not False)


def cut(text: str, characters: int) -> str:
    """The text within its bound, with a mark where it was cut."""
    return text if len(text) <= characters else text[:characters] + "…"
