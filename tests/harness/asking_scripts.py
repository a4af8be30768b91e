"""What the emulator plays in the tests of approvals and messages."""

import json
import time
from pathlib import Path

from tests.harness.scripts import in_turn, orchestrate

from prong.agents.emulator.script import Reply, Text, ToolUse, script


def bash(command):
    return ToolUse("bash", {"command": command})


def heard(request):
    """What operators have said to this agent."""
    texts = [
        block["text"]
        for message in request.messages
        if message["role"] != "assistant"
        for block in (message["content"] if isinstance(message["content"], list) else [])
        if block["type"] == "text"
    ]
    return [text.splitlines()[-1] for text in texts if text.startswith("A message from ")]


@script(r"^Ask and go on")
def ask_and_go_on(request):
    """A child that asks, and one that works meanwhile in the only slot; each says what it has heard."""

    def work(prompt, done):
        if prompt == "push":
            turn = [[bash("echo pushed >> pushed.txt; git push origin main 2>/dev/null; cat pushed.txt")]]
        else:
            turn = [[bash("echo here > worked.txt")]]
        ends = f"{prompt}: {done[-1].text if done else ''} heard {json.dumps(heard(request))}"
        return in_turn(*turn, end=ends)(prompt, done)

    return orchestrate(request, ["push", "work"], work=work)


@script(r"^Ask once")
def ask_once(request):
    """One call that is asked about, and an answer that tells all results and all that was heard."""
    done = request.exchanges()
    if not done:
        return Reply([bash("echo ran >> $PRONG_SHARED/ran; git push \x1b[31mred")])
    return Reply([Text(json.dumps({"results": [e.text for e in done], "heard": heard(request)}))])


@script(r"^Ask twice")
def ask_twice(request):
    """Two turns with a like call, which is asked about the first time, and one that is refused."""
    done = request.exchanges()
    if len(done) < 2:
        return Reply([bash(f"make target{len(done)}; git push origin branch")])
    if len(done) == 2:
        return Reply([bash("true && rm -rf x"), ToolUse("read", {"path": "plain.txt"})])
    return Reply([Text("\n".join(e.text for e in done))])


@script(r"^Write to one another")
def write_to_one_another(request):
    """The first child finds a message of the second in its inbox, of which it is told between two turns."""
    told = [
        block["text"]
        for message in request.messages
        if message["role"] in ("system", "user") and isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "text" and "in your inbox" in block["text"]
    ]

    def work(prompt, done):
        if prompt == "write":
            put = {"op": "put", "queue": "inbox/task-2", "message": "the parser is yours"}
            return in_turn([ToolUse("message_queue", put)], [ToolUse("event", {"op": "set", "name": "written"})])(
                prompt, done
            )
        if not done:
            return Reply([ToolUse("event", {"op": "wait", "name": "written"})])
        if len(done) == 1:
            return Reply([ToolUse("message_queue", {"op": "get", "queue": "inbox/task-2", "timeout": 0})])
        return Reply([Text(f"{told} {done[-1].text}")])

    return orchestrate(request, ["listen", "write"], work=work)


@script(r"^Listen in ")
def listen(request):
    """Says that it was asked, and answers when it may; each answer is the last, as far as it knows."""
    place = Path(request.first_text.split()[2])
    heard_by_now = heard(request)
    (place / f"asked-{len(heard_by_now)}").touch()
    while not (place / f"go-{len(heard_by_now)}").exists():
        time.sleep(0.01)
    return Reply([Text(json.dumps(heard_by_now))])
