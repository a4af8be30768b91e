"""What a step says once what it needs is known: its prompt and its title, with the places in them filled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from prong.harness.plans.expressions import OF_TASK, Ended
from prong.harness.plans.plan import Step
from prong.primitives.task_record import TITLE_CHARACTERS

_PLACE = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)((?:\.[A-Za-z0-9_]+)*)\}")


def filled(text: str, known: Mapping[str, Any]) -> str:
    """The text with each `{name.path}` of something known in its place; other braces stay as they are.

    >>> filled('Review {item.path}, say {"ok": true}', {"item": {"path": "a.py"}})
    'Review a.py, say {"ok": true}'
    """

    def found(place: re.Match[str]) -> str:
        if place[1] not in known:
            return place[0]
        value = known[place[1]]
        for key in place[2].split(".")[1:]:
            value = _below(value, key)
        return shown(value)

    return _PLACE.sub(found, text)


def shown(value: Any) -> str:
    """A value as it stands in a prompt: a text as it is, the rest as JSON."""
    if isinstance(value, Ended):
        value = value.result
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def title(name: str, step: Step, known: Mapping[str, Any] | None = None) -> str:
    """What the task of a step is called; with `known` the one for an item, which is among it."""
    if known is None:
        words = name if step.for_each is not None or step.title is None else step.title
    else:
        words = f"{name}: {named(known['item'])}" if step.title is None else filled(step.title, known)
    line = " ".join(words.split())
    return line if len(line) <= TITLE_CHARACTERS else f"{line[: TITLE_CHARACTERS - 1]}…"


def named(item: Any) -> str:
    """An item in few words: of a mapping its first text."""
    texts = [one for one in item.values() if isinstance(one, str)] if isinstance(item, Mapping) else []
    return texts[0] if texts else shown(item)


def _below(value: Any, key: str) -> Any:
    if isinstance(value, Ended):
        return getattr(value, key) if key in OF_TASK else None
    if isinstance(value, Mapping):
        return value.get(key)
    return value[int(key)] if isinstance(value, list) and key.isdigit() and int(key) < len(value) else None
