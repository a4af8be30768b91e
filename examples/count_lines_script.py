"""A script for the emulator: an agent that counts the lines of one file, and says nothing but the number.

Run it with: prong exec --offline --script examples/count_lines_script.py examples/count_lines_program.py
"""

import shlex

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

ASKED = "Count the lines of "


@script(f"^{ASKED}")
def count_lines(request: Request) -> Reply:
    """Counts with one command; the number is the first word that it prints."""
    done = request.exchanges()
    if not done:
        file = request.first_text.splitlines()[0].removeprefix(ASKED).rstrip(".")
        return Reply([ToolUse("bash", {"command": f"wc -l < {shlex.quote(file)}"})])
    return Reply([Text((done[-1].text or "").strip())])
