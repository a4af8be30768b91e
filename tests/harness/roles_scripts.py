"""What the emulator plays in the test of roles and results: reviewers who answer with data, some when asked again."""

import json
import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script, text_of

SCHEMA = {"type": "object", "properties": {"bugs": {"type": "integer"}}, "required": ["bugs"]}
LONG = "".join(f"line {number} of a long report\n" for number in range(400))


def data(exchange):
    """The line of JSON under the words of a result."""
    return json.loads(exchange.text.splitlines()[-1])


def part(number, **more):
    return ToolUse("create_task", {"title": f"part {number}", "prompt": f"Review part {number}", **more})


def reviewed(number, request: Request):
    """Parts 1 and 4 answer with a wrong type first; part 3 never answers with data."""
    said = text_of(request.messages[-1]["content"])
    if number == 3:
        return Reply([Text("It is hard to say.")])
    if number in (1, 4) and "does not fit its schema" not in said:
        return Reply([Text('{"bugs": "many"}')])
    return Reply([Text(f'Part {number} has bugs.\n```json\n{{"bugs": {number}}}\n```')])


@script(r"^Review all")
def review_all(request: Request) -> Reply:
    """Three fresh reviewers, a fork, one with a long report, and one that needs two of them; then read what is cut."""
    done = request.exchanges()
    mine = [one.input["prompt"] for one in done if '"you": true' in (one.text or "")]
    if mine:
        return reviewed(int(mine[0].split()[-1]), request)
    return next_turn(done)


def next_turn(done):
    """What the one who hands out the parts does next."""
    made = [data(one)["task"] for one in done if one.name == "create_task" and not one.is_error]
    if not done:
        return Reply([part(1, context="fresh", role="reviwer", result_schema=SCHEMA)])
    if not made:
        review = {"context": "fresh", "role": "reviewer", "result_schema": SCHEMA, "result_asks": 1}
        fork = part(4, result_schema=SCHEMA)
        report = ToolUse("create_task", {"title": "report", "prompt": "Report at length", "context": "fresh"})
        return Reply([*(part(number, **review) for number in (1, 2, 3)), fork, report])
    if len(made) == 5:
        first, second, *_ = made
        needs = {"needs": [first, second], "context": "fresh"}
        return Reply([ToolUse("create_task", {"title": "sum", "prompt": "Sum up the parts", **needs})])
    if not any(one.name == "wait_tasks" for one in done):
        return Reply([ToolUse("wait_tasks", {"tasks": made})])
    if not any(one.name == "read_result" for one in done):
        rest = ToolUse("read_result", {"task": made[4], "from": 4_000, "count": 40_000})
        return Reply([rest, ToolUse("read_result", {"task": made[0], "transcript": True})])
    told = [text_of([{"type": "text", "text": one.text}]) for one in done if one.name in ("wait_tasks", "read_result")]
    return Reply([Text("\n=====\n".join(told))])


@script(r"^Review part (\d+)")
def review_part(request: Request) -> Reply:
    return reviewed(int(re.search(r"\d+", request.first_text)[0]), request)


@script(r"^Report at length")
def report_at_length(_request: Request) -> Reply:
    return Reply([Text(LONG)])


@script(r"^Sum up the parts")
def sum_up(request: Request) -> Reply:
    values = re.findall(r'is done: \{"bugs":(\d+)\}', request.first_text)
    return Reply([Text(f"in all {sum(map(int, values))} bugs")])
