"""What the emulator plays for examples/review_plan.yaml: it counts lines by rules where a model would review.

Run it with: prong apply --offline --script examples/review_script.py examples/review_plan.yaml
"""

import json
import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

LONG = 400


@script("^List the Python files")
def survey(request: Request) -> Reply:
    """The files with the most lines, as data."""
    done = request.exchanges()
    if not done:
        command = "git ls-files 'examples/*.py' | xargs wc -l | grep -v total | sort -rn | head -4"
        return Reply([ToolUse("bash", {"command": command})])
    files = [{"path": path, "lines": int(lines)} for lines, path in re.findall(r"(\d+) (\S+\.py)", done[-1].text or "")]
    return Reply([Text(json.dumps({"files": files}))])


@script("^Review ")
def review(request: Request) -> Reply:
    """One file: how many functions it has, and whether it is too long."""
    path = re.search(r"^Review (\S+),", request.first_text)[1]
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("bash", {"command": f"grep -c '^def ' {path}; wc -l < {path}"})])
    functions, lines = map(int, re.findall(r"^\d+$", done[-1].text or "", re.MULTILINE)[:2])
    return Reply([Text(json.dumps({"path": path, "functions": functions, "long": lines > LONG}))])


@script("^Write the summary")
def summary(request: Request) -> Reply:
    """A table of what was found, as a file that is merged."""
    if not request.exchanges():
        found = re.findall(r'"path": ?"([^"]+)", ?"functions": ?(\d+)', request.first_text)
        lines = "\n".join(f"{path}: {count} functions" for path, count in found)
        return Reply([ToolUse("bash", {"command": f"cat > REVIEW.md <<'END'\n{lines}\nEND"})])
    return Reply([Text("wrote REVIEW.md")])


@script("^Split up")
def split(_request: Request) -> Reply:
    """Played only where a file is too long."""
    return Reply([Text("nothing to split")])
