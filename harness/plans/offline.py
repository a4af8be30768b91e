"""What the emulator plays for `prong plan --offline`: a plan by fixed rules, one task for each folder and a summary.

It is no model and understands no goal: it shows what a plan looks like, and gives one to edit.
"""

import json

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

FOLDERS = 12


@script("^Write a plan for this goal")
def write_plan(request: Request) -> Reply:
    """Look which folders there are, then answer."""
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("bash", {"command": "git ls-files | sed -n 's,/.*,,p' | sort | uniq -c | sort -rn"})])
    goal = " ".join(request.first_text.split("\n\n")[1].split())
    words = [line.split(maxsplit=1) for line in (done[-1].text or "").splitlines()]
    folders = [one[1] for one in words if len(one) == 2 and one[0].isdigit()][:FOLDERS] or ["."]  # noqa: PLR2004  count and name
    look = {"prompt": f"Look at the folder {{item}} with this goal in mind, and say what it means there: {goal}"}
    plan = {
        "goal": goal,
        "tasks": {
            "look": {**look, "for_each": folders, "on_failed_item": "continue"},
            "sum_up": {"prompt": f"Sum up what was found, and say what is to be done: {goal}", "needs": ["look"]},
        },
    }
    return Reply([Text(json.dumps(plan))])
