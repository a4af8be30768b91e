"""What the emulator plays for examples/evaluator.py: a writer that takes advice, and a judge with two rules.

Run it with: python examples/evaluator.py
"""

import json

from prong.agents.emulator.script import Reply, Request, Text, script

WHAT = "a number that only grows"
WHY = "so that a late write can be refused"


@script("^Write ")
def write(request: Request) -> Reply:
    """Says what it was told to say."""
    asked = request.first_text
    said = [part for part, wanted in ((WHAT, "what it is"), (WHY, "what for")) if wanted in asked or part in asked]
    return Reply([Text(f"A fence is {' '.join(said) or 'a token'}.")])


@script("^Judge ")
def judge(request: Request) -> Reply:
    """Wants to read what it is, and then what it is for."""
    missing = [
        advice for part, advice in ((WHAT, "Say what it is."), (WHY, "Say what for.")) if part not in request.first_text
    ]
    return Reply([Text(json.dumps({"good": not missing, "advice": missing[0] if missing else ""}))])
