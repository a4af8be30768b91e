"""Scripts of a campaign of merges: each agent does what a plan says, and mends what comes back, or does not."""

import json
from pathlib import Path

from tests.harness.merging_scripts import came_back
from tests.harness.scripts import orchestrate

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

KEEP_BOTH = r"/^<<<<<<< /,/^>>>>>>> /{/^<<<<<<< /d;/^=======$/d;/^>>>>>>> /d}"
SOLVE = f"grep -rlZ --include='*.py' '^<<<<<<< ' . | xargs -0 -r sed -i '{KEEP_BOTH}'"
MEND = "grep -rlZ --include='*.py' '^this spoils' . | xargs -0 -r sed -i '/^this spoils/d'"


@script(r"^Bring the finished work")
def resolve(request: Request) -> Reply:
    """Solves conflicts, and does not know what to do where the check fails."""
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": SOLVE})])
    return Reply([Text("made one whole of both")])


@script(r"^Campaign ")
def campaign(request: Request) -> Reply:
    """A fork for each of the plan's agents, which runs its commands, one a turn."""
    plan = json.loads(Path(request.first_text.split("\n")[0].removeprefix("Campaign ")).read_text())

    def work(prompt, done):
        own = plan[int(prompt.split()[-1])]
        ran = sum(exchange.name == "bash" and not exchange.is_error for exchange in done)
        commands = [*own["commands"]]
        for back in came_back(request):
            failed = "the check `" in back
            commands.append("true" if failed and own["stubborn"] else MEND if failed else SOLVE)
        if ran < len(commands):
            return Reply([ToolUse("bash", {"command": commands[ran]})])
        return Reply([Text(f"{prompt} is made")])

    return orchestrate(request, [f"Change {number}" for number in range(len(plan))], work=work)
