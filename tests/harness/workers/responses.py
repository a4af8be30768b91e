"""As much of the Responses API as Codex needs, played by a script: `python responses.py PORT SCRIPT`.

The script is JSON: a list of [pattern, turns], each turn a list of {"text": …}, {"tool": pattern, "input": …} or
{"pause": seconds}.  The turn is the number of runs of what the model has said in the request, so it needs no memory.  A
call that still waits is gone on with, which is no turn.
"""

import itertools
import json
import re
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def offered(body):
    """The tools of a request by their full name, each with what a call of it has to say."""
    found = {}
    for tool in body.get("tools", []):
        if tool.get("type") == "namespace":
            for inner in tool["tools"]:
                found[f"{tool['name']}.{inner['name']}"] = {"name": inner["name"], "namespace": tool["name"]}
        else:
            found[tool.get("name", "")] = {"name": tool.get("name")}
    return found


def is_said(item):
    return item.get("role") == "assistant" or item.get("type") in ("function_call", "custom_tool_call", "reasoning")


def is_resumed(item, items):
    """Whether an item is a call of resume_wait, or what came of one."""
    calls = {one["call_id"] for one in items if one.get("name", "").endswith("resume_wait")}
    return item.get("call_id") in calls


def choose(script, body):
    items = body["input"]
    text = json.dumps([item for item in items if item.get("role") == "user"])
    told = [item for item in items if not is_resumed(item, items)]
    turn = sum(said for said, _ in itertools.groupby(told, is_said))
    if ticket := re.search(r'"ticket\W+(\w+)', json.dumps(items[-1].get("output", ""))):
        return [{"tool": r"mcp__prong\W*_*resume_wait", "input": {"ticket": ticket[1]}}]
    turns = next(turns for pattern, turns in script if re.search(pattern, text))
    return turns[min(turn, len(turns) - 1)]


def items_of(blocks, body):
    tools = offered(body)
    for block in blocks:
        if "pause" in block:
            time.sleep(block["pause"])
        elif "text" in block:
            content = [{"type": "output_text", "text": block["text"], "annotations": []}]
            yield {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "role": "assistant", "content": content}
        else:
            name = next(name for name in tools if re.fullmatch(block["tool"], name))
            call = {"id": f"fc_{uuid.uuid4().hex}", "call_id": f"call_{uuid.uuid4().hex[:20]}", **tools[name]}
            yield {**call, "type": "function_call", "arguments": json.dumps(block["input"])}


def events(script, body):
    output = list(items_of(choose(script, body), body))
    response = {"id": f"resp_{uuid.uuid4().hex}", "object": "response", "model": body["model"], "output": []}
    yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
    for number, item in enumerate(output):
        yield {"type": "response.output_item.added", "output_index": number, "item": item}
        yield {"type": "response.output_item.done", "output_index": number, "item": item}
    count = len(json.dumps(body)) // 4
    usage = {"input_tokens": count, "output_tokens": 10, "total_tokens": count + 10}
    done = {**response, "status": "completed", "output": output, "usage": usage}
    yield {"type": "response.completed", "response": done}


class Handler(BaseHTTPRequestHandler):
    script = ()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number, event in enumerate(events(self.script, body)):
            data = json.dumps({**event, "sequence_number": number})
            self.wfile.write(f"event: {event['type']}\ndata: {data}\n\n".encode())


if __name__ == "__main__":
    Handler.script = json.loads(Path(sys.argv[2]).read_text())
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
