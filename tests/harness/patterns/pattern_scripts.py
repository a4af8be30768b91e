"""What the emulator plays in the tests of patterns: every fifth item fails, and votes differ by number."""

import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script


def texts_of(request):
    return [
        block["text"]
        for message in request.messages
        if message["role"] == "user" and not isinstance(message["content"], str)
        for block in message["content"]
        if block["type"] == "text"
    ]


def answer(prompt, *, tried):
    number = int(re.search(r"item (\d+)", prompt)[1])
    if number % 5 == 0 and not tried:
        return Reply([Text("no")], stop_reason="refusal")
    return Reply([Text(f"answer {number}")])


@script("^Read what is needed")
def read(request: Request) -> Reply:
    """The common reading, which is long; and its forks."""
    own = [text for text in texts_of(request) if "Do only this: " in text]
    if own:
        return answer(own[-1].split("Do only this: ")[1], tried=False)
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": "seq 1 2500"})])
    return Reply([Text("I have read it.")])


@script("^Do item")
def item(request: Request) -> Reply:
    """Who is asked to try again answers."""
    return answer(request.first_text, tried=any("try again" in text for text in texts_of(request)))


@script("^Say item")
def say(request: Request) -> Reply:
    return Reply([Text(f"answer {re.search(r'item ([0-9]+)', request.first_text)[1]}")])


@script("^Write item")
def write(request: Request) -> Reply:
    number = re.search(r"item (\d+)", request.first_text)[1]
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": f"echo {number} > made-{number}.txt"})])
    return Reply([Text(f"wrote {number}")])


@script("^Put together")
def put_together(request: Request) -> Reply:
    """Adds all numbers below the question."""
    parts = request.first_text.split("\n--- result 1 ", 1)[1].split("(The repository", 1)[0]
    return Reply([Text(f"sum {sum(map(int, re.findall(r'(?:answer|sum) ([0-9]+)', parts)))}")])


@script("^Vote alike")
def alike(_request: Request) -> Reply:
    return Reply([Text("Yes.")])


@script("^Vote ")
def vote(request: Request) -> Reply:
    """Each says its number: they know it by nothing but the clone in which they work."""
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": "basename $PWD"})])
    return Reply([Text(f"answer {request.exchanges()[-1].text.strip()}")])


@script("^Several agents were given the same task")
def judge(_request: Request) -> Reply:
    return Reply([Text("2")])
