"""A worker of the tests: does what the last line of its words says, and prints what Claude Code would.

It lies in the repository of the test, which is what it sees of the disk, and uses nothing but the standard library.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path


def emit(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Prong:
    """The MCP server that it was told of."""

    def __init__(self):
        command = shlex.split(os.environ["PRONG_MCP_COMMAND"])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.number = 0
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self.ask("initialize", client)
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        while True:
            answer = json.loads(self.process.stdout.readline())
            if answer.get("id") == self.number:
                return answer["result"]

    def call(self, tool, **given):
        told = self.ask("tools/call", {"name": tool, "arguments": given})
        return told["content"][0]["text"]


def say(text, number=1, **usage):
    used = {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5} | usage
    message = {"id": f"msg_{os.getpid()}_{number}", "model": "claude-sonnet-5-5", "usage": used}
    emit(type="stream_event", event={"type": "message_start", "message": message})
    emit(type="assistant", message={**message, "role": "assistant", "content": [{"type": "text", "text": text}]})
    emit(type="stream_event", event={"type": "message_delta", "usage": used, "delta": {"stop_reason": "end_turn"}})
    emit(type="stream_event", event={"type": "message_stop"})


def end(result, **more):
    emit(type="result", subtype="success", is_error=False, result=result, session_id="s1", **more)


def share():
    """Take a lock, change a map and a file, and create a task for one of its own kind."""
    prong = Prong()
    words = [prong.call("lock", op="acquire", name="index")]
    words.append(prong.call("shared_map", op="put", map="found", key="worker", value=7))
    words.append(prong.call("create_task", title="Plain", prompt="DO plain", context="fork"))
    words.append(prong.call("wait_tasks", tasks=[json.loads(words[-1].rpartition("\n")[2])["task"]]))
    words.append(prong.call("lock", op="release", name="index"))
    Path("shared.txt").write_text("\n".join(words))
    say("All is shared.")
    end("shared")


def die():
    """Take a lock and be killed; the second time all goes well."""
    mark = Path(os.environ["PRONG_WORKER_HOME"], "died")
    if mark.exists():
        say("Better now.")
        end("lived")
        return
    mark.touch()
    Prong().call("lock", op="acquire", name="held")
    say("I hold it.")
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    """Start a child, and never end."""
    subprocess.Popen(["sleep", "987"])
    while True:
        signal.pause()


def main():
    task = next(line for line in reversed(sys.stdin.read().splitlines()) if line.startswith("DO "))
    what = task.removeprefix("DO ")
    if what != "plain":
        emit(type="system", subtype="init", session_id="s1", model="claude-sonnet-5-5")
    if what == "plain":
        sys.stdout.write("plain words\n")
    elif what == "nonsense":
        sys.stdout.write('{"type": "assistant", "message": 3}\n\0\xff{{{\n')
        sys.stderr.write("it went wrong\n")
        sys.exit(3)
    elif what == "ask":
        emit(type="control_request", request_id="1", request={"subtype": "can_use_tool", "tool_name": "Bash"})
        hang()
    elif what == "environment":
        say(f"My token is {os.environ['MY_TOKEN']}.")
        end(" ".join(sorted(os.environ)))
    elif what == "spend":
        for number in range(100):
            say(f"Spent {number}", number, input_tokens=50_000)
        end("spent")
    elif what == "overloaded":
        emit(type="result", subtype="success", is_error=True, api_error_status=529, result="Overloaded")
        sys.exit(1)
    else:
        {"share": share, "die": die, "hang": hang}[what]()


main()
