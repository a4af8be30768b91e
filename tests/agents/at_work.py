"""Agents for the tests of conversations: the real loop, calls and model, with one tool that notes a text."""

import json
from contextlib import nullcontext

from prong.agents.calls import Calls
from prong.agents.conversation import Conversation, load
from prong.agents.loop import Agent
from prong.agents.model import Endpoint, Model
from prong.agents.tools.tool import Tool

NOTE = {
    "name": "note",
    "description": "Notes a text.",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
SYSTEM = [{"type": "text", "text": "Be brief."}]


class Notes:
    """The toolbox: what was noted, in order; with `says` a note is answered by that."""

    def __init__(self, says="noted"):
        self.noted = []
        self.says = says
        self.tools = {"note": Tool(NOTE, self.note)}

    def note(self, call):
        self.noted.append(call.input.get("text"))
        return self.says

    def begin_turn(self, turn):
        pass

    def end_turn(self):
        pass


class Work:
    def working(self):
        return nullcontext()


def turns(*turns, **more):
    """The goal whose agent plays these turns; see turn_scripts.py."""
    return "turns " + json.dumps({"turns": turns, **more})


def agent_on(claim, url, *, model="claude-opus-5-5", notes=None, max_tokens=1_000, key="key", **more):
    """An agent with the conversation of a claimed task."""
    member, task, fence = claim
    return Agent(
        member,
        Conversation(member, task, fence),
        model=Model(Endpoint(model, url, key, max_tokens=max_tokens), member.store.clock),
        calls=Calls(member, task, notes or Notes(), Work()),
        system=SYSTEM,
        tools=[NOTE],
        **more,
    )


def told(claimed, url, goal, **more):
    """An agent that was told one sentence."""
    agent = agent_on(claimed(goal[:50]), url, **more)
    agent._conversation.say("user", [{"type": "text", "text": goal}])
    return agent


def conversation(store, task=1):
    """The messages of a task's conversation."""
    return load(store, store.row("select head from task where id = :task", task=task)["head"])


def events(store, kind):
    """The data of all events of a kind."""
    return [json.loads(row["data"]) for row in store.rows("select data from event where kind = :kind", kind=kind)]
