"""A plan as a tree in the terminal: each step below the last of those that it needs, with how it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from prong.harness.cli.display import COLOURS, MARKS, WIDE, printable
from prong.harness.plans.plan import Plan, Step
from prong.state import Store

ITEMS_SHOWN = 5
"""So many items of a for_each that have not ended well are shown."""

TEXT_CHARACTERS = 60

_STATES = """
select step, place, item, state, outcome, title,
       (select count(*) from task one
         where one.parent = task.id and one.hedge_of is null and one.state = 'done') as done,
       (select count(*) from task one where one.parent = task.id and one.hedge_of is null) as items
  from plan_step join task on task.id = plan_step.task order by task.id
"""


def show(plan: Plan, states: Mapping[str, tuple[str, Sequence[str]]] | None = None, *, err: bool = False) -> None:
    """Print the plan, or how it stands, to standard output or standard error."""
    wide = Console(stderr=err, highlight=False)
    console = wide if wide.is_terminal else Console(stderr=err, highlight=False, width=WIDE)
    console.print(tree(plan, states))


def tree(plan: Plan, states: Mapping[str, tuple[str, Sequence[str]]] | None = None) -> Tree:
    """The plan; `states` has for each step how it stands, and lines about its items."""
    root = Tree(Text(printable(" ".join(plan.goal.split())), style="bold"), guide_style="dim")
    branches: dict[str, Tree] = {}
    for name in plan.order:
        step = plan.steps[name]
        last = max(step.needs, key=plan.order.index, default=None)
        state, lines = (states or {}).get(name, ("", ()))
        above = root if last is None else branches[last]
        branches[name] = above.add(_line(name, step, state, [one for one in step.needs if one != last]))
        for line in lines:
            branches[name].add(Text(printable(line), style="dim"))
    return root


def states_of(store: Store) -> Mapping[str, tuple[str, Sequence[str]]]:
    """How each step of a swarm's plan stands."""
    found: dict[str, tuple[str, list[str]]] = {}
    for row in store.rows(_STATES):
        if row["place"] is None:
            state = "skipped" if row["outcome"] == "skipped" else row["state"]
            items = [f"{row['done']} of {row['items']} items are done"] if row["outcome"] == "expanded" else []
            found[row["step"]] = (state, items)
        elif row["state"] != "done" and row["step"] in found and len(found[row["step"]][1]) <= ITEMS_SHOWN:
            found[row["step"]][1].append(f"{MARKS[row['state']]} {row['title']}")
    return found


def _line(name: str, step: Step, state: str, needs: Sequence[str]) -> Text:
    colour = {"skipped": "dim"}.get(state) or COLOURS.get(state, "")
    mark = f"{MARKS.get(state, '↷')} " if state else ""
    text = Text.assemble((mark, colour), (name, "bold"), no_wrap=True, overflow="ellipsis")
    for told in _told(step, needs):
        text.append(f"  {printable(told)}", style="dim")
    if state:
        text.append(f"  {state}", style=colour)
    else:
        prompt = " ".join(step.prompt.split())
        text.append(f"  {printable(prompt if len(prompt) <= TEXT_CHARACTERS else prompt[: TEXT_CHARACTERS - 1] + '…')}")
    return text


def _told(step: Step, needs: Sequence[str]) -> list[str]:
    told = [f"(also needs {', '.join(needs)})"] if needs else []
    if step.for_each is not None:
        each = step.for_each
        over = each.expression.text if each.expression is not None else ", ".join(each.globs)
        told.append(f"for each of {over or f'{len(each.listed or ())} items'}")
    told += [f"when {step.when.text}"] if step.when is not None else []
    told += [f"as {step.role}"] if step.role else [f"type {step.type}"] if step.type else []
    return told + (["fork"] if step.context == "fork" else [])
