"""A plan that a model writes: what it is asked, the schema that its answer must fit, and the answer as a file.

goal --a task with this schema--> JSON --fits, and is a plan--> YAML, which a person may edit
          ^                         |
          +--- what is wrong -------+   at most so many times
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from prong.harness.plans.plan import PlanInvalid, parse
from prong.harness.rules.rules import Rules
from prong.primitives import Plan as TaskPlan
from prong.primitives import create_task
from prong.state import Transaction

MARK = "x-prong-plan"
"""The keyword in a schema that says: whatever fits must be a plan as well."""

BUILT_IN = Path(__file__).with_name("offline.py")
"""The script that is played offline where nobody names another: it writes a plan by fixed rules."""

_WIDE = 110

_ASKED = """\
Write a plan for this goal; do not work on it yourself, and change no file:

{goal}

Look at the repository only as far as the plan needs it. The plan is a graph of tasks. Each is done by an agent of its \
own, in a clone of the repository of its own, which knows its prompt and the results of the tasks that it needs. So a \
prompt must say all that its agent has to know, what it shall change and what its result shall be. Tasks that do not \
need each other run at the same time; give them different files to change. Do not split what one agent does as well: \
each task costs time and money of its own.

The keys of a task:
- prompt: what is to be done. {{item}} stands for the item of for_each, {{name.result}} for a result of a task it needs.
- needs: names of tasks whose results it waits for.
- result: a JSON schema, where the result is data for for_each, for when, or for others.
- for_each: a list, {{"glob": "src/**/*.py"}}, or an expression such as "survey.result.files": one task for each item.
- when: an expression such as "len(review.result) > 0": where it does not hold, the task is skipped.
- check: a command that must end well before its work is merged.
- {roles}title, priority (higher goes first), budget (tokens), on_failed_need (fail, continue or any).

Names of tasks are letters, digits and _.
"""


def schema(rules: Rules) -> dict[str, Any]:
    """What an answer must fit."""
    words = {"type": "string", "minLength": 1}
    role = {"enum": list(rules.roles)} if rules.roles else words
    properties = {
        "prompt": words, "title": words, "type": words, "needs": {"type": "array", "items": words}, "role": role,
        "result": {"type": "object"}, "for_each": {"type": ["array", "object", "string"]}, "when": words,
        "check": words, "priority": {"type": "integer"}, "budget": {"type": "integer", "minimum": 1},
        "context": {"enum": ["fresh", "fork"]}, "attempts": {"type": "integer"},
        "on_failed_need": {"enum": ["fail", "continue", "any"]}, "on_failed_item": {"enum": ["fail", "continue"]},
        "hedge": {"type": "boolean"},
    }  # fmt: skip
    task = {"type": "object", "required": ["prompt"], "properties": properties, "additionalProperties": False}
    return {
        MARK: True,
        "type": "object",
        "required": ["goal", "tasks"],
        "properties": {"goal": words, "tasks": {"type": "object", "minProperties": 1, "additionalProperties": task}},
        "additionalProperties": False,
    }


def ask(tx: Transaction, goal: str, rules: Rules, *, asks: int) -> None:
    """Create the task that writes the plan; its agent is asked again at most `asks` times."""
    roles = f"role: one of {', '.join(rules.roles)}. " if rules.roles else ""
    create_task(
        tx,
        TaskPlan(
            "Write the plan", _ASKED.format(goal=goal.strip(), roles=roles), key="write the plan",
            result_schema=json.dumps(schema(rules), ensure_ascii=False), result_asks=asks,
        ),
    )  # fmt: skip


def problem(value: Any) -> str | None:
    """Why a value that fits the schema is no plan all the same, in words for whoever wrote it; None: it is one."""
    try:
        parse(as_yaml(value), "the plan")
    except PlanInvalid as error:
        return "; ".join(f"{one.what}; {one.needed}" for one in error.problems[:5])
    return None


def as_yaml(value: Mapping[str, Any]) -> str:
    r"""A plan as people write it.

    >>> print(as_yaml({"goal": "Count", "tasks": {"one": {"prompt": "Count.\nSay how many.", "needs": []}}}), end="")
    goal: Count
    tasks:
      one:
        prompt: |-
          Count.
          Say how many.
        needs: []
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDE, default_flow_style=False)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Every value stands where it is used."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
